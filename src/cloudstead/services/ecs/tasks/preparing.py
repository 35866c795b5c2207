"""What must be there before the first container of a task: its interface, images, values, log streams. All of it may be done again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from cloudstead.engine.errors import EngineError
from cloudstead.engine.network.api import PodNetwork
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.services.ecs.definition import Definition
from cloudstead.services.ecs.tasks import changing, output, pulling, values
from cloudstead.services.ecs.tasks.interfaces import Interfaces
from cloudstead.services.ecs.tasks.link_local import ADDRESS
from cloudstead.services.ecs.tasks.model import Task
from cloudstead.services.ecs.tasks.plan import Problem
from cloudstead.services.ecs.tasks.pulling import Pulled
from cloudstead.services.ecs.tasks.roles import CannotAssume, Roles
from cloudstead.services.ecs.translation import Supplies

if TYPE_CHECKING:
    from cloudstead.engine.engine import Engine


class CannotStart(Exception):
    def __init__(self, reason: str, container: str = "") -> None:
        super().__init__(reason)
        self.problem = Problem(reason, container)


class Preparing:
    def __init__(self, cloud: Cloud, roles: Roles, interfaces: Interfaces) -> None:
        self._cloud = cloud
        self._roles = roles
        self._interfaces = interfaces

    async def supplies(self, row: Task, definition: Definition) -> Supplies:
        """
        Raises:
            CannotStart
        """
        engine: Engine = await self._cloud.parts["engine"].ready()
        if engine.why_not:
            raise CannotStart(f"CannotStartContainerError: {engine.why_not}")
        network, hostname = await self._network(row)
        try:
            ctx = await self._roles.context(row, definition)
        except CannotAssume as error:
            raise CannotStart(str(error)) from None
        images = await self._images(engine, ctx, row, definition)
        try:
            secrets = {each.called: await values.secrets(ctx, each) for each in definition.container_definitions if each.secrets}
            files = {each.called: await values.files(ctx, each) for each in definition.container_definitions if each.environment_files}
        except values.Unavailable as error:
            raise CannotStart(str(error)) from None
        await self._streams(ctx, row, definition)
        return Supplies(
            task_id=row.id,
            ids={each.name: each.id for each in row.containers},
            images={name: each.image for name, each in images.items()},
            secrets=secrets,
            environment_files=files,
            environment={each.name: environment(row, definition, each.endpoint_id) for each in row.containers},
            labels=labels(row),
            network=network,
            hostname=hostname,
            fargate=row.launch_type == "FARGATE",
        )

    def _change(self, row: Task, **changes: Any) -> None:
        changing.change(self._cloud.store, row.key, self._cloud.clock.time(), changes)

    async def _network(self, row: Task) -> tuple[PodNetwork, str]:
        if row.interface is None:
            raise CannotStart("ResourceInitializationError: the task has no network interface")
        try:
            interface = await self._interfaces.make(row, row.interface)
            if row.interface != interface:
                self._change(row, interface=interface, status="PENDING", connected=self._cloud.clock.time())
            plugged = await self._interfaces.plug(row, interface)
        except ServiceError as error:
            raise CannotStart(f"Unexpected EC2 error while attempting to create network interface: {error.message}") from None
        except EngineError as error:
            raise CannotStart(f"ResourceInitializationError: unable to set up the network: {error.message}") from None
        return PodNetwork(mode="vpc", attachments=(plugged,)), interface.private_name

    async def _images(self, engine: Engine, ctx: Context, row: Task, definition: Definition) -> dict[str, Pulled]:
        """All images, each once, at the same time."""
        self._change(row, pull_started=self._cloud.clock.time())
        names = list(dict.fromkeys(each.image or "" for each in definition.container_definitions))
        pulled = await asyncio.gather(*(self._pull(engine, ctx, name) for name in names))
        by_name = dict(zip(names, pulled, strict=True))
        found = {each.called: by_name[each.image or ""] for each in definition.container_definitions}
        self._know(row, found)
        return found

    async def _pull(self, engine: Engine, ctx: Context, name: str) -> Pulled:
        try:
            return await pulling.pull(engine, ctx, name)
        except (EngineError, ServiceError) as error:
            raise CannotStart(f"CannotPullContainerError: {error.message}") from None

    def _know(self, row: Task, images: dict[str, Pulled]) -> None:
        containers = tuple(replace(each, digest=images[each.name].digest, image_id=images[each.name].id) for each in row.containers)
        self._change(row, containers=containers, pull_stopped=self._cloud.clock.time())

    async def _streams(self, ctx: Context, row: Task, definition: Definition) -> None:
        for each in definition.container_definitions:
            known = row.container(each.called)
            target = output.target_of(row, each, known.id) if known is not None else None
            if target is not None:
                try:
                    await output.make_stream(ctx, target)
                except ServiceError as error:
                    raise CannotStart(
                        "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: "
                        f"failed to create Cloudwatch log stream: {error.code}: {error.message} : exit status 1",
                        each.called,
                    ) from None


def environment(row: Task, definition: Definition, endpoint_id: str) -> dict[str, str]:
    """What ECS adds to the variables of a container."""
    found = {
        "ECS_CONTAINER_METADATA_URI": f"http://{ADDRESS}/v3/{endpoint_id}",
        "ECS_CONTAINER_METADATA_URI_V4": f"http://{ADDRESS}/v4/{endpoint_id}",
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE" if row.launch_type == "FARGATE" else "AWS_ECS_EC2",
    }
    if row.launch_type == "FARGATE":
        found |= {"AWS_REGION": row.region, "AWS_DEFAULT_REGION": row.region}
    if definition.task_role_arn:
        found["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = f"/v2/credentials/{row.credentials_id}"
    return found


def labels(row: Task) -> dict[str, str]:
    return {
        "com.amazonaws.ecs.cluster": row.cluster_arn() if row.launch_type == "FARGATE" else row.cluster,
        "com.amazonaws.ecs.task-arn": row.arn(),
        "com.amazonaws.ecs.task-definition-family": row.family,
        "com.amazonaws.ecs.task-definition-version": str(row.revision),
    }
