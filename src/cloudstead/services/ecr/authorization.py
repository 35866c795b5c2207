"""GetAuthorizationToken: what `docker login` is given.

A password is a sealed record of who asked, for which registry, and until when (`kernel.sessions`): nothing is written for it, and it is good after a
restart too. The registry counts only where the client uses an address that names none, such as localhost.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.identity import Identity
from cloudstead.kernel.operations import operation
from cloudstead.kernel.sessions import Sessions
from cloudstead.services.ecr import addresses, api

LIFETIME = 12 * 3600.0
USER = "AWS"
_PURPOSE = "ecr"


class Pass(msgspec.Struct, frozen=True, array_like=True):
    """What a password stands for."""

    identity: Identity
    account: str
    region: str
    expires: float


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Pass)


def password_of(cloud: Cloud, granted: Pass) -> str:
    return Sessions.of(cloud).seal(_PURPOSE, _encode(granted))


def opened(cloud: Cloud, password: str) -> Pass | None:
    """What a password stands for, expired or not; None when it was not made here."""
    record = Sessions.of(cloud).unseal(_PURPOSE, password)
    if record is None:
        return None
    try:
        return _decoder.decode(record)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None  # sealed by an older Cloudstead, in another form


def basic(header: str) -> tuple[str, str] | None:
    """User and password of an Authorization header."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, separator, password = base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if separator else None


@operation(resource="*")
async def get_authorization_token(ctx: Context, request: api.GetAuthorizationTokenRequest) -> api.GetAuthorizationTokenResponse:
    """A user and password for any registry that the caller may use, for twelve hours."""
    accounts = dict.fromkeys(request.registry_ids or [ctx.account])
    return api.GetAuthorizationTokenResponse(authorization_data=[_data(ctx, account) for account in accounts])


def _data(ctx: Context, account: str) -> api.AuthorizationData:
    expires = ctx.now() + LIFETIME
    password = password_of(ctx.cloud, Pass(ctx.identity, account, ctx.region, expires))
    return api.AuthorizationData(
        authorization_token=base64.b64encode(f"{USER}:{password}".encode()).decode("ascii"),
        expires_at=expires,
        proxy_endpoint=addresses.registry_url(ctx.cloud.endpoint, account, ctx.region),
    )
