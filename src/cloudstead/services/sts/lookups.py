"""What STS asks IAM: roles, managed policies and identity providers. As the service itself, for callers need no right to read those."""

from __future__ import annotations

import base64
import hashlib
from typing import Final
from urllib.parse import unquote

import msgspec

from cloudstead.kernel import identity as identities
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.services.iam import api as iam
from cloudstead.services.sts import api

PRINCIPAL: Final = "sts.amazonaws.com"
LONGEST_ROLE_SESSION: Final = 43_200  # seconds


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """What matters of a role for assuming it."""

    arn: str
    account: str
    name: str
    role_id: str
    trust_policy: str | None  # None: there is no such role
    max_session_duration: int
    tags: dict[str, str]


async def role(ctx: Context, arn: str) -> Role:
    """The role of an ARN. One that does not exist has no trust policy, so that nobody is let in where policies are enforced; where they are not,
    it can be assumed all the same: tests of multi-account code name roles that were never made.

    Raises:
        ValidationFailed: the ARN is none of a role.
    """
    try:
        parsed = Arn.parse(arn)
    except ValueError:
        raise ValidationFailed(f"{arn} is invalid") from None
    name = parsed.name.rpartition("/")[2]
    if parsed.service != "iam" or parsed.kind != "role" or not name or not parsed.account.isdigit():
        raise ValidationFailed(f"{arn} is invalid")
    try:
        found = (await _as_sts(ctx, parsed.account).call(iam.GetRoleRequest(role_name=name))).role
    except iam.NoSuchEntityException:
        found = None
    if found is None or found.arn != arn:
        return Role(
            arn=arn,
            account=parsed.account,
            name=name,
            role_id="AROA" + base64.b32encode(hashlib.sha256(arn.encode()).digest()).decode()[:17],
            trust_policy=None,
            max_session_duration=LONGEST_ROLE_SESSION,
            tags={},
        )
    return Role(
        arn=arn,
        account=parsed.account,
        name=found.role_name,
        role_id=found.role_id,
        trust_policy=plain(found.assume_role_policy_document or ""),
        max_session_duration=found.max_session_duration or 3600,
        tags={tag.key: tag.value for tag in found.tags or []},
    )


async def policy_document(ctx: Context, account: str, arn: str) -> str:
    """The default version of a managed policy.

    Raises:
        ValidationFailed: there is none of this ARN.
    """
    asking = _as_sts(ctx, account)
    try:
        policy = (await asking.call(iam.GetPolicyRequest(policy_arn=arn))).policy
        request = iam.GetPolicyVersionRequest(policy_arn=arn, version_id=policy.default_version_id)
        return plain((await asking.call(request)).policy_version.document)
    except (iam.NoSuchEntityException, iam.InvalidInputException):
        raise ValidationFailed(f"The managed policy {arn} does not exist") from None


async def oidc_provider(ctx: Context, account: str, issuer: str) -> iam.GetOpenIDConnectProviderResponse:
    """The provider that the account has registered for an issuer (its URL without scheme).

    Raises:
        InvalidIdentityTokenException: none is.
    """
    arn = provider_arn(ctx, account, issuer)
    try:
        found: iam.GetOpenIDConnectProviderResponse = await _as_sts(ctx, account).call(
            iam.GetOpenIDConnectProviderRequest(open_id_connect_provider_arn=arn)
        )
    except iam.NoSuchEntityException:
        raise api.InvalidIdentityTokenException(f"No OpenIDConnect provider found in your account for https://{issuer}") from None
    return found


def provider_arn(ctx: Context, account: str, issuer: str) -> str:
    return f"arn:{ctx.partition}:iam::{account}:oidc-provider/{issuer}"


def plain(document: str) -> str:
    """IAM answers documents URL-encoded (RFC 3986)."""
    return unquote(document) if document.startswith("%") else document


def _as_sts(ctx: Context, account: str) -> Context:
    return ctx.replace(identity=identities.service(PRINCIPAL, account), account=account)
