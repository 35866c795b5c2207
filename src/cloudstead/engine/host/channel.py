"""Frames with file descriptors over a unix stream socket, inside an event loop.

A frame is `length (4 bytes, big endian), number of descriptors (1 byte), payload`. Descriptors ride on the frame's first byte (SCM_RIGHTS); the
kernel keeps them in the order of the bytes, so whoever receives takes as many from the front as the frame says. See unix(7).
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence

HEAD = struct.Struct(">IB")
LONGEST = 80 << 20  # bytes of a payload: what a pod's secrets, or a list of changed files, may take
MOST_DESCRIPTORS = 64  # in one frame; the kernel allows 253
READ = 256 << 10
UNSENT = 16 << 20  # bytes that wait to be sent, beyond which a patient end reads nothing more
LOST_BEYOND = 2 * LONGEST  # and beyond which it gives up


class Channel:
    """One end. Not for several loops or threads.

    Args:
        received: called with each payload and its descriptors, which are its own to close.
        lost: called once when the other end is gone or speaks nonsense.
        patient: take no more while the other end does not read what it was sent. One end only, else both may wait for each other.
    """

    def __init__(
        self, sock: socket.socket, received: Callable[[bytes, list[int]], None], lost: Callable[[], None], *, patient: bool = False
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._received = received
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()
        self._outgoing: deque[tuple[memoryview, list[int]]] = deque()
        self._unsent = 0
        self._patient = patient
        self._waits = False  # for the other end to read
        self._closed = False
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, payload: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send or queue. The descriptors stay the caller's: what cannot be sent at once is duplicated.

        Raises:
            ConnectionError: the channel is closed.
            ValueError: too long, or too many descriptors.
        """
        if self._closed:
            raise ConnectionResetError("the engine host's channel is closed")
        if len(payload) > LONGEST or len(descriptors) > MOST_DESCRIPTORS:
            raise ValueError(f"a message of {len(payload)} bytes with {len(descriptors)} descriptors is too large")
        frame = memoryview(HEAD.pack(len(payload), len(descriptors)) + payload)
        if not self._outgoing:
            sent = self._send_some(frame, descriptors)
            if sent == len(frame):
                return
            if sent:
                frame, descriptors = frame[sent:], ()
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self._outgoing.append((frame, [os.dup(fd) for fd in descriptors]))
        self._unsent += len(frame)
        if self._patient and self._unsent > LOST_BEYOND:
            self._break()
        elif self._patient and self._unsent > UNSENT and not self._waits:
            self._waits = True
            self._loop.remove_reader(self._socket.fileno())

    def close(self) -> None:
        """Close without telling `lost`."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for fd in (*self._descriptors, *(fd for _, fds in self._outgoing for fd in fds)):
            os.close(fd)
        self._descriptors.clear()
        self._outgoing.clear()

    def _send_some(self, frame: memoryview, descriptors: Sequence[int]) -> int:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            return self._socket.sendmsg([frame], ancillary)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self._break()
            return len(frame)

    def _writable(self) -> None:
        while self._outgoing:
            frame, descriptors = self._outgoing[0]
            sent = self._send_some(frame, descriptors)
            if self._closed or not sent:
                return
            self._unsent -= sent
            for fd in descriptors:
                os.close(fd)
            if sent < len(frame):
                self._outgoing[0] = (frame[sent:], [])
                return
            self._outgoing.popleft()
        self._loop.remove_writer(self._socket.fileno())
        if self._waits:
            self._waits = False
            self._loop.add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        size = array.array("i").itemsize
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(READ, socket.CMSG_SPACE(MOST_DESCRIPTORS * size), socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._break()
            return
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._descriptors.extend(array.array("i", raw[: len(raw) - len(raw) % size]))
        if not data or flags & socket.MSG_CTRUNC:
            self._break()
            return
        self._buffer += data
        self._take_frames()
        if not self._closed and len(self._descriptors) > self._announced():
            self._break()

    def _announced(self) -> int:
        """Descriptors that may have come with the frame that is not whole yet. More would pile up, and be taken for those of later frames."""
        if len(self._buffer) >= HEAD.size:
            return int(HEAD.unpack_from(self._buffer)[1])
        return MOST_DESCRIPTORS if self._buffer else 0

    def _take_frames(self) -> None:
        buffer = self._buffer
        while not self._closed and len(buffer) >= HEAD.size:
            length, count = HEAD.unpack_from(buffer)
            if length > LONGEST or count > MOST_DESCRIPTORS:
                self._break()
                return
            end = HEAD.size + length
            if len(buffer) < end:
                return
            if count > len(self._descriptors):
                self._break()
                return
            payload = bytes(buffer[HEAD.size : end])
            del buffer[:end]
            self._received(payload, [self._descriptors.popleft() for _ in range(count)])

    def _break(self) -> None:
        if not self._closed:
            self.close()
            self._lost()


def close_all(descriptors: Sequence[int]) -> None:
    """Close what nobody took."""
    for fd in descriptors:
        with contextlib.suppress(OSError):
            os.close(fd)
