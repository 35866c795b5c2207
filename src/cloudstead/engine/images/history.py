"""How an image came to be, layer by layer."""

from __future__ import annotations

from cloudstead.engine.images.api import HistoryEntry
from cloudstead.engine.images.model import ImageRow
from cloudstead.engine.images.records import Records, rfc3339

MISSING = "<missing>"

Line = tuple[str, HistoryEntry, int, tuple[str, ...]]


def history(records: Records, row: ImageRow) -> list[Line]:
    """(id, entry, size of its layer, tags), the newest first. The id is that of the image as it was after that step, where it is still here."""
    entries = row.config.history or tuple(HistoryEntry(created=rfc3339(row.created)) for _ in row.sizes)
    sizes = iter(row.sizes)
    lines: list[Line] = [(MISSING, entry, 0 if entry.empty_layer else next(sizes, 0), ()) for entry in entries]
    below: ImageRow | None = row
    seen: set[str] = set()
    while below is not None and below.id not in seen:
        seen.add(below.id)
        at = len(below.config.history or below.sizes) - 1
        if 0 <= at < len(lines):
            _, entry, size, _ = lines[at]
            lines[at] = below.id, entry, size, records.image(below).tags
        below = records.by_id(below.parent) if below.parent else None
    return lines[::-1]
