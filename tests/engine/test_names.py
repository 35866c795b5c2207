"""The name server of networks: who is called how, for whom; and strangers' messages."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_support import Machine, needs_networks, tell

from cloudstead.engine.network import dns_messages as dns
from cloudstead.engine.network.api import Asker, Attachment, PodNetwork, Subnet
from cloudstead.engine.network.dns_forwarding import name_servers
from cloudstead.engine.network.dns_messages import Malformed, Record

GATEWAY = "10.20.0.1"


def question(name: str, kind: str = "A", *, number: int = 7, edns: int = 0) -> bytes:
    opt = struct.pack(">BHHIH", 0, 41, edns, 0, 0) if edns else b""
    head = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 1 if edns else 0)
    return head + dns.name_bytes(name) + struct.pack(">HH", dns.KINDS.get(kind, 99), 1) + opt


class Said:
    """An answer, read by a reader that knows more than the product's."""

    def __init__(self, message: bytes) -> None:
        self.id, self.flags, questions, answers, _, self.additional = struct.unpack_from(">HHHHHH", message)
        self.code = self.flags & 15
        self.message = message
        at = 12
        for _ in range(questions):
            at = self._name(at)[1] + 4
        self.records: list[tuple[str, int, str]] = []
        for _ in range(answers):
            name, at = self._name(at)
            kind, _, _, size = struct.unpack_from(">HHIH", message, at)
            self.records.append((name, kind, self._data(kind, at + 10, size)))
            at += 10 + size

    @property
    def values(self) -> list[str]:
        return [value for _, _, value in self.records]

    def _name(self, at: int) -> tuple[str, int]:
        labels = []
        while size := self.message[at]:
            if size >= 192:
                rest, _ = self._name(struct.unpack_from(">H", self.message, at)[0] & 0x3FFF)
                return ".".join([*labels, rest]), at + 2
            labels.append(self.message[at + 1 : at + 1 + size].decode())
            at += size + 1
        return ".".join(labels), at + 1

    def _data(self, kind: int, at: int, size: int) -> str:
        raw = self.message[at : at + size]
        if kind == 1:
            return socket.inet_ntoa(raw)
        if kind in (5, 12):
            return self._name(at)[0]
        if kind == 33:
            return "{} {} {} ".format(*struct.unpack_from(">HHH", raw)) + self._name(at + 6)[0]
        return raw[1:].decode() if kind == 16 else raw.hex()


async def resolve(machine: Machine, pod: str, name: str, kind: str = "A", *, server: str = GATEWAY, edns: int = 0) -> Said:
    loop = asyncio.get_running_loop()
    with machine.socket(pod, socket.SOCK_DGRAM) as sock:
        sock.connect((server, 53))
        await loop.sock_sendall(sock, question(name, kind, edns=edns))
        async with asyncio.timeout(8):
            return Said(await loop.sock_recv(sock, 65535))


async def resolve_by_tcp(machine: Machine, pod: str, *messages: bytes) -> list[Said]:
    with machine.socket(pod) as sock:
        await asyncio.get_running_loop().sock_connect(sock, (GATEWAY, 53))
        reader, writer = await asyncio.open_connection(sock=sock)
        found = []
        for message in messages:
            writer.write(struct.pack(">H", len(message)) + message)
            size = struct.unpack(">H", await reader.readexactly(2))[0]
            found.append(Said(await reader.readexactly(size)))
        writer.close()
        return found


class Upstream:
    """A name server at an address of its own of the loopback, for this test alone."""

    def __init__(self) -> None:
        self.ip = f"127.{random.randrange(1, 255)}.{random.randrange(255)}.{random.randrange(1, 255)}"
        self.asked: list[str] = []
        self.answers = {"example.com": [Record("A", "192.0.2.80")]}
        self.silent = 0

    def answer(self, message: bytes, by: str) -> bytes | None:
        query = dns.parse(message)
        self.asked.append(f"{by} {query.name}")
        if self.silent:
            self.silent -= 1
            return None
        records = self.answers.get(query.name)
        if records is None:
            return dns.respond(query, dns.NO_NAME)
        return dns.respond(query, 0, records, limit=65535 if by == "tcp" else dns.udp_limit(query))


