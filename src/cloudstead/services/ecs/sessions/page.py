"""All sessions, and the page that clients connect to: `/_cloudstead/session/<id>`.

A session's tokens are random, last some minutes and are good for this session alone; whoever shows one may take the session over (that is how clients
resume). Sessions live in memory: their processes do not outlive the daemon's hold of their terminals anyway.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import logging
import secrets
import shlex
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from cloudstead.engine.pods.api import Driver, Execution
from cloudstead.engine.pods.specs import ExecSpec
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.http.websocket import WebSocket, accept
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.context import Cloud
from cloudstead.services.ecs.sessions import messages
from cloudstead.services.ecs.sessions.limits import Limits
from cloudstead.services.ecs.sessions.messages import BadMessage, OpenDataChannel
from cloudstead.services.ecs.sessions.mounting import PART, PATH, not_found
from cloudstead.services.ecs.sessions.session import Session, Start

log = logging.getLogger(__name__)

LARGEST: Final = 128 << 10  # bytes of a message; the plugin's are little over a kilobyte
ENVIRONMENT: Final = ("TERM=xterm-256color",)  # as the agent sets it


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What ExecuteCommand answers as `session`."""

    session_id: str
    stream_url: str
    token_value: str


class _Kept:
    """A session and its tokens, with the times until which they are good."""

    __slots__ = ("session", "tokens")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tokens: dict[str, float] = {}


class Sessions:
    """Those that are open."""

    @classmethod
    def of(cls, cloud: Cloud) -> Sessions:
        """Those of this cloud; the daemon mounts them and ends them when it stops."""
        sessions = cloud.parts.get(PART)
        if sessions is None:
            sessions = cloud.parts[PART] = cls(cloud.clock, lambda: cloud.endpoint)
        assert isinstance(sessions, Sessions)
        return sessions

    def __init__(self, clock: Clock, endpoint: Callable[[], str], *, limits: Limits = Limits()) -> None:  # noqa: B008
        """
        Args:
            endpoint: tells where clients reach the edge, as an http URL.
        """
        self._clock = clock
        self._endpoint = endpoint
        self._limits = limits
        self._kept: dict[str, _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def open_session(
        self,
        start: Start,
        *,
        command: str,
        interactive: bool = True,
        heard: Callable[[bytes], object] = lambda data: None,
        ended: Callable[[Session], object] = lambda session: None,
    ) -> Opened:
        """A session whose process `start` starts once a client is there; see `command_in` for one in a container.

        Args:
            heard: is told all output.
            ended: is told when the session is over.
        """
        id = f"ecs-execute-command-{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}"
        session = Session(id, start, self._clock, command=command, interactive=interactive, limits=self._limits, heard=heard)
        kept = self._kept[id] = _Kept(session)

        def over(task: asyncio.Task[None]) -> None:
            self._kept.pop(id, None)
            ended(session)

        session.begin().add_done_callback(over)
        return self._opened(kept)

    def resume(self, id: str) -> Opened | None:
        """A new token for a session whose client has lost its connection; None when it is over (ssm:ResumeSession)."""
        kept = self._kept.get(id)
        return None if kept is None else self._opened(kept)

    async def terminate(self, id: str) -> bool:
        """End a session; whether there was one (ssm:TerminateSession)."""
        kept = self._kept.get(id)
        if kept is None:
            return False
        kept.session.end()
        await kept.session.over()
        return True

    async def stop(self) -> None:
        """End all."""
        sessions = [kept.session for kept in self._kept.values()]
        for session in sessions:
            session.end("Cloudstead is stopping.")
        for session in sessions:
            await session.over()

    def _opened(self, kept: _Kept) -> Opened:
        now = self._clock.monotonic()
        kept.tokens = {token: until for token, until in kept.tokens.items() if until > now}
        token = base64.b64encode(secrets.token_bytes(96)).decode()
        kept.tokens[token] = now + self._limits.token_lasts
        return Opened(session_id=kept.session.id, stream_url=stream_url(self._endpoint(), kept.session.id), token_value=token)

    # -- the page

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """A request below PATH."""
        kept = self._kept.get(request.path.removeprefix(PATH))
        if kept is None or kept.session.done:
            return not_found()
        return accept(request, partial(self._admit, kept), largest=LARGEST)

    async def _admit(self, kept: _Kept, websocket: WebSocket) -> None:
        """Wait for the token, which is all that tells who connects."""
        opening: OpenDataChannel | None = None
        with contextlib.suppress(TimeoutError, BadMessage):
            async with self._clock.timeout(self._limits.token_within):
                first = await websocket.receive()
            if isinstance(first, str):
                opening = messages.read(first, OpenDataChannel)
        if opening is None or not self._good(kept, opening.token_value):
            log.info("session %s: a client without a valid token was sent away", kept.session.id)
            await websocket.close(1008, "The token is not valid for this session, or has expired.")
            return
        await kept.session.converse(websocket, opening.client_id)

    def _good(self, kept: _Kept, shown: str) -> bool:
        now = self._clock.monotonic()
        return any(until > now and hmac.compare_digest(token.encode(), shown.encode()) for token, until in kept.tokens.items())


def stream_url(endpoint: str, id: str) -> str:
    """http becomes ws, https wss."""
    return f"ws{endpoint.removeprefix('http').rstrip('/')}{PATH}{id}?role=publish_subscribe"


def command_in(driver: Driver, container: str, command: str, *, interactive: bool = True) -> Start:
    """Start a command in a container as ECS Exec does: its words, without a shell, as root.

    Raises:
        ValueError: a quotation in the command has no end.
    """
    spec = ExecSpec(
        args=tuple(shlex.split(command)),
        env=ENVIRONMENT,
        user="0",
        tty=interactive,
        stdin=interactive,
        size=(24, 80) if interactive else (0, 0),
    )

    async def start() -> Execution:
        return await driver.execute(container, spec)

    return start
