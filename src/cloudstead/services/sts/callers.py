"""Who calls, and whose key it is."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.ids import account_of_access_key
from cloudstead.kernel.operations import operation
from cloudstead.services.sts import api


@operation(resource="*", public=True)
async def get_caller_identity(ctx: Context, request: api.GetCallerIdentityRequest) -> api.GetCallerIdentityResponse:
    """Needs no permission; not even an explicit deny keeps a caller from asking who it is."""
    identity = ctx.identity
    return api.GetCallerIdentityResponse(user_id=identity.user_id, account=identity.account, arn=identity.arn)


@operation(resource="*")
async def get_access_key_info(ctx: Context, request: api.GetAccessKeyInfoRequest) -> api.GetAccessKeyInfoResponse:
    """The account that a key belongs to: the key itself spells it, whether or not it is still there."""
    account = account_of_access_key(request.access_key_id)
    if account is None:
        raise ValidationFailed(f"The access key ID {request.access_key_id} is not valid.")
    return api.GetAccessKeyInfoResponse(account=account)
