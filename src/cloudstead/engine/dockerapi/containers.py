"""Containers: create, rename, update, remove, prune. What they do once they are there: lifecycle.py."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from msgspec.structs import asdict, replace

from cloudstead.engine.dockerapi import limits, mounts
from cloudstead.engine.dockerapi.answers import json_answer, no_content
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.given_names import random_name
from cloudstead.engine.dockerapi.hostconfig import Translation, check_restart_policy, translate
from cloudstead.engine.dockerapi.merging import merge
from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.parameters import moment
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.dockerapi.shapes import CreateRequest, HostConfig, UpdateRequest
from cloudstead.engine.dockerapi.supervision import Life
from cloudstead.engine.errors import Conflict, EngineError, InvalidArgument, NotFound, Unsupported
from cloudstead.engine.images.api import Image, Platform
from cloudstead.http.messages import HttpResponse

UNCHANGEABLE = ("devices", "device_cgroup_rules", "ulimits", "init", "oom_kill_disable")
RM_LINK = "links are not supported, so there is none to remove"


@route("POST", "/containers/create")
async def create_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    wanted = await request.json(CreateRequest)
    row = await create(api, wanted, request.text("name"), platform(request.text("platform")))
    return json_answer({"Id": row.id, "Warnings": []}, 201)


def platform(text: str) -> Platform | None:
    """ "linux/arm64/v8"; None for the host's."""
    if not text:
        return None
    os, _, rest = text.lower().partition("/")
    architecture, _, variant = rest.partition("/")
    if os != "linux" or "/" in variant:
        raise InvalidArgument(f'"{text[:100]}" is an invalid platform: containers here are of linux')
    return Platform(architecture=architecture, variant=variant) if architecture else None


async def create(api: DockerApi, wanted: CreateRequest, name: str = "", on: Platform | None = None) -> DockerContainer:
    """Make a container. Nothing is waited for but the store."""
    containers, engine = api.part(Containers), api.engine
    if engine.why_not:
        raise Unsupported(engine.why_not)
    name = containers.check_name(name) if name else random_name(lambda each: containers.by_name(each) is not None)
    image = _image(api, wanted, on)
    config = merge(wanted, image.config.config)
    id = secrets.token_hex(32)
    host = _as_told(wanted.host_config)
    host = replace(host, runtime=host.runtime or wanted.runtime)
    planned = translate(api, id, name, config, host, wanted.networking_config)
    layers = await engine.images.layers_of(image.id)
    made = await mounts.make_volumes(engine.volumes, planned.mounts)
    row = DockerContainer(
        id=id,
        name=name,
        created=engine.clock.time(),
        image=wanted.image,
        image_id=image.id,
        path=planned.path,
        args=planned.args,
        config=replace(config, hostname=planned.pod.hostname, image=wanted.image),
        host_config=host,
        networks=planned.network.networks,
        mounts=[each.point for each in made if each.point is not None],
    )
    row = await _keep(api, row, planned, layers, made)
    containers.tell(row, "create")
    return row


def _image(api: DockerApi, wanted: CreateRequest, on: Platform | None) -> Image:
    if not wanted.image:
        raise InvalidArgument("no image specified")
    return api.engine.images.resolve(wanted.image, platform=on)


def _as_told(host: HostConfig) -> HostConfig:
    """With the defaults that Docker writes into what inspect shows."""
    changes: dict[str, Any] = {"network_mode": host.network_mode or "default"}
    if not host.shm_size:
        changes["shm_size"] = 64 << 20
    if not host.log_config.type:
        changes["log_config"] = replace(host.log_config, type="json-file")
    if not host.restart_policy.name:
        changes["restart_policy"] = replace(host.restart_policy, name="no")
    return replace(host, **changes)


async def _keep(
    api: DockerApi, row: DockerContainer, planned: Translation, layers: tuple[str, ...], made: list[mounts.Wanted]
) -> DockerContainer:
    """Row, pod and container, all in one batch of the store."""
    engine, containers = api.engine, api.part(Containers)
    spec = replace(planned.container, layers=layers, mounts=tuple(each.mount for each in made))

    async def keep() -> DockerContainer:
        kept = containers.insert(row)
        await engine.store.settled()
        return kept

    # Tasks that are made together run in the same turn of the loop, before the store takes what it has collected to the disk: one sync for all.
    kept, *others = await asyncio.gather(
        keep(), engine.pods.create_pod(planned.pod), engine.pods.create_container(row.id, spec), return_exceptions=True
    )
    failure = next((each for each in (kept, *others) if isinstance(each, BaseException)), None)
    if failure is None:
        assert isinstance(kept, DockerContainer)
        return kept
    await _undo(api, row, made, kept=not isinstance(kept, BaseException))
    raise failure


