"""Who has a managed policy, attached or as a boundary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.store import Table
from cloudstead.services.iam import api, arns, managed_policies, rules
from cloudstead.services.iam.attachments import Owner
from cloudstead.services.iam.model import GROUPS, ROLES, USERS, Group, Role, User, fold

_TABLES: Final[dict[str, Table[Any]]] = {"User": USERS, "Group": GROUPS, "Role": ROLES}


@operation(resource=arns.policy, resource_tags=arns.policy_tags)
async def list_entities_for_policy(ctx: Context, request: api.ListEntitiesForPolicyRequest) -> api.ListEntitiesForPolicyResponse:
    """Users, groups and roles of the account that have the policy; the kinds and the way of having it can be chosen."""
    managed_policies.require_attachable(ctx, request.policy_arn)
    found, marker = rules.page_of(ctx, request, _owners(ctx, request), key=lambda owner: (type(owner).__name__, fold(owner.name)))
    return api.ListEntitiesForPolicyResponse(
        policy_groups=[api.PolicyGroup(group_name=one.name, group_id=one.group_id) for one in found if isinstance(one, Group)],
        policy_users=[api.PolicyUser(user_name=one.name, user_id=one.user_id) for one in found if isinstance(one, User)],
        policy_roles=[api.PolicyRole(role_name=one.name, role_id=one.role_id) for one in found if isinstance(one, Role)],
        is_truncated=marker is not None,
        marker=marker,
    )


def _owners(ctx: Context, request: api.ListEntitiesForPolicyRequest) -> Iterator[Owner]:
    prefix, usage = request.path_prefix or "/", request.policy_usage_filter
    ways = [way for way, name in (("by_policy", "PermissionsPolicy"), ("by_boundary", "PermissionsBoundary")) if usage in (None, name)]
    for kind, table in _TABLES.items():
        if request.entity_filter not in (None, kind):
            continue
        seen = set()
        for way in ways:
            for owner in ctx.table(table).scan((ctx.account, request.policy_arn), index=way) if way in table.indexes else ():
                if owner.path.startswith(prefix) and owner.name not in seen:
                    seen.add(owner.name)
                    yield owner
