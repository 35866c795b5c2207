"""The types of machines that can be had, with what is real about them here: processors, memory, how many interfaces. Data.

https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-types.html
"""

from __future__ import annotations

from functools import cache

import msgspec


class Family(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    sizes: dict[str, tuple[int, float]]  # vCPU and GiB
    ghz: float
    architectures: tuple[str, ...] = ("x86_64",)
    manufacturer: str = "Intel"
    hypervisor: str = "nitro"
    threads: int = 2  # for each core, where there is more than one vCPU
    burstable: bool = False


class MachineType(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    family: Family
    vcpus: int
    mebibytes: int
    interfaces: int
    addresses: int  # of an interface

    @property
    def cores(self) -> int:
        return max(1, self.vcpus // self.family.threads)


_T = {"nano": (2, 0.5), "micro": (2, 1), "small": (2, 2), "medium": (2, 4), "large": (2, 8), "xlarge": (4, 16), "2xlarge": (8, 32)}
_T2 = _T | {"nano": (1, 0.5), "micro": (1, 1), "small": (1, 2)}
_INTERFACES = {
    "nano": (2, 2),
    "micro": (2, 2),
    "small": (3, 4),
    "medium": (2, 4),
    "large": (3, 10),
    "xlarge": (4, 15),
    "2xlarge": (4, 15),
    "4xlarge": (8, 30),
    "8xlarge": (8, 30),
    "9xlarge": (8, 30),
    "12xlarge": (8, 30),
}
_LARGER = (15, 50)
_OF_T = {"medium": (3, 6), "large": (3, 12)}
_OF_T2 = _OF_T | {"xlarge": (3, 15), "2xlarge": (3, 15)}


def _sizes(gib_each: int, times: str, *, medium: bool = False) -> dict[str, tuple[int, float]]:
    """From large (2 vCPU) up to so many times an xlarge (4 vCPU), with so much memory for each vCPU."""
    found: dict[str, tuple[int, float]] = {"medium": (1, gib_each)} if medium else {}
    found |= {"large": (2, 2 * gib_each), "xlarge": (4, 4 * gib_each)}
    return found | {f"{n}xlarge": (4 * int(n), 4 * int(n) * gib_each) for n in times.split()}


_FIFTH, _SIXTH, _SEVENTH = "2 4 8 12 16 24", "2 4 8 12 16 24 32", "2 4 8 12 16 24 48"
_GRAVITON = "2 4 8 12 16"


def _graviton(name: str, gib_each: int, ghz: float) -> Family:
    return Family(
        name=name, sizes=_sizes(gib_each, _GRAVITON, medium=True), ghz=ghz, architectures=("arm64",), manufacturer="AWS", threads=1
    )


FAMILIES = (
    Family(name="t2", sizes=_T2, ghz=2.5, hypervisor="xen", threads=1, burstable=True, architectures=("i386", "x86_64")),
    Family(name="t3", sizes=_T, ghz=2.5, burstable=True),
    Family(name="t3a", sizes=_T, ghz=2.2, manufacturer="AMD", burstable=True),
    Family(name="t4g", sizes=_T, ghz=2.5, architectures=("arm64",), manufacturer="AWS", threads=1, burstable=True),
    Family(name="m5", sizes=_sizes(4, _FIFTH), ghz=3.1),
    Family(name="m6i", sizes=_sizes(4, _SIXTH), ghz=3.5),
    Family(name="m7i", sizes=_sizes(4, _SEVENTH), ghz=3.2),
    _graviton("m6g", 4, 2.5),
    _graviton("m7g", 4, 2.6),
    Family(name="c5", sizes=_sizes(2, "2 4 9 12 18 24"), ghz=3.4),
    Family(name="c6i", sizes=_sizes(2, _SIXTH), ghz=3.5),
    Family(name="c7i", sizes=_sizes(2, _SEVENTH), ghz=3.2),
    _graviton("c6g", 2, 2.5),
    _graviton("c7g", 2, 2.6),
    Family(name="r5", sizes=_sizes(8, _FIFTH), ghz=3.1),
    Family(name="r6i", sizes=_sizes(8, _SIXTH), ghz=3.5),
    _graviton("r6g", 8, 2.5),
    _graviton("r7g", 8, 2.6),
)


def _interfaces(family: Family, size: str) -> tuple[int, int]:
    special = _OF_T2 if family.name == "t2" else _OF_T if family.burstable else {}
    return special.get(size) or _INTERFACES.get(size, _LARGER)


@cache
def types() -> dict[str, MachineType]:
    """All types by name."""
    found = {}
    for family in FAMILIES:
        for size, (vcpus, gib) in family.sizes.items():
            interfaces, addresses = _interfaces(family, size)
            name = f"{family.name}.{size}"
            found[name] = MachineType(
                name=name, family=family, vcpus=vcpus, mebibytes=int(gib * 1024), interfaces=interfaces, addresses=addresses
            )
    return found
