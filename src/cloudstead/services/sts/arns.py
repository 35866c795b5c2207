"""The ARNs of sessions, and those that policies name for STS's operations."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.services.sts import api


def federated_user(ctx: Context, request: api.GetFederationTokenRequest) -> str:
    return f"arn:{ctx.partition}:sts::{ctx.account}:federated-user/{request.name}"


def session(ctx: Context, account: str, role: str, name: str) -> str:
    """Who assumed a role."""
    return f"arn:{ctx.partition}:sts::{account}:assumed-role/{role}/{name}"
