"""Sizes of tasks: "256", "1 vCPU", "0.5 GB", and the pairs of them that Fargate has.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size
"""

from __future__ import annotations

import re
from decimal import Decimal

from cloudstead.services.ecs.checks import refused

SMALLEST_CPU, LARGEST_CPU = 128, 196_608
LARGEST_MEMORY = 2**31 - 1  # MiB
_CPU = re.compile(r"\s*([0-9]{0,9}(?:\.[0-9]{1,6})?)\s*(vcpus?)?\s*", re.IGNORECASE | re.ASCII)
_MEMORY = re.compile(r"\s*([0-9]{0,10}(?:\.[0-9]{1,6})?)\s*(gb)?\s*", re.IGNORECASE | re.ASCII)
_GUIDE = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."

# CPU units: (the least MiB, the most, the step between)
FARGATE = {
    512: (1024, 4096, 1024),
    1024: (2048, 8192, 1024),
    2048: (4096, 16_384, 1024),
    4096: (8192, 30_720, 1024),
    8192: (16_384, 61_440, 4096),
    16_384: (32_768, 122_880, 8192),
}


def cpu_units(text: str) -> int:
    """
    Raises:
        ClientException
    """
    units = _number(_CPU.fullmatch(text))
    if units is None or not SMALLEST_CPU <= units <= LARGEST_CPU:
        refused(f"Invalid 'cpu' setting for task. {_GUIDE}")
    return units


def memory_mib(text: str) -> int:
    """
    Raises:
        ClientException
    """
    mib = _number(_MEMORY.fullmatch(text))
    if mib is None or not 0 < mib <= LARGEST_MEMORY:
        refused(f"Invalid 'memory' setting for task. {_GUIDE}")
    return mib


def _number(found: re.Match[str] | None) -> int | None:
    """What was written, in units or MiB; vCPUs and GB have 1024 of them."""
    if found is None or not found[1]:
        return None
    value = Decimal(found[1]) * (1024 if found[2] else 1)
    return int(value) if value == int(value) else None


def fargate_has(cpu: int, memory: int) -> bool:
    if cpu == 256:
        return memory in (512, 1024, 2048)
    if cpu not in FARGATE:
        return False
    least, most, step = FARGATE[cpu]
    return least <= memory <= most and memory % step == 0
