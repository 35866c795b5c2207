"""Images: list, inspect, history, tag, remove, prune. How they come and go: transfers.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudstead.engine.build.globs import path_pattern
from cloudstead.engine.dockerapi.answers import date, json_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.filters import Filters
from cloudstead.engine.dockerapi.parameters import moment
from cloudstead.engine.dockerapi.registry import Containers, short
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.dockerapi.shapes import ContainerConfig, HealthConfig
from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.images.api import ExecConfig, Image, ImageEvent, Removal
from cloudstead.engine.images.records import timestamp
from cloudstead.engine.images.references import Reference, parse, try_parse
from cloudstead.http.messages import HttpResponse

UNTAGGED = {"RepoDigests": ["<none>@<none>"], "RepoTags": ["<none>:<none>"]}


class Telling:
    """Passes on what happens to images, also when it is not Docker's clients who do it."""

    def __init__(self, api: DockerApi) -> None:
        self._api = api
        self.end = api.engine.images.subscribe(self._tell)

    def _tell(self, event: ImageEvent) -> None:
        # Docker names the image of a pull or push by its reference, and of all else by its id.
        actor = event.name if event.action in ("pull", "push") else event.image
        self._api.events.tell("image", event.action, actor, {"name": event.name}, time=event.time)


async def start(api: DockerApi) -> None:
    api.part(Telling)


async def stop(api: DockerApi) -> None:
    api.part(Telling).end()


# what they look like


def summary(image: Image, *, shared: int = -1, containers: int = -1) -> dict[str, Any]:
    """As a list shows it."""
    return {
        "Containers": containers,
        "Created": int(image.created),
        "Id": image.id,
        "Labels": image.config.config.labels,
        "ParentId": image.parent,
        "RepoDigests": list(image.digests),
        "RepoTags": list(image.tags),
        "SharedSize": shared,
        "Size": image.size,
        "VirtualSize": image.size,
    }


def describe_image(image: Image) -> dict[str, Any]:
    """As inspect shows it."""
    config = image.config
    history = config.history
    answer = {
        "Id": image.id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": image.parent,
        "Comment": history[-1].comment if history else "",
        "Created": config.created or date(0),
        "Container": "",
        "ContainerConfig": None,
        "DockerVersion": "",
        "Author": config.author,
        "Config": shown_config(config.config),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Data": None, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": list(config.rootfs.diff_ids)},
        "Metadata": {"LastTagTime": date(image.last_tagged)},
    }
    if config.variant:
        answer["Variant"] = config.variant
    return answer


def shown_config(config: ExecConfig) -> ContainerConfig:
    """In the form that containers' configurations have, as Docker tells it of images too."""
    health = config.healthcheck
    return ContainerConfig(
        user=config.user,
        exposed_ports=config.exposed_ports,
        env=_listed(config.env),
        cmd=_listed(config.cmd),
        healthcheck=None
        if health is None
        else HealthConfig(
            test=list(health.test),
            interval=health.interval,
            timeout=health.timeout,
            start_period=health.start_period,
            start_interval=health.start_interval,
            retries=health.retries,
        ),
        args_escaped=config.args_escaped,
        volumes=config.volumes,
        working_dir=config.working_dir,
        entrypoint=_listed(config.entrypoint),
        on_build=_listed(config.on_build),
        labels=config.labels,
        stop_signal=config.stop_signal,
        stop_timeout=config.stop_timeout,
        shell=_listed(config.shell),
    )


