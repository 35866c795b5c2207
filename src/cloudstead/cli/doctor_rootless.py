"""`cloudstead doctor` for who is not root: whether containers can run all the same, and what does not hold then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from cloudstead.cli.findings import Finding, which
from cloudstead.engine.host import delegation, subordinate

WITHIN = 20.0
OTHERWISE = "Or run `sudo ./cloudstead up`, or let root start the engine host alone (docs/engine.md)."


def examine() -> Iterator[Finding]:
    """All findings."""
    lacking = list(subordinate.lacking())
    for sentence in lacking:
        what, _, how = sentence.partition(": ")
        yield Finding("rootless", "warning", what, f"Containers need it where Cloudstead runs without root: {how}. {OTHERWISE}")
    if not lacking:
        yield trial()
    yield limits()
    yield way_out()


def trial() -> Finding:
    """Make the namespaces of an engine, and leave them at once."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cloudstead.engine.host.rootless", "--trial"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("rootless", "warning", f"the trial did not end: {error}", "Run it again.")
    if done.returncode == 0:
        return Finding("rootless", "ok", "made the namespaces of an engine for trial")
    said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    return Finding("rootless", "warning", said, f"Containers cannot run without root before that is mended. {OTHERWISE}")


def limits() -> Finding:
    path = delegation.own()
    if not path and not (delegation.ROOT / "cgroup.controllers").exists():
        return Finding(
            "rootless limits", "warning", "cgroup v1", "Without root, limits are refused; boot with systemd.unified_cgroup_hierarchy=1."
        )
    if not delegation.is_delegated(path) and not delegation.scope():
        return Finding(
            "rootless limits",
            "warning",
            "no cgroup is delegated to this user",
            "Without root, limits are refused: log in so that systemd starts a session for this user (`machinectl shell`, ssh), or start Cloudstead by a "
            "unit with Delegate=yes.",
        )
    return Finding("rootless limits", "ok", "a cgroup is delegated to this user, or systemd gives one")


def way_out() -> Finding:
    if which("slirp4netns") is None:
        return Finding(
            "rootless network",
            "warning",
            "slirp4netns is not installed",
            "Without root, containers reach nothing outside before `apt-get install slirp4netns`; published ports and names work.",
        )
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return Finding(
            "rootless network",
            "warning",
            "/dev/net/tun cannot be opened",
            "Without root, containers reach nothing outside: `chmod 666 /dev/net/tun` as root.",
        )
    return Finding("rootless network", "ok", "slirp4netns leads out")
