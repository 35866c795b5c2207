"""How the operations of ECR Public are declared: as all others, and refused outside of the one region that has it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from cloudstead.kernel import operations
from cloudstead.kernel.context import Context
from cloudstead.services.ecr_public import api

REGION = "us-east-1"

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


def operation(**declared: Any) -> Callable[[F], F]:
    """`kernel.operations.operation`; calls to other regions are answered as AWS does."""

    def declare(function: F) -> F:
        @functools.wraps(function)
        async def answer(ctx: Context, request: Any) -> Any:
            if ctx.region != REGION:
                name = request.operation.partition(":")[2]
                raise api.UnsupportedCommandException(f"{name} command is only supported in {REGION}.")
            return await function(ctx, request)

        operations.operation(**declared)(answer)
        return function

    return declare
