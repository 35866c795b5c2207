"""`docker top` and `docker stats`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from cloudstead.engine.dockerapi.answers import NEVER, date, json_answer, json_line, stream_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.lifecycle import running
from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.dockerapi.registry import Containers
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.errors import Conflict, NotFound
from cloudstead.engine.pods.states import Stats
from cloudstead.http.messages import HttpResponse

INTERVAL = 1.0  # seconds between two samples
NETWORK_COUNTERS = ("rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "tx_bytes", "tx_packets", "tx_errors", "tx_dropped")


@route("GET", "/containers/{name}/top")
async def container_top(api: DockerApi, request: DockerRequest) -> HttpResponse:
    row = running(api, request["name"])
    found = await api.engine.pods.processes(row.id, request.text("ps_args", "-ef") or "-ef")
    return json_answer({"Titles": list(found.titles), "Processes": [list(each) for each in found.rows]})


@route("GET", "/containers/{name}/stats")
async def container_stats(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """A sample each second; without `stream` one that can be compared with the one before it, unless `one-shot`."""
    row = api.part(Containers).find(request["name"])
    if request.flag("stream", True):
        return stream_answer(_samples(api, row))
    before = None if request.flag("one-shot") else await _sample(api, row)
    if before is not None:
        await api.engine.clock.sleep(INTERVAL)
    return json_answer(describe(row, before, await _sample(api, row)))


async def _samples(api: DockerApi, row: DockerContainer) -> AsyncIterator[bytes]:
    """Until the container is removed; while it does not run there is nothing to tell."""
    before: Stats | None = None
    told = False
    while api.part(Containers).by_id(row.id) is not None:
        now = await _sample(api, row)
        if now is not None or not told:
            yield json_line(describe(row, before, now))
            told = True
        before = now
        await api.engine.clock.sleep(INTERVAL)


async def _sample(api: DockerApi, row: DockerContainer) -> Stats | None:
    """None while it does not run."""
    if not api.part(Containers).runs(row):
        return None
    try:
        return await api.engine.pods.stats(row.id)
    except (Conflict, NotFound):  # it has just ended
        return None


def describe(row: DockerContainer, before: Stats | None, now: Stats | None) -> dict[str, Any]:
    return described(row.id, f"/{row.name}", before, now)


def described(id: str, name: str, before: Stats | None, now: Stats | None) -> dict[str, Any]:
    """As clients read it: they make percentages of `cpu_stats` and `precpu_stats` themselves."""
    described: dict[str, Any] = {
        "name": name,
        "id": id,
        "read": date(now.read) if now else NEVER,
        "preread": date(before.read) if before else NEVER,
        "num_procs": 0,
        "storage_stats": {},
        "pids_stats": {},
        "blkio_stats": _blkio(now),
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before),
        "memory_stats": {},
    }
    if now is not None:
        described["pids_stats"] = {"current": now.pids, **({"limit": now.pids_limit} if now.pids_limit else {})}
        described["memory_stats"] = {
            "usage": now.memory_usage,
            "max_usage": now.memory_peak,
            "stats": _memory_stat(now),
            "limit": now.memory_limit,
        }
        if now.networks:
            described["networks"] = {
                name: {counter: counters.get(counter, 0) for counter in NETWORK_COUNTERS} for name, counters in now.networks.items()
            }
    return described


def _memory_stat(now: Stats) -> dict[str, int]:
    """The kernel's own counters; clients take `inactive_file` (v2) or `total_inactive_file` (v1) off the usage."""
    if now.memory_stat:
        return now.memory_stat
    return {"inactive_file": max(0, now.memory_usage - now.memory)}


def _cpu(sample: Stats | None) -> dict[str, Any]:
    if sample is None:
        sample = Stats(read=0.0, online_cpus=0)
    described: dict[str, Any] = {
        "cpu_usage": {
            "total_usage": sample.cpu_total,
            "usage_in_kernelmode": sample.cpu_system,
            "usage_in_usermode": sample.cpu_user,
        },
        "throttling_data": {
            "periods": sample.periods,
            "throttled_periods": sample.throttled_periods,
            "throttled_time": sample.throttled_time,
        },
    }
    if sample.online_cpus:
        described.update(system_cpu_usage=sample.host_cpu_total, online_cpus=sample.online_cpus)
    return described


def _blkio(now: Stats | None) -> dict[str, Any]:
    names = ("io_service_bytes", "io_serviced", "io_queue", "io_service_time", "io_wait_time", "io_merged", "io_time", "sectors")
    described: dict[str, Any] = {f"{name}_recursive": None for name in names}
    if now is not None:
        described["io_service_bytes_recursive"] = [
            {"major": major, "minor": minor, "op": kind, "value": value} for major, minor, kind, value in now.block_io
        ]
    return described
