"""One end's view of a data channel: what was sent and not acknowledged, what came too early. Pure: bytes in, bytes out.

Each way is a stream of numbered messages. Every one is acknowledged by itself, and one that came before its turn is acknowledged and put by. The
oldest that was not acknowledged is sent again when the round-trip time says that it should have been (RFC 6298's estimate); the plugin makes use of
that: what comes while it is not ready it neither acknowledges nor keeps.

The plugin does not acknowledge a message a second time. So one that it had before a connection was lost, whose acknowledgement was lost with the
connection, would be repeated for ever: after some repetitions over the new connection, which loses nothing, it counts as delivered.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cloudstead.kernel.clock import Clock
from cloudstead.services.ecs.sessions import messages
from cloudstead.services.ecs.sessions.messages import Acknowledge, Message

WINDOW: Final = 512  # messages on their way; whoever wants to send more waits
EARLY: Final = 1000  # messages that are put by until their turn
EARLY_BYTES: Final = 1 << 20
FIRST_TIMEOUT: Final = 0.2  # seconds until a message is repeated, before a round-trip time is known
LONGEST_TIMEOUT: Final = 1.0
GRANULARITY: Final = 0.01
PRESUMED_AFTER: Final = 5  # repetitions


class _Sent:
    __slots__ = ("at", "bytes", "connection", "first", "repeated")

    def __init__(self, data: bytes, now: float, connection: int) -> None:
        self.bytes = data
        self.first = self.at = now
        self.connection = connection  # over which it was sent first
        self.repeated = 0  # over the connection that there is


class Channel:
    """Numbers what is sent, as messages of the type `sends`, and puts in order what is received."""

    def __init__(self, sends: str, clock: Clock) -> None:
        self._sends = sends
        self._clock = clock
        self._next = 0
        self._expected = 0
        self._sent: OrderedDict[int, _Sent] = OrderedDict()
        self._early: dict[int, Message] = {}
        self._early_bytes = 0
        self._connection = 0
        self._round_trip = 0.1
        self._variation = 0.0
        self._timeout = FIRST_TIMEOUT

    # -- sending

    @property
    def unacknowledged(self) -> int:
        return len(self._sent)

    @property
    def has_room(self) -> bool:
        return len(self._sent) < WINDOW

    def send(self, payload_type: int, payload: bytes) -> bytes:
        """The bytes to send; kept until they are acknowledged."""
        number, self._next = self._next, self._next + 1
        message = Message(
            type=self._sends,
            payload=payload,
            payload_type=payload_type,
            sequence=number,
            flags=messages.SYN if number == 0 else 0,
            created=int(self._clock.time() * 1000),
        )
        data = messages.encode(message)
        self._sent[number] = _Sent(data, self._clock.monotonic(), self._connection)
        return data

    def acknowledged(self, acknowledge: Acknowledge) -> bool:
        """Whether that was news."""
        sent = self._sent.pop(acknowledge.acknowledged_message_sequence_number, None)
        if sent is None:
            return False
        if sent.at == sent.first:  # of a repeated one nobody knows which of the two was answered (Karn)
            took = self._clock.monotonic() - sent.at
            self._variation += (abs(self._round_trip - took) - self._variation) / 4
            self._round_trip += (took - self._round_trip) / 8
            self._timeout = min(self._round_trip + max(GRANULARITY, 4 * self._variation), LONGEST_TIMEOUT)
        return True

    def due(self) -> float | None:
        """When the oldest message is to be repeated; None when all were acknowledged."""
        for sent in self._sent.values():
            return sent.at + self._timeout
        return None

    def waiting_since(self) -> float | None:
        """When the oldest unacknowledged message was sent first."""
        for sent in self._sent.values():
            return sent.first
        return None

    def repeat(self) -> bytes:
        """The oldest message, again; nothing when none is due, or it must have arrived."""
        now = self._clock.monotonic()
        for number, sent in self._sent.items():
            if sent.at + self._timeout > now:
                return b""
            if sent.connection != self._connection and sent.repeated >= PRESUMED_AFTER:
                del self._sent[number]
                return b""
            sent.repeated += 1
            sent.at = now
            self._timeout = min(self._timeout * 2, LONGEST_TIMEOUT)
            return sent.bytes
        return b""

    def reconnected(self) -> list[bytes]:
        """All that was not acknowledged, to be sent over the new connection."""
        now = self._clock.monotonic()
        self._connection += 1
        self._timeout = FIRST_TIMEOUT
        for sent in self._sent.values():
            sent.first, sent.at, sent.repeated = now, now, 0
        return [sent.bytes for sent in self._sent.values()]

    # -- receiving

    def receive(self, message: Message, *, room: bool = True) -> tuple[list[Message], bytes]:
        """What can be used now, in order, and the acknowledgement to send.

        Without `room` for it the next message is neither: the sender will repeat it.
        """
        number = message.sequence
        if number < self._expected:  # a repetition: our acknowledgement was lost
            return [], self._acknowledge(message)
        if number > self._expected:
            kept = number in self._early or self._put_by(message)
            return [], self._acknowledge(message) if kept else b""
        if not room:
            return [], b""
        ready = [message]
        self._expected += 1
        while (following := self._early.pop(self._expected, None)) is not None:
            self._early_bytes -= len(following.payload)
            ready.append(following)
            self._expected += 1
        return ready, self._acknowledge(message)

    def _put_by(self, message: Message) -> bool:
        far = message.sequence - self._expected > EARLY
        if far or len(self._early) >= EARLY or self._early_bytes + len(message.payload) > EARLY_BYTES:
            return False
        self._early[message.sequence] = message
        self._early_bytes += len(message.payload)
        return True

    def _acknowledge(self, message: Message) -> bytes:
        content = Acknowledge(
            acknowledged_message_type=message.type,
            acknowledged_message_id=str(message.id),
            acknowledged_message_sequence_number=message.sequence,
        )
        both = messages.SYN | messages.FIN
        return messages.encode(
            Message(type=messages.ACKNOWLEDGE, payload=messages.to_json(content), flags=both, created=int(self._clock.time() * 1000))
        )
