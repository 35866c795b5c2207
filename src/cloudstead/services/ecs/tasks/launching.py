"""New tasks: what RunTask, and whatever else starts tasks, writes down."""

from __future__ import annotations

from typing import Literal

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.ids import hex_digits, uuid4
from cloudstead.kernel.store import Transaction
from cloudstead.services.ecs.definition import ContainerDefinition
from cloudstead.services.ecs.model import Cluster, TaskDefinition
from cloudstead.services.ecs.overriding import Overrides, overridden
from cloudstead.services.ecs.tasks import changing
from cloudstead.services.ecs.tasks.model import Task, TaskContainer, TaskInterface


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How tasks are to be, all of one call alike."""

    cluster: Cluster
    definition: TaskDefinition
    overrides: Overrides = Overrides()
    launch_type: Literal["FARGATE", "EC2", "EXTERNAL"] = "FARGATE"
    capacity_provider: str = ""
    platform_version: str = ""
    group: str = ""
    started_by: str = ""
    execute_command: bool = False
    subnet: str = ""
    zone: str = ""
    security_groups: tuple[str, ...] = ()
    tags: dict[str, str] = {}


def launch(ctx: Context, tx: Transaction, wanted: Launch) -> Task:
    """Write down a task that is to run; the controller does the rest."""
    definition = overridden(wanted.definition.definition, wanted.overrides)
    interface = TaskInterface(attachment=uuid4(), subnet=wanted.subnet, groups=wanted.security_groups) if wanted.subnet else None
    row = Task(
        account=ctx.account,
        region=ctx.region,
        cluster=wanted.cluster.name,
        id=hex_digits(32),
        family=wanted.definition.family,
        revision=wanted.definition.revision,
        group=wanted.group or f"family:{wanted.definition.family}",
        started_by=wanted.started_by,
        launch_type=wanted.launch_type,
        capacity_provider=wanted.capacity_provider,
        platform_version=wanted.platform_version,
        execute_command=wanted.execute_command,
        overrides=wanted.overrides,
        tags=wanted.tags,
        zone=wanted.zone,
        interface=interface,
        credentials_id=uuid4(),
        cpu=definition.cpu or "",
        memory=definition.memory or "",
        containers=tuple(_container(each) for each in definition.container_definitions),
        created=ctx.now(),
    )
    return changing.insert(tx, row, ctx.now())


def _container(each: ContainerDefinition) -> TaskContainer:
    return TaskContainer(
        name=each.called,
        image=each.image or "",
        id=hex_digits(64),
        arn_id=uuid4(),
        endpoint_id=f"{hex_digits(32)}-{int(hex_digits(8), 16)}",
        cpu=each.cpu or 0,
        memory=each.memory,
        memory_reservation=each.memory_reservation,
    )
