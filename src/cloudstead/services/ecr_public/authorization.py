"""GetAuthorizationToken: what `docker login` to the public registries is given."""

from __future__ import annotations

from cloudstead.engine.registry.passwords import LIFETIME, Pass, Passwords
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr_public import api, regions
from cloudstead.services.ecr_public.regions import REGION


def passwords(cloud: Cloud) -> Passwords:
    """Those of this cloud."""
    known = cloud.parts.get("ecr-public.passwords")
    if known is None:
        known = cloud.parts["ecr-public.passwords"] = Passwords(cloud, "ecr-public")
    assert isinstance(known, Passwords)
    return known


@operation(resource="*")
async def get_authorization_token(ctx: Context, request: api.GetAuthorizationTokenRequest) -> api.GetAuthorizationTokenResponse:
    """A user and password for twelve hours; who asks needs STS's leave for tokens that are shown to a service, too."""
    regions.require(ctx, request.operation)
    ctx.require(
        "sts:GetServiceBearerToken", "*", {"sts:AWSServiceName": "ecr-public.amazonaws.com", "sts:DurationSeconds": str(int(LIFETIME))}
    )
    expires = ctx.now() + LIFETIME
    token = passwords(ctx.cloud).token(Pass(ctx.identity, ctx.account, REGION, expires))
    return api.GetAuthorizationTokenResponse(authorization_data=api.AuthorizationData(authorization_token=token, expires_at=expires))
