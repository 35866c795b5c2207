"""`cloudstead doctor`: what this machine can do, each finding with the sentence that fixes it.

A check is a function that returns one `Finding` (or several). `missing` is something without which a part of Cloudstead cannot work,
`warning` something that works worse or only partly. The exit status is 1 when something that `cloudstead up` itself needs is missing.
"""

from __future__ import annotations

import argparse
import ctypes
import ipaddress
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from cloudstead import runfile
from cloudstead.cli import doctor_engine, ports
from cloudstead.cli.findings import Finding, State, which
from cloudstead.cli.terminal import out, out_json, paint, table
from cloudstead.settings import DEFAULT_PORT

CGROUP = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "io", "memory", "pids")
FREE_WANTED = 10 << 30  # bytes: a few images and their layers
FREE_NEEDED = 1 << 30
REGISTRY = "000000000000.dkr.ecr.us-east-1.localhost"
RESOLVES_WITHIN = 5.0  # seconds
KERNEL_NEEDED = (5, 11)  # overlayfs in user namespaces; cgroup v2 kill is 5.14
_MS_NODEV, _MNT_DETACH = 4, 2  # sys/mount.h


def doctor(arguments: argparse.Namespace) -> int:
    """Look at everything and tell."""
    found = list(examine(arguments.data, arguments.port))
    stops = any(finding.needed and finding.state == "missing" for finding in found)
    if arguments.json:
        out_json({"ready": not stops, "findings": [asdict(finding) for finding in found]})
        return int(stops)
    marks = {"ok": paint("ok     ", "green"), "warning": paint("warning", "yellow"), "missing": paint("missing", "red")}
    lines = table([finding.name, finding.detail] for finding in found)
    for finding, line in zip(found, lines, strict=True):
        out(f"{marks[finding.state]}  {line}")
        if finding.fix:
            out(f"         {paint('→', 'cyan')} {finding.fix}")
    wrong = sum(finding.state != "ok" for finding in found)
    out()
    if stops:
        out("Cloudstead cannot start here before what is marked as missing above is mended.")
    elif wrong:
        out("Cloudstead can start here. What is marked matters to the parts that the sentences name.")
    else:
        out("Everything that Cloudstead uses is here.")
    return int(stops)


def examine(data: Path, port: int) -> Iterator[Finding]:
    """All findings, from the ground up."""
    checks: list[Callable[[], Finding | Iterable[Finding]]] = [
        python,
        kernel,
        user,
        user_namespaces,
        cgroups,
        lambda: overlayfs(data),
        seccomp,
        tun,
        nftables,
        iptables,
        lambda: registry_names(port),
        doctor_engine.examine,
        companion,
        lambda: data_directory(data),
        lambda: disk(data),
        lambda: port_free(data, port),
    ]
    for check in checks:
        found = check()
        yield from (found,) if isinstance(found, Finding) else found


def python() -> Finding:
    """Always fine: an older one could not run this file, and the launcher says so before it tries."""
    return Finding("python", "ok", platform.python_version())


def kernel() -> Finding:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split("+")[0].split(".")[:2] if part.isdigit())
    if platform.system() != "Linux":
        return Finding("kernel", "missing", platform.system(), "Run Cloudstead on Linux.", needed=True)
    if numbers < KERNEL_NEEDED:
        return Finding("kernel", "warning", f"Linux {release}", "Containers want Linux 5.11 or newer; the rest works.")
    return Finding("kernel", "ok", f"Linux {release}")


def user() -> Finding:
    if os.geteuid() == 0:
        return Finding("user", "ok", "root")
    return Finding(
        "user",
        "warning",
        f"uid {os.geteuid()}",
        "Containers run without root where what is said of `rootless` below allows it; all of them, and limits everywhere, with `sudo ./cloudstead up`.",
    )


