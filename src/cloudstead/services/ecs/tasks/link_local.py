"""169.254.170.2 in the networks of tasks: what a task is told of itself, and the credentials of its role."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any, Final

from cloudstead.engine.errors import EngineError
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.role_credentials import RoleCredentials
from cloudstead.services.ecs import overriding
from cloudstead.services.ecs.definition import Definition
from cloudstead.services.ecs.metadata.model import ContainerMetadata, Health, Interface, Port, TaskMetadata
from cloudstead.services.ecs.model import TASK_DEFINITIONS, task_definition_key
from cloudstead.services.ecs.tasks.model import TASKS, Task, TaskContainer
from cloudstead.services.ecs.tasks.roles import Roles

if TYPE_CHECKING:
    from cloudstead.engine.engine import Engine
    from cloudstead.http.server import Server

log = logging.getLogger(__name__)

ADDRESS: Final = "169.254.170.2"


class LinkLocal:
    """One server for each network that tasks are in."""

    def __init__(self, cloud: Cloud, roles: Roles) -> None:
        self._cloud = cloud
        self._roles = roles
        self._servers: dict[str, Server] = {}
        self._lock = asyncio.Lock()

    async def serve(self, engine: Engine, network: str) -> None:
        """See to it that tasks of a network find it. Raises EngineError."""
        from cloudstead.http.server import Server
        from cloudstead.services.ecs.metadata.endpoint import TaskEndpoint
        from cloudstead.services.ecs.metadata.stats import Sampler

        async with self._lock:
            if network in self._servers:
                return
            sampler = Sampler(engine.pods, self._cloud.clock)
            server = Server(TaskEndpoint(self._cloud.clock, lambda ip: self._who(engine, network, ip), sampler.sample, self._lend))
            await server.listen_on(socket.socket(fileno=await engine.networks.listen(network, ADDRESS, 80)))
            self._servers[network] = server

    async def leave(self, engine: Engine, network: str) -> None:
        """The last task of a network is gone."""
        async with self._lock:
            server = self._servers.pop(network, None)
            if server is not None:
                await server.stop(0.0)
                with contextlib.suppress(EngineError):
                    await engine.networks.stop_listening(network, ADDRESS, 80)

    async def stop(self) -> None:
        async with self._lock:
            for server in self._servers.values():
                await server.stop(0.0)
            self._servers.clear()

    def _who(self, engine: Engine, network: str, ip: str) -> list[TaskMetadata]:
        pod = engine.networks.who_has(network, ip)
        row = self._cloud.store.table(TASKS).find("by_id", (pod.removeprefix("ecs-"),)) if pod.startswith("ecs-") else None
        definition = None if row is None else definition_of(self._cloud, row)
        return [] if row is None or definition is None else [described(row, definition)]

    async def _lend(self, task: TaskMetadata) -> RoleCredentials:
        row = self._cloud.store.table(TASKS).find("by_id", (task.id,))
        assert row is not None  # it has just been found
        return await self._roles.lend(row, task.role_arn)


def definition_of(cloud: Cloud, row: Task) -> Definition | None:
    """The definition of a task as this run of it has it. None: it is gone."""
    found = cloud.store.table(TASK_DEFINITIONS).get(task_definition_key(row.account, row.region, row.family, row.revision))
    return None if found is None else overriding.overridden(found.definition, row.overrides)


def described(row: Task, definition: Definition) -> TaskMetadata:
    """Pure."""
    one = row.interface
    interfaces = (
        ()
        if one is None
        else (Interface(ipv4_addresses=(one.ip,), attachment_index=0, mac_address=one.mac, private_dns_name=one.private_name),)
    )
    return TaskMetadata(
        account=row.account,
        region=row.region,
        cluster=row.cluster_arn(),
        arn=row.arn(),
        family=row.family,
        revision=str(row.revision),
        desired_status=row.desired,
        known_status=row.status,
        containers=tuple(_container(row, definition, each, interfaces) for each in row.containers),
        cpu=int(row.cpu or 0) / 1024,
        memory=int(row.memory or 0),
        pull_started_at=row.pull_started,
        pull_stopped_at=row.pull_stopped,
        execution_stopped_at=row.execution_stopped,
        availability_zone=row.zone,
        launch_type=row.launch_type,
        service_name=row.group.removeprefix("service:") if row.group.startswith("service:") else "",
        group=row.group,
        tags=row.tags,
        credentials_id=row.credentials_id if definition.task_role_arn else "",
        role_arn=definition.task_role_arn or "",
    )


def _container(row: Task, definition: Definition, each: TaskContainer, interfaces: tuple[Interface, ...]) -> ContainerMetadata:
    said: Any = definition.container(each.name)
    options = said.log_configuration
    return ContainerMetadata(
        endpoint_id=each.endpoint_id,
        docker_id=each.id,
        name=each.name,
        docker_name=each.name,
        image=each.image,
        image_id=each.image_id,
        arn=row.container_arn(each),
        labels=dict(said.docker_labels or {}),
        desired_status=row.desired,
        known_status=each.status,
        exit_code=each.exit_code,
        cpu=each.cpu,
        memory=each.memory or 0,
        created_at=row.created,
        started_at=each.started,
        finished_at=each.finished,
        interfaces=interfaces,
        health=Health(status=each.health) if said.health_check is not None else None,
        ports=tuple(
            Port(container_port=one.container_port, protocol=one.protocol or "tcp")
            for one in said.port_mappings or ()
            if one.container_port
        ),
        log_driver="" if options is None else options.log_driver,
        log_options={} if options is None else dict(options.options or {}),
        restart_count=each.restarts if said.restart_policy is not None else None,
    )
