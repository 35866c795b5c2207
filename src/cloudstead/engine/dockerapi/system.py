"""The daemon itself: _ping, version, info and events."""

from __future__ import annotations

import asyncio
import hashlib
import os
import platform as machine
from collections.abc import AsyncIterator, Callable
from typing import Any

from cloudstead import __version__
from cloudstead.engine.dockerapi.answers import date, json_answer, json_line, stream_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.events import Event
from cloudstead.engine.dockerapi.filters import Filters
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import API_VERSION, MIN_API_VERSION, DockerRequest, route
from cloudstead.engine.engine import Engine
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.pods.commands import DescribeHost, HostFacts
from cloudstead.http.messages import HttpResponse
from cloudstead.kernel.clock import Clock

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
EVENT_FILTERS = ("config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope", "secret", "service", "type", "volume")  # fmt: skip
NO_CACHE = [("Cache-Control", "no-cache, no-store, must-revalidate"), ("Pragma", "no-cache")]


@route("GET", "/_ping")
@route("HEAD", "/_ping")
async def ping(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """`Builder-Version: 1`: build by POST /build, not by BuildKit."""
    headers = [*NO_CACHE, ("Builder-Version", "1"), ("Content-Type", "text/plain; charset=utf-8")]
    return HttpResponse(200, headers, b"OK" if request.http.method == "GET" else b"")


@route("GET", "/version")
async def version(api: DockerApi, request: DockerRequest) -> HttpResponse:
    facts = os.uname()
    architecture = ARCHITECTURES.get(facts.machine, facts.machine)
    details = {
        "ApiVersion": API_VERSION,
        "Arch": architecture,
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": facts.release,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
    }
    return json_answer(
        {
            "Platform": {"Name": "Cloudstead"},
            "Components": [{"Name": "Engine", "Version": __version__, "Details": details}],
            "Version": __version__,
            "ApiVersion": API_VERSION,
            "MinAPIVersion": MIN_API_VERSION,
            "GitCommit": "",
            "GoVersion": f"none (Python {machine.python_version()})",
            "Os": "linux",
            "Arch": architecture,
            "KernelVersion": facts.release,
            "BuildTime": "",
        }
    )


@route("GET", "/info")
async def info(api: DockerApi, request: DockerRequest) -> HttpResponse:
    containers, engine, facts = api.part(Containers), api.engine, os.uname()
    states = [containers.status(row).state for row in containers.all()]
    memory, system = await asyncio.to_thread(_machine)
    host = await _host(engine)
    limited = frozenset(host.controllers) if host is not None and not host.no_cgroups else frozenset()
    runtime = engine.host.runtime if engine.host is not None else ""
    cgroup = host.cgroup_version if host is not None else 1
    return json_answer(
        {
            "ID": hashlib.sha256(str(engine.data).encode()).hexdigest()[:32],
            "Containers": len(states),
            "ContainersRunning": states.count("running"),
            "ContainersPaused": states.count("paused"),
            "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
            "Images": len(engine.images.all()),
            "Driver": "overlay2",
            "DriverStatus": [],
            "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": None, "Log": ["json-file", "local", "none"]},
            "MemoryLimit": "memory" in limited,
            "SwapLimit": "memory" in limited and host is not None and host.swap_limit,
            "KernelMemory": False,
            "KernelMemoryTCP": False,
            "CpuCfsPeriod": "cpu" in limited,
            "CpuCfsQuota": "cpu" in limited,
            "CPUShares": "cpu" in limited,
            "CPUSet": "cpuset" in limited,
            "PidsLimit": "pids" in limited,
            "OomKillDisable": "memory" in limited and cgroup == 1,
            "IPv4Forwarding": True,
            "BridgeNfIptables": False,
            "BridgeNfIp6tables": False,
            "Debug": False,
            "NFd": 0,
            "NGoroutines": 0,
            "SystemTime": date(engine.clock.time()),
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": str(cgroup),
            "NEventsListener": api.events.listeners,
            "KernelVersion": facts.release,
            "OperatingSystem": system,
            "OSVersion": "",
            "OSType": "linux",
            "Architecture": facts.machine,
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"], "IndexConfigs": {}, "Mirrors": None},
            "NCPU": os.cpu_count() or 1,
            "MemTotal": memory,
            "GenericResources": None,
            "DockerRootDir": str(engine.data),
            "HttpProxy": "",
            "HttpsProxy": "",
            "NoProxy": "",
            "Name": facts.nodename,
            "Labels": [],
            "ExperimentalBuild": False,
            "ServerVersion": __version__,
            "Runtimes": {runtime: {"path": runtime}} if runtime else {},
            "DefaultRuntime": runtime,
            "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "", "RemoteManagers": None},
            "LiveRestoreEnabled": True,
            "Isolation": "",
            "InitBinary": host.init if host is not None else "",
            "ContainerdCommit": {"ID": "", "Expected": ""},
            "RuncCommit": {"ID": host.runtime_version if host is not None else "", "Expected": ""},
            "InitCommit": {"ID": "", "Expected": ""},
            "SecurityOptions": ["name=seccomp,profile=default", *(["name=rootless"] if engine.host is not None and engine.host.rootless else [])],
            "Warnings": _warnings(engine, host),
        }
    )  # fmt: skip


