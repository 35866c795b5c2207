"""`cloudstead doctor`: what running containers needs of this machine. What can be tried is tried: a runtime runs a container, a namespace gets an
interface and rules, a cgroup is made; all of it is gone again afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cloudstead.cli import doctor_rootless
from cloudstead.cli.bootstrap import busybox
from cloudstead.cli.findings import Finding, tool, which
from cloudstead.cli.terminal import Failure

RUNTIMES = ("runc", "crun", "runsc", "kata-runtime")
CGROUP = Path("/sys/fs/cgroup")
V1 = ("blkio", "cpu", "cpuset", "devices", "freezer", "memory", "pids")
WITHIN = 20.0
# capabilities(7): what the engine host does with each, as far as a sentence goes.
RIGHTS = {
    0: ("CHOWN", "files of images cannot get their owners"),
    12: ("NET_ADMIN", "networks cannot be made"),
    18: ("SYS_CHROOT", "no file system of a container can be entered"),
    19: ("SYS_PTRACE", "namespaces of containers cannot be entered"),
    21: ("SYS_ADMIN", "nothing can be mounted and no namespace made"),
    24: ("SYS_RESOURCE", "ulimits above this machine's own and oom_score_adj below zero are refused"),
    27: ("MKNOD", "devices of images cannot be made"),
}
WITHOUT_THESE_NOTHING_RUNS = (0, 12, 18, 21)
NETWORK = """
import ctypes, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x40000000):
    sys.exit("no network namespace can be made")
rules = b"add table ip t; add chain ip t c { type nat hook postrouting priority 100; }; add rule ip t c masquerade"
for what, command, given in (
    ("no interface (veth) can be made in a namespace", [sys.argv[1], "link", "add", "d0", "type", "veth", "peer", "name", "d1"], None),
    ("no rule (nf_tables, NAT) can be made in a namespace", [sys.argv[2], "-f", "-"], rules),
):
    done = subprocess.run(command, input=given, stderr=subprocess.PIPE)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        sys.exit(what + ": " + (said[0] if said else f"status {done.returncode}"))
