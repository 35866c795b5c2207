"""Task definitions: registered, described, deregistered."""

from __future__ import annotations

import msgspec

from cloudstead.kernel import quotas, tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecs import api, arns, checks, defaults, reading, requirements, validation
from cloudstead.services.ecs.definition import Definition
from cloudstead.services.ecs.model import FAMILIES, TASK_DEFINITIONS, Family, TaskDefinition, task_definition_key


def latest(ctx: Context, family: str) -> TaskDefinition | None:
    """The ACTIVE revision of the highest number."""
    rows = ctx.table(TASK_DEFINITIONS).entries((ctx.account, ctx.region, "ACTIVE", family), index="by_status", reverse=True)
    found: TaskDefinition | None = next((row for _, row in rows), None)
    return found


def find(ctx: Context, text: str) -> TaskDefinition | None:
    """The revision that a request names by ARN or `family:revision`, or the last active one of a family.

    Raises:
        InvalidParameterException: what stands for a revision is none.
    """
    name = arns.name_of(ctx, "task-definition", text)
    if name is None:
        return None
    family, colon, revision = name.partition(":")
    if not colon:
        return latest(ctx, family)
    if not arns.is_revision(revision):
        checks.invalid(f"Invalid revision number. Number: {revision}")
    row: TaskDefinition | None = ctx.table(TASK_DEFINITIONS).get(task_definition_key(ctx.account, ctx.region, family, int(revision)))
    return row


def require(ctx: Context, text: str) -> TaskDefinition:
    """
    Raises:
        ClientException, InvalidParameterException
    """
    row = find(ctx, text)
    if row is None:
        checks.refused("Unable to describe task definition.")
    return row


@operation(resource=arns.new_task_definition, conditions=arns.registration_conditions)
async def register_task_definition(ctx: Context, request: api.RegisterTaskDefinitionRequest) -> api.RegisterTaskDefinitionResponse:
    """Make a new revision of a family, which may be its first."""
    definition = read(ctx, request)
    if request.tags is not None and not request.tags:
        checks.refused("Tags can not be empty.")
    tagged = checks.new_tags(ctx, request.tags, arns.new_task_definition(ctx, request), "RegisterTaskDefinition")
    family = ctx.table(FAMILIES).get((ctx.account, ctx.region, definition.family))
    last = 0 if family is None else family.last
    quotas.require(
        ctx, "ecs", "revisions", last, lambda limit: api.LimitExceededException("The limit of revisions of the family is reached.")
    )
    row = TaskDefinition(
        account=ctx.account,
        region=ctx.region,
        family=definition.family,
        revision=last + 1,
        definition=definition,
        compatibilities=requirements.compatibilities(definition),
        requires_attributes=requirements.attributes(definition),
        registered=ctx.now(),
        registered_by=ctx.identity.arn,
        tags=tagged,
    )
    with ctx.transaction() as tx:
        tx.put(FAMILIES, Family(account=ctx.account, region=ctx.region, name=row.family, last=row.revision))
        row = tx.insert(TASK_DEFINITIONS, row)
    return api.RegisterTaskDefinitionResponse(task_definition=describe(row), tags=tags.to_list(row.tags, api.Tag))


def read(ctx: Context, request: api.RegisterTaskDefinitionRequest) -> Definition:
    """What a request says, found to be right, with AWS's defaults; its roles are the caller's to give.

    Raises:
        ClientException, InvalidParameterException, AccessDenied
    """
    given = reading.definition(request)
    validation.check(given)
    roles = {
        name: checks.role_arn(ctx, role) if role else None
        for name, role in (("task_role_arn", given.task_role_arn), ("execution_role_arn", given.execution_role_arn))
    }
    return msgspec.structs.replace(defaults.fill(given), **roles)


@operation(resource="*")
async def describe_task_definition(ctx: Context, request: api.DescribeTaskDefinitionRequest) -> api.DescribeTaskDefinitionResponse:
    """Describe a revision, inactive ones too, or the last active one of a family."""
    row = require(ctx, request.task_definition)
    shown = tags.to_list(row.tags, api.Tag) if "TAGS" in (request.include or ()) else None
    return api.DescribeTaskDefinitionResponse(task_definition=describe(row), tags=shown)


@operation(resource="*")
async def deregister_task_definition(ctx: Context, request: api.DeregisterTaskDefinitionRequest) -> api.DeregisterTaskDefinitionResponse:
    """Make a revision INACTIVE: nothing new can be run of it, what runs goes on. Doing it again changes nothing."""
    if ":" not in request.task_definition.rpartition("/")[2]:
        checks.refused("Revision is missing.")
    row = require(ctx, request.task_definition)
    if row.status == "ACTIVE":
        with ctx.transaction() as tx:
            row = tx.update(TASK_DEFINITIONS, row, status="INACTIVE", deregistered=ctx.now())
    return api.DeregisterTaskDefinitionResponse(task_definition=describe(row))


def describe(row: TaskDefinition) -> api.TaskDefinition:
    """A revision as AWS tells it."""
    return msgspec.structs.replace(
        msgspec.convert(row.definition, api.TaskDefinition, from_attributes=True),
        task_definition_arn=row.arn(),
        revision=row.revision,
        status=row.status,
        requires_attributes=[api.Attribute(name=name) for name in row.requires_attributes],
        compatibilities=list(row.compatibilities),
        registered_at=row.registered,
        registered_by=row.registered_by,
        deregistered_at=row.deregistered,
        delete_requested_at=row.delete_requested,
    )