async def _host(engine: Engine) -> HostFacts | None:
    """What it can do; None where there is none."""
    if engine.host is None or engine.why_not:
        return None
    return await engine.host.call(DescribeHost())


def _warnings(engine: Engine, host: HostFacts | None) -> list[str] | None:
    """Why nothing runs; without root, what does not hold."""
    if engine.why_not:
        return [engine.why_not]
    if host is None or engine.host is None or not engine.host.rootless:
        return None
    return list(host.lacks)


def _machine() -> tuple[int, str]:
    """Bytes of memory, and what the system calls itself."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return memory, machine.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return memory, "Linux"


# events


@route("GET", "/events")
async def events(api: DockerApi, request: DockerRequest) -> HttpResponse:
    clock = api.engine.clock
    now = clock.time()
    since, until = request.parameters.moment("since", now), request.parameters.moment("until", now)
    if since and until and until < since:
        raise InvalidArgument(f"`since` time ({request.text('since')}) cannot be after `until` time ({request.text('until')})")
    return stream_answer(_told(api, clock, since, until, _event_filter(request.filters(*EVENT_FILTERS))))


async def _told(api: DockerApi, clock: Clock, since: float, until: float, wanted: Callable[[Event], bool]) -> AsyncIterator[bytes]:
    """What was, if that is asked for, and then what happens, until the time is over or for ever."""
    with api.events.listening() as queue:
        for event in api.events.since(since, until) if since or until else ():
            if wanted(event):
                yield json_line(event)
        while not until or until > clock.time():
            try:
                async with clock.timeout(until - clock.time() if until else None):
                    following = await queue.get()
            except TimeoutError:
                return
            if following is None:
                return
            if wanted(following):
                yield json_line(following)


def _event_filter(filters: Filters) -> Callable[[Event], bool]:
    def wanted(event: Event) -> bool:
        attributes = event.actor.attributes
        return (
            filters.one_of("type", event.kind)
            and filters.one_of("scope", event.scope)
            and (filters.one_of("event", event.action, event.action.partition(":")[0]))
            and filters.labels(attributes)
            and all(_about(filters, kind, event) for kind in ("container", "daemon", "network", "volume", "plugin", "service", "node", "secret", "config"))
            and _about_image(filters, event)
        )  # fmt: skip

    return wanted


def _about(filters: Filters, kind: str, event: Event) -> bool:
    """By id, the beginning of an id, or name."""
    if kind not in filters:
        return True
    if event.kind != kind:
        return False
    return filters.one_of(kind, event.actor.attributes.get("name", "")) or filters.begins(kind, event.actor.id)


def _about_image(filters: Filters, event: Event) -> bool:
    """Events of images by id or name, with or without tag; those of containers by the name of theirs."""
    if "image" not in filters:
        return True
    attributes: dict[str, Any] = event.actor.attributes
    names = [event.actor.id, attributes.get("name", "")] if event.kind == "image" else [attributes.get("image", "")]
    return filters.one_of("image", *names, *(name.rpartition(":")[0] for name in names))
