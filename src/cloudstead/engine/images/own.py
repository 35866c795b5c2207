"""Registries that are this very process: asked without a socket, a resolver or TLS, and with no byte moved.

A request to one of them is the same request, and goes to the same handler, as if it had come over a connection: passwords, policies and errors are the
same. What differs is how blobs travel. Both sides have one content store, so a blob that is pulled is here already, and a blob that is pushed is a
`StoredBlob`: a body that the registry need not read, because it can tell from its type that the content store has it. No connection makes such a body.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, TypeAlias

from cloudstead.engine.images.api import OwnRegistries
from cloudstead.engine.threads import in_thread
from cloudstead.http.messages import Body, FileRegion, Headers, HttpRequest, HttpResponse, WholeBody
from cloudstead.http.upstream import UpstreamResponse

if TYPE_CHECKING:
    from cloudstead.engine.images.content import ContentStore

PIECE = 1 << 20


class StreamedBody:
    """The body of a request whose bytes come from an iterator of ours."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self.trailers: list[tuple[str, str]] = []

    async def next(self) -> bytes:
        async for piece in self._pieces:
            if piece:
                return piece
        return b""

    def keep(self, size: int) -> None:
        """Whoever makes the pieces answers for their memory."""


class StoredBlob:
    """The body of a request that is a blob of the content store. Its caller has leased it; who does not know of it reads it as any other body."""

    def __init__(self, content: ContentStore, digest: str, size: int) -> None:
        self.content = content
        self.digest = digest
        self.size = size
        self._pieces = content.stream(digest)
        self.trailers: list[tuple[str, str]] = []

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)

    async def next(self) -> bytes:
        return await anext(self._pieces, b"")

    def keep(self, size: int) -> None:
        """It is read from the disk."""


class OwnResponse:
    """What the handler answered, to be read as an answer from elsewhere is."""

    def __init__(self, response: HttpResponse) -> None:
        self.status = response.status
        self.headers = Headers(response.headers)
        self._body = response.body
        self._at = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._next()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def _next(self) -> bytes:
        body = self._body
        if isinstance(body, bytes):
            self._body = b""
            return body
        if not isinstance(body, FileRegion):
            async for piece in body:
                if piece:
                    return piece
            return b""
        piece = await in_thread(os.pread, body.fd, min(PIECE, body.count - self._at), body.offset + self._at) if body.fd >= 0 else b""
        self._at += len(piece)
        return piece

    async def aclose(self) -> None:
        """Nothing more of it is wanted."""
        body, self._body = self._body, b""
        if isinstance(body, FileRegion):
            body.close()
        elif not isinstance(body, bytes) and (close := getattr(body, "aclose", None)) is not None:
            await close()


RegistryResponse: TypeAlias = UpstreamResponse | OwnResponse


async def ask(
    own: OwnRegistries,
    domain: str,
    method: str,
    target: str,
    headers: list[tuple[str, str]],
    body: bytes | AsyncIterator[bytes],
    length: int | None,
) -> OwnResponse:
    """One request to a registry of our own, as `Transport.send` sends it to others."""
    fields = [("Host", domain), *headers]
    carried: Body
    if isinstance(body, bytes):
        carried, length = WholeBody(body), len(body)
    else:
        carried = body if isinstance(body, StoredBlob) else StreamedBody(body)
    if length is not None and (length or method in ("POST", "PUT", "PATCH")):
        fields.append(("Content-Length", str(length)))
    request = HttpRequest(method, target, Headers(fields), carried, content_length=length, peer="127.0.0.1", secure=own.secure)
    return OwnResponse(await own.answer(request))
