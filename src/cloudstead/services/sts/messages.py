"""Denials whose details are sealed, as EC2 gives them."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.sessions import AUTHORIZATION_MESSAGE, Sessions
from cloudstead.services.sts import api


@operation(resource="*")
async def decode_authorization_message(
    ctx: Context, request: api.DecodeAuthorizationMessageRequest
) -> api.DecodeAuthorizationMessageResponse:
    """What was denied to whom; only messages that this Cloudstead made can be opened."""
    opened = Sessions.of(ctx.cloud).unseal(AUTHORIZATION_MESSAGE, request.encoded_message)
    if opened is None:
        raise api.InvalidAuthorizationMessageException("Message is not valid")
    return api.DecodeAuthorizationMessageResponse(decoded_message=opened.decode())
