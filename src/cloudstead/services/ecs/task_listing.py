"""Tasks described and listed. Those that have stopped are told for an hour."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.ecs import api, arns, checks, clusters
from cloudstead.services.ecs.model import Cluster
from cloudstead.services.ecs.tasks.describing import describe
from cloudstead.services.ecs.tasks.model import TASKS, Task


def find(ctx: Context, cluster: Cluster, text: str) -> Task | None:
    """The task of a cluster that a request names by id or ARN."""
    name = arns.name_of(ctx, "task", text)
    parts = (name or "").split("/")
    if len(parts) == 2 and parts[0] != cluster.name:
        return None
    row: Task | None = ctx.table(TASKS).get((*cluster.key, parts[-1]))
    return row


@operation(resource=arns.tasks, resource_tags=arns.tasks_tags, conditions=arns.in_cluster)
async def describe_tasks(ctx: Context, request: api.DescribeTasksRequest) -> api.DescribeTasksResponse:
    """Describe up to 100 tasks; an unknown one is a failure, not an error."""
    cluster = clusters.require(ctx, request.cluster)
    if not request.tasks:
        checks.invalid("Tasks cannot be empty.")
    if len(request.tasks) > checks.PAGE:
        checks.invalid(f"Tasks can have at most {checks.PAGE} items.")
    found, failures = [], []
    for text in dict.fromkeys(request.tasks):
        row = find(ctx, cluster, text)
        if row is None:
            failures.append(api.Failure(arn=arns.task_arn(ctx, request.cluster, text), reason="MISSING"))
        else:
            found.append(describe(row, tagged="TAGS" in (request.include or ())))
    return api.DescribeTasksResponse(tasks=found, failures=failures)


@operation(resource="*", conditions=arns.in_cluster)
async def list_tasks(ctx: Context, request: api.ListTasksRequest) -> api.ListTasksResponse:
    """The ARNs of tasks, by default of those that are to run. A task has one desired status, and so has a list."""
    cluster = clusters.require(ctx, request.cluster)
    if request.container_instance:
        checks.invalid("The container instance was not found.")
    wanted = "STOPPED" if request.desired_status == "STOPPED" else "RUNNING"

    def matches(row: Task) -> bool:
        return (
            row.desired == wanted
            and request.family in (None, "", row.family)
            and request.started_by in (None, "", row.started_by)
            and request.launch_type in (None, row.launch_type)
            and (not request.service_name or row.group == f"service:{request.service_name}")
            and (not request.daemon_name or row.group == f"daemon:{request.daemon_name}")
        )

    rows, token = page(
        ctx,
        TASKS,
        cluster.key,
        request=request,
        token=request.next_token,
        limit=checks.page_size(request.max_results),
        invalid=checks.invalid_token,
        where=matches,
    )
    return api.ListTasksResponse(task_arns=[row.arn() for row in rows], next_token=token)
