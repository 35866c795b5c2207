"""What happened, for `docker events`: a ring of the last ones, and a queue for each who listens.

Who makes something happen tells it: `api.events.tell("image", "pull", "busybox:latest", {"name": "busybox"})`. Nothing of this survives the daemon,
as in Docker.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator

import msgspec

from cloudstead.kernel.clock import Clock

KEPT = 1024  # Docker keeps 256
WAITING = 10_000  # events that a listener who does not read may be behind; then it is cut off


class Actor(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="ID")
    attributes: dict[str, str] = msgspec.field(name="Attributes")


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """On the wire as it is here. The first three are of API 1.21 and still read by clients; only containers and images have them."""

    status: str = ""
    id: str = ""
    origin: str = msgspec.field(name="from", default="")
    kind: str = msgspec.field(name="Type")
    action: str = msgspec.field(name="Action")
    actor: Actor = msgspec.field(name="Actor")
    scope: str
    time: int
    time_nano: int = msgspec.field(name="timeNano")


class Events:
    """All that happened here of late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ring: deque[Event] = deque(maxlen=KEPT)
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._last = 0

    def tell(self, kind: str, action: str, id: str, attributes: dict[str, str] | None = None, *, time: float = 0.0) -> None:
        """`kind` is Docker's Type: container, image, network, volume, builder, daemon."""
        attributes = attributes or {}
        nano = max(self._last + 1, round((time or self._clock.time()) * 1e6) * 1000)  # no two at the same instant: `since` tells them apart
        self._last = nano
        legacy = {"status": action, "id": id} if kind in ("container", "image") else {}
        if kind == "container":
            legacy["origin"] = attributes.get("image", "")
        event = Event(
            kind=kind, action=action, actor=Actor(id, attributes), scope="local", time=nano // 1_000_000_000, time_nano=nano, **legacy
        )
        self._ring.append(event)
        for queue in list(self._listeners):
            if queue.qsize() >= WAITING:
                self._listeners.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def since(self, time: float, until: float = 0.0) -> list[Event]:
        first, last = time * 1e9, until * 1e9
        return [event for event in self._ring if event.time_nano >= first and (not until or event.time_nano <= last)]

    @contextlib.contextmanager
    def listening(self) -> Iterator[asyncio.Queue[Event | None]]:
        """A queue of what happens from now on; None in it: no more will come."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        for queue in self._listeners:
            queue.put_nowait(None)
        self._listeners.clear()
