"""The ARNs of IAM: to make them, and to declare which of them a call is about.

A thing that is there has the ARN of its row, path and all; one that is not, the ARN that it would have without a path.
Lists are asked about as AWS does: `user/` and what the path prefix adds, so that `user/*` in a policy grants them.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from cloudstead.kernel.context import Context
from cloudstead.kernel.identity import PARTITION
from cloudstead.services.iam.model import (
    ACCESS_KEYS,
    GROUPS,
    INSTANCE_PROFILES,
    MFA_DEVICES,
    OIDC_PROVIDERS,
    POLICIES,
    ROLES,
    SAML_PROVIDERS,
    SERVER_CERTIFICATES,
    USERS,
    fold,
)

Tags: TypeAlias = Mapping[str, str]


def arn_of(account: str, kind: str, name: str, path: str = "/") -> str:
    """`arn_of("1…", "user", "alice", "/staff/")` is arn:aws:iam::1…:user/staff/alice."""
    return f"arn:{PARTITION}:iam::{account}:{kind}{path}{name}"


def account_arn(account: str) -> str:
    return f"arn:{PARTITION}:iam::{account}:root"


# ---- what a call is about


def user(ctx: Context, request: Any) -> str:
    """The user that a request names, or the caller."""
    name = request.user_name
    if name is None:
        return ctx.identity.arn if ctx.identity.kind == "user" else arn_of(ctx.account, "user", "")
    row = ctx.table(USERS).get((ctx.account, fold(name)))
    return arn_of(ctx.account, "user", name) if row is None else row.arn


def group(ctx: Context, request: Any) -> str:
    row = ctx.table(GROUPS).get((ctx.account, fold(request.group_name)))
    return arn_of(ctx.account, "group", request.group_name) if row is None else row.arn


def role(ctx: Context, request: Any) -> str:
    row = ctx.table(ROLES).get((ctx.account, fold(request.role_name)))
    return arn_of(ctx.account, "role", request.role_name) if row is None else row.arn


def instance_profile(ctx: Context, request: Any) -> str:
    row = ctx.table(INSTANCE_PROFILES).get((ctx.account, fold(request.instance_profile_name)))
    return arn_of(ctx.account, "instance-profile", request.instance_profile_name) if row is None else row.arn


def server_certificate(ctx: Context, request: Any) -> str:
    row = ctx.table(SERVER_CERTIFICATES).get((ctx.account, fold(request.server_certificate_name)))
    return arn_of(ctx.account, "server-certificate", request.server_certificate_name) if row is None else row.arn


def policy(ctx: Context, request: Any) -> str:
    return str(request.policy_arn)


def oidc_provider(ctx: Context, request: Any) -> str:
    return str(request.open_id_connect_provider_arn)


def saml_provider(ctx: Context, request: Any) -> str:
    return str(request.saml_provider_arn)


def mfa_device(ctx: Context, request: Any) -> str:
    return str(request.serial_number)


def tags_of_owner_of_key(ctx: Context, request: Any) -> Tags:
    row = ctx.table(ACCESS_KEYS).find("by_id", (request.access_key_id,))
    owner = None if row is None else ctx.table(USERS).get((row.account, fold(row.user)))
    return {} if owner is None else owner.tags


def owner_of_key(ctx: Context, request: Any) -> str:
    row = ctx.table(ACCESS_KEYS).find("by_id", (request.access_key_id,))
    owner = None if row is None else ctx.table(USERS).get((row.account, fold(row.user)))
    return arn_of(ctx.account, "user", "") if owner is None else owner.arn


def listed(kind: str) -> Callable[[Context, Any], str]:
    """For the operations that list things of a kind below a path."""
    return lambda ctx, request: arn_of(ctx.account, kind, "", getattr(request, "path_prefix", None) or "/")


def new(kind: str, name: str) -> Callable[[Context, Any], str]:
    """For the operations that make a thing; `name` is the member that names it."""
    return lambda ctx, request: arn_of(ctx.account, kind, getattr(request, name), getattr(request, "path", None) or "/")


def service_linked_role(ctx: Context, request: Any) -> str:
    """Which name a new one gets depends on the service; policies are written with `*` for it."""
    return arn_of(ctx.account, "role", "AWSServiceRoleFor", f"/aws-service-role/{request.aws_service_name}/")


# ---- the tags of what a call is about


def user_tags(ctx: Context, request: Any) -> Tags:
    name = request.user_name
    if name is None:
        if ctx.identity.kind != "user":
            return {}  # a session of a role may be called like a user
        name = ctx.identity.arn.rpartition("/")[2]
    row = ctx.table(USERS).get((ctx.account, fold(name)))
    return {} if row is None else row.tags


def role_tags(ctx: Context, request: Any) -> Tags:
    row = ctx.table(ROLES).get((ctx.account, fold(request.role_name)))
    return {} if row is None else row.tags


def instance_profile_tags(ctx: Context, request: Any) -> Tags:
    row = ctx.table(INSTANCE_PROFILES).get((ctx.account, fold(request.instance_profile_name)))
    return {} if row is None else row.tags


def server_certificate_tags(ctx: Context, request: Any) -> Tags:
    row = ctx.table(SERVER_CERTIFICATES).get((ctx.account, fold(request.server_certificate_name)))
    return {} if row is None else row.tags


def policy_tags(ctx: Context, request: Any) -> Tags:
    row = ctx.table(POLICIES).find("by_arn", (ctx.account, request.policy_arn))
    return {} if row is None else row.tags


def oidc_provider_tags(ctx: Context, request: Any) -> Tags:
    row = ctx.table(OIDC_PROVIDERS).get((ctx.account, request.open_id_connect_provider_arn.partition("oidc-provider/")[2]))
    return {} if row is None else row.tags


def saml_provider_tags(ctx: Context, request: Any) -> Tags:
    row = ctx.table(SAML_PROVIDERS).get((ctx.account, fold(request.saml_provider_arn.partition("saml-provider/")[2])))
    return {} if row is None else row.tags


def mfa_device_tags(ctx: Context, request: Any) -> Tags:
    row = ctx.table(MFA_DEVICES).get((ctx.account, request.serial_number))
    return {} if row is None else row.tags
