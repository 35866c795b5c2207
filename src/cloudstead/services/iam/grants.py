"""Which services a policy speaks of. Not whether it allows a call (kernel.policy decides that), only for whom it could."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.policy.grammar import ANY, read
from cloudstead.services.iam import api, groups, managed_policies, roles, rules, users
from cloudstead.services.iam.attachments import Owner
from cloudstead.services.iam.model import Group, Role, User


class Held(msgspec.Struct, frozen=True):
    """A policy that somebody has."""

    owner: Owner
    name: str
    arn: str  # empty for an inline one
    document: str


def entity(ctx: Context, arn: str) -> Owner:
    """The user, group or role of an ARN.

    Raises:
        NoSuchEntityException, InvalidInputException
    """
    kind, _, path = arn.partition(f":iam::{ctx.account}:")[2].partition("/")
    name = path.rpartition("/")[2]
    owner: Owner | None = None
    if kind == "user":
        owner = users.find(ctx, name)
    elif kind == "group":
        owner = groups.find(ctx, name)
    elif kind == "role":
        owner = roles.find(ctx, name)
    else:
        raise api.InvalidInputException(f"ARN {arn} is not valid.")
    if owner is None or owner.arn != arn:
        raise api.NoSuchEntityException(f"ARN {arn} was not found.")
    return owner


def held(ctx: Context, owner: Owner) -> Iterator[Held]:
    """All policies of a user, its groups', a group's or a role's."""
    for name, document in owner.inline.items():
        yield Held(owner, name, "", document)
    for arn in owner.attached:
        policy = managed_policies.find(ctx, arn)
        if policy is not None:
            yield Held(owner, policy.name, arn, policy.document)
    if isinstance(owner, User):
        for name in owner.groups:
            yield from held(ctx, groups.require(ctx, name))


def vendors(document: str) -> set[str]:
    """The service prefixes that a policy allows something of, as it writes them: "s3", "*"; NotAction may mean any."""
    found = set()
    for statement in read(document, ANY).statements:
        if statement.allow:
            found |= {"*"} if statement.not_actions else {action.partition(":")[0].lower() for action in statement.actions}
    return found


def speaks_of(document: str, service: str) -> bool:
    return any(fnmatchcase(service, vendor) for vendor in vendors(document))


@operation(resource=lambda ctx, request: request.arn)
async def list_policies_granting_service_access(
    ctx: Context, request: api.ListPoliciesGrantingServiceAccessRequest
) -> api.ListPoliciesGrantingServiceAccessResponse:
    """For each service the policies of a user (its groups' too), group or role that allow something of it."""
    policies = list(held(ctx, entity(ctx, request.arn)))
    wanted = dict.fromkeys(service.lower() for service in request.service_namespaces)
    found, marker = rules.page_of(ctx, request, wanted, key=str)
    entries = [
        api.ListPoliciesGrantingServiceAccessEntry(
            service_namespace=service, policies=[_describe(one) for one in policies if speaks_of(one.document, service)]
        )
        for service in found
    ]
    return api.ListPoliciesGrantingServiceAccessResponse(
        policies_granting_service_access=entries, is_truncated=marker is not None, marker=marker
    )


def _describe(one: Held) -> api.PolicyGrantingServiceAccess:
    if one.arn:
        return api.PolicyGrantingServiceAccess(policy_name=one.name, policy_type="MANAGED", policy_arn=one.arn)
    return api.PolicyGrantingServiceAccess(
        policy_name=one.name, policy_type="INLINE", entity_type=entity_type(one.owner), entity_name=one.owner.name
    )


def entity_type(owner: Owner) -> api.PolicyOwnerEntityType:
    return "USER" if isinstance(owner, User) else "GROUP" if isinstance(owner, Group) else "ROLE"


def entity_id(owner: Owner) -> str:
    return owner.user_id if isinstance(owner, User) else owner.role_id if isinstance(owner, Role) else owner.group_id
