"""A registry's client with nothing in it: what benchmarks measure is the registry, not the client.

Requests are written by hand onto plain sockets, files go out by sendfile and what comes in is thrown away.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import time
from pathlib import Path

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LOCATION = re.compile(rb"\r\nlocation: *(?:https?://[^/\r]*)?([^\r]*)", re.IGNORECASE)
CHUNK = 1 << 20


class Registry:
    """One connection that is kept."""

    def __init__(self, port: int, authorization: str = "") -> None:
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"Host: localhost:{port}\r\n" + (f"Authorization: {authorization}\r\n" if authorization else "")
        self._buffer = bytearray(CHUNK)

    def close(self) -> None:
        self._sock.close()

    def call(self, method: str, path: str, body: bytes = b"", *, expect: int, headers: str = "") -> bytes:
        """Returns the head of the answer; its body is thrown away."""
        length = f"Content-Length: {len(body)}\r\n" if body or method in ("POST", "PUT", "PATCH") else ""
        self._sock.sendall(f"{method} {path} HTTP/1.1\r\n{self._head}{headers}{length}\r\n".encode() + body)
        return self.answer(method, expect)

    def send_file(self, path: str, file: Path, *, expect: int) -> bytes:
        """PATCH chunked, as Docker does it, but for the size of the chunks."""
        self._sock.sendall(f"PATCH {path} HTTP/1.1\r\n{self._head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with file.open("rb") as content:
            size = os.fstat(content.fileno()).st_size
            for start in range(0, size, CHUNK):
                count = min(CHUNK, size - start)
                self._sock.sendall(b"%x\r\n" % count)
                sent = 0
                while sent < count:
                    sent += os.sendfile(self._sock.fileno(), content.fileno(), start + sent, count - sent)
                self._sock.sendall(b"\r\n")
        self._sock.sendall(b"0\r\n\r\n")
        return self.answer("PATCH", expect)

    def answer(self, method: str, expect: int) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            piece = self._sock.recv(65536)
            if not piece:
                raise RuntimeError(f"closed after {received!r}")
            received += piece
        head, _, rest = received.partition(b"\r\n\r\n")
        status = int(head[9:12])
        found = _LENGTH.search(head)
        left = 0 if method == "HEAD" or status in (204, 304) or found is None else int(found[1]) - len(rest)
        while left > 0:
            count = self._sock.recv_into(self._buffer, min(left, CHUNK))
            if not count:
                raise RuntimeError("closed in the middle of an answer")
            left -= count
        if status != expect:
            raise RuntimeError(f"{method}: {status} where {expect} was expected: {head!r} {rest[:400]!r}")
        return head

    def push_file(self, repository: str, digest: str, file: Path) -> None:
        """A layer as Docker pushes it: HEAD, POST, PATCH, PUT."""
        self.call("HEAD", f"/v2/{repository}/blobs/{digest}", expect=404)
        location = self._location(self.call("POST", f"/v2/{repository}/blobs/uploads/", expect=202))
        location = self._location(self.send_file(location, file, expect=202))
        self.call("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", expect=201)

    def push_small(self, repository: str, digest: str, content: bytes) -> None:
        self.call("HEAD", f"/v2/{repository}/blobs/{digest}", expect=404)
        location = self._location(self.call("POST", f"/v2/{repository}/blobs/uploads/", expect=202))
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
        self._sock.sendall(f"PATCH {location} HTTP/1.1\r\n{self._head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunked)
        location = self._location(self.answer("PATCH", 202))
        self.call("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", expect=201)

    def put_manifest(self, repository: str, tag: str, content: bytes) -> None:
        kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n"
        self.call("PUT", f"/v2/{repository}/manifests/{tag}", content, expect=201, headers=kind)

    @staticmethod
    def _location(head: bytes) -> str:
        found = _LOCATION.search(head)
        assert found is not None, head
        return found[1].decode()


def flood(port: int, authorization: str, method: str, path: str, callers: int, seconds: float) -> int:
    """Keep so many connections busy with one request; how many answers came. One thread, no event loop: the client must cost less than the server."""
    auth = f"Authorization: {authorization}\r\n" if authorization else ""
    accept = "Accept: application/vnd.oci.image.manifest.v1+json\r\n"
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{auth}{accept}\r\n".encode()
    probe = socket.create_connection(("127.0.0.1", port))
    probe.sendall(request)
    time.sleep(0.3)
    whole = len(probe.recv(1 << 20))  # all answers have this length, but for a date of the same length
    probe.close()
    selector = selectors.DefaultSelector()
    left: dict[socket.socket, int] = {}
    for _ in range(callers):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ)
        left[sock] = whole
        sock.sendall(request)
    answers, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        for key, _ in selector.select(1):
            sock = key.fileobj  # type: ignore[assignment]
            piece = sock.recv(65536)
            if left[sock] == whole and piece[9:12] != b"200":
                raise RuntimeError(f"{method}: {piece[:300]!r}")
            left[sock] -= len(piece)
            if left[sock] == 0:
                answers += 1
                left[sock] = whole
                sock.sendall(request)
            elif left[sock] < 0 or not piece:
                raise RuntimeError("answers of different lengths")
    for sock in left:
        selector.unregister(sock)
        sock.close()
    return answers
