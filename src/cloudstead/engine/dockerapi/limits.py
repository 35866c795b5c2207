"""Limits: Docker's `Resources` to the engine's, for create and for update."""

from __future__ import annotations

import os
import re

from cloudstead.engine.dockerapi import shapes
from cloudstead.engine.dockerapi.refusals import refuse
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.pods import specs

LEAST_MEMORY = 6 << 20
CPU_PERIOD = 100_000  # microseconds; what `--cpus` is counted in
CPUSET = re.compile(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*")

UNSUPPORTED = {
    "cgroup_parent": "the engine has cgroups of its own",
    "blkio_weight_device": "no kernel of today has the scheduler for it; use the BlkioDevice limits",
    "cpu_realtime_period": "containers get no real-time processor time here",
    "cpu_realtime_runtime": "containers get no real-time processor time here",
    "device_requests": "there is no device driver with these capabilities",
    "kernel_memory": "Linux has no such limit any more",
    "kernel_memory_tcp": "cgroup v2 has no such limit",
    "cpu_count": "it is for Windows only",
    "cpu_percent": "it is for Windows only",
    "io_maximum_iops": "it is for Windows only",
    "io_maximum_bandwidth": "it is for Windows only",
}


def resources(wanted: shapes.Limits) -> specs.Resources:
    """Raises InvalidArgument and Unsupported, where there are such in Docker's words."""
    refuse(wanted, UNSUPPORTED)
    check_memory(wanted)
    quota, period = cpu_time(wanted)
    for name in ("cpuset_cpus", "cpuset_mems"):
        value = getattr(wanted, name)
        if value and not CPUSET.fullmatch(value):
            raise InvalidArgument(f"Invalid value {value[:100]} for {name.replace('_', ' ')}")
    if wanted.cpu_shares < 0:
        raise InvalidArgument("invalid CPU shares: must be a positive integer")
    if wanted.blkio_weight and not 10 <= wanted.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    return specs.Resources(
        memory=wanted.memory,
        memory_reservation=wanted.memory_reservation,
        memory_swap=wanted.memory_swap,
        memory_swappiness=None if wanted.memory_swappiness == -1 else wanted.memory_swappiness,
        cpu_shares=wanted.cpu_shares,
        cpu_quota=quota,
        cpu_period=period,
        cpuset_cpus=wanted.cpuset_cpus,
        cpuset_mems=wanted.cpuset_mems,
        pids_limit=max(-1, wanted.pids_limit or 0),
        oom_kill_disable=bool(wanted.oom_kill_disable),
        blkio_weight=wanted.blkio_weight,
        blkio_read_bps=throttles(wanted.blkio_device_read_bps),
        blkio_write_bps=throttles(wanted.blkio_device_write_bps),
        blkio_read_iops=throttles(wanted.blkio_device_read_iops),
        blkio_write_iops=throttles(wanted.blkio_device_write_iops),
    )


def check_memory(wanted: shapes.Limits) -> None:
    memory, swap, kept = wanted.memory, wanted.memory_swap, wanted.memory_reservation
    if memory < 0 or kept < 0 or swap < -1:
        raise InvalidArgument("invalid memory limit: it must not be negative")
    if 0 < memory < LEAST_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if swap > 0 and not memory:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < swap < memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if 0 < kept < LEAST_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < memory < kept:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if wanted.memory_swappiness is not None and not -1 <= wanted.memory_swappiness <= 100:
        raise InvalidArgument(f"Invalid value: {wanted.memory_swappiness}, valid memory swappiness range is 0-100")
    if wanted.oom_kill_disable and not memory:
        raise InvalidArgument(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources"
        )


def cpu_time(wanted: shapes.Limits) -> tuple[int, int]:
    """Quota and period in microseconds."""
    quota, period, nano = wanted.cpu_quota, wanted.cpu_period, wanted.nano_cpus
    if nano:
        for other, name in ((period, "Period"), (quota, "Quota")):
            if other:
                raise InvalidArgument(f"Conflicting options: Nano CPUs and CPU {name} cannot both be set.")
        count = os.cpu_count() or 1
        if not 0 < nano <= count * 1_000_000_000:
            raise InvalidArgument(f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
        return nano * CPU_PERIOD // 1_000_000_000, CPU_PERIOD
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < 1000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    return max(0, quota), period


def throttles(wanted: list[shapes.ThrottleDevice] | None) -> tuple[specs.ThrottleDevice, ...]:
    for each in wanted or ():
        if not each.path.startswith("/") or each.rate < 0:
            raise InvalidArgument(f"invalid limit of a block device: {each.path}:{each.rate}")
    return tuple(specs.ThrottleDevice(path=each.path, rate=each.rate) for each in wanted or ())
