"""Calling an operation by its names on the wire: of services that may be written here or be the companion's, and whose API the caller does not import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import NotImplementedHere, ValidationFailed


async def call_named(ctx: Context, service: str, operation: str, parameters: Mapping[str, Any], *, resource: str = "*") -> None:
    """One operation, with botocore's names of its parameters; what it answers is not looked at.

    Args:
        resource: the ARN for which a caller that is no service needs the permission. Services that are written here ask themselves.

    Raises:
        ServiceError: and whatever else keeps the call from succeeding.
    """
    written_here = ctx.cloud.registry.services.get(service)
    if written_here is not None:
        try:
            kind = written_here.attribute(f"api:{operation}Request")
        except AttributeError:
            raise NotImplementedHere(f"{operation} of {service} is not available in Cloudstead yet.") from None
        try:
            request = msgspec.convert(dict(parameters), kind, builtin_types=(bytes,))
        except msgspec.ValidationError as error:
            raise ValidationFailed(str(error)) from None
        await ctx.call(request)
        return
    if ctx.cloud.companion is None:
        raise NotImplementedHere(f"{service} is not available.")
    if not ctx.identity.is_service:
        ctx.require(f"{service}:{operation}", resource)
    await ctx.cloud.companion.call(ctx, service, operation, parameters)
