"""`docker commit`: an image of what a container has written."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from msgspec.structs import replace

from cloudstead.engine.dockerapi.answers import json_answer, nano_date
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.changes import apply_changes
from cloudstead.engine.dockerapi.merging import words
from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.dockerapi.shapes import ContainerConfig
from cloudstead.engine.errors import Conflict, EngineError, NotFound
from cloudstead.engine.images.api import ExecConfig, HealthConfig, HistoryEntry
from cloudstead.http.messages import HttpResponse


@route("POST", "/commit")
async def commit_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request.text("container"))
    wanted = await request.json(ContainerConfig, needed=False)
    config = apply_changes(exec_config(row.config, wanted), request.parameters.all("changes"))
    reference = _reference(request.text("repo"), request.text("tag"))
    image = api.engine.images.resolve(row.image_id)
    now = api.engine.clock.time()
    created = nano_date(round(now * 1e6) * 1000)
    author, comment = request.text("author"), request.text("comment")
    described = replace(
        image.config,
        created=created,
        author=author,
        config=config,
        history=(HistoryEntry(created=created, created_by=" ".join([row.path, *row.args]), author=author, comment=comment),),
    )
    async with _at_rest(api, row, request.flag("pause", True)):
        made = await api.engine.images.commit(
            row.image_id, api.engine.snapshots.diff(row.id), described, references=(reference,) if reference else ()
        )
    api.part(Containers).tell(row, "commit", {"imageID": made.id, "imageRef": reference, "comment": comment})
    return json_answer({"Id": made.id}, 201)


@contextlib.asynccontextmanager
async def _at_rest(api: DockerApi, row: DockerContainer, pause: bool) -> AsyncIterator[None]:
    """Paused for the time, if it runs and that is wanted."""
    paused = False
    if pause and api.part(Containers).status(row).state == "running":
        with contextlib.suppress(Conflict):  # it has just ended, or was paused by somebody else
            await api.engine.pods.pause(row.id)
            paused = True
    try:
        yield
    except EngineError:
        api.engine.pods.inspect(row.id)  # it may be that it was removed meanwhile
        raise
    finally:
        if paused:
            with contextlib.suppress(Conflict, NotFound):
                await api.engine.pods.resume(row.id)


def _reference(repository: str, tag: str) -> str:
    return f"{repository}:{tag}" if repository and tag else repository


def exec_config(config: ContainerConfig, wanted: ContainerConfig) -> ExecConfig:
    """The container's configuration, with what the request says over it, as an image keeps it."""
    said: dict[str, Any] = {
        name: value for name in ContainerConfig.__struct_fields__ if (value := getattr(wanted, name)) not in (None, "", [], {}, False)
    }
    config = replace(config, **said)
    health = config.healthcheck
    return ExecConfig(
        user=config.user,
        exposed_ports=config.exposed_ports,
        env=tuple(line for line in config.env or () if "=" in line),
        entrypoint=None if config.entrypoint is None else tuple(words(config.entrypoint) or ()),
        cmd=None if config.cmd is None else tuple(words(config.cmd) or ()),
        volumes=config.volumes,
        working_dir=config.working_dir,
        labels=config.labels,
        stop_signal=config.stop_signal,
        stop_timeout=config.stop_timeout,
        shell=None if config.shell is None else tuple(config.shell),
        on_build=None if config.on_build is None else tuple(config.on_build),
        healthcheck=None
        if health is None
        else HealthConfig(
            test=tuple(health.test),
            interval=health.interval,
            timeout=health.timeout,
            start_period=health.start_period,
            start_interval=health.start_interval,
            retries=health.retries,
        ),
    )
