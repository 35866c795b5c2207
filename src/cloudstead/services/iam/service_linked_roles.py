"""Service-linked roles: made for a service, with AWS's policy for it, and changed by nobody else."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from cloudstead.kernel import ids
from cloudstead.kernel.context import Context
from cloudstead.kernel.identity import PARTITION
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import api, arns, aws_managed, conditions, roles, tasks, users
from cloudstead.services.iam.model import ROLES

_FILE: Final = Path(__file__).with_name("service_linked_roles.toml")


class Template(msgspec.Struct, frozen=True):
    """What a service's role is like."""

    role: str
    policy: str
    suffix: bool = False  # whether there may be several, told apart by a suffix
    description: str = ""


@cache
def templates() -> dict[str, Template]:
    """By the names of services: "ecs.amazonaws.com"."""
    return msgspec.convert(tomllib.loads(_FILE.read_text()), dict[str, Template])


def _trust_policy(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


@operation(resource=arns.service_linked_role, conditions=conditions.service_name)
async def create_service_linked_role(ctx: Context, request: api.CreateServiceLinkedRoleRequest) -> api.CreateServiceLinkedRoleResponse:
    """Make the role of a service."""
    service = request.aws_service_name
    template = templates().get(service)
    if template is None:
        raise api.InvalidInputException(f"Service {service} is not known to have a service-linked role.")
    if request.custom_suffix is not None and not template.suffix:
        raise api.InvalidInputException(f"Custom suffix is not allowed for {service}")
    name = template.role + (f"_{request.custom_suffix}" if request.custom_suffix else "")
    if roles.find(ctx, name) is not None:
        raise api.InvalidInputException(f"Service role name {name} has been taken in this account, please try a different suffix.")
    role = roles.new(
        ctx,
        name=name,
        path=f"{roles.SERVICE_LINKED}{service}/",
        trust_policy=_trust_policy(service),
        description=request.description or template.description,
        attached=(f"arn:{PARTITION}:iam::{aws_managed.ACCOUNT}:policy{aws_managed.SERVICE_ROLES}{template.policy}",),
    )
    with ctx.transaction() as tx:
        tx.insert(ROLES, role)
    return api.CreateServiceLinkedRoleResponse(role=roles.describe(role))


@operation(resource=arns.role, resource_tags=arns.role_tags)
async def delete_service_linked_role(ctx: Context, request: api.DeleteServiceLinkedRoleRequest) -> api.DeleteServiceLinkedRoleResponse:
    """Delete the role of a service, at once; the task can be asked about for a day."""
    role = roles.require(ctx, request.role_name)
    if not roles.is_service_linked(role):
        raise api.NoSuchEntityException(f"The service-linked role with name {request.role_name} cannot be found.")
    task_id = f"task{role.path}{role.name}/{ids.uuid4()}"
    with ctx.transaction() as tx:
        tx.delete(ROLES, ROLES.key(role))
        users.forget_uses(ctx, tx, role.arn)
        tasks.add(ctx, tx, task_id, role.arn)
    return api.DeleteServiceLinkedRoleResponse(deletion_task_id=task_id)


def _deleted(ctx: Context, request: api.GetServiceLinkedRoleDeletionStatusRequest) -> str:
    """task/aws-service-role/<service>/<role>/<uuid> is about the role in its middle."""
    return arns.arn_of(ctx.account, "role", request.deletion_task_id.removeprefix("task/").rpartition("/")[0])


@operation(resource=_deleted)
async def get_service_linked_role_deletion_status(
    ctx: Context, request: api.GetServiceLinkedRoleDeletionStatusRequest
) -> api.GetServiceLinkedRoleDeletionStatusResponse:
    if tasks.find(ctx, request.deletion_task_id) is None:
        raise api.NoSuchEntityException(f"The deletion task with id {request.deletion_task_id} cannot be found.")
    return api.GetServiceLinkedRoleDeletionStatusResponse(status="SUCCEEDED")
