"""ExecuteCommand: a session with a process in a container of a task (ECS Exec)."""

from __future__ import annotations

import shlex

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecs import api, arns, checks, clusters, task_listing
from cloudstead.services.ecs.controller import part
from cloudstead.services.ecs.sessions.page import Sessions, command_in
from cloudstead.services.ecs.tasks.model import Task, TaskContainer

NOT_ENABLED = "The execute command failed because execute command was not enabled when the task was run or the execute command agent isn’t running. Wait and try again or run a new task with execute command enabled and try again."  # noqa: RUF001  (AWS's sentence)


@operation(resource=arns.command, resource_tags=arns.task_tags, conditions=arns.command_conditions)
async def execute_command(ctx: Context, request: api.ExecuteCommandRequest) -> api.ExecuteCommandResponse:
    """Run a command in a container; what it answers with is for Session Manager's plugin."""
    cluster = clusters.require(ctx, request.cluster)
    row = task_listing.find(ctx, cluster, request.task)
    if row is None:
        checks.invalid("The task provided in the request was not found.")
    container = _container(row, request.container)
    if not request.interactive:
        checks.invalid("Interactive is the only mode supported currently.")
    try:
        shlex.split(request.command)
    except ValueError:
        checks.invalid("The command provided is invalid.")
    if not request.command.strip():
        checks.invalid("The command provided is invalid.")
    if not row.execute_command:
        checks.invalid(NOT_ENABLED)
    if container.status != "RUNNING":
        raise api.TargetNotConnectedException(NOT_ENABLED)
    engine = await (await part(ctx).tasks()).engine()
    start = command_in(engine.pods, container.id, request.command)
    opened = Sessions.of(ctx.cloud).open_session(start, command=request.command)
    return api.ExecuteCommandResponse(
        cluster_arn=row.cluster_arn(),
        container_arn=row.container_arn(container),
        container_name=container.name,
        interactive=True,
        task_arn=row.arn(),
        session=api.Session(session_id=opened.session_id, stream_url=opened.stream_url, token_value=opened.token_value),
    )


def _container(row: Task, name: str | None) -> TaskContainer:
    """The one that is named; a task of one container need not be asked for it."""
    if name is None and len(row.containers) > 1:
        checks.invalid("Container name must be specified for tasks with multiple containers.")
    found = row.containers[0] if name is None else row.container(name)
    if found is None:
        checks.invalid("The container provided in the request was not found.")
    return found
