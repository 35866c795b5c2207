"""Who calls, and whom a statement's Principal names.

How closely a statement names the caller matters: within one account, a resource policy that names the session or the user itself grants by
itself; one that names the role is still limited by the role's boundary and the session's policies; one that names the account only lets the
account's own policies decide.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from cloudstead.kernel.identity import Identity

NONE: Final = 0
ACCOUNT: Final = 1  # by its account only
ENTITY: Final = 2  # by the role (or user) behind a session, or by "*"
DIRECT: Final = 3  # by its own ARN, service name or provider

_ACCOUNT = re.compile(r"\d{12}")
_ACCOUNT_ROOT = re.compile(r"arn:[^:]+:iam::(\d{12}):root")
_REGIONAL = re.compile(r"([a-z0-9-]+)\.[a-z]{2}(?:-[a-z]+)+-\d\.(amazonaws\.com)")


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The caller, as policies see it."""

    kind: str  # identity.Kind, or "federated": someone who has only a provider's token (AssumeRoleWithWebIdentity, …WithSAML)
    account: str  # empty for "federated" and "anonymous"
    arn: str  # the user, the session, the service principal or the provider
    entity: str = ""  # the ARN of the user or role whose policies count
    user_id: str = ""

    @classmethod
    def of(cls, identity: Identity) -> Principal:
        return cls(
            kind=identity.kind,
            account=identity.account,
            arn=identity.arn,
            entity=identity.principal_arn or identity.arn,
            user_id=identity.user_id,
        )

    @classmethod
    def federated(cls, provider: str) -> Principal:
        """`provider` is the ARN of an OIDC or SAML provider, or the name of a built-in one such as `accounts.google.com`."""
        return cls(kind="federated", account="", arn=provider, entity=provider)


class PrincipalSet:
    """The Principal or NotPrincipal of one statement."""

    __slots__ = ("accounts", "arns", "canonical", "everyone", "federated", "services")

    def __init__(self, value: str | Mapping[str, Sequence[str]]) -> None:
        named: Mapping[str, Sequence[str]] = {"AWS": [value]} if isinstance(value, str) else value
        aws = list(named.get("AWS", ()))
        self.everyone = "*" in aws
        self.accounts = frozenset(account for account in map(account_of, aws) if account)
        self.arns = frozenset(arn for arn in aws if not account_of(arn))
        self.services = frozenset(named.get("Service", ()))
        self.federated = frozenset(named.get("Federated", ()))
        self.canonical = frozenset(named.get("CanonicalUser", ()))

    def names(self, principal: Principal) -> int:
        """How closely this names the caller: NONE, ACCOUNT, ENTITY or DIRECT."""
        match principal.kind:
            case "service":
                direct = any(_same_service(name, principal.arn) for name in self.services)
            case "federated":
                direct = principal.arn in self.federated or "*" in self.federated
            case "anonymous":
                direct = False
            case _:
                direct = principal.arn in self.arns or principal.user_id in self.arns
        if direct:
            return DIRECT
        if self.everyone or self._entity(principal):
            return ENTITY
        if principal.account and principal.account in self.accounts and principal.kind != "service":
            return ACCOUNT
        return NONE

    def names_all_of(self, principal: Principal) -> bool:
        """Whether each part of the caller is listed: its account, its role or user, and its session. NotPrincipal spares no one else.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html
        """
        if self.everyone:
            return True
        if principal.kind in ("service", "federated", "anonymous"):
            return self.names(principal) == DIRECT
        chain = {principal.arn, principal.entity} if principal.kind != "root" else set()
        return principal.account in self.accounts and chain <= self.arns

    def _entity(self, principal: Principal) -> bool:
        """Whether the role (or user) behind a session is named, by its ARN or its unique id.

        AWS stores ids in place of ARNs, so that a role made again under an old name gains nothing.
        """
        if not principal.entity:
            return False
        return principal.entity in self.arns or principal.user_id.partition(":")[0] in self.arns


def account_of(principal: str) -> str:
    """The account that `123456789012` or `arn:aws:iam::123456789012:root` stands for; empty for anything else."""
    if _ACCOUNT.fullmatch(principal):
        return principal
    match = _ACCOUNT_ROOT.fullmatch(principal)
    return match.group(1) if match else ""


def _same_service(named: str, caller: str) -> bool:
    """`logs.eu-west-1.amazonaws.com` is `logs.amazonaws.com` in one region."""
    return named == caller or _REGIONAL.sub(r"\1.\2", named) == caller
