"""The one region that has ECR Public. Every operation comes by here, most of them with their repository."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.services.ecr_public import api

REGION = "us-east-1"


def require(ctx: Context, operation: str) -> None:
    """
    Args:
        operation: "ecr-public:CreateRepository".

    Raises:
        UnsupportedCommandException: the call went to another region.
    """
    if ctx.region != REGION:
        raise api.UnsupportedCommandException(f"{operation.partition(':')[2]} command is only supported in {REGION}.")
