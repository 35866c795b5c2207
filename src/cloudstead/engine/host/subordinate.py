"""What a user needs for an engine without root: ids of their own for those of containers, and a kernel that lets them make namespaces.

/etc/subuid and /etc/subgid give users ranges of ids, which newuidmap and newgidmap (set-user-id programs of Debian's package uidmap) put into a user namespace's
map: see subuid(5), newuidmap(1), user_namespaces(7). An image has files of more than one user, so without a range none can be unpacked.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FILES = {"uid": Path("/etc/subuid"), "gid": Path("/etc/subgid")}
PROGRAMS = {"uid": "newuidmap", "gid": "newgidmap"}
ENOUGH = 65536  # ids that images may use
SYSCTLS = Path("/proc/sys")
APPARMOR = "kernel/apparmor_restrict_unprivileged_userns"


def lacking() -> Iterator[str]:
    """Sentences on what this user's engine lacks here; none: it can be tried."""
    for program in PROGRAMS.values():
        if find(program) is None:
            yield f"{program} is not installed: `apt-get install uidmap`"
            return
    name = user_name()
    for kind, path in FILES.items():
        if sum(count for _, count in ranges(kind)) < ENOUGH:
            yield f"{path} gives {name} no range of {ENOUGH} ids: `usermod --add-sub{kind}s 100000-165535 {name}` as root (a range that nobody has)"
    if sysctl("kernel/unprivileged_userns_clone") == "0":
        yield "users may make no namespaces here: `sysctl -w kernel.unprivileged_userns_clone=1` as root"
    if sysctl("user/max_user_namespaces") == "0":
        yield "no user namespaces can be made here: `sysctl -w user.max_user_namespaces=10000` as root"


def hint() -> str:
    """What may be the reason when namespaces can be made but nothing done in them."""
    if sysctl(APPARMOR) == "1":
        return " (AppArmor takes the rights in user namespaces away from programs without a profile: `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root)"
    return ""


def ranges(kind: str) -> list[tuple[int, int]]:
    """First and number of the ids that this user was given. A line is `name or uid:first:count`."""
    try:
        lines = FILES[kind].read_text().splitlines()
    except OSError:
        return []
    names = (user_name(), str(os.getuid()))
    words = [line.strip().split(":") for line in lines]
    return [(int(one[1]), int(one[2])) for one in words if len(one) == 3 and one[0] in names and one[1].isdecimal() and one[2].isdecimal()]


def mapping(kind: str) -> list[str]:
    """Arguments for newuidmap or newgidmap: this user is root inside, the ranges follow one after the other from 1."""
    words, inside = ["0", str(os.getuid() if kind == "uid" else os.getgid()), "1"], 1
    for first, count in ranges(kind):
        words += [str(inside), str(first), str(count)]
        inside += count
    return words


def user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{PATH}")


def sysctl(name: str) -> str:
    """Empty where there is none of that name."""
    try:
        return (SYSCTLS / name).read_text().strip()
    except OSError:
        return ""