async def _undo(api: DockerApi, row: DockerContainer, made: list[mounts.Wanted], *, kept: bool) -> None:
    if kept:
        api.part(Containers).delete(row.id)
    try:
        await api.engine.pods.remove_pod(row.id, force=True)
        await api.engine.volumes.release_all(row.id)
        for each in made:
            if each.point is not None and each.point.anonymous:
                await api.engine.volumes.remove(each.mount.source)
    except (NotFound, Conflict):
        return


@route("POST", "/containers/{name}/rename")
async def rename_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    containers = api.part(Containers)
    row = containers.find(request["name"])
    name = request.text("name")
    if not name:
        raise InvalidArgument("Neither old nor new names may be empty")
    if name.removeprefix("/") == row.name:
        raise InvalidArgument("Renaming a container with the same name as its current name")
    name = containers.check_name(name)
    renamed = containers.change(row.id, name=name)
    await api.engine.store.settled()
    if renamed is not None:
        containers.tell(renamed, "rename", {"oldName": f"/{row.name}"})
    return no_content()


@route("POST", "/containers/{name}/update")
async def update_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    containers = api.part(Containers)
    row = containers.find(request["name"])
    wanted = await request.json(UpdateRequest)
    for name in UNCHANGEABLE:
        if getattr(wanted, name):
            raise Unsupported(f"{name.replace('_', ' ')} cannot be changed after a container was made")
    host = _updated(row.host_config, wanted)
    check_restart_policy(host)
    found = limits.resources(host)
    if found != limits.resources(row.host_config):
        await api.engine.pods.update(row.id, found)
    changed = containers.change(row.id, host_config=host)
    await api.engine.store.settled()
    if changed is not None and host.restart_policy != row.host_config.restart_policy:
        api.part(Life).policy_changed(changed)
    return json_answer({"Warnings": []})


def _updated(host: HostConfig, wanted: UpdateRequest) -> HostConfig:
    """What is set in the request over what was there."""
    changes = {name: value for name, value in asdict(wanted).items() if name != "restart_policy" and value not in (None, 0, "", [])}
    if wanted.pids_limit is not None:
        changes["pids_limit"] = wanted.pids_limit
    if wanted.nano_cpus:
        changes.update(cpu_quota=0, cpu_period=0)
    elif host.nano_cpus and (wanted.cpu_quota or wanted.cpu_period):
        raise Conflict("Conflicting options: CPU Period and Quota cannot be updated as NanoCPUs has already been set")
    if wanted.restart_policy is not None and wanted.restart_policy.name:
        changes["restart_policy"] = wanted.restart_policy
    return replace(host, **changes)


@route("DELETE", "/containers/{name}")
async def delete_container(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = api.part(Containers).find(request["name"])
    if request.flag("link"):
        raise InvalidArgument(RM_LINK)
    await api.part(Life).remove(row, force=request.flag("force"), volumes=request.flag("v"))
    return no_content()


@route("POST", "/containers/prune")
async def prune_containers(api: DockerApi, request: DockerRequest) -> HttpResponse:
    filters = request.filters("until", "label", "label!")
    containers, life, now = api.part(Containers), api.part(Life), api.engine.clock.time()
    until = min((moment("until", text, now) for text in filters.all("until")), default=None)
    gone, reclaimed = [], 0
    for row in containers.all():
        if life.alive(row) or not filters.labels(row.labels) or not filters.lacks_labels(row.labels):
            continue
        if until is not None and row.created >= until:
            continue
        try:
            size = await written(api, row.id)
            await life.remove(row)
        except (Conflict, NotFound):  # started or removed meanwhile
            continue
        gone.append(row.id)
        reclaimed += size
    api.events.tell("container", "prune", "", {"reclaimed": str(reclaimed)})
    return json_answer({"ContainersDeleted": gone or None, "SpaceReclaimed": reclaimed})


async def written(api: DockerApi, id: str) -> int:
    """Bytes that a container has written; 0 where it has no files yet."""
    try:
        return await api.engine.snapshots.usage(id)
    except EngineError:
        return 0
