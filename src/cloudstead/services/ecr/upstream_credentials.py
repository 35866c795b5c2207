"""Who a pull-through cache is to its upstream registry.

A secret of Secrets Manager has user and token. A registry of ECR in this installation is asked with a password that is made for the occasion: for ECR
itself within the account, else for the role that the rule names.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote

import msgspec

from cloudstead.engine.images.api import Credentials
from cloudstead.engine.registry.passwords import Pass
from cloudstead.kernel import identity as identities
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import AccessDenied, NotImplementedHere, ServiceError
from cloudstead.kernel.identity import Identity
from cloudstead.services.ecr import api, authorization
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import PullThroughRule
from cloudstead.services.ecr.upstreams import Upstream

PRINCIPAL = "pullthroughcache.ecr.amazonaws.com"
_SECONDS = 3600.0


class _Secret(msgspec.Struct, rename="camel"):
    username: str
    access_token: str


async def credentials_of(ctx: Context, rule: PullThroughRule, upstream: Upstream) -> Credentials | None:
    """None: the registry is asked without.

    Raises:
        SecretNotFoundException, UnableToAccessSecretException, UnableToDecryptSecretValueException, AccessDenied
    """
    if rule.credential is not None:
        return await read_secret(ctx, rule.credential)
    if catalog(ctx).images.is_own(upstream.domain):  # and to nobody else is the password shown
        return await _own(ctx, rule)
    return None


async def check_secret(ctx: Context, arn: str) -> None:
    """That it is there; what it holds may come later."""
    await _ask(ctx, "DescribeSecret", arn)


async def read_secret(ctx: Context, arn: str) -> Credentials:
    """https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-creating-secret.html"""
    answer = await _ask(ctx, "GetSecretValue", arn)
    try:
        secret = msgspec.json.decode(answer.get("SecretString") or "", type=_Secret)
    except (msgspec.DecodeError, RecursionError):
        raise api.UnableToAccessSecretException(
            'The secret does not hold the credentials of an upstream registry: {"username": "…", "accessToken": "…"}'
        ) from None
    return Credentials(username=secret.username, password=secret.access_token)


async def _ask(ctx: Context, operation: str, arn: str) -> dict[str, Any]:
    """As ECR's service-linked role, which may read secrets of these names."""
    _, _, _, region, account, *_ = arn.split(":")
    if (account, region) != (ctx.account, ctx.region):
        raise api.SecretNotFoundException("The ARN of the secret specified in the pull through cache rule was not found")
    acting = ctx.cloud.service_context(PRINCIPAL, account, region)
    try:
        if acting.cloud.companion is None:
            raise NotImplementedHere("secretsmanager is not available.")
        return await acting.cloud.companion.call(acting, "secretsmanager", operation, {"SecretId": arn})
    except ServiceError as error:
        raise _translated(error) from None


def _translated(error: ServiceError) -> ServiceError:
    if error.code == "ResourceNotFoundException":
        return api.SecretNotFoundException("The ARN of the secret specified in the pull through cache rule was not found")
    if error.code == "DecryptionFailure":
        return api.UnableToDecryptSecretValueException("The secret is accessible but is unable to be decrypted")
    return api.UnableToAccessSecretException(f"The secret is unable to be accessed: {error.message}")


async def _own(ctx: Context, rule: PullThroughRule) -> Credentials:
    identity = identities.service(PRINCIPAL, ctx.account) if rule.custom_role is None else await _as_role(ctx, rule.custom_role)
    token = authorization.passwords(ctx.cloud).token(Pass(identity, ctx.account, ctx.region, ctx.now() + _SECONDS))
    user, _, password = base64.b64decode(token).decode().partition(":")
    return Credentials(username=user, password=password)


async def _as_role(ctx: Context, role: str) -> Identity:
    """A session of the role, which must trust ECR where policies are enforced."""
    from cloudstead.services.iam import api as iam  # the daemon starts without it

    account, name = role.split(":")[4], role.rpartition("/")[2]
    here = ctx.cloud.service_context(PRINCIPAL, account, ctx.region)
    trust: str | None = None
    unique = "AROA00000000000000000"
    try:
        found = (await here.call(iam.GetRoleRequest(role_name=name))).role
        trust, unique = unquote(found.assume_role_policy_document), found.role_id
    except iam.NoSuchEntityException:
        pass
    try:
        here.admit("sts:AssumeRole", role, trust)
    except AccessDenied as error:
        raise api.UnableToGetUpstreamImageException(f"The role of the pull through cache rule cannot be assumed: {error.message}") from None
    return Identity(
        account=account,
        arn=f"arn:{ctx.partition}:sts::{account}:assumed-role/{name}/ecr-pull-through-cache",
        user_id=f"{unique}:ecr-pull-through-cache",
        kind="assumed-role",
        principal_arn=role,
        issued_at=ctx.now(),
    )
