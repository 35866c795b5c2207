"""Blobs that somebody was told are here, and may refer to next: they stay until the image comes that does, or for a while.

Each push that asks is one claim, and each image that comes meets one: of two pushes that count on the same blob, the first does not take it from the
second. Kept in memory: after a restart a blob waits by the time at which its row was written.
"""

from __future__ import annotations

from cloudstead.engine.registry.model import BlobRow, ImageRow
from cloudstead.kernel.clock import Clock

KEPT = 64  # of one blob: of as many pushes at once


class Claims:
    """By registry, repository and digest; each lasts so many seconds."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._told: dict[tuple[str, str, str], list[float]] = {}

    def tell(self, registry: str, repository: str, digest: str) -> None:
        told = self._told.setdefault((registry, repository, digest), [])
        told.append(self._clock.monotonic())
        del told[:-KEPT]

    def met(self, image: ImageRow) -> None:
        """An image has come: as many claims as there may be of the push that brought it are met."""
        for blob in image.blobs:
            told = self._told.get((image.registry, image.repository, blob.digest))
            if told:
                told.pop(0)

    def holds(self, row: BlobRow) -> bool:
        told = self._told.get((row.registry, row.repository, row.digest))
        return bool(told and self._clock.monotonic() - told[-1] < self._seconds)

    def drop(self, key: tuple[str, str, str]) -> None:
        self._told.pop(key, None)

    def sweep(self) -> None:
        since = self._clock.monotonic() - self._seconds
        self._told = {key: told for key, told in self._told.items() if told and told[-1] > since}
