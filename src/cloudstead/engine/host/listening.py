"""A host that root started by itself, for the daemon of one user.

It listens on a socket that belongs to this user and serves one daemon after the other, one at a time. Who connects is asked of the kernel
(SO_PEERCRED): the user or root, nobody else, whatever the socket's mode. The first line says which instance is served; another daemon, or another
user's, reads a sentence instead and is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import pwd
import signal
import socket
import stat
import struct
from pathlib import Path

from cloudstead.engine.errors import InvalidArgument, Unavailable
from cloudstead.engine.host.layout import Layout
from cloudstead.engine.host.server import Host, alone, forget, load_rooms, prepare, spare_forks

log = logging.getLogger("cloudstead.engine.host")


async def listen(layout: Layout, path: Path, user: str, *, runtime: str, options: dict[str, str]) -> None:
    """The whole life of such a host."""
    owner = find_user(user)
    load_rooms()
    spare_forks()
    with await alone(layout, within=1.0):
        if not layout.data.exists():
            layout.data.mkdir(mode=0o700, parents=True)
            os.chown(layout.data, owner.pw_uid, _group_of(owner))
        prepare(layout)
        host = Host(layout, runtime=runtime, options=options)
        listener = Listener(host, path, owner)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, listener.end)
        try:
            await listener.serve()
        finally:
            host.close()
            forget(layout)


def find_user(user: str) -> pwd.struct_passwd:
    """By name or number. Raises InvalidArgument."""
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        raise InvalidArgument(f"there is no user {user}") from None


class Listener:
    def __init__(self, host: Host, path: Path, user: pwd.struct_passwd) -> None:
        self._host = host
        self._path = path
        self._user = user
        self._ended = asyncio.Event()

    def end(self) -> None:
        self._ended.set()
        self._host.end()

    async def serve(self) -> None:
        """Until `end`."""
        loop = asyncio.get_running_loop()
        with bind(self._path, self._user) as listening:
            try:
                accepting = asyncio.ensure_future(self._accept(loop, listening))
                await self._ended.wait()
                accepting.cancel()
                await asyncio.gather(accepting, return_exceptions=True)
            finally:
                self._path.unlink(missing_ok=True)

    async def _accept(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        serving: asyncio.Task[None] | None = None
        try:
            while True:
                sock, _ = await loop.sock_accept(listening)
                refusal = self._refusal(sock)
                if serving is not None and not serving.done() and not refusal:
                    refusal = "the engine host serves another daemon"
                if refusal:
                    log.warning("turned away: %s", refusal)
                    _say(sock, refusal)
                    sock.close()
                else:
                    _say(sock, self._host.layout.instance)
                    serving = asyncio.ensure_future(self._host.serve(sock))
        finally:
            if serving is not None:
                self._host.end()
                await asyncio.gather(serving, return_exceptions=True)

    def _refusal(self, sock: socket.socket) -> str:
        pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid in (0, self._user.pw_uid):
            return ""
        return f"process {pid} of user {uid} may not use the engine host of {self._user.pw_name}"


def bind(path: Path, user: pwd.struct_passwd) -> socket.socket:
    """A listening socket that only the user can reach; a dead one of before is replaced.

    Raises:
        InvalidArgument, Unavailable
    """
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o711)  # whatever the umask is: the user must come through
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise InvalidArgument(f"{path} is there and is no socket")
        _refuse_living(path)
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listening.bind(str(path))  # with the umask 077: nobody gets in before the next line
        os.chown(path, user.pw_uid, _group_of(user))
        listening.listen(8)
    except BaseException:
        listening.close()
        raise
    return listening


def _refuse_living(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
    raise Unavailable(f"somebody listens at {path} already")


def _group_of(user: pwd.struct_passwd) -> int:
    try:
        return grp.getgrgid(user.pw_gid).gr_gid
    except KeyError:
        return 0


def _say(sock: socket.socket, line: str) -> None:
    with contextlib.suppress(OSError):
        sock.send(f"{line}\n".encode())