def _listed(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


# finding


@route("GET", "/images/json")
async def list_images(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """`digests` asks for what is always told."""
    filters = request.filters("before", "dangling", "label", "label!", "reference", "since", "until")
    patterns = [*filters.all("reference"), *([request.text("filter")] if request.text("filter") else [])]
    shared = (await api.engine.images.disk_usage())[1] if request.flag("shared-size") else {}
    wanted = _selector(api, filters)
    answer = []
    for image in _shown(api.engine.images.all(), everything=request.flag("all")):
        if wanted(image) and (told := _told(image, patterns, shared)) is not None:
            answer.append(told)
    return json_answer(answer)


def _shown(images: list[Image], *, everything: bool) -> list[Image]:
    """The latest first; without what is only a step on the way to another image, unless all are asked for."""
    parents = {image.parent for image in images}
    shown = [image for image in images if everything or image.tags or image.digests or image.id not in parents]
    return sorted(shown, key=lambda image: image.created, reverse=True)


def _selector(api: DockerApi, filters: Filters) -> Callable[[Image], bool]:
    """What all filters but `reference` let through."""
    images = api.engine.images
    before = min((images.resolve(name).created for name in filters.all("before")), default=None)
    since = max((images.resolve(name).created for name in filters.all("since")), default=None)
    until = min((moment("until", text, api.engine.clock.time()) for text in filters.all("until")), default=None)
    dangling = filters.flag("dangling", False) if "dangling" in filters else None

    def wanted(image: Image) -> bool:
        labels = image.config.config.labels or {}
        return (
            (before is None or image.created < before)
            and (since is None or image.created > since)
            and (until is None or image.created < until)
            and (dangling is None or dangling == (not image.tags))
            and filters.labels(labels)
            and filters.lacks_labels(labels)
        )

    return wanted


def _told(image: Image, patterns: list[str], shared: dict[str, int]) -> dict[str, Any] | None:
    """Its summary with the names that match; None when none does."""
    told = summary(image, shared=shared.get(image.id, 0) if shared else -1)
    if patterns:
        expressions = [path_pattern(pattern) for pattern in patterns]

        def matches(name: str) -> bool:
            reference = try_parse(name)
            names = (name,) if reference is None else (name, reference.familiar_name)
            return any(expression.fullmatch(each) for expression in expressions for each in names)

        told["RepoTags"] = [name for name in image.tags if matches(name)]
        told["RepoDigests"] = [name for name in image.digests if matches(name)]
        if not told["RepoTags"] and not told["RepoDigests"]:
            return None
    elif not image.tags and not image.digests:
        told.update(UNTAGGED)
    return told


@route("GET", "/images/{name}/json")
async def inspect_image(api: DockerApi, request: DockerRequest) -> HttpResponse:
    return json_answer(describe_image(api.engine.images.resolve(request["name"])))


@route("GET", "/images/{name}/history")
async def image_history(api: DockerApi, request: DockerRequest) -> HttpResponse:
    image = api.engine.images.resolve(request["name"])
    return json_answer(
        [
            {
                "Comment": entry.comment,
                "Created": int(timestamp(entry.created)),
                "CreatedBy": entry.created_by,
                "Id": id,
                "Size": size,
                "Tags": list(tags) or None,
            }
            for id, entry, size, tags in api.engine.images.history(image.id)
        ]
    )


@route("GET", "/images/search")
async def search_images(api: DockerApi, request: DockerRequest) -> HttpResponse:
    raise Unsupported("searching needs the index of a hub, and registries have none: pull an image by its name")


# changing


@route("POST", "/images/{name}/tag")
async def tag_image(api: DockerApi, request: DockerRequest) -> HttpResponse:
    image = api.engine.images.resolve(request["name"])
    reference = named(request.text("repo"), request.text("tag"))
    if reference.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    api.engine.images.tag(image.id, reference.familiar)
    await api.engine.store.settled()
    return HttpResponse(201)


def named(repository: str, tag: str) -> Reference:
    """A repository and the tag, or digest, beside it, which takes the place of one in it.

    Raises:
        InvalidArgument
    """
    reference = parse(repository)
    if not tag:
        return reference.with_default_tag()
    return parse(f"{reference.name}{'@' if ':' in tag else ':'}{tag}")


def used_by(api: DockerApi) -> Callable[[str], str]:
    """Who needs an image: running containers are told first, for nothing takes the image from under them."""
    containers = api.part(Containers)

    def user(id: str) -> str:
        rows = containers.of_image(id)
        running = [row for row in rows if containers.runs(row)]
        if running:
            return f"running container {short(running[0].id)} is using it"
        return f"container {short(rows[0].id)} is using it" if rows else ""

    return user


@route("DELETE", "/images/{name}")
async def remove_image(api: DockerApi, request: DockerRequest) -> HttpResponse:
    if not request["name"].strip():
        raise InvalidArgument("image name cannot be blank")
    removal = await api.engine.images.remove(
        request["name"], force=request.flag("force"), prune=not request.flag("noprune"), used_by=used_by(api)
    )
    return json_answer(removed(removal))


def removed(removal: Removal) -> list[dict[str, str]]:
    return [{"Untagged": name} for name in removal.untagged] + [{"Deleted": id} for id in removal.deleted]


@route("POST", "/images/prune")
async def prune_images(api: DockerApi, request: DockerRequest) -> HttpResponse:
    filters = request.filters("dangling", "label", "label!", "until")
    until = min((moment("until", text, api.engine.clock.time()) for text in filters.all("until")), default=None)
    user = used_by(api)

    def keep(image: Image) -> bool:
        labels = image.config.config.labels or {}
        matches = filters.labels(labels) and filters.lacks_labels(labels) and (until is None or image.created < until)
        return not matches or bool(user(image.id))

    removal = await api.engine.images.prune(dangling=filters.flag("dangling", True), keep=keep)
    api.events.tell("image", "prune", "", {"reclaimed": str(removal.reclaimed)})
    return json_answer({"ImagesDeleted": removed(removal) or None, "SpaceReclaimed": removal.reclaimed})
