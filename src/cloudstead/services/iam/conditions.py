"""The values of IAM's own condition keys, for what operations declare.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html#awsidentityandaccessmanagementiam-policy-keys
"""

from __future__ import annotations

from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.services.iam.model import ROLES, USERS, Role, User, fold


def new_boundary(ctx: Context, request: Any) -> dict[str, str]:
    """For the operations that set a boundary."""
    return {"iam:PermissionsBoundary": request.permissions_boundary} if request.permissions_boundary else {}


def user_boundary(ctx: Context, request: Any) -> dict[str, str]:
    """For the operations that change what a user may do: the boundary that it has."""
    return _boundary(ctx.table(USERS).get((ctx.account, fold(request.user_name))))


def role_boundary(ctx: Context, request: Any) -> dict[str, str]:
    return _boundary(ctx.table(ROLES).get((ctx.account, fold(request.role_name))))


def policy(ctx: Context, request: Any) -> dict[str, str]:
    """For attaching and detaching."""
    return {"iam:PolicyARN": request.policy_arn}


def user_policy(ctx: Context, request: Any) -> dict[str, str]:
    return policy(ctx, request) | user_boundary(ctx, request)


def role_policy(ctx: Context, request: Any) -> dict[str, str]:
    return policy(ctx, request) | role_boundary(ctx, request)


def service_name(ctx: Context, request: Any) -> dict[str, str]:
    return {"iam:AWSServiceName": request.aws_service_name}


def _boundary(row: User | Role | None) -> dict[str, str]:
    return {"iam:PermissionsBoundary": row.boundary} if row is not None and row.boundary else {}
