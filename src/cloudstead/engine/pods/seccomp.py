"""Seccomp profiles: Docker's default one, and those that a user brings in Docker's JSON, as OCI's `linux.seccomp`. Pure.

Docker's form differs from OCI's in its conditions: a rule may ask for a capability, a machine or a kernel, and whether it holds is decided here, for one
container on one host. See docs.docker.com/engine/security/seccomp and the runtime-spec, config-linux.md, "Seccomp".
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.pods import seccomp_default as default

ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
EPERM, ENOSYS = 1, 38
GO_NAMES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "x86",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}
ACTIONS = {
    f"SCMP_ACT_{name}" for name in ("KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG")
}  # not NOTIFY: nobody would answer
OPERATORS = {f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")}


class Machine(NamedTuple):
    """Where it runs."""

    name: str  # as `uname -m`
    kernel: tuple[int, int]


@functools.cache
def this_machine() -> Machine:
    uname = os.uname()
    numbers = re.match(r"(\d+)\.(\d+)", uname.release)
    return Machine(uname.machine, (int(numbers[1]), int(numbers[2])) if numbers else (0, 0))


# ---------------------------------------------------------------------------------------------------------------- Docker's form


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    index: int
    value: int
    op: str
    valueTwo: int = 0


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    minKernel: str = ""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    action: str
    names: tuple[str, ...] = ()
    name: str = ""  # the older form
    args: tuple[Argument, ...] | None = None
    errnoRet: int | None = None
    comment: str = ""
    includes: Condition | None = None
    excludes: Condition | None = None


class ArchMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    architecture: str
    subArchitectures: tuple[str, ...] | None = None


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    defaultAction: str = ""
    defaultErrnoRet: int | None = None
    architectures: tuple[str, ...] | None = None
    archMap: tuple[ArchMap, ...] | None = None
    flags: tuple[str, ...] = ()
    syscalls: tuple[Rule, ...] | None = None


def custom_profile(text: str, capabilities: Collection[str], machine: Machine) -> dict[str, Any] | None:
    """What a profile in Docker's JSON means for a container with these capabilities; None: nothing is filtered.

    Raises:
        InvalidArgument
    """
    try:
        profile = msgspec.json.decode(text, type=Profile)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from None
    if not profile.defaultAction and not profile.syscalls:
        return None
    if profile.architectures and profile.archMap:
        raise InvalidArgument(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'"
        )
    _known(profile.defaultAction, ACTIONS)
    seccomp: dict[str, Any] = {"defaultAction": profile.defaultAction, "syscalls": []}
    if profile.defaultErrnoRet is not None:
        seccomp["defaultErrnoRet"] = profile.defaultErrnoRet
    if architectures := _architectures(profile, machine):
        seccomp["architectures"] = architectures
    if profile.flags:
        seccomp["flags"] = list(profile.flags)
    for rule in profile.syscalls or ():
        if _applies(rule, capabilities, machine):
            seccomp["syscalls"].append(_oci(rule))
    return seccomp


def _known(word: str, words: set[str]) -> None:
    if word not in words:
        raise InvalidArgument(f"the seccomp profile says {word!r}, which this host does not know or does not allow")


def _architectures(profile: Profile, machine: Machine) -> list[str]:
    if profile.architectures:
        return list(profile.architectures)
    native = default.ARCHITECTURES.get(machine.name, ("",))[0]
    for entry in profile.archMap or ():
        if entry.architecture == native:
            return [native, *(entry.subArchitectures or ())]
    return []


def _applies(rule: Rule, capabilities: Collection[str], machine: Machine) -> bool:
    arch = GO_NAMES.get(machine.name, machine.name)
    if (without := rule.excludes) is not None and (
        arch in without.arches
        or any(capability in capabilities for capability in without.caps)
        or (without.minKernel and machine.kernel >= _kernel(without.minKernel))
    ):
        return False
    only = rule.includes
    return only is None or (
        (not only.arches or arch in only.arches)
        and all(capability in capabilities for capability in only.caps)
        and (not only.minKernel or machine.kernel >= _kernel(only.minKernel))
    )


def _kernel(text: str) -> tuple[int, int]:
    numbers = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", text)
    if numbers is None:
        raise InvalidArgument(f'invalid kernel version: {text}, expected "<kernel>.<major>"')
    return int(numbers[1]), int(numbers[2])


def _oci(rule: Rule) -> dict[str, Any]:
    if rule.name and rule.names:
        raise InvalidArgument("both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'")
    _known(rule.action, ACTIONS)
    syscall: dict[str, Any] = {"names": [rule.name] if rule.name else list(rule.names), "action": rule.action}
    if rule.errnoRet is not None:
        syscall["errnoRet"] = rule.errnoRet
    for argument in rule.args or ():
        _known(argument.op, OPERATORS)
    if rule.args:
        syscall["args"] = [msgspec.to_builtins(argument) for argument in rule.args]
    return syscall


# ---------------------------------------------------------------------------------------------------------------- the default


@functools.lru_cache(maxsize=8)
def default_profile(capabilities: frozenset[str], machine: Machine) -> dict[str, Any]:
    """Docker's default profile for a container with these capabilities. Not to be changed by whoever gets it: others have the same."""
    allowed = list(default.ALWAYS)
    if machine.kernel >= (4, 8):
        allowed += default.SINCE_KERNEL_4_8
    allowed += default.BY_MACHINE.get(machine.name, ())
    for capability, names in default.BY_CAPABILITY.items():
        if capability in capabilities:
            allowed += names
    return {
        "defaultAction": ERRNO,
        "defaultErrnoRet": EPERM,
        "architectures": list(default.ARCHITECTURES.get(machine.name, ())),
        "syscalls": [
            {"names": list(dict.fromkeys(allowed)), "action": ALLOW},
            *_sockets(),
            *_personalities(),
            *_clone(capabilities, machine),
        ],
    }


def _when(name: str, index: int, value: int, op: str) -> dict[str, Any]:
    return {"names": [name], "action": ALLOW, "args": [{"index": index, "value": value, "op": f"SCMP_CMP_{op}"}]}


def _sockets() -> list[dict[str, Any]]:
    return [
        _when("socket", 0, default.AF_ALG, "LT"),
        _when("socket", 0, default.AF_ALG + 1, "EQ"),
        _when("socket", 0, default.AF_VSOCK, "GT"),
    ]


def _personalities() -> list[dict[str, Any]]:
    return [_when("personality", 0, value, "EQ") for value in default.PERSONALITIES]


def _clone(capabilities: Collection[str], machine: Machine) -> list[dict[str, Any]]:
    """No new namespaces. clone3 hides its flags in memory where a filter cannot look: it "does not exist", and C libraries then use clone."""
    if "CAP_SYS_ADMIN" in capabilities:
        return []
    flags = _when("clone", 1 if machine.name.startswith("s390") else 0, default.NAMESPACE_FLAGS, "MASKED_EQ")
    return [flags, {"names": ["clone3"], "action": ERRNO, "errnoRet": ENOSYS}]