def user_namespaces() -> Finding:
    """Whether a process may make a user namespace; tried in a child, since there is no way back out of one."""
    code = "import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).unshare(0x10000000) == 0 else 1)"
    try:
        done = subprocess.run([sys.executable, "-I", "-c", code], timeout=10, check=False, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        done = None
    if done is not None and done.returncode == 0:
        return Finding("user namespaces", "ok", "can be made")
    return Finding(
        "user namespaces",
        "warning",
        "cannot be made",
        "Rootless isolation needs them: `sysctl -w kernel.unprivileged_userns_clone=1` (Debian), "
        "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu), or user.max_user_namespaces above 0.",
    )


def cgroups() -> Finding:
    """Which version is mounted, and whether limits can be set here."""
    if (CGROUP / "cgroup.controllers").exists():
        there = (CGROUP / "cgroup.controllers").read_text().split()
        lacking = [name for name in CONTROLLERS if name not in there]
        given = (CGROUP / "cgroup.subtree_control").read_text().split()
        detail = f"v2, controllers {' '.join(there) or 'none'}, delegated {' '.join(given) or 'none'}"
        if lacking:
            return Finding(
                "cgroups",
                "warning",
                detail,
                f"Limits on {', '.join(lacking)} cannot be set; enable the controllers in the kernel or the outer container.",
            )
        if not os.access(CGROUP, os.W_OK):
            return Finding(
                "cgroups",
                "warning",
                detail,
                "Limits need a writable cgroup: run as root, or give this user a delegated one (`systemd-run --user -p Delegate=yes`).",
            )
        return Finding("cgroups", "ok", detail)
    if (CGROUP / "unified").is_dir():
        return Finding(
            "cgroups", "warning", "hybrid (v1 with v2 beside it)", "Limits work; for v2 boot with systemd.unified_cgroup_hierarchy=1."
        )
    mounted = [name for name in ("cpu", "memory", "pids") if (CGROUP / name).is_dir()]
    if mounted:
        return Finding(
            "cgroups",
            "warning",
            f"v1, controllers {' '.join(mounted)}",
            "Limits work; for v2 boot with systemd.unified_cgroup_hierarchy=1.",
        )
    return Finding("cgroups", "missing", "not mounted", "Limits of containers need them: `mount -t cgroup2 none /sys/fs/cgroup` as root.")


def overlayfs(data: Path) -> Finding:
    """Really mount one where the layers will lie: being listed in /proc/filesystems says nothing about the file system below."""
    try:
        listed = "overlay" in Path("/proc/filesystems").read_text().split()
    except OSError:
        listed = False
    if os.geteuid() != 0:
        state: State = "ok" if listed else "warning"
        return Finding(
            "overlayfs",
            state,
            "listed by the kernel; a trial mount needs root" if listed else "not loaded",
            "" if listed else "Run `modprobe overlay` as root.",
        )
    base = data if data.is_dir() else next((folder for folder in data.parents if folder.is_dir()), Path("/"))
    try:
        with tempfile.TemporaryDirectory(dir=base, prefix=".overlay-trial-") as name:
            error = _try_overlay(Path(name))
    except OSError as failure:
        return Finding("overlayfs", "warning", f"not tried: {failure.strerror}", f"Make {base} writable.")
    if error:
        return Finding(
            "overlayfs",
            "missing",
            f"a trial mount in {base} failed: {error}",
            "Run `modprobe overlay`, or put --data on ext4 or xfs: layers of images need it.",
        )
    return Finding("overlayfs", "ok", f"mounted for trial in {base}")


def _try_overlay(folder: Path) -> str:
    """Mount, look through, write, unmount. Returns what went wrong."""
    for part in ("lower", "upper", "work", "merged"):
        (folder / part).mkdir()
    (folder / "lower" / "file").write_text("lower")
    libc = ctypes.CDLL(None, use_errno=True)
    merged = str(folder / "merged").encode()
    options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work".encode()
    if libc.mount(b"overlay", merged, b"overlay", _MS_NODEV, options) != 0:
        return os.strerror(ctypes.get_errno())
    try:
        (folder / "merged" / "file").write_text("upper")
        ok = (folder / "upper" / "file").read_text() == "upper" and (folder / "lower" / "file").read_text() == "lower"
    except OSError as error:
        return str(error.strerror)
    finally:
        libc.umount2(merged, _MNT_DETACH)
    return "" if ok else "a write did not go to the upper folder"


def seccomp() -> Finding:
    try:
        actions = Path("/proc/sys/kernel/seccomp/actions_avail").read_text().split()
    except OSError:
        return Finding(
            "seccomp", "warning", "not there", "Containers run without system call filters; use a kernel with CONFIG_SECCOMP_FILTER."
        )
    return Finding("seccomp", "ok", f"{len(actions)} actions{', with user_notif' if 'user_notif' in actions else ''}")


def tun() -> Finding:
    path = Path("/dev/net/tun")
    if path.exists() and os.access(path, os.R_OK | os.W_OK):
        return Finding("/dev/net/tun", "ok", "there")
    return Finding(
        "/dev/net/tun",
        "warning",
        "not usable",
        "Rootless networks need it: `mkdir -p /dev/net && mknod /dev/net/tun c 10 200` as root, or pass --device /dev/net/tun to the outer container.",
    )


def nftables() -> Finding:
    """Whether rules can be read with nft; as root that also tells whether the kernel has nf_tables."""
    return _rules("nftables", "nft", ["list", "ruleset"], "Security groups, NAT and published ports need it")


def iptables() -> Finding:
    found = _rules("iptables", "iptables", ["-S"], "Some CNI plugins and docker need it")
    return found if found.state == "ok" else Finding(found.name, "warning", found.detail, found.fix)


def _rules(name: str, program: str, listing: list[str], purpose: str) -> Finding:
    path = which(program)
    if path is None:
        return Finding(name, "missing", f"{program} is not installed", f"{purpose}: `apt-get install {name}`.")
    if os.geteuid() != 0:
        return Finding(name, "ok", f"{path}; its rules can only be read as root")
    done = subprocess.run([path, *listing], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
        return Finding(
            name,
            "missing",
            reason,
            f"{purpose}, and the kernel refuses: load the nf_tables modules, or give the outer container NET_ADMIN.",
        )
    return Finding(name, "ok", path)


def registry_names(port: int) -> Finding:
    """Whether names below .localhost are this machine, as RFC 6761 has it; the resolver of glibc alone does not know. Asked in a child: it may take its time."""
    name = "names below .localhost"
    code = "import socket,sys; print(*sorted({each[4][0] for each in socket.getaddrinfo(sys.argv[1], None)}))"
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", code, REGISTRY], timeout=RESOLVES_WITHIN, check=False, capture_output=True, text=True
        )
        found = done.stdout.split() if done.returncode == 0 else []
    except (OSError, subprocess.SubprocessError):
        found = []
    if found and all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found):
        return Finding(name, "ok", "mean this machine")
    return Finding(
        name,
        "warning",
        f"lead to {', '.join(found)}" if found else "are not resolved",
        f"Registries of ECR have such names ({REGISTRY}): `apt-get install libnss-myhostname`, or run systemd-resolved. "
        f"Without, write localhost:{port or DEFAULT_PORT}/<repository>; the password tells account and region.",
    )


