"""What a build says while stages run side by side: one stage after the other, in the order of the file, as if they had run so.

Each stage has a channel. The first one that is not done speaks at once, no faster than its listener takes it. What the others say is kept: some of it in
memory, the rest in a file. They are never held up: one may have a lock that the speaking one waits for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from cloudstead.engine.build.api import BuildEvent, Output, Tell
from cloudstead.engine.build.spool import Spool
from cloudstead.engine.errors import Failed
from cloudstead.engine.threads import in_thread

KEPT = 1 << 20  # characters of one stage in memory
MOST = 4 << 30  # bytes of one stage in its file
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, bool]).decode
LENGTH = 4


class Channel:
    """One stage's."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator
        self.waiting: deque[BuildEvent] = deque()
        self.size = 0
        self.done = False
        self.room = asyncio.Event()
        self.room.set()
        self.spilling = asyncio.Lock()
        self.spill: Spool | None = None

    async def say(self, text: str, *, error: bool = False) -> None:
        """Text, with its line end. While it is this stage's turn, waits for a listener who is slow."""
        if self._narrator.current is self:
            await self.room.wait()
        elif self.spill is not None or self.size + len(text) > KEPT:
            async with self.spilling:
                if self._narrator.current is not self or self.spill is not None:
                    await self._spill(text, error)
                    return
        self.post(Output(text, "stderr" if error else "stdout"))

    def post(self, event: BuildEvent) -> None:
        """Without waiting: for few and small ones."""
        self.waiting.append(event)
        self.size += _size(event)
        if self.size > KEPT:
            self.room.clear()
        self._narrator.wake()

    def finish(self) -> None:
        self.done = True
        self._narrator.wake()

    async def _spill(self, text: str, error: bool) -> None:
        if self.spill is None:
            self.spill = self._narrator.spool()
            self.room.clear()
        data = _encode((text, error))
        if self.spill.size + len(data) > MOST:
            raise Failed(f"a stage that waits for its turn to speak has said more than {MOST} bytes")
        await in_thread(self.spill.write, len(data).to_bytes(LENGTH, "big") + data)
        self._narrator.wake()


class Narrator:
    """Gives events to `tell`, one at a time.

    Args:
        spool: makes a file for what waits.
    """

    def __init__(self, tell: Tell, spool: Callable[[], Spool]) -> None:
        self.spool = spool
        self.current: Channel | None = None
        self._tell = tell
        self._channels: dict[int, Channel] = {}
        self._something = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self, stages: list[int]) -> None:
        """The stages there will be, and begin."""
        self._channels = {stage: Channel(self) for stage in sorted(stages)}
        self.current = next(iter(self._channels.values()))
        self._task = asyncio.ensure_future(self._pump())

    def channel(self, stage: int) -> Channel:
        return self._channels[stage]

    def wake(self) -> None:
        self._something.set()

    async def drain(self) -> None:
        """Everything was said by everybody. Raises what `tell` raised."""
        for channel in self._channels.values():
            channel.finish()
        if self._task is not None:
            await self._task

    async def close(self) -> None:
        """Be silent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for channel in self._channels.values():
            if channel.spill is not None:
                channel.spill.close()

    @property
    def broken(self) -> asyncio.Task[None] | None:
        """Ends early only when nobody listens any more."""
        return self._task

    async def _pump(self) -> None:
        for channel in self._channels.values():
            self.current = channel
            while True:
                self._something.clear()
                await self._memory(channel)
                await self._file(channel)
                channel.room.set()
                if channel.done and not channel.waiting:
                    break
                await self._something.wait()

    async def _memory(self, channel: Channel) -> None:
        while channel.waiting:
            event = channel.waiting.popleft()
            channel.size -= _size(event)
            if channel.size <= KEPT // 2 and channel.spill is None:
                channel.room.set()
            await self._tell(event)

    async def _file(self, channel: Channel) -> None:
        """What a stage has said before its turn; from now on it speaks."""
        async with channel.spilling:
            spill = channel.spill
            if spill is None:
                return
            at = 0
            while at < spill.size:
                length = int.from_bytes(await in_thread(spill.read, at, LENGTH), "big")
                text, error = _decode(await in_thread(spill.read, at + LENGTH, length))
                at += LENGTH + length
                await self._tell(Output(text, "stderr" if error else "stdout"))
            spill.close()
            channel.spill = None


def _size(event: BuildEvent) -> int:
    return len(event.text) if isinstance(event, Output) else 100


class Quietly:
    """`--quiet`: nothing is told, unless it goes wrong; then the end of what was said."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._kept: deque[BuildEvent] = deque()
        self._size = 0

    async def __call__(self, event: BuildEvent) -> None:
        self._kept.append(event)
        self._size += _size(event)
        while self._size > KEPT:
            self._size -= _size(self._kept.popleft())

    async def confess(self) -> None:
        for event in self._kept:
            await self._tell(event)
