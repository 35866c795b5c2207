"""Task definitions that go. A revision is asked to go once it is INACTIVE; while tasks or services use it, it waits as DELETE_IN_PROGRESS."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.operations import operation
from cloudstead.services.ecs import api, arns, checks, task_definitions
from cloudstead.services.ecs.model import TASK_DEFINITIONS, TaskDefinition

MOST = 10


class _Refused(Exception):
    """Why a revision does not go; the sentence is AWS's."""


@operation(resource=arns.task_definitions, resource_tags=arns.task_definitions_tags, conditions=arns.of_tags(arns.task_definitions_tags))
async def delete_task_definitions(ctx: Context, request: api.DeleteTaskDefinitionsRequest) -> api.DeleteTaskDefinitionsResponse:
    """Delete up to ten inactive revisions; what cannot go is a failure, not an error."""
    if not request.task_definitions:
        checks.invalid("size of TaskDefinition references list must be greater than 0")
    if len(request.task_definitions) > MOST:
        checks.invalid(f"Size of TaskDefinition references list cannot exceed {MOST}")
    deleted, failures = [], []
    for text in dict.fromkeys(request.task_definitions):
        try:
            row = _deletable(ctx, text)
        except _Refused as refusal:
            failures.append(api.Failure(arn=text, reason=str(refusal)))
            continue
        if row.status == "INACTIVE":
            with ctx.transaction() as tx:
                row = tx.update(TASK_DEFINITIONS, row, status="DELETE_IN_PROGRESS", delete_requested=ctx.now())
        deleted.append(task_definitions.describe(row))
    return api.DeleteTaskDefinitionsResponse(task_definitions=deleted, failures=failures)


def _deletable(ctx: Context, text: str) -> TaskDefinition:
    name = arns.name_of(ctx, "task-definition", text)
    if name is None or ":" not in name:
        raise _Refused("The specified task definition identifier is invalid. Specify a valid name or ARN and try again.")
    try:
        row = task_definitions.find(ctx, text)
    except ServiceError:
        raise _Refused("The specified task definition identifier is invalid. Specify a valid name or ARN and try again.") from None
    if row is None:
        raise _Refused("The specified task definition does not exist. Specify a valid account, family, revision and try again.")
    if row.status == "ACTIVE":
        raise _Refused("The specified task definition is still in ACTIVE status. Please deregister the target and try again.")
    return row
