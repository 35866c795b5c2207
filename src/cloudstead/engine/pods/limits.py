"""Limits: whether they make sense, as OCI's `linux.resources`, and as the files of cgroup v1 and v2. Pure, but for device numbers.

Three users: the runtime gets a container's limits in its config.json (`oci_resources`); a pod's outer cgroup and a change while it runs are
written by the host itself (`files_v1`, `files_v2`). The rules are Docker's (moby, daemon/daemon_unix.go, verifyPlatformContainerResources), with one
difference: what the kernel cannot do is refused, where Docker drops it with a warning.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cloudstead.engine.errors import InvalidArgument, Unsupported
from cloudstead.engine.pods.specs import Resources, ThrottleDevice

SMALLEST_MEMORY = 6 << 20
_CPUS = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*")


class Kernel(NamedTuple):
    """What the cgroups of a host can do."""

    version: int = 2  # of the hierarchy with the controllers
    controllers: frozenset[str] = frozenset(("cpu", "cpuset", "memory", "pids", "io"))
    swap: bool = True
    io_weight: bool = True
    cpus: int = 0  # 0: not known
    cpuset: frozenset[int] = frozenset()  # processors that there are; empty: not known
    none: str = ""  # why there are no control groups at all; empty: there are


class Write(NamedTuple):
    """One file of a cgroup. On v1 `controller` says of which hierarchy."""

    controller: str
    file: str
    value: str


def check(wanted: Resources, kernel: Kernel, *, update: bool = False) -> None:
    """Refuse what makes no sense, or cannot be done here.

    Args:
        update: fields that are 0 stay as they are, so what depends on two of them cannot be judged.

    Raises:
        InvalidArgument, Unsupported
    """
    try:
        _check(wanted, kernel, update)
    except Unsupported as error:
        raise Unsupported(f"{error.message} ({kernel.none})" if kernel.none else error.message) from None


def _check(wanted: Resources, kernel: Kernel, update: bool) -> None:
    _check_memory(wanted, kernel, update)
    _check_cpu(wanted, kernel)
    if wanted.pids_limit and "pids" not in kernel.controllers:
        raise Unsupported("Your kernel does not support PIDs limit capabilities or the cgroup is not mounted")
    if wanted.blkio_weight:
        if not 10 <= wanted.blkio_weight <= 1000:
            raise InvalidArgument("Range of blkio weight is from 10 to 1000")
        if not kernel.io_weight:
            raise Unsupported("Your kernel does not support Block I/O weight or the cgroup is not mounted")
    if (wanted.blkio_read_bps or wanted.blkio_write_bps or wanted.blkio_read_iops or wanted.blkio_write_iops) and (
        not kernel.controllers & {"io", "blkio"}
    ):
        raise Unsupported("Your kernel does not support limits of block I/O or the cgroup is not mounted")


def _check_memory(wanted: Resources, kernel: Kernel, update: bool) -> None:
    memory, swap, reservation = wanted.memory, wanted.memory_swap, wanted.memory_reservation
    if (memory or reservation) and "memory" not in kernel.controllers:
        raise Unsupported("Your kernel does not support memory limit capabilities or the cgroup is not mounted")
    if memory and memory < SMALLEST_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if reservation and reservation < SMALLEST_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if swap < -1:
        raise InvalidArgument(f"Invalid value: {swap}, the limit of memory and swap together is a number of bytes, or -1")
    if memory and 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0 and not update:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if memory and reservation and memory < reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if swap > 0 and swap != memory and not kernel.swap:
        raise Unsupported("Your kernel does not support swap limit capabilities or the cgroup is not mounted")
    if wanted.memory_swappiness is not None and wanted.memory_swappiness != -1:
        if not 0 <= wanted.memory_swappiness <= 100:
            raise InvalidArgument(f"Invalid value: {wanted.memory_swappiness}, valid memory swappiness range is 0-100")
        if kernel.version == 2:
            raise Unsupported("Your kernel does not support memory swappiness capabilities: cgroup v2 has none")
    if wanted.oom_kill_disable and kernel.version == 2:
        raise Unsupported("Your kernel does not support OomKillDisable: cgroup v2 has no such switch")


def _check_cpu(wanted: Resources, kernel: Kernel) -> None:
    if wanted.cpu_shares < 0:
        raise InvalidArgument(f"invalid CPU shares ({wanted.cpu_shares}): value must be a positive integer")
    if wanted.cpu_period and not 1000 <= wanted.cpu_period <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < wanted.cpu_quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if (wanted.cpu_shares or wanted.cpu_period or wanted.cpu_quota) and "cpu" not in kernel.controllers:
        raise Unsupported("Your kernel does not support CPU CFS scheduler or the cgroup is not mounted")
    for text, what in ((wanted.cpuset_cpus, "cpus"), (wanted.cpuset_mems, "mems")):
        if text and not _CPUS.fullmatch(text):
            raise InvalidArgument(f"Invalid value {text} for cpuset {what}")
        if text and "cpuset" not in kernel.controllers:
            raise Unsupported("Your kernel does not support cpuset or the cgroup is not mounted")
    if kernel.cpuset and (missing := set(numbers(wanted.cpuset_cpus)) - kernel.cpuset):
        there = ",".join(map(str, sorted(kernel.cpuset)))
        raise InvalidArgument(f"Requested CPUs are not available - requested {wanted.cpuset_cpus}, available: {there} (not {min(missing)})")


def numbers(text: str) -> Iterator[int]:
    """ "0-2,5" is 0, 1, 2, 5."""
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def swap_of(wanted: Resources, kernel: Kernel) -> int:
    """The limit of memory and swap together; 0: none is set, -1: unlimited. Docker's rule: twice the memory, unless something else is asked for."""
    if not kernel.swap:
        return 0
    if wanted.memory_swap:
        return wanted.memory_swap
    return 2 * wanted.memory


