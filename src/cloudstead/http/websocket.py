"""WebSockets (RFC 6455), both ends, over connections that have left HTTP.

    response = accept(request, conversation)        a server's: 101, and `conversation` is given a WebSocket
    websocket = await dial(upstream, "/path")       a client's, over a connection of its own

Frames are read and made by the Sans-I/O layer of `websockets`, which knows fragments, masks, close codes and their limits. What is here: the handshake,
messages out of frames (text is checked as it arrives, RFC 6455, 8.1), back-pressure both ways, and an orderly end.

Nothing is read that nobody asks for: pings are answered, and a close is noticed, while somebody waits in `receive`. No extension is agreed to: compressing
what one end's secrets are mixed with is a risk (CRIME), and a megabyte of zeros in a kilobyte another.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import codecs
import contextlib
import hashlib
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from cloudstead.http.messages import Headers, HttpRequest, HttpResponse
from cloudstead.http.upgrade import RawStream
from cloudstead.http.upstream import Upstream

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
LARGEST: Final = 1 << 20  # bytes of a message that is taken, unless told otherwise
CLOSE_WITHIN: Final = 5.0  # seconds for the peer's part of the closing handshake
LINGER: Final = 1.0  # seconds
SLICE: Final = 16 << 10  # bytes taken apart at once: thousands of tiny frames must not hold up the event loop


class Refused(ConnectionError):
    """The other side does not speak WebSocket at this place."""

    def __init__(self, status: int) -> None:
        super().__init__(f"The server answered {status} instead of switching to WebSocket.")
        self.status = status


class WebSocket:
    """One end of a conversation in messages: text is `str`, binary is `bytes`. One may receive while others send."""

    def __init__(self, raw: RawStream, side: Side, *, largest: int = LARGEST, subprotocol: str = "") -> None:
        self.subprotocol = subprotocol
        self._raw = raw
        self._protocol = Protocol(side, max_size=largest)
        self._sending = asyncio.Lock()  # a connection has one who waits for room
        self._receiving = False
        self._over = asyncio.Event()
        self._messages: deque[str | bytes] = deque()  # complete ones
        self._pieces: list[bytes] = []  # of the message that is arriving
        self._text: codecs.IncrementalDecoder | None = None  # while that message is text
        self._decoded: list[str] = []
        self.when_draining: Callable[[], object] = self._leave  # called when the server wants to stop
        raw.when_draining = lambda: self.when_draining()

    # -- what became of it

    @property
    def closed(self) -> bool:
        return self._protocol.state is not State.OPEN

    @property
    def close_code(self) -> int:
        """Of the peer's close frame, or of ours when we closed because of it; 1006 when the connection was lost or still stands."""
        received, sent = self._protocol.close_rcvd, self._protocol.close_sent
        close = received or sent
        return int(close.code) if close is not None else int(CloseCode.ABNORMAL_CLOSURE)

    @property
    def close_reason(self) -> str:
        close = self._protocol.close_rcvd or self._protocol.close_sent
        return close.reason if close is not None else ""

    # -- messages

    async def receive(self) -> str | bytes | None:
        """The next message; None when the conversation is over, however it ended. For one caller at a time."""
        if self._receiving:
            raise RuntimeError("two receivers of one WebSocket")
        self._receiving = True
        try:
            while not self._messages:
                if self._over.is_set():
                    return None
                await self._read()
            return self._messages.popleft()
        finally:
            self._receiving = False

    async def send(self, message: str | bytes) -> None:
        """Returns when the peer takes it fast enough for more.

        Raises:
            ConnectionResetError: the conversation is over.
        """
        try:
            if isinstance(message, str):
                self._protocol.send_text(message.encode())
            else:
                self._protocol.send_binary(message)
        except InvalidState:
            raise ConnectionResetError("The WebSocket is closed.") from None
        await self._flush()

    async def ping(self, data: bytes = b"") -> None:
        """Let the peer show that it is there; what it answers is not told. At most 125 bytes.

        Raises:
            ConnectionResetError: the conversation is over.
        """
        try:
            self._protocol.send_ping(data)
        except InvalidState:
            raise ConnectionResetError("The WebSocket is closed.") from None
        await self._flush()

    async def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "", *, within: float = CLOSE_WITHIN) -> None:
        """Say goodbye, wait for the peer to do so too, close. Messages that come meanwhile are thrown away. A second time it does nothing.

        Args:
            reason: at most 123 bytes; longer ones are cut.
        """
        try:
            async with asyncio.timeout(within):
                if self._protocol.state is State.OPEN:
                    self._protocol.send_close(code, _cut(reason))
                    await self._flush()
                if self._receiving:
                    await self._over.wait()
                while not self._over.is_set():
                    await self._read()
                    self._messages.clear()
        except (TimeoutError, ConnectionResetError):
            pass
        finally:
            self._end()

    # -- bytes

    async def _read(self) -> None:
        """One piece from the connection, taken apart; what that makes us answer is sent."""
        try:
            data = await self._raw.read()
            if not data:
                self._protocol.receive_eof()
            for start in range(0, len(data), SLICE):
                self._protocol.receive_data(data[start : start + SLICE])
                self._collect()
                await self._flush()
            if not data:
                await self._flush()
                self._end()
            elif self._protocol.close_rcvd is not None or self._protocol.parser_exc is not None:
                await self._linger()
                self._end()
        except ConnectionResetError:
            self._end()

    def _collect(self) -> None:
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT) and self._protocol.parser_exc is None:
                try:
                    self._take(event)
                except UnicodeDecodeError:
                    self._protocol.fail(CloseCode.INVALID_DATA, "not UTF-8")
                    self._protocol.parser_exc = ValueError("not UTF-8")

    def _take(self, frame: Frame) -> None:
        """Raises UnicodeDecodeError, at the first byte that cannot be text."""
        if frame.opcode is Opcode.TEXT:
            self._text = codecs.getincrementaldecoder("utf-8")()
        if self._text is not None:
            self._decoded.append(self._text.decode(bytes(frame.data), final=frame.fin))
        elif frame.data or frame.fin:
            self._pieces.append(bytes(frame.data))
        if not frame.fin:
            return
        message: str | bytes
        if self._text is not None:
            message = "".join(self._decoded)
        else:
            message = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._messages.append(message)
        self._pieces.clear()
        self._decoded.clear()
        self._text = None

    async def _flush(self) -> None:
        async with self._sending:
            pieces = self._protocol.data_to_send()
            data = b"".join(pieces)
            if data:
                await self._raw.write(data)
            if b"" in pieces:
                self._raw.write_eof()

    async def _linger(self) -> None:
        """Until the peer has read our last frame and closed: closing on what it still sends would reset the connection, and that frame be lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while await self._raw.read():
                    pass

    def _end(self) -> None:
        if not self._over.is_set():
            self._over.set()
            if self._protocol.state is State.OPEN:  # nothing was said: nothing more can be
                self._protocol.state = State.CLOSED
            self._raw.close()

    def _leave(self) -> None:
        """The server is about to stop: say so, and do not keep it waiting."""
        if self._protocol.state is State.OPEN:
            with contextlib.suppress(ConnectionResetError):
                self._protocol.send_close(CloseCode.GOING_AWAY, "The server is stopping.")
                self._raw.transport.write(b"".join(self._protocol.data_to_send()))


Conversation = Callable[[WebSocket], Awaitable[None]]


# ------------------------------------------------------------------------------------------------------------ a server's end


def accept(request: HttpRequest, conversation: Conversation, *, subprotocols: Sequence[str] = (), largest: int = LARGEST) -> HttpResponse:
    """The answer to a request that wants to become a WebSocket: 101, after which `conversation` runs; or a refusal.

    The connection closes when the conversation returns, and it is cancelled when the connection is lost while it does not receive.

    Args:
        subprotocols: those that are spoken here, the best first. The first that the client offers is taken; none is no fault.
        largest: bytes of a message; a longer one ends the conversation with 1009.
    """
    status, fault = _fault(request)
    if status:
        headers = [("Content-Type", "text/plain; charset=utf-8")]
        headers += [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")] if status == 426 else []
        return HttpResponse(status, headers, fault.encode())
    key = request.headers.get("sec-websocket-key") or ""
    offered = _tokens(request.headers, "sec-websocket-protocol")
    chosen = next((each for each in subprotocols if each in offered), "")
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept_key(key))]
    if chosen:
        headers.append(("Sec-WebSocket-Protocol", chosen))

    async def upgrade(raw: RawStream) -> None:
        websocket = WebSocket(raw, Side.SERVER, largest=largest, subprotocol=chosen)
        try:
            await conversation(websocket)
        except Exception:
            await websocket.close(CloseCode.INTERNAL_ERROR)
            raise
        await websocket.close()

    return HttpResponse(101, headers, upgrade=upgrade)


def _fault(request: HttpRequest) -> tuple[int, str]:
    """What is wrong with a handshake (RFC 6455, 4.2.1); 0 when nothing is."""
    headers = request.headers
    if request.method != "GET" or request.http_version != "1.1":
        return 405 if request.method != "GET" else 400, "A WebSocket begins with GET over HTTP/1.1.\n"
    if "websocket" not in _tokens(headers, "upgrade", lower=True) or "upgrade" not in _tokens(headers, "connection", lower=True):
        return 426, "This place speaks WebSocket.\n"
    if headers.get("sec-websocket-version") != "13":
        return 426, "Version 13 of WebSocket is spoken here.\n"
    keys = headers.get_all("sec-websocket-key")
    try:
        sound = len(keys) == 1 and len(base64.b64decode(keys[0].strip(), validate=True)) == 16
    except (binascii.Error, ValueError):
        sound = False
    if not sound:
        return 400, "Sec-WebSocket-Key is not 16 bytes in base64.\n"
    return 0, ""


def accept_key(key: str) -> str:
    """What shows that a server has read the client's key."""
    return base64.b64encode(hashlib.sha1(key.strip().encode() + GUID, usedforsecurity=False).digest()).decode()


