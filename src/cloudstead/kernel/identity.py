"""Who calls: what the edge learns from a signature, and what policies are judged for."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

DEFAULT_ACCOUNT = "000000000000"
DEFAULT_REGION = "us-east-1"
PARTITION = "aws"

Kind = Literal["root", "user", "assumed-role", "federated-user", "service", "anonymous"]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A caller, as policies and GetCallerIdentity see it."""

    account: str
    arn: str  # arn:aws:iam::1:root, …:user/path/name, arn:aws:sts::1:assumed-role/name/session, …; a service: its principal, "ecs.amazonaws.com"
    user_id: str  # AIDA…, AROA…:session, <account>:name, the account for root
    kind: Kind
    access_key_id: str = ""
    principal_arn: str = ""  # whose policies count: the user's or the role's IAM ARN; the same as arn for a user
    principal_id: str = ""  # the id of that user where user_id is not it: a federated user's
    session_policies: tuple[str, ...] = ()  # passed to AssumeRole or GetFederationToken: JSON documents, and ARNs of managed policies
    session_tags: tuple[tuple[str, str], ...] = ()
    transitive_tags: tuple[str, ...] = ()  # the keys of those that are handed on when this session assumes a role
    issued_at: float = 0.0  # when a temporary session began
    mfa: bool = False
    source_identity: str = ""
    session_context: tuple[tuple[str, str], ...] = ()  # further condition keys, e.g. from a web identity token

    @property
    def is_service(self) -> bool:
        return self.kind == "service"


def root(account: str, access_key_id: str = "") -> Identity:
    arn = f"arn:{PARTITION}:iam::{account}:root"
    return Identity(account=account, arn=arn, user_id=account, kind="root", access_key_id=access_key_id, principal_arn=arn)


def service(principal: str, account: str) -> Identity:
    """A part of Cloudstead acting on its own behalf, such as `events.amazonaws.com`; policies of identities do not bind it, resource policies do."""
    return Identity(account=account, arn=principal, user_id=principal, kind="service", principal_arn=principal)


def anonymous() -> Identity:
    return Identity(account="", arn="*", user_id="anonymous", kind="anonymous", principal_arn="*")


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What a signature is checked against."""

    access_key_id: str
    secret_access_key: str
    identity: Identity
    session_token: str = ""  # empty for a long-term key
    expires_at: float | None = None
    active: bool = True


class CredentialSource(Protocol):
    """Finds keys. IAM implements it over its rows; the daemon wires the two."""

    def find(self, access_key_id: str, session_token: str = "") -> Credential | None:
        """The key, or None. The token is needed for temporary keys, whose tokens hold their session."""
        ...

    def used(self, access_key_id: str, service: str, region: str) -> None:
        """Note that the key was used (GetAccessKeyLastUsed); must not write to disk on every call."""
        ...
