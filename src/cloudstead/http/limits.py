"""How much one connection may ask of us. All times in seconds, all sizes in bytes."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults suit a daemon that faces the network; tests shorten them."""

    head_bytes: int = 64 << 10  # request line and headers together; beyond: 431
    head_fields: int = 200  # headers of one request; beyond: 431
    body_buffer: int = 256 << 10  # what is held of a body that the handler does not take yet; beyond, the client is held back
    stash: int = 64 << 10  # what is held of requests that were sent ahead (pipelined)
    discard: int = 256 << 10  # how much of a body that nobody read is taken to keep the connection; beyond, it closes
    bodies: int = 512 << 20  # what all requests of a server together may hold of bodies that are read whole
    connections: int = 10_000  # at once, per server; beyond, the oldest that is idle makes room, and if all are busy new ones are dropped

    idle_timeout: float = 75.0  # between two requests
    head_timeout: float = 15.0  # from the first byte of a request to the end of its headers (slow loris)
    body_timeout: float = 60.0  # without a byte of a body that the handler waits for
    write_timeout: float = 120.0  # without room for more of an answer
    half_closed_timeout: float = 10.0  # a client that has closed its side may still be reading: this long, then it counts as gone
    linger_timeout: float = 2.0  # reading on after the last answer, so that a reset does not destroy it on its way
    handshake_timeout: float = 10.0  # of TLS
    sweep_interval: float = 1.0  # how often times are looked at: one timer for all connections