# ------------------------------------------------------------------------------------------------------------ a client's end


async def dial(
    upstream: Upstream,
    target: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    subprotocols: Sequence[str] = (),
    largest: int = LARGEST,
) -> WebSocket:
    """Open a WebSocket. Whoever opens it closes it.

    Raises:
        Refused: the server is no WebSocket server, or not at this target.
        NotSent, Lost: of http.upstream.
    """
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", key), *headers]
    if subprotocols:
        fields.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
    response = await upstream.send("GET", target, fields, upgrade=True)
    raw = response.raw
    if raw is None:
        await response.aclose()
        raise Refused(response.status)
    chosen = response.headers.get("sec-websocket-protocol") or ""
    agreed = response.headers.get("sec-websocket-accept") == accept_key(key) and "sec-websocket-extensions" not in response.headers
    if not agreed or (chosen and chosen not in subprotocols):
        raw.close()
        raise Refused(response.status)
    return WebSocket(raw, Side.CLIENT, largest=largest, subprotocol=chosen)


def _tokens(headers: Headers, name: str, *, lower: bool = False) -> list[str]:
    """The members of a header that is a list, over all its lines."""
    found = [token.strip() for value in headers.get_all(name) for token in value.split(",")]
    return [token.lower() for token in found] if lower else found


def _cut(reason: str) -> str:
    return reason.encode()[:123].decode(errors="ignore")