"""


def examine() -> Iterator[Finding]:
    """All findings."""
    yield from runtimes()
    yield tool("conmon", ("conmon",), "conmon", "Containers outlive the daemon by conmon")
    yield tool("ip", ("ip",), "iproute2", "VPC networks are made with it")
    if os.geteuid() == 0:
        yield rights()
    else:
        yield from doctor_rootless.examine()
    yield namespaces()
    yield cgroup_trial()
    yield forwarding()
    yield init()
    yield tool("mmdebstrap", ("mmdebstrap",), "mmdebstrap debian-archive-keyring", "Base images can be made without a registry by it")
    yield static_busybox()


# runtimes


def runtimes() -> Iterator[Finding]:
    """runc, which is the default, and others that are installed: each runs a container, since being there says little. Debian 12's crun 1.8.1, for
    one, refuses hosts with hybrid cgroups."""
    for name in RUNTIMES:
        path = which(name)
        if path is not None:
            yield _tried(name, path)
        elif name == "runc":
            yield Finding(name, "missing", "not installed", "Containers need an OCI runtime: `apt-get install runc`.")


def _tried(name: str, path: str) -> Finding:
    if os.geteuid() != 0:
        return Finding(name, "ok", f"{path}; trying it needs root")
    try:
        said = try_runtime(path)
    except Failure:
        return Finding(name, "ok", f"{path}; not tried, for want of a static busybox")
    if not said:
        return Finding(name, "ok", f"{path}; ran a container for trial")
    other = "Choose another with --runtime." if name != "runc" else "What it says must be mended before containers can run."
    return Finding(name, "warning" if name != "runc" else "missing", f"{path}; a container for trial did not run: {said}", other)


def try_runtime(path: str) -> str:
    """Run `true` in a container. Returns what went wrong; empty when all went well.

    Raises:
        Failure: there is no program to run.
    """
    program = busybox.find()
    id = f"cloudstead-doctor-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="cloudstead-doctor-") as name:
        bundle = Path(name)
        (bundle / "rootfs" / "bin").mkdir(parents=True)
        (bundle / "rootfs" / "proc").mkdir()
        shutil.copy(program, bundle / "rootfs" / "bin" / "true")
        (bundle / "config.json").write_text(json.dumps(_spec(id)))
        root = ["--root", str(bundle / "state")]
        try:
            done = _run([path, *root, "run", "--bundle", str(bundle), id])
            return "" if done.returncode == 0 else _first_line(done.stderr or done.stdout, done.returncode)
        except subprocess.TimeoutExpired:
            return f"it did not end within {WITHIN:g} seconds"
        finally:
            _run([path, *root, "delete", "--force", id])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=WITHIN, check=False)


def _spec(id: str) -> dict[str, object]:
    """The least that an OCI runtime takes: runtime-spec, config.md."""
    kinds = ("pid", "mount", "uts", "ipc", "network")
    return {
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"]},
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": kind} for kind in kinds], "cgroupsPath": f"/{id}"},
    }


def _first_line(text: str, status: int) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return f"status {status}"
    line = lines[-1]
    if 'msg="' in line:  # runc writes logfmt
        line = line.partition('msg="')[2].rpartition('"')[0].replace('\\"', '"')
    return line[:300]


# the kernel


def rights() -> Finding:
    """Root of an outer container may lack what root has."""
    name = "rights"
    try:
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return Finding(name, "warning", "cannot be read", "Mount /proc.")
    held = int(line.split()[1], 16)
    lacking = [number for number in RIGHTS if not held >> number & 1]
    if not lacking:
        return Finding(name, "ok", "all that containers need")
    names = ", ".join(f"CAP_{RIGHTS[number][0]}" for number in lacking)
    effects = "; ".join(RIGHTS[number][1] for number in lacking)
    if any(number in WITHOUT_THESE_NOTHING_RUNS for number in lacking):
        return Finding(
            name,
            "missing",
            f"without {names}",
            f"No container can run here ({effects}): give the outer container these rights (`docker run --privileged`).",
        )
    return Finding(name, "warning", f"without {names}", f"Containers run, but {effects}; the outer container would have to allow it.")


def namespaces() -> Finding:
    """Make a network namespace with an interface and a rule of NAT, in a child whose end takes all of it away."""
    name = "networks"
    ip, nft = which("ip"), which("nft")
    if ip is None or nft is None:
        lacking = "iproute2" if ip is None else "nftables"
        return Finding(name, "missing", "not tried", f"Networks of containers need `apt-get install {lacking}`.")
    if os.geteuid() != 0:
        return Finding(name, "ok", "a trial needs root")
    try:
        done = _run([sys.executable, "-I", "-c", NETWORK, ip, nft])
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, "warning", f"the trial did not end: {error}", "Run it again.")
    if done.returncode == 0:
        return Finding(name, "ok", "made a namespace with an interface and NAT for trial")
    return Finding(
        name,
        "missing",
        _first_line(done.stderr, done.returncode),
        "Networks of containers need it: `modprobe veth nf_tables nft_chain_nat nft_masq`, or give the outer container NET_ADMIN and SYS_ADMIN.",
    )


def cgroup_trial() -> Finding:
    """Make a cgroup where containers' would be."""
    name = "limits"
    if os.geteuid() != 0:
        return Finding(name, "ok", "a trial needs root")
    unified = (CGROUP / "cgroup.controllers").exists()
    places = [CGROUP] if unified else [CGROUP / controller for controller in V1 if (CGROUP / controller).is_dir()]
    refused = [place.name for place in places if not _can_make(place)]
    lacking = [] if unified else [controller for controller in ("cpu", "memory", "pids") if not (CGROUP / controller).is_dir()]
    if not places or refused:
        detail = f"no cgroup can be made in {', '.join(refused) or str(CGROUP)}"
        return Finding(
            name, "missing", detail, "Limits of containers need it: mount the cgroup file systems writable (`docker run --privileged`)."
        )
    if lacking:
        return Finding(
            name, "warning", f"no controller {', '.join(lacking)}", f"Limits on {', '.join(lacking)} cannot be set; mount the controllers."
        )
    return Finding(name, "ok", "made a cgroup for trial")


def _can_make(place: Path) -> bool:
    folder = place / f"cloudstead-doctor-{os.getpid()}"
    try:
        folder.mkdir()
        folder.rmdir()
    except OSError:
        return False
    return True


def forwarding() -> Finding:
    name, path = "forwarding", Path("/proc/sys/net/ipv4/ip_forward")
    try:
        on = path.read_text().strip() == "1"
    except OSError:
        return Finding(name, "warning", "cannot be read", "Mount /proc/sys.")
    if on:
        return Finding(name, "ok", "net.ipv4.ip_forward is on")
    if os.access(path, os.W_OK):
        return Finding(name, "ok", "net.ipv4.ip_forward is off; the first network switches it on")
    return Finding(
        name, "warning", "net.ipv4.ip_forward is off", "Containers reach nothing outside before `sysctl -w net.ipv4.ip_forward=1`."
    )


# programs


def init() -> Finding:
    found = tool(
        "init", ("docker-init", "tini-static", "catatonit"), "catatonit", "`docker run --init` and pods with common processes need it"
    )
    return found if found.state == "ok" else Finding(found.name, "warning", found.detail, found.fix)


def static_busybox() -> Finding:
    try:
        return Finding("busybox-static", "ok", str(busybox.find()))
    except Failure:
        return Finding(
            "busybox-static",
            "missing",
            "not installed",
            "A first image without a registry is made of it: `apt-get install busybox-static`.",
        )
