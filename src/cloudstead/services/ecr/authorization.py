"""GetAuthorizationToken: what `docker login` is given. The registry counts only where a client uses an address that names none, such as localhost."""

from __future__ import annotations

from cloudstead.engine.registry.passwords import LIFETIME, Pass, Passwords
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr import addresses, api


def passwords(cloud: Cloud) -> Passwords:
    """The passwords of ECR."""
    found: Passwords = cloud.parts.get("ecr.passwords") or cloud.parts.setdefault("ecr.passwords", Passwords(cloud, "ecr"))
    return found


@operation(resource="*")
async def get_authorization_token(ctx: Context, request: api.GetAuthorizationTokenRequest) -> api.GetAuthorizationTokenResponse:
    """A user and password for any registry that the caller may use, for twelve hours."""
    accounts = dict.fromkeys(request.registry_ids or [ctx.account])
    return api.GetAuthorizationTokenResponse(authorization_data=[_data(ctx, account) for account in accounts])


def _data(ctx: Context, account: str) -> api.AuthorizationData:
    expires = ctx.now() + LIFETIME
    return api.AuthorizationData(
        authorization_token=passwords(ctx.cloud).token(Pass(ctx.identity, account, ctx.region, expires)),
        expires_at=expires,
        proxy_endpoint=addresses.registry_url(ctx.cloud.endpoint, account, ctx.region),
    )
