"""A blob from the content store into a registry: mounted from a repository that has it, or uploaded.

Small blobs go in one PUT. Larger ones go in a PATCH that a PUT completes: when it breaks off, the registry is asked how much it has (distribution-spec,
"Resuming an upload") and gets the rest. A registry that refuses the single PUT gets the other way too.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import quote

from cloudstead.engine.errors import Failed, Unavailable
from cloudstead.engine.images.api import Descriptor, Progress, Tell
from cloudstead.engine.images.fetching import ATTEMPTS, TELL_BYTES, WAIT_SECONDS
from cloudstead.engine.images.own import StoredBlob
from cloudstead.engine.images.references import Reference
from cloudstead.engine.images.registry_client import Answer, RegistryClient, RegistryFault, pull_scope, push_scope
from cloudstead.engine.images.room import Room
from cloudstead.engine.images.transport import join

SINGLE = 4 << 20  # bytes up to which a blob goes in one PUT
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_OCTETS = ("Content-Type", "application/octet-stream")


class Upload:
    """Of one blob to one repository."""

    def __init__(self, room: Room, client: RegistryClient, reference: Reference, blob: Descriptor, shown: str, tell: Tell) -> None:
        """
        Args:
            shown: the id in what is told.
        """
        self._room = room
        self._client = client
        self._reference = reference
        self._blob = blob
        self._shown = shown
        self._tell = tell

    async def run(self, mount_from: str = "") -> str:
        """Have it there; what to tell of how that came about."""
        if await self._client.has_blob(self._reference, self._blob.digest) is not None:
            return "Layer already exists"
        if self._client.is_own:
            await self._link()
            return "Pushed"
        async with self._room.uploads:
            location = await self._begin(mount_from)
            if not location:
                return f"Mounted from {mount_from}"
            await self._send(location)
        return "Pushed"

    async def _link(self) -> None:
        """To a registry that is this process: it takes what the content store has, and nothing is sent. Who pushes has leased it."""
        answer = await self._client.request(
            "POST",
            f"/v2/{self._reference.path}/blobs/uploads/?digest={quote(self._blob.digest, safe=':')}",
            scopes=push_scope(self._reference),
            headers=[_OCTETS],
            body=lambda: StoredBlob(self._room.content, self._blob.digest, self._blob.size),
            length=self._blob.size,
        )
        await self._client.accept(answer, 201)
        await answer.response.aclose()

    async def _send(self, location: str) -> None:
        single, failures, start = self._blob.size <= SINGLE, 0, 0
        while True:
            try:
                if not single:
                    location = await self._patch(location, start)
                return await self._complete(location, whole=single)
            except RegistryFault as error:
                # 416: it has another amount than we think. Others that refuse a single PUT mean that they do not know how to take one.
                if error.status != 416 and not (single and error.status in (400, 404, 405, 411, 415)):
                    raise
                failures += 1
                failure: Exception = error
                single = False
            except Unavailable as error:
                failures += 1
                failure = error
            if failures >= ATTEMPTS:
                raise failure
            await self._room.clock.sleep(WAIT_SECONDS * 2 ** (failures - 1))
            location, start = (await self._begin(), 0) if single else await self._resume(location)

    async def _begin(self, mount_from: str = "") -> str:
        """A new upload's location; "" when the blob was mounted instead."""
        scopes = push_scope(self._reference)
        query = ""
        if mount_from:
            query = f"?mount={quote(self._blob.digest, safe=':')}&from={quote(mount_from, safe='/')}"
            scopes |= pull_scope(Reference(self._reference.domain, mount_from))
        answer = await self._client.request("POST", f"/v2/{self._reference.path}/blobs/uploads/{query}", scopes=scopes)
        if mount_from and answer.response.status not in (201, 202):
            await answer.response.aclose()  # it may not be allowed to; then without
            return await self._begin()
        await self._client.accept(answer, 202, 201) if mount_from else await self._client.accept(answer, 202)
        await answer.response.aclose()
        return "" if answer.response.status == 201 else _location(answer)

    async def _patch(self, location: str, start: int) -> str:
        """Send from `start` on; where to go on then."""
        headers = [_OCTETS]
        if start:
            headers.append(("Content-Range", f"{start}-{self._blob.size - 1}"))
        answer = await self._client.request(
            "PATCH",
            location,
            scopes=push_scope(self._reference),
            headers=headers,
            body=lambda: self._pieces(start),
            length=self._blob.size - start,
        )
        await self._client.accept(answer, 202, 204)
        await answer.response.aclose()
        return _location(answer)

    async def _complete(self, location: str, *, whole: bool) -> None:
        url = f"{location}{'&' if '?' in location else '?'}digest={quote(self._blob.digest, safe='')}"
        scopes = push_scope(self._reference)
        if whole:
            answer = await self._client.request(
                "PUT", url, scopes=scopes, headers=[_OCTETS], body=lambda: self._pieces(0), length=self._blob.size
            )
        else:
            answer = await self._client.request("PUT", url, scopes=scopes)
        await self._client.accept(answer, 201, 204)
        await answer.response.aclose()

    async def _resume(self, location: str) -> tuple[str, int]:
        """Where to send the rest, and from where on; a new upload when the registry does not know this one any more."""
        try:
            answer = await self._client.request("GET", location, scopes=push_scope(self._reference))
        except Unavailable:
            return await self._begin(), 0
        await answer.response.aclose()
        ranged = _RANGE.fullmatch(answer.response.headers.get("range") or "")
        # "0-0" is what registries say of an empty upload as well as of one byte: begin anew.
        if answer.response.status != 204 or ranged is None or ranged[1] == "0" or int(ranged[1]) >= self._blob.size:
            return await self._begin(), 0
        moved = answer.response.headers.get("location")
        return (join(answer.url, moved) if moved else location), int(ranged[1]) + 1

    async def _pieces(self, start: int) -> AsyncIterator[bytes]:
        at, told = start, start
        self._tell(Progress("Pushing", self._shown, at, self._blob.size))
        async for piece in self._room.content.stream(self._blob.digest, start):
            yield piece
            at += len(piece)
            if at - told >= TELL_BYTES:
                told = at
                self._tell(Progress("Pushing", self._shown, at, self._blob.size))


def _location(answer: Answer) -> str:
    target = answer.response.headers.get("location")
    if not target:
        raise Failed("the registry does not say where to upload to")
    return join(answer.url, target)