# ---------------------------------------------------------------------------------------------------------------- OCI


def oci_resources(wanted: Resources, kernel: Kernel) -> dict[str, Any]:
    """`linux.resources` of config.json, but for devices."""
    memory: dict[str, Any] = {}
    if wanted.memory:
        memory["limit"] = wanted.memory
    if wanted.memory_reservation:
        memory["reservation"] = wanted.memory_reservation
    if swap := swap_of(wanted, kernel):
        memory["swap"] = swap
    if wanted.memory_swappiness is not None and wanted.memory_swappiness != -1:
        memory["swappiness"] = wanted.memory_swappiness
    if wanted.oom_kill_disable:
        memory["disableOOMKiller"] = True
    cpu: dict[str, Any] = {}
    for name, value in (("shares", wanted.cpu_shares), ("quota", wanted.cpu_quota), ("period", wanted.cpu_period)):
        if value:
            cpu[name] = value
    if wanted.cpuset_cpus:
        cpu["cpus"] = wanted.cpuset_cpus
    if wanted.cpuset_mems:
        cpu["mems"] = wanted.cpuset_mems
    resources: dict[str, Any] = {"memory": memory, "cpu": cpu, "blockIO": _oci_block_io(wanted)}
    if wanted.pids_limit:
        resources["pids"] = {"limit": max(wanted.pids_limit, -1)}
    return {name: value for name, value in resources.items() if value}


def _oci_block_io(wanted: Resources) -> dict[str, Any]:
    block: dict[str, Any] = {}
    if wanted.blkio_weight:
        block["weight"] = wanted.blkio_weight
    for name, devices in (
        ("throttleReadBpsDevice", wanted.blkio_read_bps),
        ("throttleWriteBpsDevice", wanted.blkio_write_bps),
        ("throttleReadIOPSDevice", wanted.blkio_read_iops),
        ("throttleWriteIOPSDevice", wanted.blkio_write_iops),
    ):
        if devices:
            block[name] = [{"major": major, "minor": minor, "rate": rate} for major, minor, rate in _throttles(devices)]
    return block


def _throttles(devices: Sequence[ThrottleDevice]) -> Iterator[tuple[int, int, int]]:
    for device in devices:
        try:
            found = os.stat(device.path)
        except OSError as error:
            raise InvalidArgument(f"stat {device.path}: {os.strerror(error.errno or 0).lower()}") from None
        if not stat.S_ISBLK(found.st_mode):
            raise InvalidArgument(f"{device.path} is not a block device")
        if device.rate < 0:
            raise InvalidArgument(f"the rate of {device.path} is below zero")
        yield os.major(found.st_rdev), os.minor(found.st_rdev), device.rate


# ---------------------------------------------------------------------------------------------------------------- cgroup files


KEPT = "="  # a part of a value that stays as it is


