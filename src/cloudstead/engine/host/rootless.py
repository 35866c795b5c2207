"""`python -m cloudstead.engine.host.rootless`: the engine host without root, in a user namespace of the user's own. The daemon starts it.

Inside, the user is root, and other ids are those that /etc/subuid gives; mounts, network and IPC are the namespace's own, so what the host does there is like what
it does as root, and nobody else notices. A child makes the namespaces, newuidmap and newgidmap write their maps from outside, slirp4netns gives
the network a way out; then this process enters them and becomes the host (`exec`), so that it is still the daemon's child.

Containers outlive the host, and the next must find what is mounted and connected in there: a process that does nothing keeps the namespaces (keeping.py). Where there
is one, they are entered instead of made; where it was killed, a container's monitor shows the way.

What goes wrong is written as a sentence into the pipe `--status`; nothing in it means that the host has begun.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloudstead.engine import linux
from cloudstead.engine.errors import EngineError, Unsupported
from cloudstead.engine.host import delegation, keeping, subordinate
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.host.processes import alive

NAMESPACES = {
    "user": linux.CLONE_NEWUSER,
    "mnt": linux.CLONE_NEWNS,
    "net": linux.CLONE_NEWNET,
    "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS,
}
LINK = "tap0"
MTU = 65520  # the largest that slirp4netns takes
READY_WITHIN = 10.0
QUIET: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="cloudstead.engine.host.rootless")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--status", type=int, help="a pipe for the reason why it cannot be")
    parser.add_argument("--trial", action="store_true", help="only make the namespaces, and leave them: for `cloudstead doctor`")
    parser.add_argument("--in-scope", action="store_true", help="systemd was asked for a cgroup already")
    arguments, rest = parser.parse_known_args()
    if arguments.trial:
        sys.exit(try_it())
    try:
        if not arguments.in_scope and (scope := delegation.scope()):
            os.execv(scope[0], [*scope, sys.executable, "-P", "-m", "cloudstead.engine.host.rootless", *sys.argv[1:], "--in-scope"])
        os.set_inheritable(arguments.status, False)
        further = enter(Layout(arguments.data))
        os.execv(sys.executable, [sys.executable, "-P", "-m", "cloudstead.engine.host", "--data", str(arguments.data), *rest, *further])
    except (EngineError, OSError) as error:
        os.write(arguments.status, f"{error}{subordinate.hint()}".encode())
        sys.exit(1)


def try_it() -> str | None:
    """What prevents it, or None."""
    try:
        for sentence in subordinate.lacking():
            raise Unsupported(sentence)
        with _made():
            return None
    except (EngineError, OSError) as error:
        return f"{error}{subordinate.hint()}"


def enter(layout: Layout) -> list[str]:
    """Go into the namespaces of this instance. What the host is to be told.

    Raises:
        Unsupported: this machine does not let this user have them.
    """
    for sentence in subordinate.lacking():
        raise Unsupported(sentence)
    delegated = delegation.take()
    keeper = keeping.find(layout)
    if keeper is not None:
        further = _go_in(keeping.process_in(layout, keeper), way_out=not alive(keeper.way_out))
        return ["--runs", keeper.runs, "--delegated", delegated, "--keep", *further]
    own_folder(layout.runs)
    with _made() as pid:
        further = _go_in(pid, way_out=True)
    return ["--runs", str(layout.runs), "--delegated", delegated, "--keep", *further]


def _go_in(pid: int, *, way_out: bool) -> list[str]:
    further = _way_out(pid) if way_out else []
    opened = [(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind) for name, kind in NAMESPACES.items()]
    for fd, kind in opened:
        linux.enter_namespace(fd, kind)
        os.close(fd)
    os.chdir("/")
    return further


def own_folder(folder: Path) -> None:
    """Raises Unsupported: somebody else has made it, as can happen in /tmp."""
    folder.mkdir(mode=0o711, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise Unsupported(f"{folder} is not a folder that only this user can write; remove it, or set XDG_RUNTIME_DIR to one")


# making


@contextlib.contextmanager
def _made() -> Iterator[int]:
    """A child in new namespaces, for the time.

    Raises:
        Unsupported
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_inside(theirs)
    theirs.close()
    with ours:
        try:
            _expect(ours, "no user namespace can be made")
            for kind, program in subordinate.PROGRAMS.items():
                _map(program, pid, subordinate.mapping(kind))
            ours.send(b"mapped")
            _expect(ours, "in a user namespace nothing can be done")
            yield pid
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _expect(sock: socket.socket, what: str) -> None:
    said = sock.recv(1024).decode()
    if said != "done":
        raise Unsupported(f"{what} here: {said or 'the process ended'}")


def _map(program: str, pid: int, words: list[str]) -> None:
    path = subordinate.find(program) or program
    done = subprocess.run([path, str(pid), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unsupported(f"{program} refused: {done.stderr.strip() or f'status {done.returncode}'}")


def _be_inside(sock: socket.socket) -> None:
    """Never returns. Ends when whoever made it closes the socket."""
    try:
        linux.unshare(linux.CLONE_NEWUSER)
        sock.send(b"done")
        if sock.recv(16) == b"mapped":
            linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS)
            # What the machine mounts later is seen inside, and nothing the other way round.
            linux.mount("", "/", "", linux.MS_REC | linux.MS_SLAVE)
            _loopback_up()
            sock.send(b"done")
            sock.recv(16)
    except BaseException as error:
        with contextlib.suppress(OSError):
            sock.send(str(error).encode()[:1000])
    finally:
        os._exit(1)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


# the way out


def _way_out(pid: int) -> list[str]:
    """Start slirp4netns for the network namespace of a process. It ends when the last descriptor is closed that the keeper is given.

    Without it, or when it does not start, there is no way out; the host says so.
    """
    program = subordinate.find("slirp4netns")
    if program is None:
        return []
    exiting, keeping_it = os.pipe2(os.O_CLOEXEC)
    for sandbox in (["--enable-sandbox", "--enable-seccomp"], []):  # in an outer container there may be no place for it
        ready, writing = os.pipe2(os.O_CLOEXEC)
        command = [program, "--configure", f"--mtu={MTU}", "--disable-host-loopback", *sandbox]
        command += [f"--exit-fd={exiting}", f"--ready-fd={writing}", str(pid), LINK]
        process = subprocess.Popen(command, pass_fds=(exiting, writing), start_new_session=True, **QUIET)
        os.close(writing)
        readable, _, _ = select.select([ready], [], [], READY_WITHIN)
        said = os.read(ready, 1) if readable else b""
        os.close(ready)
        if said:
            os.close(exiting)
            os.set_inheritable(keeping_it, True)
            return ["--keep-open", str(keeping_it), "--way-out", str(process.pid)]
        process.kill()
        process.wait()
    os.close(exiting)
    os.close(keeping_it)
    return []


if __name__ == "__main__":
    main()
