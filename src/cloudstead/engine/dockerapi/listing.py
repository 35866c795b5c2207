"""`docker ps`: the list of containers, with all its filters."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any

from cloudstead.engine.dockerapi.answers import json_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.containers import written
from cloudstead.engine.dockerapi.filters import Filters
from cloudstead.engine.dockerapi.inspecting import describe_mounts, describe_networks, pod_of
from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.dockerapi.status import exposed, health_name, port_list, published, sentence
from cloudstead.engine.dockerapi.supervision import Life
from cloudstead.engine.errors import InvalidArgument, NotFound
from cloudstead.http.messages import HttpResponse

FILTERS = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish", "since", "status",
    "volume",
)  # fmt: skip
STATES = frozenset({"created", "running", "paused", "restarting", "removing", "exited", "dead"})
MOMENTS = ("before", "since")
HEALTHS = frozenset({"none", "starting", "healthy", "unhealthy"})
PORT_FILTER = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")

Test = Callable[[DockerContainer], bool]


@route("GET", "/containers/json")
async def list_containers(api: DockerApi, request: DockerRequest) -> HttpResponse:
    filters = request.filters(*FILTERS)
    limit = request.number("limit")
    everything = request.flag("all") or "status" in filters or limit > 0
    tests = _tests(api, filters)
    for name in MOMENTS:
        tests += _moment(api, name, filter(None, [request.text(name)]))  # as docker-py asks, and clients of old
    life = api.part(Life)
    rows = sorted(api.part(Containers).all(), key=lambda row: (row.created, row.id), reverse=True)
    found = [row for row in rows if (everything or life.alive(row)) and all(test(row) for test in tests)]
    if limit > 0:
        found = found[:limit]
    listed = [summary(api, row) for row in found]
    if request.flag("size"):
        sizes = await asyncio.gather(*(sizes_of(api, row) for row in found))
        for each, (own, whole) in zip(listed, sizes, strict=True):
            each.update(SizeRw=own, SizeRootFs=whole)
    return json_answer(listed)


async def sizes_of(api: DockerApi, row: DockerContainer) -> tuple[int, int]:
    """What it has written, and that with its image."""
    own = await written(api, row.id)
    try:
        return own, own + api.engine.images.resolve(row.image_id).size
    except NotFound:
        return own, own


def summary(api: DockerApi, row: DockerContainer) -> dict[str, Any]:
    containers = api.part(Containers)
    status, state, pod = containers.status(row), containers.state(row), pod_of(api, row)
    return {
        "Id": row.id,
        "Names": [f"/{row.name}"],
        "Image": shown_image(api, row),
        "ImageID": row.image_id,
        "Command": " ".join([row.path, *(_quoted(each) for each in row.args)]),
        "Created": int(row.created),
        "Ports": port_list(row, pod),
        "Labels": row.labels,
        "State": state,
        "Status": sentence(state, status, api.engine.clock.time()),
        "HostConfig": {"NetworkMode": row.host_config.network_mode},
        "NetworkSettings": {"Networks": describe_networks(api, row, pod)},
        "Mounts": describe_mounts(row),
    }


def _quoted(word: str) -> str:
    return f"'{word}'" if re.search(r"\s", word) else word


def shown_image(api: DockerApi, row: DockerContainer) -> str:
    """The name it was made with, as long as that names the same image."""
    try:
        found = api.engine.images.resolve(row.image)
    except (NotFound, InvalidArgument):
        return row.image_id
    return row.image if found.id == row.image_id else row.image_id


# filters


def _tests(api: DockerApi, filters: Filters) -> list[Test]:
    """One for each filter that is given. A name or value that makes no sense is refused here."""
    containers = api.part(Containers)
    tests: list[Test] = [lambda row: filters.labels(row.labels)]
    for name, known in (("status", STATES), ("health", HEALTHS)):
        for value in filters.all(name):
            if value not in known:
                raise InvalidArgument(f"invalid filter '{name}={value[:100]}'")
    if "status" in filters:
        tests.append(lambda row: filters.one_of("status", containers.state(row)))
    if "health" in filters:
        tests.append(lambda row: filters.one_of("health", health_name(containers.status(row))))
    if "name" in filters:
        tests.append(lambda row: filters.matches("name", row.name, f"/{row.name}"))
    if "id" in filters:
        tests.append(lambda row: filters.begins("id", row.id))
    if "is-task" in filters:
        no_tasks = not filters.flag("is-task", False)
        tests.append(lambda row: no_tasks)
    if "isolation" in filters:
        tests.append(lambda row: filters.one_of("isolation", row.host_config.isolation, "default"))
    for make in (_exited, _moments, _ancestors, _volumes, _networks, _ports):
        tests += make(api, filters)
    return tests


def _exited(api: DockerApi, filters: Filters) -> list[Test]:
    if "exited" not in filters:
        return []
    codes = set()
    for value in filters.all("exited"):
        if not re.fullmatch(r"-?\d{1,9}", value):
            raise InvalidArgument(f"invalid filter 'exited={value[:100]}'")
        codes.add(int(value))

    def test(row: DockerContainer) -> bool:
        status = api.part(Containers).status(row)
        return status.state == "exited" and bool(status.started) and status.exit_code in codes

    return [test]


def _moments(api: DockerApi, filters: Filters) -> list[Test]:
    return [test for name in MOMENTS for test in _moment(api, name, filters.all(name))]


def _moment(api: DockerApi, name: str, others: Iterable[str]) -> list[Test]:
    """Made before or since each of the other containers."""
    tests: list[Test] = []
    for value in others:
        other = api.part(Containers).find(value)
        place = (other.created, other.id)
        if name == "before":
            tests.append(lambda row, place=place: (row.created, row.id) < place)  # type: ignore[misc]
        else:
            tests.append(lambda row, place=place: (row.created, row.id) > place)  # type: ignore[misc]
    return tests


def _ancestors(api: DockerApi, filters: Filters) -> list[Test]:
    """Made from an image, or from one that was built upon it."""
    if "ancestor" not in filters:
        return []
    wanted = set()
    for value in filters.all("ancestor"):
        try:
            wanted.add(api.engine.images.resolve(value).id)
        except (NotFound, InvalidArgument):
            continue
    parents = {image.id: image.parent for image in api.engine.images.all()} if wanted else {}

    def test(row: DockerContainer) -> bool:
        image, seen = row.image_id, set()
        while image and image not in seen:
            if image in wanted:
                return True
            seen.add(image)
            image = parents.get(image, "")
        return False

    return [test]


def _volumes(api: DockerApi, filters: Filters) -> list[Test]:
    if "volume" not in filters:
        return []
    values = set(filters.all("volume"))
    return [lambda row: any({point.name, point.source, point.destination} & values for point in row.mounts)]


def _networks(api: DockerApi, filters: Filters) -> list[Test]:
    if "network" not in filters:
        return []
    values = filters.all("network")

    def test(row: DockerContainer) -> bool:
        named = describe_networks(api, row, None)
        return any(value in named or any(id.startswith(value) for id in row.networks) for value in values if value)

    return [test]


def _ports(api: DockerApi, filters: Filters) -> list[Test]:
    tests: list[Test] = []
    if "publish" in filters:
        ranges = [_port_range("publish", value) for value in filters.all("publish")]

        def is_published(row: DockerContainer) -> bool:
            ports = published(pod_of(api, row))
            return any(low <= each.host_port <= high and each.protocol == protocol for each in ports for low, high, protocol in ranges)

        tests.append(is_published)
    if "expose" in filters:
        wanted = [_port_range("expose", value) for value in filters.all("expose")]

        def is_exposed(row: DockerContainer) -> bool:
            spelled = [each.partition("/") for each in exposed(row)]
            return any(
                each.isdigit() and low <= int(each) <= high and kind == protocol
                for each, _, kind in spelled
                for low, high, protocol in wanted
            )

        tests.append(is_exposed)
    return tests


def _port_range(name: str, value: str) -> tuple[int, int, str]:
    found = PORT_FILTER.fullmatch(value)
    if not found:
        raise InvalidArgument(f"error while looking up for {name} {value[:100]}: invalid port")
    return int(found[1]), int(found[2] or found[1]), found[3] or "tcp"
