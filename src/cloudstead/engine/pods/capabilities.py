"""Which capabilities a container gets: Docker's default ones, what is added and dropped, and never more than the host has itself. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cloudstead.engine.errors import InvalidArgument

ALL = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW
    IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD
    LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
""".split()  # noqa: SIM905
"""By number: capabilities(7), linux/capability.h."""

NAMES = tuple(f"CAP_{name}" for name in ALL)

DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
"""Docker's (docs.docker.com/engine/containers/run, "Runtime privilege and Linux capabilities")."""


def from_mask(mask: int) -> tuple[str, ...]:
    """Names of the bits of a capability set, as in /proc/<pid>/status."""
    return tuple(name for number, name in enumerate(NAMES) if mask >> number & 1)


def of_container(add: Sequence[str], drop: Sequence[str], *, privileged: bool, available: Collection[str]) -> tuple[str, ...]:
    """The set of a container.

    Args:
        available: what the host process has; nobody can give more.

    Raises:
        InvalidArgument: an unknown name, or one that the host lacks.
    """
    everything = tuple(name for name in NAMES if name in available)
    if privileged:
        return everything
    added, dropped = _normalized(add, available), _normalized(drop, available)
    if "ALL" in added:
        return tuple(name for name in everything if name not in dropped)
    basis: tuple[str, ...] = () if "ALL" in dropped else DEFAULT
    kept = [name for name in basis if name not in dropped and name in available]
    return tuple(dict.fromkeys([*kept, *added]))


def _normalized(names: Sequence[str], available: Collection[str]) -> list[str]:
    """`net_admin` and `CAP_NET_ADMIN` are CAP_NET_ADMIN; ALL stays."""
    found = []
    for name in names:
        upper = name.upper()
        if upper in ("ALL", "CAP_ALL"):
            found.append("ALL")
            continue
        full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
        if full not in NAMES:
            raise InvalidArgument(f'unknown capability: "{full}"')
        if full not in available:
            raise InvalidArgument(f'capability not supported by your kernel or not available in the current environment: "{full}"')
        found.append(full)
    return found
