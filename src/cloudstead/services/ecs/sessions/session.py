"""One session: the pump between a WebSocket and a process in a container.

    waiting ──a client with the token──▶ handshake ──▶ the process runs ──it ends──▶ what it wrote last is delivered ──▶ channel_closed
       └────────── nobody comes, or nothing is said for long, or whoever may says so: the process is hung up on ──────────┘

The process is started when the handshake is done, so that nothing of it is lost and a session that nobody connects to costs nothing. A connection that
breaks does not end a session: what was on its way is sent again to whoever connects next (`converse`), and meanwhile the process is held back.

Whoever does not keep up is held back, too: output is read while there is room in the channel's window, and input is acknowledged while there is room
for it here; only acknowledgements go out ahead of all, for a client that waits for them reads nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from cloudstead.engine.errors import EngineError
from cloudstead.engine.pods.api import Execution
from cloudstead.http.websocket import WebSocket
from cloudstead.kernel.clock import Clock
from cloudstead.services.ecs.sessions import messages
from cloudstead.services.ecs.sessions.channel import Channel
from cloudstead.services.ecs.sessions.input import Input
from cloudstead.services.ecs.sessions.limits import Limits
from cloudstead.services.ecs.sessions.messages import BadMessage, Flag, Message, PayloadType

log = logging.getLogger(__name__)

AGENT_VERSION: Final = "3.3.2746.0"  # of the agent whose behaviour this has; clients compare it
PIECE: Final = 1024  # bytes of output in a message, as the agent does: some clients have no room for more
MOST_ACKNOWLEDGEMENTS: Final = 10_000  # that wait to be sent; a client that takes none gets them when it repeats itself
FAULT: Final = "An internal error occurred."

Start = Callable[[], Awaitable[Execution]]
"""Starts the process. Raises EngineError."""


class Session:
    """`begin` it, `converse` with whoever has shown a token, `end` it; `done` when it is over."""

    def __init__(
        self,
        id: str,
        start: Start,
        clock: Clock,
        *,
        command: str,
        interactive: bool = True,
        limits: Limits = Limits(),  # noqa: B008
        heard: Callable[[bytes], object] = lambda data: None,
    ) -> None:
        """
        Args:
            heard: is told all output, for a transcript.
        """
        self.id = id
        self.exit_code: int | None = None
        self.output = ""  # what the client was told at the end
        self._start = start
        self._clock = clock
        self._command = command
        self._interactive = interactive
        self._limits = limits
        self._heard = heard
        self._channel = Channel(messages.OUTPUT, clock)
        self._websocket: WebSocket | None = None
        self._client = ""
        self._paused = False
        self._active = self._lost = clock.monotonic()
        self._connected = asyncio.Event()
        self._responded: asyncio.Future[messages.HandshakeResponse] = asyncio.get_running_loop().create_future()
        self._ending: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._acknowledged = asyncio.Event()  # there may be room
        self._changed = asyncio.Event()  # `_watch` has to look again
        self._replies: deque[bytes] = deque(maxlen=MOST_ACKNOWLEDGEMENTS)
        self._replying = asyncio.Event()
        self._input = Input(interactive)
        self._reading_since: float | None = None
        self._life: asyncio.Task[None] | None = None

    def begin(self) -> asyncio.Task[None]:
        """The task that is its life."""
        self._life = asyncio.create_task(self._live(), name=f"session {self.id}")
        return self._life

    @property
    def done(self) -> bool:
        return self._ending.done() and (self._life is None or self._life.done())

    async def over(self) -> None:
        """Wait for the end."""
        if self._life is not None:
            await asyncio.wait([self._life])

    def end(self, output: str = "") -> None:
        """Whatever runs is hung up on; the client is told `output`."""
        if not self._ending.done():
            self._ending.set_result(output)

    # -- the client's side

    async def converse(self, websocket: WebSocket, client: str = "") -> None:
        """Speak to a client, until it is gone or the session over. One that was there before is sent away."""
        before, self._websocket = self._websocket, websocket
        self._client = client
        self._paused = False
        websocket.when_draining = lambda: self.end("Cloudstead is stopping.")
        if before is not None:
            await before.close(1000, "Another connection has taken over.", within=0.0)
        self._replies.clear()
        again = self._channel.reconnected() if self._connected.is_set() else []
        self._connected.set()
        self._changed.set()
        try:
            for data in again:
                self._reply(data)
            while (heard := await websocket.receive()) is not None:
                if isinstance(heard, bytes) and self._websocket is websocket:
                    self._receive(heard)
        finally:
            if self._websocket is websocket:
                self._websocket = None
                self._lost = self._clock.monotonic()
                self._changed.set()

    def _receive(self, data: bytes) -> None:
        try:
            message = messages.decode(data)
            if message.type == messages.INPUT:
                self._resume()
                ready, answer = self._channel.receive(message, room=self._input.has_room)
                if answer:
                    self._reply(answer)
                for each in ready:
                    self._use(each)
            elif message.type == messages.ACKNOWLEDGE:
                self._resume()
                if self._channel.acknowledged(messages.read(message.payload, messages.Acknowledge)):
                    self._acknowledged.set()
            elif message.type == messages.PAUSE_PUBLICATION:
                self._paused = True
            elif message.type == messages.START_PUBLICATION:
                self._resume()
            elif message.type == messages.CHANNEL_CLOSED:
                self.end()
        except BadMessage as error:
            log.debug("session %s: a message was dropped: %s", self.id, error)

    def _resume(self) -> None:
        """Who speaks listens."""
        if self._paused:
            self._paused = False
            for data in self._channel.reconnected():
                self._reply(data)

    def _use(self, message: Message) -> None:
        """A message in its turn."""
        self._active = self._clock.monotonic()
        kind, payload = message.payload_type, message.payload
        if kind == PayloadType.HANDSHAKE_RESPONSE:
            if not self._responded.done():
                self._responded.set_result(messages.read(payload, messages.HandshakeResponse))
        elif kind == PayloadType.OUTPUT:
            self._input.put(payload)
        elif kind == PayloadType.SIZE:
            self._input.put(messages.read(payload, messages.Size))
        elif kind == PayloadType.FLAG and int.from_bytes(payload, "big") == Flag.TERMINATE_SESSION:
            self.end()

    def _reply(self, data: bytes) -> None:
        self._replies.append(data)
        self._replying.set()

    # -- its life

    async def _live(self) -> None:
        work = asyncio.create_task(self._work())
        others = [asyncio.create_task(each) for each in (self._watch(), self._send_replies())]
        for other in others:
            other.add_done_callback(self._broken)
        futures: list[asyncio.Future[str]] = [work, self._ending]
        try:
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            self.output = self._ending.result() if self._ending.done() else work.result()
        except Exception:
            log.exception("session %s failed", self.id)
            self.output = FAULT
        finally:
            self.end(self.output)
            for task in (work, *others):
                task.cancel()
            await asyncio.gather(work, *others, return_exceptions=True)
            await self._say_goodbye()

    def _broken(self, task: asyncio.Task[None]) -> None:
        """A task has ended that should not."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("session %s failed", self.id, exc_info=error)
            self.end(FAULT)

    async def _work(self) -> str:
        """What the client is told at the end."""
        limits = self._limits
        try:
            async with self._clock.timeout(limits.connect_within):
                await self._connected.wait()
        except TimeoutError:
            return "Nobody has connected."
        try:
            async with self._clock.timeout(limits.handshake_within):
                fault = await self._shake_hands()
        except TimeoutError:
            return "Handshake timed out. Please ensure that you have the latest version of the session manager plugin."
        if fault:
            return fault
        try:
            execution = await self._start()
        except EngineError as error:
            return f"\n----------ERROR-------\nUnable to start command: Failed to start pty: {error.message}"
        try:
            await self._run(execution)
        finally:
            await self._let_go(execution)
        await self._until_delivered()
        return ""

    async def _shake_hands(self) -> str:
        """Tell the client what this is; what is wrong with that, if anything."""
        began = self._clock.monotonic()
        kind = "InteractiveCommands" if self._interactive else "NonInteractiveCommands"
        properties = {"linux": {"commands": self._command, "runAsElevated": False}}
        parameters = {"SessionType": kind if self._command else "Standard_Stream", "Properties": properties if self._command else None}
        action = messages.RequestedClientAction(action_type="SessionType", action_parameters=parameters)
        request = messages.HandshakeRequest(agent_version=AGENT_VERSION, requested_client_actions=[action])
        await self._send(PayloadType.HANDSHAKE_REQUEST, messages.to_json(request))
        response = await self._responded
        for action_done in response.processed_client_actions or []:
            if action_done.action_status != 1:
                return f"{action_done.action_type} failed on client with status {action_done.action_status} error: {action_done.error}"
        took = int((self._clock.monotonic() - began) * 1e9)
        await self._send(PayloadType.HANDSHAKE_COMPLETE, messages.to_json(messages.HandshakeComplete(handshake_time_to_complete=took)))
        return ""

    async def _run(self, execution: Execution) -> None:
        """Until the process has ended and what it wrote is on its way."""
        output = asyncio.create_task(self._pump_output(execution))
        input = asyncio.create_task(self._input.pump(execution))
        for task in (output, input):
            task.add_done_callback(self._broken)
        try:
            self.exit_code = await execution.wait()
            since = self._clock.monotonic()
            while not output.done():
                await self._clock.sleep(0.02)
                reading = self._reading_since
                if reading is not None and self._clock.monotonic() - max(reading, since) > self._limits.output_after_exit:
                    break
        finally:
            output.cancel()
            input.cancel()
            await asyncio.gather(output, input, return_exceptions=True)

    async def _pump_output(self, execution: Execution) -> None:
        while True:
            self._reading_since = self._clock.monotonic()
            piece = await execution.streams.read()
            self._reading_since = None
            if piece is None:
                return
            data = piece[1]
            self._heard(data)
            for start in range(0, len(data), PIECE):
                await self._send(PayloadType.OUTPUT, data[start : start + PIECE])

    async def _let_go(self, execution: Execution) -> None:
        """End the process if it runs: as when a terminal is hung up, and then for certain."""
        try:
            for signal in ("SIGHUP", "SIGKILL"):
                if execution.exit_code is None:
                    with contextlib.suppress(EngineError, TimeoutError):
                        await execution.signal(signal)
                        async with self._clock.timeout(self._limits.hang_up_within):
                            await execution.wait()
        finally:
            await execution.streams.close()

    # -- sending

    async def _send(self, kind: PayloadType, payload: bytes) -> None:
        """Returns when there is room for it."""
        while not self._channel.has_room:
            self._acknowledged.clear()
            await self._acknowledged.wait()
        first = not self._channel.unacknowledged
        data = self._channel.send(kind, payload)
        self._active = self._clock.monotonic()
        if first:
            self._changed.set()
        await self._transmit(data)

    async def _transmit(self, data: bytes) -> None:
        """To the client if it is there; if not, the channel has it."""
        if self._websocket is not None and not self._paused:
            with contextlib.suppress(ConnectionResetError):
                await self._websocket.send(data)

    async def _send_replies(self) -> None:
        while True:
            while not self._replies:
                self._replying.clear()
                await self._replying.wait()
            data = self._replies.popleft()
            if self._websocket is not None:
                with contextlib.suppress(ConnectionResetError):
                    await self._websocket.send(data)

    async def _until_delivered(self) -> None:
        """Until the client has acknowledged everything, or does not go on doing so. While it is away `_watch` sees to the end."""
        left, since = self._channel.unacknowledged, self._clock.monotonic()
        while self._channel.unacknowledged:
            await self._clock.sleep(0.01)
            if self._channel.unacknowledged != left or self._websocket is None:
                left, since = self._channel.unacknowledged, self._clock.monotonic()
            elif self._clock.monotonic() - since > self._limits.goodbye_within:
                return

    async def _say_goodbye(self) -> None:
        websocket = self._websocket
        if websocket is None:
            return
        now = str(int(self._clock.time() * 1000))
        message = Message(type=messages.CHANNEL_CLOSED, flags=messages.SYN | messages.FIN, created=int(now))
        content = messages.ChannelClosed(
            message_id=str(message.id), created_date=now, destination_id=self._client, session_id=self.id, output=self.output
        )
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            async with self._clock.timeout(self._limits.goodbye_within):
                while self._replies:
                    await websocket.send(self._replies.popleft())
                await websocket.send(messages.encode(msgspec.structs.replace(message, payload=messages.to_json(content))))
        await websocket.close(within=self._limits.goodbye_within)

    # -- time

    async def _watch(self) -> None:
        """Repeat what was not acknowledged, and end what nobody uses. Sleeps until one of the two may be due, or something has changed."""
        while True:
            self._changed.clear()
            now = self._clock.monotonic()
            away = self._websocket is None
            ends = [(self._active + self._limits.idle, "Your session timed out due to inactivity.")]
            if away and self._connected.is_set():
                ends.append((self._lost + self._limits.resume_within, "The connection was lost."))
            since = self._channel.waiting_since()
            if not away and not self._paused and since is not None:
                ends.append((since + self._limits.acknowledge_within, "The client does not answer."))
            when, why = min(ends)
            if when <= now:
                self.end(why)
                return
            due = None if away or self._paused else self._channel.due()
            if due is not None and due <= now:
                if data := self._channel.repeat():
                    await self._transmit(data)
                self._acknowledged.set()  # one may have been presumed delivered
                continue
            wait = when - now if due is None else min(when, due) - now
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(max(wait, 0.005)):
                    await self._changed.wait()
