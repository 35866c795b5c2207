"""Sending a response's body: streams at the pace at which the client takes them, files by the kernel."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import ParamSpec, TypeVar

from cloudstead.http.flow import Flow
from cloudstead.http.framing import LAST_CHUNK, Head
from cloudstead.http.messages import FileRegion

P = ParamSpec("P")
T = TypeVar("T")

FILE_PIECE = 256 << 10  # bytes read at once where sendfile cannot be used (TLS)
SENDFILE_PIECE = 4 << 20  # bytes a call; other connections are served between two calls
COLD_PIECE = 1 << 20  # bytes a call where they may have to come from the disk
AHEAD = 8 << 20  # bytes that the disk is asked for in advance
JOIN_BELOW = 4 << 10  # a chunk smaller than this is copied into one write with its framing


class WrongLength(Exception):
    """A stream was longer or shorter than its Content-Length. The connection must be cut, or the client would misread the next answer."""


async def send_stream(sink: Flow, head: Head, body: AsyncIterator[bytes]) -> None:
    """Send the head and a streamed body.

    Raises:
        ConnectionResetError, WrongLength; whatever the iterator raises.
    """
    transport = sink.open_transport()
    transport.write(head.data)
    left = head.length
    async for piece in body:
        if not piece:
            continue
        transport = sink.open_transport()
        if head.framing == "chunked":
            if len(piece) < JOIN_BELOW:
                transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
        else:
            if head.framing == "length":
                left -= len(piece)
                if left < 0:
                    raise WrongLength(f"{-left} bytes more than Content-Length")
            transport.write(piece)
        await sink.drained()
    if head.framing == "chunked":
        sink.open_transport().write(LAST_CHUNK)
    elif head.framing == "length" and left:
        raise WrongLength(f"{left} bytes fewer than Content-Length")


async def send_file(sink: Flow, head: Head, region: FileRegion) -> None:
    """Send the head and a part of a file.

    Raises:
        ConnectionResetError; OSError and WrongLength when the file cannot be read or is too short.
    """
    transport = sink.open_transport()
    transport.write(head.data)
    connection = transport.get_extra_info("socket")
    if transport.get_extra_info("sslcontext") is not None or connection is None:
        await _send_file_by_reading(sink, region)
    else:
        await sink.flushed()
        await _send_file_by_kernel(sink, connection, region)


async def _send_file_by_reading(sink: Flow, region: FileRegion) -> None:
    offset, end = region.offset, region.offset + region.count
    while offset < end:
        piece = await _in_thread(os.pread, region.fd, min(FILE_PIECE, end - offset), offset)
        if not piece:
            raise WrongLength("the file is shorter than it was said to be")
        offset += len(piece)
        sink.open_transport().write(piece)
        await sink.drained()


async def _send_file_by_kernel(sink: Flow, connection: socket.socket, region: FileRegion) -> None:
    # uvloop has no sendfile, and refuses add_writer on a transport's own descriptor: a duplicate is another number for the same socket.
    # Nothing else writes meanwhile: the transport's buffer is empty and this request is the one being answered.
    loop = asyncio.get_running_loop()
    out = os.dup(connection.fileno())
    try:
        offset, end, asked = region.offset, region.offset + region.count, region.offset
        while offset < end:
            sink.open_transport()
            size = min(SENDFILE_PIECE, end - offset)
            try:
                if _in_memory(region.fd, offset, size):
                    sent = os.sendfile(out, region.fd, offset, size)
                else:  # the disk is waited for in a thread
                    if offset + AHEAD // 2 >= asked:
                        os.posix_fadvise(region.fd, offset, AHEAD, os.POSIX_FADV_WILLNEED)
                        asked = offset + AHEAD
                    sent = await _in_thread(os.sendfile, out, region.fd, offset, min(COLD_PIECE, size))
            except BlockingIOError:
                await _writable(loop, out)
                continue
            except OSError as error:
                if isinstance(error, ConnectionError):
                    raise ConnectionResetError("The client is gone.") from error
                raise
            if sent == 0:
                raise WrongLength("the file is shorter than it was said to be")
            offset += sent
            await asyncio.sleep(0)
    finally:
        os.close(out)


def _in_memory(fd: int, offset: int, size: int) -> bool:
    """Whether a part of a file is likely to be in the page cache: its two ends are. Where the kernel cannot say, it is."""
    try:
        for at in (offset, offset + size - 1):
            os.preadv(fd, [bytearray(1)], at, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


async def _in_thread(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call it in a thread and wait for its end, also when cancelled: the descriptors that it uses must not be closed before."""
    job = asyncio.get_running_loop().run_in_executor(None, lambda: function(*arguments, **named))
    try:
        await asyncio.wait([job])
    except asyncio.CancelledError:
        await asyncio.wait([job])
        job.exception()  # seen
        raise
    return job.result()


async def _writable(loop: asyncio.AbstractEventLoop, fd: int) -> None:
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_writer(fd, wake)
    try:
        await ready
    finally:
        loop.remove_writer(fd)
