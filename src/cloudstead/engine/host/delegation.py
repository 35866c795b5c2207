"""A cgroup of the user's own, for limits without root.

Only cgroup v2 can be given to a user (v1's controllers are not safe in their hands: cgroup-v2.rst, "Delegation"). systemd does so for a scope with `Delegate=yes`; a service
that has it is fine as it is. A process can only be moved where its own group and the other lie below one that the user may write, so the host itself has to be in there;
and a group that hands controllers down may have no processes of its own: the host goes into a leaf.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from cloudstead.engine.host.subordinate import find

ROOT = Path("/sys/fs/cgroup")
LEAF = "cloudstead-host"
WITHIN = 10.0


def own() -> str:
    """The path of this process's group on cgroup v2; empty where that is not what the machine has."""
    if not (ROOT / "cgroup.controllers").exists():
        return ""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return next((line[3:].rstrip("/") for line in lines if line.startswith("0::/")), "")


def above_leaf() -> str:
    """The group that this host was given; empty: none."""
    path = own()
    return path.removesuffix(f"/{LEAF}") if path.endswith(f"/{LEAF}") else ""


def is_delegated(path: str) -> bool:
    folder = ROOT / path.lstrip("/")
    return bool(path) and all(os.access(folder / name, os.W_OK) for name in ("", "cgroup.procs", "cgroup.subtree_control"))


def scope() -> list[str]:
    """What to put before a command so that systemd starts it in a cgroup of its own; nothing where that is not needed, or cannot be had."""
    path = own()
    program = find("systemd-run")
    if not path or program is None or is_delegated(path.removesuffix(f"/{LEAF}")):
        return []
    command = [program, "--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes", "--"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        if subprocess.run([*command, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=WITHIN, check=False).returncode == 0:
            return command
    return []


def take() -> str:
    """Go into the leaf of the group that this process was started in, with all others that are in it. The group's path; empty: it is not ours."""
    path = own().removesuffix(f"/{LEAF}")
    if not is_delegated(path):
        return ""
    group = ROOT / path.lstrip("/")
    try:
        (group / LEAF).mkdir(exist_ok=True)
        for pid in (str(os.getpid()), *(group / "cgroup.procs").read_text().split()):
            with contextlib.suppress(ProcessLookupError):
                (group / LEAF / "cgroup.procs").write_text(pid)
    except OSError:
        return ""
    return path