def companion() -> Finding:
    """moto, looked for without importing it: that takes a second."""
    from importlib import metadata

    try:
        return Finding("companion", "ok", f"moto {metadata.version('moto')}")
    except metadata.PackageNotFoundError:
        return Finding(
            "companion",
            "warning",
            "moto is not installed",
            "S3, SSM, DynamoDB and the other services that Cloudstead does not write itself need it: `pip install 'cloudstead[companion]'`.",
        )


def data_directory(data: Path) -> Finding:
    """Whether this user can make or use it; nothing is made."""
    base = data if data.exists() else next(folder for folder in data.parents if folder.exists())
    if base.is_dir() and os.access(base, os.R_OK | os.W_OK | os.X_OK):
        return Finding("data directory", "ok", str(data))
    detail = f"{base} is not a folder" if not base.is_dir() else f"{base} cannot be written by this user"
    return Finding("data directory", "missing", detail, "Choose another with --data.", needed=True)


def disk(data: Path) -> Finding:
    base = data if data.exists() else next(folder for folder in data.parents if folder.exists())
    free = shutil.disk_usage(base).free
    detail = f"{free / (1 << 30):.1f} GiB free in {base}"
    if free < FREE_NEEDED:
        return Finding("disk", "missing", detail, "Make room, or choose another place with --data.", needed=True)
    if free < FREE_WANTED:
        return Finding("disk", "warning", detail, "Images of containers may not fit; choose a larger place with --data.")
    return Finding("disk", "ok", detail)


def port_free(data: Path, port: int) -> Finding:
    name = f"port {port}"
    run = runfile.read(data)
    if run is not None and run.port == port:
        return Finding(name, "ok", f"Cloudstead runs there (process {run.pid})")
    try:
        if ports.is_free("127.0.0.1", port):
            return Finding(name, "ok", "free")
    except OSError as error:
        return Finding(name, "missing", str(error.strerror), "Choose another with --port.", needed=True)
    holder = ports.holder(port)
    return Finding(name, "missing", f"taken{' by ' + holder if holder else ''}", "Stop that, or choose another with --port.", needed=True)
