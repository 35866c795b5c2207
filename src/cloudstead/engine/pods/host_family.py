"""The processes of a container where no cgroup says which they are: those of its PID namespace, and what /proc says that they use.

The namespace ends with its first process, so nothing of it can stay behind when that is killed.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from typing import Any

from cloudstead.engine.pods import cgroups
from cloudstead.engine.pods.cgroup_stats import TICK
from cloudstead.engine.pods.host_records import Record


def processes(record: Record) -> list[int]:
    """All processes of a container."""
    tree = cgroups.tree()
    return cgroups.processes(tree, record.cgroup) if tree.roots else in_namespace_of(record.init.pid)


def in_namespace_of(pid: int) -> list[int]:
    try:
        wanted = os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return []
    return [other for other in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _is_in(other, wanted)]


def _is_in(pid: int, namespace: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") == namespace
    except OSError:  # ended, or somebody else's
        return False


def usage(pids: Iterable[int]) -> dict[str, Any]:
    """The fields of Stats that can be told: what ended children used is counted with their parents; memory that is shared counts for each."""
    user = system = memory = count = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
        memory += int(fields[21]) * resource.getpagesize()
        count += 1
    return {
        "cpu_total": (user + system) * TICK,
        "cpu_user": user * TICK,
        "cpu_system": system * TICK,
        "memory": memory,
        "memory_usage": memory,
        "pids": count,
        "memory_limit": 0,
    }