def files(wanted: Resources, kernel: Kernel, *, update: bool = False) -> list[Write]:
    """What to write for limits that are not zero.

    Some only go in one order (v1: memory is never above memory with swap), which depends on what is there: `cgroups.write` tries again.
    """
    swap = (wanted.memory_swap if kernel.swap else 0) if update else swap_of(wanted, kernel)
    return files_v1(wanted, swap) if kernel.version == 1 else files_v2(wanted, swap)


def files_v1(wanted: Resources, swap: int) -> list[Write]:
    writes = []
    if wanted.memory:
        writes.append(Write("memory", "memory.limit_in_bytes", str(wanted.memory)))
    if swap:
        writes.append(Write("memory", "memory.memsw.limit_in_bytes", str(swap)))
    if wanted.memory_reservation:
        writes.append(Write("memory", "memory.soft_limit_in_bytes", str(wanted.memory_reservation)))
    if wanted.memory_swappiness is not None and wanted.memory_swappiness != -1:
        writes.append(Write("memory", "memory.swappiness", str(wanted.memory_swappiness)))
    if wanted.oom_kill_disable:
        writes.append(Write("memory", "memory.oom_control", "1"))
    if wanted.cpu_shares:
        writes.append(Write("cpu", "cpu.shares", str(wanted.cpu_shares)))
    if wanted.cpu_period:
        writes.append(Write("cpu", "cpu.cfs_period_us", str(wanted.cpu_period)))
    if wanted.cpu_quota:
        writes.append(Write("cpu", "cpu.cfs_quota_us", str(wanted.cpu_quota)))
    writes += _cpuset(wanted)
    if wanted.pids_limit:
        writes.append(Write("pids", "pids.max", str(wanted.pids_limit) if wanted.pids_limit > 0 else "max"))
    if wanted.blkio_weight:
        writes.append(Write("blkio", "blkio.bfq.weight", str(wanted.blkio_weight)))
    for file, devices in (
        ("read_bps", wanted.blkio_read_bps),
        ("write_bps", wanted.blkio_write_bps),
        ("read_iops", wanted.blkio_read_iops),
        ("write_iops", wanted.blkio_write_iops),
    ):
        writes += [Write("blkio", f"blkio.throttle.{file}_device", f"{major}:{minor} {rate}") for major, minor, rate in _throttles(devices)]
    return writes


def files_v2(wanted: Resources, swap: int) -> list[Write]:
    writes = []
    if wanted.memory:
        writes.append(Write("memory", "memory.max", str(wanted.memory)))
    if swap:
        if swap > 0 and not wanted.memory:
            raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
        writes.append(Write("memory", "memory.swap.max", "max" if swap < 0 else str(swap - wanted.memory)))
    if wanted.memory_reservation:
        writes.append(Write("memory", "memory.low", str(wanted.memory_reservation)))
    if wanted.cpu_shares:
        writes.append(Write("cpu", "cpu.weight", str(weight_of(wanted.cpu_shares))))
    if wanted.cpu_quota or wanted.cpu_period:
        quota = "max" if wanted.cpu_quota < 0 else str(wanted.cpu_quota or KEPT)
        writes.append(Write("cpu", "cpu.max", f"{quota} {wanted.cpu_period or KEPT}"))
    writes += _cpuset(wanted)
    if wanted.pids_limit:
        writes.append(Write("pids", "pids.max", str(wanted.pids_limit) if wanted.pids_limit > 0 else "max"))
    if wanted.blkio_weight:
        writes.append(Write("io", "io.weight", f"default {1 + (wanted.blkio_weight - 10) * 9999 // 990}"))
    for word, devices in (
        ("rbps", wanted.blkio_read_bps),
        ("wbps", wanted.blkio_write_bps),
        ("riops", wanted.blkio_read_iops),
        ("wiops", wanted.blkio_write_iops),
    ):
        writes += [Write("io", "io.max", f"{major}:{minor} {word}={rate or 'max'}") for major, minor, rate in _throttles(devices)]
    return writes


def _cpuset(wanted: Resources) -> list[Write]:
    both = (("cpuset.cpus", wanted.cpuset_cpus), ("cpuset.mems", wanted.cpuset_mems))
    return [Write("cpuset", file, value) for file, value in both if value]


def weight_of(shares: int) -> int:
    """cpu.weight (1 to 10000) of cpu.shares (2 to 262144): the runtimes' linear scale, so that a change means the same as a start."""
    return 1 + ((min(max(shares, 2), 262_144) - 2) * 9999) // 262_142
