"""The query of `POST /build`, read into the builder's options."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from cloudstead.engine.build.api import BuildOptions
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.credentials import all_from_request
from cloudstead.engine.dockerapi.endpoints import attachment
from cloudstead.engine.dockerapi.networks import DockerNetworks
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest
from cloudstead.engine.dockerapi.shapes import Ulimit as UlimitShape
from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.network.api import PodNetwork
from cloudstead.engine.pods.specs import Resources, Ulimit

T = TypeVar("T")
BUILDKIT = (
    "BuildKit is not part of this builder: build with DOCKER_BUILDKIT=0 (the instructions of BuildKit's Dockerfiles work all the same)"
)


def read_options(api: DockerApi, request: DockerRequest) -> BuildOptions:
    """
    Raises:
        InvalidArgument, Unsupported: what makes no sense, or is not done here.
    """
    _refuse(request)
    return BuildOptions(
        tags=tuple(tag for tag in request.parameters.all("t") if tag),
        dockerfile=request.text("dockerfile") or "Dockerfile",
        build_args=_json(request, "buildargs", "build args", dict[str, str | None], {}),
        target=request.text("target"),
        labels=_json(request, "labels", "labels", dict[str, str], {}),
        platform=request.text("platform"),
        no_cache=request.flag("nocache"),
        cache_from=tuple(_json(request, "cachefrom", "cache sources", list[str], [])),
        pull=request.flag("pull"),
        network=_network(api, request.text("networkmode")),
        extra_hosts=tuple(request.parameters.all("extrahosts")),
        resources=_resources(request),
        ulimits=_ulimits(request),
        shm_size=_positive(request, "shmsize"),
        credentials=all_from_request(request.http),
        quiet=request.flag("q"),
        remove_intermediate=request.flag("forcerm") or request.flag("rm", True),
        squash=request.flag("squash"),
        outputs=(request.text("outputs"),) if request.text("outputs") not in ("", "[]", "null") else (),
        isolation=request.text("isolation"),
        cgroup_parent=request.text("cgroupparent"),
    )


def _refuse(request: DockerRequest) -> None:
    version = request.text("version")
    if version not in ("", "1", "2"):
        raise InvalidArgument(f"invalid version {version}")
    if version == "2" or request.text("session") or request.text("remote") == "client-session":
        raise Unsupported(BUILDKIT)
    if any(request.parameters.all("securityopt")):
        raise InvalidArgument("The daemon on this platform does not support setting security options on build")


def _json(request: DockerRequest, name: str, what: str, kind: type[T], default: T) -> T:
    text = request.text(name)
    if not text or text == "null":
        return default
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"error reading {what}: {error}") from None


def _positive(request: DockerRequest, name: str) -> int:
    value = request.number(name)
    if value < 0:
        raise InvalidArgument(f"invalid value for {name}: {value} is below zero")
    return value


def _resources(request: DockerRequest) -> Resources:
    return Resources(
        memory=_positive(request, "memory"),
        memory_swap=request.number("memswap"),
        cpu_shares=_positive(request, "cpushares"),
        cpu_period=_positive(request, "cpuperiod"),
        cpu_quota=_positive(request, "cpuquota"),
        cpuset_cpus=request.text("cpusetcpus"),
        cpuset_mems=request.text("cpusetmems"),
    )


def _ulimits(request: DockerRequest) -> tuple[Ulimit, ...]:
    shapes = _json(request, "ulimits", "ulimit settings", list[UlimitShape], [])
    return tuple(Ulimit(name=each.name, soft=each.soft, hard=each.hard) for each in shapes)


def _network(api: DockerApi, mode: str) -> PodNetwork | None:
    """None: the builder's own."""
    if mode in ("", "default"):
        return None
    if mode.startswith("container:"):
        return PodNetwork(mode="pod", pod=api.part(Containers).find(mode.removeprefix("container:")).id)
    network = api.part(DockerNetworks).find(mode)
    if network.driver == "bridge":
        return PodNetwork(mode="vpc", attachments=(attachment(network, None),))
    return PodNetwork(mode="host" if network.driver == "host" else "none")
