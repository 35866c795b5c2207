"""Counters of a cgroup, of a network namespace and of the machine, in the form of the driver interface."""

from __future__ import annotations

import os
import time
from typing import Any

from cloudstead.engine.pods.cgroups import Tree, read_lines
from cloudstead.engine.pods.states import Stats

TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
UNLIMITED = 1 << 62  # v1 says a number near 2^63 for none


def read(tree: Tree, group: str, pid: int, fields: dict[str, Any] | None = None) -> Stats:
    """Those of a group, and of the network namespace of one of its processes. `fields` are what is known where there is no group."""
    memory_total, host_cpu = memory_of_host(), cpu_of_host()
    if fields is None:
        fields = _v1(tree, group) if tree.kernel.version == 1 else _v2(tree, group)
    limit = fields.pop("memory_limit")
    return Stats(
        read=time.time(),
        host_cpu_total=host_cpu,
        online_cpus=tree.kernel.cpus or os.cpu_count() or 1,
        memory_limit=limit if 0 < limit < min(UNLIMITED, memory_total) else memory_total,
        networks=networks(pid),
        **fields,
    )


def _v1(tree: Tree, group: str) -> dict[str, Any]:
    def path(controller: str, file: str) -> str:
        return f"{tree.folder(controller, group)}/{file}" if controller in tree.mounts else "/nonexistent"

    throttled = _table(path("cpu", "cpu.stat"))
    used = _table(path("cpuacct", "cpuacct.stat"))
    stat = _table(path("memory", "memory.stat"))
    usage = _number(path("memory", "memory.usage_in_bytes"))
    block = [
        (*_device(words[0]), words[1].lower(), int(words[2]))
        for words in read_lines(path("blkio", "blkio.throttle.io_service_bytes_recursive"))
        if len(words) == 3 and words[1] in ("Read", "Write")
    ]
    return {
        "cpu_total": _number(path("cpuacct", "cpuacct.usage")),
        "cpu_user": used.get("user", 0) * TICK,
        "cpu_system": used.get("system", 0) * TICK,
        "periods": throttled.get("nr_periods", 0),
        "throttled_periods": throttled.get("nr_throttled", 0),
        "throttled_time": throttled.get("throttled_time", 0),
        "memory": max(usage - stat.get("total_inactive_file", 0), 0),
        "memory_usage": usage,
        "memory_peak": _number(path("memory", "memory.max_usage_in_bytes")),
        "memory_limit": _number(path("memory", "memory.limit_in_bytes")),
        "memory_stat": stat,
        "pids": _number(path("pids", "pids.current")),
        "pids_limit": _number(path("pids", "pids.max")),
        **_block_fields(block),
    }


def _v2(tree: Tree, group: str) -> dict[str, Any]:
    folder = f"{tree.unified}{group}"
    cpu = _table(f"{folder}/cpu.stat")
    stat = _table(f"{folder}/memory.stat")
    usage = _number(f"{folder}/memory.current")
    block: list[tuple[int, int, str, int]] = []
    for words in read_lines(f"{folder}/io.stat"):
        values = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        block += [(*_device(words[0]), kind, int(values.get(key, 0))) for kind, key in (("read", "rbytes"), ("write", "wbytes"))]
    return {
        "cpu_total": cpu.get("usage_usec", 0) * 1000,
        "cpu_user": cpu.get("user_usec", 0) * 1000,
        "cpu_system": cpu.get("system_usec", 0) * 1000,
        "periods": cpu.get("nr_periods", 0),
        "throttled_periods": cpu.get("nr_throttled", 0),
        "throttled_time": cpu.get("throttled_usec", 0) * 1000,
        "memory": max(usage - stat.get("inactive_file", 0), 0),
        "memory_usage": usage,
        "memory_peak": _number(f"{folder}/memory.peak"),
        "memory_limit": _number(f"{folder}/memory.max"),
        "memory_stat": stat,
        "pids": _number(f"{folder}/pids.current"),
        "pids_limit": _number(f"{folder}/pids.max"),
        **_block_fields(block),
    }


def _device(text: str) -> tuple[int, int]:
    """`8:0`"""
    major, _, minor = text.partition(":")
    return int(major), int(minor)


def _block_fields(block: list[tuple[int, int, str, int]]) -> dict[str, Any]:
    return {
        "block_io": tuple(block),
    }


def networks(pid: int) -> dict[str, dict[str, int]]:
    """Interfaces but the loopback of a process's network namespace, from /proc/<pid>/net/dev: proc(5)."""
    found = {}
    for words in read_lines(f"/proc/{pid}/net/dev")[2:]:
        name = words[0].rstrip(":")
        if name != "lo" and len(words) >= 13:
            numbers = list(map(int, words[1:]))
            found[name] = {
                **dict(zip(("rx_bytes", "rx_packets", "rx_errors", "rx_dropped"), numbers[0:4], strict=True)),
                **dict(zip(("tx_bytes", "tx_packets", "tx_errors", "tx_dropped"), numbers[8:12], strict=True)),
            }
    return found


def cpu_of_host() -> int:
    """Nanoseconds of all processors since the boot: user, nice, system, idle, iowait, irq, softirq, steal."""
    words = next(iter(read_lines("/proc/stat")), ["cpu"])
    return sum(map(int, words[1:9])) * TICK


def memory_of_host() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _table(path: str) -> dict[str, int]:
    """Lines of a word and a number."""
    return {words[0]: int(words[1]) for words in read_lines(path) if len(words) == 2 and words[1].isdecimal()}


def _number(path: str) -> int:
    """0 for `max`, and where there is no such file."""
    words = next(iter(read_lines(path)), ["0"])
    return int(words[0]) if words and words[0].isdecimal() else 0
