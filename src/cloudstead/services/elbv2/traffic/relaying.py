"""Connections of network load balancers: each is joined to one to a target, and bytes are carried both ways as they come.

Either side is held back while the other cannot take more. A side that ends its half ends the other's, and the rest goes on; one that is cut is cut through.
"""

from __future__ import annotations

import asyncio
import ipaddress
import zlib
from collections.abc import Callable
from typing import cast

from cloudstead.kernel.clock import Clock
from cloudstead.kernel.store import Key
from cloudstead.services.elbv2.health.probing import unverified
from cloudstead.services.elbv2.model import Target
from cloudstead.services.elbv2.traffic.groups import CONNECT_SECONDS, Group, Groups

EARLY = 64 << 10  # bytes of a client that are kept until its target is connected
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Side(asyncio.Protocol):
    """One of the two connections."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.flow.touched = True
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        other = self.other
        if other is None or other.transport is None or other.transport.is_closing():
            return False
        if not other.transport.can_write_eof():  # TLS: there is no half-close
            return False
        other.transport.write_eof()
        return not other.ended

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.flow.lost(self, exc)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()


class Flow:
    """One connection of a client, and the one to its target."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.near = _Near(self)
        self.far: Side | None = None
        self.touched = True
        self.task: asyncio.Task[None] | None = None
        self.over: Callable[[], None] = lambda: None

    def lost(self, side: Side, error: Exception | None) -> None:
        other = self.far if side is self.near else self.near
        if side is self.near:
            if self.task is not None:
                self.task.cancel()
            self.relay.flows.discard(self)
        if other is not None and other.transport is not None:
            other.transport.abort() if error is not None else other.transport.close()
        over, self.over = self.over, lambda: None
        over()

    def cut(self) -> None:
        for side in (self.near, self.far):
            if side is not None and side.transport is not None:
                side.transport.abort()


class _Near(Side):
    """The client's side. What it says before there is somebody to tell is kept, and beyond a limit it is held back."""

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow)
        self._early: list[bytes] = []
        self._kept = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not paused here: uvloop reads all the same until this has returned.
        super().connection_made(transport)
        self.flow.relay.flows.add(self.flow)
        self.flow.task = asyncio.get_running_loop().create_task(self.flow.relay.join(self.flow))

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            super().data_received(data)
            return
        self._early.append(data)
        self._kept += len(data)
        if self._kept > EARLY and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        if self.other is None:
            self.ended = True
            return self.transport is not None and self.transport.can_write_eof()
        return super().eof_received()

    def joined(self, far: Side) -> None:
        """There is somebody now."""
        self.other = far
        if far.transport is not None:
            far.transport.writelines(self._early)
            if self.ended and far.transport.can_write_eof():
                far.transport.write_eof()
        if self._kept > EARLY and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
        self._early.clear()
        self._kept = 0


class Relay:
    """What one listener does with connections: `protocol` is made for each."""

    def __init__(self, group: Callable[[], Group | None], groups: Groups, clock: Clock, idle: Callable[[], float]) -> None:
        """
        Args:
            group: the target group of the next connection.
            idle: after so many seconds without a byte a connection is cut.
        """
        self._group = group
        self._groups = groups
        self._clock = clock
        self._idle = idle
        self.flows: set[Flow] = set()
        self._sweep = clock.call_later(idle(), self._cut_idle)

    def protocol(self) -> asyncio.Protocol:
        return Flow(self).near

    def stop(self) -> None:
        self._sweep.cancel()
        for flow in list(self.flows):
            flow.cut()

    def _cut_idle(self) -> None:
        for flow in list(self.flows):
            if not flow.touched:
                flow.cut()
            flow.touched = False
        self._sweep = self._clock.call_later(self._idle(), self._cut_idle)

    async def join(self, flow: Flow) -> None:
        """Connect to a target. When one does not answer the next is tried: nothing of the client's has been read yet."""
        near = flow.near
        assert near.transport is not None
        peer = near.transport.get_extra_info("peername") or ("127.0.0.1", 0)
        group = self._group()
        tried: set[Key] = set()
        while group is not None and (target := self._choose(group, str(peer[0]), tried)) is not None:
            tried.add(target.key)
            self._groups.begin(group, target)
            try:
                far = await self._connect(flow, group, target)
            except (OSError, TimeoutError):
                self._groups.end(group, target)
                continue
            except BaseException:
                self._groups.end(group, target)
                raise
            self._joined(flow, far, group, target, peer)
            return
        if near.transport is not None:
            near.transport.abort()

    def _choose(self, group: Group, client: str, tried: set[Key]) -> Target | None:
        if group.sticky == "source_ip":
            return self._groups.hashed(group, zlib.crc32(client.encode()), tried)
        return self._groups.choose(group, excluded=tried)

    async def _connect(self, flow: Flow, group: Group, target: Target) -> Side:
        place = self._groups.place(target)
        far = flow.far = Side(flow)
        far.other = flow.near  # a server may be the first to speak
        async with self._clock.timeout(CONNECT_SECONDS):
            dialled = await self._groups.dial(place)
            tls = unverified() if group.row.protocol == "TLS" else None
            try:
                await asyncio.get_running_loop().create_connection(
                    lambda: far, sock=dialled, ssl=tls, server_hostname=place.address if tls is not None else None
                )
            except BaseException:
                dialled.close()
                raise
        return far

    def _joined(self, flow: Flow, far: Side, group: Group, target: Target, peer: tuple[str, int]) -> None:
        near = flow.near
        flows = group.flows.setdefault(target.key, {})
        flows[flow] = flow.cut

        def over() -> None:
            flows.pop(flow, None)
            self._groups.end(group, target)

        if near.transport is None or far.transport is None:
            over()
            flow.cut()
            return
        flow.over = over
        if group.proxy_protocol:
            local = near.transport.get_extra_info("sockname") or ("127.0.0.1", 0)
            far.transport.write(proxy_header(peer, local))
        near.joined(far)


def proxy_header(client: tuple[str, int], here: tuple[str, int]) -> bytes:
    """Version 2 of the PROXY protocol, for TCP over IPv4. https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt"""
    addresses = ipaddress.IPv4Address(client[0]).packed + ipaddress.IPv4Address(here[0]).packed
    body = addresses + client[1].to_bytes(2, "big") + here[1].to_bytes(2, "big")
    return _SIGNATURE + b"\x21\x11" + len(body).to_bytes(2, "big") + body
