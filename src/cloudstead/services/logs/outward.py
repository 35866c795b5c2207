"""Calling services whose API this one does not know: natively where they are written here, else through the companion."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import NotImplementedHere


async def call(ctx: Context, service: str, operation: str, parameters: Mapping[str, Any]) -> None:
    """One operation, with botocore's names of its parameters; what it answers is not looked at.

    Raises:
        ServiceError: and whatever else keeps the call from succeeding.
    """
    if service in ctx.cloud.registry.services:
        api = importlib.import_module(f"cloudstead.services.{service}.api")
        request = msgspec.convert(dict(parameters), getattr(api, f"{operation}Request"), builtin_types=(bytes,))
        await ctx.call(request)
        return
    if ctx.cloud.companion is None:
        raise NotImplementedHere(f"{service} is not available.")
    await ctx.cloud.companion.call(ctx, service, operation, parameters)
