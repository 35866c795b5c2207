"""SecurityOpt and capabilities."""

from __future__ import annotations

import re

import msgspec

from cloudstead.engine.dockerapi import merging, shapes
from cloudstead.engine.errors import InvalidArgument, Unsupported


class Protection(msgspec.Struct, frozen=True, kw_only=True):
    seccomp: str = ""
    no_new_privileges: bool = False


def security(host: shapes.HostConfig) -> Protection:
    """Raises InvalidArgument and Unsupported."""
    seccomp, no_new_privileges = "", False
    for text in host.security_opt or ():
        name, separator, value = text.partition("=") if "=" in text else text.partition(":")
        if name == "no-new-privileges":
            if value not in ("", "true", "false"):
                raise InvalidArgument(f'invalid --security-opt 2: "{text[:100]}"')
            no_new_privileges = value != "false"
        elif name == "seccomp" and separator:
            seccomp = _seccomp(value)
        elif (name == "apparmor" and value in ("unconfined", "")) or (name == "label" and value == "disable"):
            continue  # there is neither AppArmor nor SELinux around containers here, so it is so already
        elif name in ("apparmor", "label"):
            raise Unsupported(f"SecurityOpt {name} is not supported: containers run without profiles of AppArmor and labels of SELinux")
        else:
            raise InvalidArgument(f'invalid --security-opt 2: "{text[:100]}"')
    return Protection(seccomp=seccomp, no_new_privileges=no_new_privileges)


def _seccomp(value: str) -> str:
    if value in ("unconfined", ""):
        return value
    if value == "builtin":
        return ""
    try:
        profile = msgspec.json.decode(value)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidArgument(f"opening seccomp profile failed: {error}") from None
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        raise InvalidArgument("decoding seccomp profile failed: it has no defaultAction")
    return value


def capabilities(names: list[str] | str | None) -> tuple[str, ...]:
    """Without CAP_, in capitals. Whether the kernel knows them is the driver's to say."""
    found = []
    for name in merging.words(names) or ():
        bare = name.upper().removeprefix("CAP_")
        if not re.fullmatch(r"[A-Z_]{2,40}", bare):
            raise InvalidArgument(f'invalid CapAdd or CapDrop: unknown capability: "{name[:100]}"')
        found.append(bare)
    return tuple(dict.fromkeys(found))
