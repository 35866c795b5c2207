"""The name server of networks: what pods are called, in the networks that the asker is in; other sources of names; the rest is forwarded.

It runs in the daemon, on sockets that the host opened inside each router. So the address of whoever asks cannot be forged, and says which
pod it is. Nothing that a pod sends costs more than a few milliseconds of the loop; the number of its questions under way is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network
from typing import cast

from cloudstead.engine.network import dns_messages as dns
from cloudstead.engine.network.api import Asker, NetworkSpec, Zone
from cloudstead.engine.network.dns_forwarding import Dialer, Forwarder
from cloudstead.engine.network.dns_messages import Query, Record
from cloudstead.engine.network.model import AttachedPod
from cloudstead.engine.network.records import Records
from cloudstead.kernel.clock import Clock

log = logging.getLogger("cloudstead.engine.names")

MOST_AT_ONCE = 64  # questions of one pod that are being forwarded
MOST_STREAMS = 16  # tcp connections of one pod
IDLE = 10.0  # seconds that a tcp connection may be silent


class NameServer:
    def __init__(self, records: Records, clock: Clock, dial: Callable[[str], Dialer], forwarder: Forwarder) -> None:
        self._records = records
        self._clock = clock
        self._dial = dial  # by network: how name servers of a pod's own are reached
        self._forwarder = forwarder
        self._zones: list[Zone] = []
        self._open: dict[str, list[tuple[str, asyncio.DatagramTransport | asyncio.Server]]] = {}  # by network, with addresses
        self._under_way: Counter[tuple[str, str]] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: Counter[tuple[str, str]] = Counter()
        self._turn = 0

    def add_zone(self, zone: Zone) -> Callable[[], None]:
        """Ask it before anything is forwarded, until the returned function is called."""
        self._zones.append(zone)
        return lambda: self._zones.remove(zone)

    async def serve(self, network: str, sockets: Iterable[tuple[str, socket.socket]]) -> None:
        """Answer on these, which are the server's from now on."""
        loop = asyncio.get_running_loop()
        opened = self._open.setdefault(network, [])
        for ip, sock in sockets:
            if sock.type == socket.SOCK_DGRAM:
                transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self, network), sock=sock)
                opened.append((ip, transport))
            else:
                opened.append((ip, await asyncio.start_server(lambda r, w: self._stream(network, r, w), sock=sock)))

    def stop(self, network: str, address: str = "") -> None:
        """At one address, or at all of a network."""
        kept = []
        for ip, one in self._open.pop(network, ()):
            if address in ("", ip):
                one.close()
            else:
                kept.append((ip, one))
        if kept:
            self._open[network] = kept

    async def close(self) -> None:
        for network in list(self._open):
            self.stop(network)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------------------ answering

    def received(self, network: str, message: bytes, ip: str, send: Callable[[bytes], None]) -> None:
        """A datagram. Own names are answered at once."""
        asker = Asker(network, ip, self._records.who_has(network, ip))
        try:
            query = dns.parse(message)
        except dns.Malformed:
            if len(message) >= 12 and not message[2] & 0x80:
                send(dns.refuse(message, dns.FORMAT_ERROR))
            return
        if (answer := self.answer(query, asker, dns.udp_limit(query))) is not None:
            send(answer)
        elif self._under_way[network, ip] >= MOST_AT_ONCE:
            send(dns.respond(query, dns.SERVER_FAILURE))
        else:
            self._under_way[network, ip] += 1
            task = asyncio.ensure_future(self._forward_datagram(query, message, asker, send))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward_datagram(self, query: Query, message: bytes, asker: Asker, send: Callable[[bytes], None]) -> None:
        try:
            send(await self._forward(query, message, asker, stream=False))
        finally:
            _one_less(self._under_way, (asker.network, asker.ip))

    async def _forward(self, query: Query, message: bytes, asker: Asker, *, stream: bool) -> bytes:
        pod = self._records.find_pod(asker.pod)
        own = pod.dns if pod is not None else ()
        dial = self._dial(asker.network) if own else None
        return await self._forwarder.ask(message, own, dial, stream=stream) or dns.respond(query, dns.SERVER_FAILURE)

    async def _stream(self, network: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = (network, writer.get_extra_info("peername")[0])
        self._streams[key] += 1
        try:
            if self._streams[key] <= MOST_STREAMS:
                with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, dns.Malformed):
                    await self._converse(network, reader, writer)
        finally:
            _one_less(self._streams, key)
            writer.close()

    async def _converse(self, network: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ip = writer.get_extra_info("peername")[0]
        asker = Asker(network, ip, self._records.who_has(network, ip))
        while True:
            async with self._clock.timeout(IDLE):
                size = struct.unpack(">H", await reader.readexactly(2))[0]
                message = await reader.readexactly(size)
            query = dns.parse(message)
            answer = self.answer(query, asker, 65535)
            if answer is None:
                answer = await self._forward(query, message, asker, stream=True)
            writer.write(struct.pack(">H", len(answer)) + answer)
            async with self._clock.timeout(IDLE):
                await writer.drain()

    def answer(self, query: Query, asker: Asker, limit: int) -> bytes | None:
        """What can be said without asking anybody; None: to be forwarded."""
        if query.opcode:
            return dns.respond(query, dns.NOT_IMPLEMENTED)
        pod = self._records.find_pod(asker.pod)
        if pod is None:
            return dns.respond(query, dns.REFUSED)
        if query.klass == dns.INTERNET:
            try:
                records = self._find(query, asker, pod)
            except KeyError:
                return dns.respond(query, dns.NO_NAME)
            if records is not None:
                return self._records_answer(query, records, limit)
        if not any(not spec.internal for spec in self._specs(pod)) and not pod.dns:
            return dns.respond(query, dns.SERVER_FAILURE)  # no way out, for names either (CVE-2024-29018)
        return None

    def _records_answer(self, query: Query, records: list[Record], limit: int) -> bytes:
        if len(records) > 1:
            self._turn += 1
            shift = self._turn % len(records)
            records = records[shift:] + records[:shift]
        try:
            return dns.respond(query, dns.NO_ERROR, records, limit=limit)
        except ValueError:
            log.warning("a name source gave a record that cannot be sent: %s", records)
            return dns.respond(query, dns.SERVER_FAILURE)

    # ------------------------------------------------------------------------------------------------------------ names

    def _find(self, query: Query, asker: Asker, pod: AttachedPod) -> list[Record] | None:
        kind = next((name for name, number in dns.KINDS.items() if number == query.kind), str(query.kind))
        for zone in self._zones:
            if (records := zone(query.name, kind, asker)) is not None:
                return records
        if reverse := dns.reverse_address(query.name):
            return self._reverse(reverse, kind, pod)
        for spec in self._specs(pod):
            if spec.names and (addresses := self._addresses(spec, query.name)):
                wanted = kind == "A" or query.kind == dns.ANY
                return [Record("A", ip) for ip in addresses] if wanted else []
        if any(spec.names and spec.dns_domain and query.name.endswith("." + spec.dns_domain.lower()) for spec in self._specs(pod)):
            raise KeyError(query.name)
        return None

    def _addresses(self, spec: NetworkSpec, name: str) -> list[str]:
        for suffix in ("", spec.name, spec.dns_domain):
            bare = name.removesuffix("." + suffix.lower()) if suffix else name
            if (not suffix or bare != name) and (found := self._records.named(spec.id, bare)):
                return found
        return []

    def _reverse(self, ip: str, kind: str, pod: AttachedPod) -> list[Record] | None:
        for spec in self._specs(pod):
            if spec.names and any(IPv4Address(ip) in IPv4Network(subnet.cidr) for subnet in spec.subnets):
                endpoint = self._records.endpoint_at(spec.id, ip)
                if endpoint is None or not endpoint.names:
                    raise KeyError(ip)
                domain = spec.dns_domain or spec.name
                return [Record("PTR", f"{endpoint.names[0]}.{domain}" if domain else endpoint.names[0])] if kind == "PTR" else []
        return None

    def _specs(self, pod: AttachedPod) -> list[NetworkSpec]:
        return [self._records.find(endpoint.interface.network)[1] for endpoint in pod.endpoints]


def _one_less(counter: Counter[tuple[str, str]], key: tuple[str, str]) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer, network: str) -> None:
        self._server = server
        self._network = network
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        try:
            self._server.received(self._network, data, address[0], lambda answer: self._send(answer, address))
        except Exception:
            log.exception("a question could not be answered")

    def _send(self, answer: bytes, address: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, address)

    def error_received(self, error: Exception) -> None:
        """An asker that is gone already."""
