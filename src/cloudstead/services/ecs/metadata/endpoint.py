"""The requests at 169.254.170.2. Who asks is known by its address; nobody is told of another's tasks.

    /v4/<id> [/task | /taskWithTags | /stats | /task/stats]     /v3/… the same
    /v2/metadata, /v2/stats                                     by the address alone
    /v2/credentials/<id>                                        of the task's role

Ids of containers and credentials are secrets beside: containers of several tasks can have one address (an instance's).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.role_credentials import RoleCredentials
from cloudstead.services.ecs.metadata import documents
from cloudstead.services.ecs.metadata.model import ContainerMetadata, TaskMetadata

log = logging.getLogger(__name__)

Who = Callable[[str], Sequence[TaskMetadata]]
"""The tasks behind an address; none for a stranger."""

TakeStats = Callable[[str, str], Awaitable[dict[str, Any] | None]]
"""The stats of a container by id and name; None when it does not run."""

Lend = Callable[[TaskMetadata], Awaitable[RoleCredentials]]
"""The credentials of a task's role. Raises ServiceError."""


class TaskEndpoint:
    """An HTTP handler; one for each network, whose addresses `who` knows."""

    def __init__(self, clock: Clock, who: Who, stats: TakeStats, lend: Lend) -> None:
        self._clock = clock
        self._who = who
        self._stats = stats
        self._lend = lend

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return _json(405, "method not allowed")
        tasks = self._who(request.peer)
        parts = request.path.strip("/").split("/")
        match parts:
            case ["v2", "credentials", *rest]:
                return await self._credentials(tasks, "/".join(rest), "CredentialsV2Request: ")
            case ["v1", "credentials"]:
                return await self._credentials(tasks, request.query.partition("id=")[2].partition("&")[0], "CredentialsV1Request: ")
            case ["v2", "metadata" | "metadataWithTags" | "stats" as what]:
                return await self._of_address(tasks, request.peer, what)
            case ["v3" | "v4" as version, id, *rest]:
                return await self._of_container(tasks, version, id, "/".join(rest))
        return _json(404, "404 page not found")

    # -- metadata

    async def _of_container(self, tasks: Sequence[TaskMetadata], version: str, id: str, what: str) -> HttpResponse:
        number = int(version[1:])
        task, container = _find(tasks, id)
        if what not in ("", "task", "taskWithTags", "stats", "task/stats"):
            return _json(404, "404 page not found")
        if task is None or container is None:
            return _json(404, _unknown(version, what, id))
        if what == "":
            return _json(200, documents.container(container, number))
        if what == "stats":
            return _json(200, await self._stats(container.docker_id, container.docker_name))
        if what == "task/stats":
            return _json(200, await self._task_stats(task))
        return _json(200, self._task(task, number, tags=what == "taskWithTags"))

    async def _of_address(self, tasks: Sequence[TaskMetadata], address: str, what: str) -> HttpResponse:
        if len(tasks) != 1:  # an instance's address stands for no task of its own
            return _json(404, f"Unable to get task arn from request: no task is associated with the address {address}")
        if what == "stats":
            return _json(200, await self._task_stats(tasks[0]))
        return _json(200, self._task(tasks[0], 2, tags=what == "metadataWithTags"))

    def _task(self, task: TaskMetadata, version: int, *, tags: bool) -> dict[str, Any]:
        return documents.task(task, version, tags=tags, now=self._clock.time())

    async def _task_stats(self, task: TaskMetadata) -> dict[str, Any]:
        taken = await asyncio.gather(*(self._stats(each.docker_id, each.docker_name) for each in task.containers))
        return {each.docker_id: stats for each, stats in zip(task.containers, taken, strict=True)}

    # -- credentials

    async def _credentials(self, tasks: Sequence[TaskMetadata], id: str, prefix: str) -> HttpResponse:
        if not id:
            return _fault(400, "NoIdInRequest", f"{prefix}No Credential ID in the request")
        task = next((task for task in tasks if task.credentials_id == id), None)
        if task is None:
            return _fault(400, "InvalidIdInRequest", f"{prefix}Credentials not found")
        try:
            lent = await self._lend(task)
        except ServiceError as error:
            log.warning("no credentials of %s for %s: %s", task.role_arn, task.arn, error)
            return _fault(500, "InternalServerError", "Internal server error")
        return _json(200, documents.credentials(lent))


def _find(tasks: Sequence[TaskMetadata], id: str) -> tuple[TaskMetadata | None, ContainerMetadata | None]:
    for task in tasks:
        for container in task.containers:
            if container.endpoint_id == id:
                return task, container
    return None, None


def _unknown(version: str, what: str, id: str) -> str:
    """The agent's sentence."""
    if what == "":
        subject, found, wanted = "container metadata", "container ID", "docker ID"
    else:
        subject = {"stats": "container stats", "task/stats": "task stats"}.get(what, "task metadata")
        found, wanted = "task arn", "task Arn"
    return f"{version.upper()} {subject} handler: unable to get {found} from request: unable to get {wanted} from v3 endpoint ID: {id}"


def _fault(status: int, code: str, message: str) -> HttpResponse:
    return _json(status, {"code": code, "message": message, "HTTPErrorCode": status})


def _json(status: int, document: object) -> HttpResponse:
    return HttpResponse(status, [("Content-Type", "application/json")], msgspec.json.encode(document))
