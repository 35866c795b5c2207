"""One repository of another registry, as a cache in front of it reads it: manifests as they are, blobs into the content store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from cloudstead.engine.errors import NotFound
from cloudstead.engine.images import media_types
from cloudstead.engine.images.api import Credentials, Descriptor, Progress
from cloudstead.engine.images.fetching import Recipient, fetch
from cloudstead.engine.images.references import Reference
from cloudstead.engine.images.registry_client import RegistryClient, RegistryFault, not_found, pull_scope
from cloudstead.engine.images.room import Room
from cloudstead.engine.images.tasks import together

AT_ONCE = 16  # blobs that are waited for; how many are downloaded is the room's affair


class RemoteRepository:
    """Errors are EngineErrors: NotFound, Unauthorized, Unavailable, and others for what cannot be understood."""

    def __init__(self, room: Room, domain: str, path: str, credentials: Credentials | None) -> None:
        self._room = room
        self._reference = Reference(domain, path)
        self._client = RegistryClient(room.transport, domain, credentials, room.clock)

    async def ping(self) -> None:
        await self._client.ping()

    async def digest_of(self, tag: str) -> str:
        """What a tag stands for; empty when the registry does not say it without sending the manifest."""
        reference = replace(self._reference, tag=tag)
        answer = await self._client.request(
            "HEAD",
            f"/v2/{reference.path}/manifests/{tag}",
            scopes=pull_scope(reference),
            headers=[("Accept", each) for each in (*media_types.ACCEPTED, *sorted(media_types.OLD), "*/*")],
        )
        await answer.response.aclose()
        if answer.response.status == 404:
            raise NotFound(f"manifest for {reference.full} not found")
        if answer.response.status in (405, 501):
            return ""
        await self._client.accept(answer, 200)
        return answer.response.headers.get("docker-content-digest") or ""

    async def manifest(self, target: str) -> tuple[bytes, str]:
        """By tag or digest; checked when it is a digest. And its media type, as the registry calls it."""
        reference = replace(self._reference, **({"digest": target} if ":" in target else {"tag": target}))
        try:
            return await self._client.manifest(reference)
        except RegistryFault as error:
            raise (NotFound(f"manifest for {reference.full} not found: {error.message}") if not_found(error) else error) from error

    async def fetch(self, blobs: Iterable[Descriptor], recipient: Recipient) -> None:
        """Have them here. The caller has leased them."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(blob: Descriptor) -> None:
            async with limit:
                await fetch(self._room, self._client, self._reference, blob, _silent, recipient)

        await together(*map(one, {blob.digest: blob for blob in blobs}.values()))


def _silent(progress: Progress) -> None:
    pass
