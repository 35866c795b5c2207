"""What a build says while stages run side by side: one stage after the other, in the order of the file, as if they had run so.

Each stage has a channel. The first one that is not done speaks at once; what the others say is kept, up to a bound, and then they wait with their
next word until it is their turn. As a stage never waits for one that comes later in the file, this cannot come to a halt.
"""

from __future__ import annotations

import asyncio
from collections import deque

from cloudstead.engine.build.api import BuildEvent, Output, Tell

KEPT = 1 << 20  # characters of one stage that waits for its turn


class Channel:
    """One stage's."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator
        self.waiting: deque[BuildEvent] = deque()
        self.size = 0
        self.done = False
        self.room = asyncio.Event()
        self.room.set()

    async def say(self, text: str, *, error: bool = False) -> None:
        """Text, with its line end. Waits while too much of this stage is waiting."""
        self.post(Output(text, "stderr" if error else "stdout"))
        await self.room.wait()

    def post(self, event: BuildEvent) -> None:
        """Without waiting: for few and small ones."""
        self.waiting.append(event)
        self.size += len(event.text) if isinstance(event, Output) else 100
        if self.size > KEPT:
            self.room.clear()
        self._narrator.wake()

    def finish(self) -> None:
        self.done = True
        self._narrator.wake()


class Narrator:
    """Gives events to `tell`, one at a time."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._channels: dict[int, Channel] = {}
        self._something = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self, stages: list[int]) -> None:
        """The stages there will be, and begin."""
        self._channels = {stage: Channel(self) for stage in sorted(stages)}
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

    @property
    def broken(self) -> asyncio.Task[None] | None:
        """Ends early only when nobody listens any more."""
        return self._task

    async def _pump(self) -> None:
        for channel in self._channels.values():
            while True:
                self._something.clear()
                while channel.waiting:
                    event = channel.waiting.popleft()
                    channel.size -= len(event.text) if isinstance(event, Output) else 100
                    if channel.size <= KEPT // 2:
                        channel.room.set()
                    await self._tell(event)
                if channel.done:
                    break
                await self._something.wait()
