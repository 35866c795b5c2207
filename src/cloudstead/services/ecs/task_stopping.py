"""StopTask."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecs import api, arns, checks, clusters, task_listing
from cloudstead.services.ecs.controller import part
from cloudstead.services.ecs.tasks import changing
from cloudstead.services.ecs.tasks.describing import describe
from cloudstead.services.ecs.tasks.model import Task

LONGEST = 255
REASON = "Task stopped by user"


def require(ctx: Context, cluster: str | None, text: str) -> Task:
    """
    Raises:
        ClusterNotFoundException, InvalidParameterException
    """
    row = task_listing.find(ctx, clusters.require(ctx, cluster), text)
    if row is None:
        checks.invalid("The referenced task was not found.")
    return row


@operation(resource=arns.task, resource_tags=arns.task_tags, conditions=arns.in_cluster)
async def stop_task(ctx: Context, request: api.StopTaskRequest) -> api.StopTaskResponse:
    """Have a task stopped: SIGTERM, and SIGKILL after each container's stopTimeout. One that stops already goes on doing so."""
    row = require(ctx, request.cluster, request.task)
    if len(request.reason or "") > LONGEST:
        checks.invalid(f"reason length cannot exceed {LONGEST}.")
    running = await part(ctx).tasks()
    stopping = {"desired": "STOPPED", "stop_code": "UserInitiated", "stopped_reason": request.reason or REASON, "stopping": ctx.now()}
    row = changing.change(ctx.store, row.key, ctx.now(), stopping) or row
    running.controller.enqueue(row.key)
    return api.StopTaskResponse(task=describe(row))
