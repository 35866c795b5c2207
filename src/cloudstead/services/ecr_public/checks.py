"""What several operations of ECR Public refuse alike, in AWS's sentences."""

from __future__ import annotations

from cloudstead.services.ecr_public import api


def invalid(member: str, constraint: str) -> api.InvalidParameterException:
    return api.InvalidParameterException(f"Invalid parameter at '{member}' failed to satisfy constraint: '{constraint}'")


def invalid_token() -> api.InvalidParameterException:
    return invalid("nextToken", "Invalid pagination token")