@contextlib.asynccontextmanager
async def upstream(machine: Machine) -> AsyncIterator[Upstream]:
    found = Upstream()

    class Protocol(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: asyncio.DatagramTransport = transport  # type: ignore[assignment]

        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            answer = found.answer(data, "udp")
            if answer is not None:
                self.transport.sendto(struct.pack(">H", struct.unpack_from(">H", answer)[0] ^ 1) + answer[2:], address)  # a wrong id first
                self.transport.sendto(answer, address)

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = struct.unpack(">H", await reader.readexactly(2))[0]
        answer = found.answer(await reader.readexactly(size), "tcp") or b""
        writer.write(struct.pack(">H", len(answer)) + answer)
        writer.close()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=(found.ip, 53))
    server = await asyncio.start_server(stream, found.ip, 53)
    machine.resolv_conf.write_text(f"search nowhere\nnameserver {found.ip}\n")
    try:
        yield found
    finally:
        transport.close()
        server.close()


@needs_networks
def test_pods_find_one_another_by_all_their_names(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", name="shop", dns_domain="shop.internal")
        await machine.pod("a", names=("front", "0123456789ab"), aliases=("www",))
        for name in ("front", "FRONT", "0123456789ab", "www", "front.shop", "front.shop.internal", "front."):
            assert (await resolve(machine, "a", name)).values == ["10.20.0.2"], name
        said = await resolve(machine, "a", "2.0.20.10.in-addr.arpa", "PTR")
        assert said.values == ["front.shop.internal"]
        assert (await resolve(machine, "a", "9.0.20.10.in-addr.arpa", "PTR")).code == dns.NO_NAME
        assert (await resolve(machine, "a", "nobody.shop.internal")).code == dns.NO_NAME
        said = await resolve(machine, "a", "front", "AAAA")
        assert (said.code, said.values) == (0, [])
        await machine.networks.detach("a")
        await machine.pod("b")
        assert (await resolve(machine, "b", "front.shop.internal")).code == dns.NO_NAME

    tell(tmp_path, story)


@needs_networks
def test_pods_of_one_name_are_told_in_turn(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        for number in range(3):
            await machine.pod(f"p{number}", aliases=("web",))
        answers = [(await resolve(machine, "p0", "web")).values for _ in range(6)]
        assert {answer[0] for answer in answers} == {"10.20.0.2", "10.20.0.3", "10.20.0.4"}
        assert all(sorted(answer) == ["10.20.0.2", "10.20.0.3", "10.20.0.4"] for answer in answers)

    tell(tmp_path, story)


@needs_networks
def test_a_pod_hears_the_names_of_its_own_networks_only(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        async with upstream(machine) as other:
            await machine.network("net")
            await machine.network("second", "10.30.0.0/16")
            await machine.network("third", "10.40.0.0/16")
            await machine.network("nameless", "10.50.0.0/16", names=False)
            await machine.pod("one", aliases=("db",))
            await machine.pod("two", "second", aliases=("cache",))
            await machine.pod("three", "third", aliases=("secret",))
            await machine.pod("four", "nameless", aliases=("quiet",))
            both = PodNetwork(attachments=(Attachment(network="net"), Attachment(network="second"), Attachment(network="nameless")))
            await machine.networks.attach("both", both)
            assert (await resolve(machine, "both", "db")).values == ["10.20.0.2"]
            assert (await resolve(machine, "both", "cache")).values == ["10.30.0.2"]
            for unheard in ("secret", "quiet"):
                assert (await resolve(machine, "both", unheard)).code == dns.NO_NAME
            assert (await resolve(machine, "one", "cache")).code == dns.NO_NAME
            assert other.asked == ["udp secret", "udp quiet", "udp cache"]
            assert await machine.ask_udp("host", "100.64.0.1", 53, data=question("db"), within=0.2) == "silence"

    tell(tmp_path, story)


@needs_networks
def test_the_server_answers_at_amazons_addresses_too(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network(
            "net", subnets=(Subnet(id="a", cidr="10.20.0.0/24", reserved=4), Subnet(id="b", cidr="10.20.1.0/24", reserved=4))
        )
        await machine.pod("pod", subnet="b")
        for server in ("10.20.0.1", "10.20.0.2", "10.20.1.1", "10.20.1.2", "169.254.169.253"):
            assert (await resolve(machine, "pod", "pod", server=server)).values == ["10.20.1.4"]
        await machine.network("plain", "10.30.0.0/24")
        assert await machine.pod("first", "plain") == "10.30.0.2"

    tell(tmp_path, story)


@needs_networks
def test_what_no_network_knows_is_asked_elsewhere(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        async with upstream(machine) as other:
            await machine.network("net")
            await machine.pod("pod")
            said = await resolve(machine, "pod", "example.com")
            assert (said.id, said.values) == (7, ["192.0.2.80"])
            assert (await resolve(machine, "pod", "nothing.example.com")).code == dns.NO_NAME
            other.silent = 1
            assert (await resolve(machine, "pod", "example.com")).values == ["192.0.2.80"]
            other.answers["long.example.com"] = [Record("A", f"192.0.2.{number}") for number in range(200)]
            short = await resolve(machine, "pod", "long.example.com")
            assert short.flags & dns.TRUNCATED
            assert len((await resolve(machine, "pod", "long.example.com", edns=1232)).values) > len(short.values)
            whole, own = await resolve_by_tcp(machine, "pod", question("long.example.com"), question("pod"))
            assert (len(whole.values), own.values) == (200, ["10.20.0.2"])
            assert other.asked[-1] == "tcp long.example.com"
            other.silent = 99
            assert (await resolve(machine, "pod", "example.com")).code == dns.SERVER_FAILURE

    tell(tmp_path, story)


@needs_networks
def test_a_pods_own_name_servers_are_asked_from_its_network(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net", internal=True)
        server = await machine.pod("server")
        sock = machine.socket("server", socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", 53))

        class Protocol(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport: asyncio.DatagramTransport = transport  # type: ignore[assignment]

            def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
                self.transport.sendto(dns.respond(dns.parse(data), 0, [Record("A", "192.0.2.99")]), address)

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Protocol, sock=sock)
        await machine.networks.attach("pod", PodNetwork(attachments=(Attachment(network="net"),), dns=(server,)), names=("pod",))
        assert (await resolve(machine, "pod", "anything.test")).values == ["192.0.2.99"]
        assert (await resolve(machine, "pod", "pod")).values == ["10.20.0.3"]
        assert (await resolve(machine, "server", "anything.test")).code == dns.SERVER_FAILURE  # no way out, for names either
        transport.close()

    tell(tmp_path, story)


@needs_networks
def test_other_sources_of_names_are_heard(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        await machine.pod("pod")
        heard: list[Asker] = []

        def zone(name: str, kind: str, asker: Asker) -> list[Record] | None:
            heard.append(asker)
            if not name.endswith(".svc"):
                return None
            if name.startswith("no"):
                raise KeyError(name)
            known = {"A": [Record("A", "10.9.9.9")], "SRV": [Record("SRV", "1 10 8080 a.svc")], "TXT": [Record("TXT", "hello")]}
            return known.get(kind, [])

        remove = machine.networks.add_zone(zone)
        assert (await resolve(machine, "pod", "api.svc")).values == ["10.9.9.9"]
        assert (await resolve(machine, "pod", "api.svc", "SRV")).values == ["1 10 8080 a.svc"]
        assert (await resolve(machine, "pod", "api.svc", "TXT")).values == ["hello"]
        said = await resolve(machine, "pod", "api.svc", "AAAA")
        assert (said.code, said.values) == (0, [])
        assert (await resolve(machine, "pod", "no.svc")).code == dns.NO_NAME
        assert (await resolve(machine, "pod", "pod")).values == ["10.20.0.2"]
        assert heard[0] == Asker("net", "10.20.0.2", "pod")
        remove()
        machine.resolv_conf.write_text("nameserver 127.255.255.1\n")
        assert (await resolve(machine, "pod", "api.svc")).code == dns.SERVER_FAILURE

    tell(tmp_path, story)


@needs_networks
def test_what_strangers_send_does_no_harm(tmp_path: Path) -> None:
    async def story(machine: Machine) -> None:
        await machine.network("net")
        await machine.pod("pod")
        loop = asyncio.get_running_loop()
        good = question("pod")
        with machine.socket("pod", socket.SOCK_DGRAM) as sock:
            sock.connect((GATEWAY, 53))
            messages = [os.urandom(size) for size in (1, 11, 12, 40, 512, 1400)]
            messages += [good[:at] for at in range(1, len(good))]
            messages += [
                good[:12] + b"\xc0\x0c" + good[-4:],
                good[:12] + b"\x3f" * 300,
                good[:4] + b"\xff\xff" + good[6:],
                b"",
                good + good,
            ]
            for message in messages:
                await loop.sock_sendall(sock, message)
        for raw in (b"\0\0", b"\xff\xff" + bytes(10), struct.pack(">H", 12) + bytes(12), b"\0"):
            with machine.socket("pod") as sock:
                await loop.sock_connect(sock, (GATEWAY, 53))
                await loop.sock_sendall(sock, raw)
        with machine.socket("pod", socket.SOCK_DGRAM) as sock:
            sock.connect((GATEWAY, 53))
            for _ in range(3000):
                await loop.sock_sendall(sock, question("many.example.com"))
        await machine.pod("other")
        assert (await resolve(machine, "other", "pod")).values == ["10.20.0.2"]
        await asyncio.sleep(0.1)
        assert (await resolve(machine, "pod", "pod")).values == ["10.20.0.2"]
        silent = [machine.socket("pod") for _ in range(70)]
        for sock in silent:
            await loop.sock_connect(sock, (GATEWAY, 53))
        await asyncio.sleep(0.05)
        assert (await resolve(machine, "pod", "pod")).values == ["10.20.0.2"]
        for sock in silent:
            sock.close()

    tell(tmp_path, story)


@given(st.binary(max_size=600))
def test_any_bytes_are_a_query_or_malformed(message: bytes) -> None:
    try:
        query = dns.parse(message)
    except Malformed:
        return
    answer = dns.respond(query, 0, [Record("A", "10.0.0.1")] * 100, limit=dns.udp_limit(query))
    assert len(answer) <= 1232
    assert Said(answer).id == query.id


labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)


@given(st.lists(labels, min_size=1, max_size=8), st.sampled_from(sorted(dns.KINDS)), st.integers(0, 65535), st.sampled_from([0, 512, 4096]))
def test_a_query_is_read_as_it_was_written(parts: list[str], kind: str, number: int, edns: int) -> None:
    name = ".".join(parts)
    query = dns.parse(question(name, kind, number=number, edns=edns))
    assert (query.id, query.name, query.kind, query.size) == (number, name, dns.KINDS[kind], edns)
    if kind == "A":
        said = Said(dns.respond(query, 0, [Record("A", "192.0.2.1")]))
        assert said.records == [(name, 1, "192.0.2.1")]
        assert bool(said.additional) == bool(edns)


def test_odd_labels_have_one_reading() -> None:
    message = question("x")
    raw = message[:12] + b"\x04a.\x00B\x00" + message[-4:]
    assert dns.parse(raw).name == "a\\046\\000b"


def test_reverse_names_are_told_from_others() -> None:
    assert dns.reverse_address("4.3.2.1.in-addr.arpa") == "1.2.3.4"
    for name in ("3.2.1.in-addr.arpa", "256.0.0.1.in-addr.arpa", "x.0.0.1.in-addr.arpa", "4.3.2.1.in-addr.example", "٣.0.0.1.in-addr.arpa"):
        assert dns.reverse_address(name) == ""


def test_resolv_conf_is_read_as_the_c_library_does() -> None:
    text = "# nameserver 9.9.9.9\nnameserver 1.1.1.1\nsearch a b\nnameserver ::1\nnameserver\nnameserver 2.2.2.2 x\nnameserver 3.3.3.3\n"
    assert name_servers(text) == ["1.1.1.1", "::1", "2.2.2.2"]
    assert name_servers("options edns0\n") == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["a..b", "x" * 64, ".".join(["x" * 60] * 5)])
def test_names_that_cannot_be_are_not_sent(name: str) -> None:
    with pytest.raises(ValueError):
        dns.name_bytes(name)
