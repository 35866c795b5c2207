"""rtnetlink, as much of it as networks need: links, addresses, routes, neighbours (rtnetlink(7), linux/if_link.h).

A socket belongs to the network namespace in which it was opened, wherever its owner goes afterwards; so a namespace that is being set up is one
open `Netlink`. Requests are sent several in one system call and each is acknowledged; a refusal carries the kernel's own words where it has any.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400
NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH = 28, 29
ERROR, DONE = 2, 3
IFF_UP = 1
OPERATES = bytes([6])  # IF_OPER_UP
NO_PREFIX_ROUTE = 0x200  # IFA_F_NOPREFIXROUTE
PERMANENT = 0x80  # NUD_PERMANENT
UNICAST, UNREACHABLE = 1, 7
UNIVERSE, LINK = 0, 253
MAIN = 254
STATIC = 4
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
_HEAD = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")


class Request(NamedTuple):
    kind: int
    flags: int
    body: bytes
    ignore: tuple[int, ...] = ()  # errors that mean that nothing was to be done


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    alias: str
    up: bool


@dataclass(frozen=True, slots=True)
class Address:
    index: int
    ip: str
    prefix: int


@dataclass(frozen=True, slots=True)
class Route:
    kind: int
    cidr: str
    index: int
    gateway: str
    table: int


class NetlinkError(OSError):
    """The kernel's refusal."""


class Netlink:
    """A socket in the namespace that the process is in now."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def do(self, *requests: Request) -> None:
        """Carry out one after the other; the rest too when one is refused.

        Raises:
            NetlinkError: the first refusal.
        """
        first = self._sequence + 1
        frames = bytearray()
        for request in requests:
            self._sequence += 1
            frames += _HEAD.pack(_HEAD.size + len(request.body), request.kind, request.flags | REQUEST | ACK, self._sequence, 0)
            frames += request.body
        self._socket.send(frames)
        failure: NetlinkError | None = None
        waiting = len(requests)
        while waiting:
            for kind, flags, sequence, body in messages(self._socket.recv(1 << 16)):
                if kind != ERROR or sequence < first:
                    continue
                waiting -= 1
                number = -struct.unpack_from("=i", body)[0]
                if number and number not in requests[sequence - first].ignore and failure is None:
                    failure = NetlinkError(number, _said(number, flags, body))
        if failure is not None:
            raise failure

    def links(self) -> list[Link]:
        found = []
        for body in self._dump(GETLINK, _LINK.pack(0, 0, 0, 0, 0)):
            _, _, index, flags, _ = _LINK.unpack_from(body)
            fields = dict(attributes(body[_LINK.size :]))
            found.append(Link(index, _text(fields.get(3, b"")), _text(fields.get(20, b"")), bool(flags & IFF_UP)))
        return found

    def put_to_work(self, index: int) -> None:
        """Have a link that is up carry packets from now on. When the other end comes up last, the kernel sees to it in its own time and drops what is
        sent until then; TCP would send it again after a second. Asking for the link makes it do so now (rtnl_getlink, Linux 6.8); before
        that, opening it again does, while the other end is there."""
        if not self._operates(index):
            self.do(set_link(index, up=False), set_link(index, up=True))

    def _operates(self, index: int) -> bool:
        self._sequence += 1
        body = _LINK.pack(0, 0, index, 0, 0)
        self._socket.send(_HEAD.pack(_HEAD.size + len(body), GETLINK, REQUEST, self._sequence, 0) + body)
        while True:
            for kind, _, sequence, content in messages(self._socket.recv(1 << 16)):
                if sequence == self._sequence:
                    return kind == NEWLINK and dict(attributes(content[_LINK.size :])).get(16) == OPERATES

    def addresses(self) -> list[Address]:
        """IPv4 ones."""
        found = []
        for body in self._dump(GETADDR, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)):
            _, prefix, _, _, index = _ADDRESS.unpack_from(body)
            fields = dict(attributes(body[_ADDRESS.size :]))
            local = fields.get(2) or fields.get(1)
            if local:
                found.append(Address(index, socket.inet_ntoa(local), prefix))
        return found

    def routes(self) -> list[Route]:
        """IPv4 ones of all tables but the kernel's own (local)."""
        found = []
        for body in self._dump(GETROUTE, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
            _, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
            fields = dict(attributes(body[_ROUTE.size :]))
            table = struct.unpack("=I", fields[15])[0] if 15 in fields else table
            if table == 255:
                continue
            cidr = f"{socket.inet_ntoa(fields.get(1, bytes(4)))}/{length}"
            index = struct.unpack("=i", fields[4])[0] if 4 in fields else 0
            found.append(Route(kind, cidr, index, socket.inet_ntoa(fields[5]) if 5 in fields else "", table))
        return found

    def index(self, name: str) -> int:
        """Of an interface; 0 when there is none."""
        return next((link.index for link in self.links() if link.name == name), 0)

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        self._sequence += 1
        self._socket.send(_HEAD.pack(_HEAD.size + len(body), kind, REQUEST | DUMP, self._sequence, 0) + body)
        while True:
            for kind, flags, sequence, content in messages(self._socket.recv(1 << 18)):
                if sequence != self._sequence:
                    continue
                if kind == DONE:
                    return
                if kind == ERROR:
                    number = -struct.unpack_from("=i", content)[0]
                    raise NetlinkError(number, _said(number, flags, content))
                yield content


def veth(name: str, peer: str, *, mtu: int, mac: str = "", peer_namespace: int | None = None) -> Request:
    """A pair; the first end in the socket's namespace, the peer in the one that a descriptor is open of."""
    other = _LINK.pack(0, 0, 0, 0, 0) + attribute(3, peer.encode() + b"\0") + attribute(4, struct.pack("=I", mtu))
    if peer_namespace is not None:
        other += attribute(28, struct.pack("=i", peer_namespace))
    body = _LINK.pack(0, 0, 0, 0, 0) + attribute(3, name.encode() + b"\0") + attribute(4, struct.pack("=I", mtu))
    if mac:
        body += attribute(1, mac_bytes(mac))
    body += attribute(18, attribute(1, b"veth\0") + attribute(2, attribute(1, other)))
    return Request(NEWLINK, CREATE | EXCL, body)


def set_link(index: int, *, up: bool | None = None, mac: str = "", alias: str | None = None, ignore: tuple[int, ...] = ()) -> Request:
    body = _LINK.pack(0, 0, index, IFF_UP if up else 0, IFF_UP if up is not None else 0)
    if mac:
        body += attribute(1, mac_bytes(mac))
    if alias is not None:
        body += attribute(20, alias.encode() + b"\0")
    return Request(NEWLINK, 0, body, ignore)


def delete_link(index: int) -> Request:
    return Request(DELLINK, 0, _LINK.pack(0, 0, index, 0, 0), (errno.ENODEV,))


def add_address(index: int, ip: str, prefix: int, *, prefix_route: bool = True) -> Request:
    body = _ADDRESS.pack(socket.AF_INET, prefix, 0, UNIVERSE, index)
    body += attribute(2, socket.inet_aton(ip)) + attribute(1, socket.inet_aton(ip))
    if not prefix_route:
        body += attribute(8, struct.pack("=I", NO_PREFIX_ROUTE))
    return Request(NEWADDR, CREATE | REPLACE, body, (errno.EEXIST,))


def delete_address(index: int, ip: str, prefix: int) -> Request:
    body = _ADDRESS.pack(socket.AF_INET, prefix, 0, 0, index) + attribute(2, socket.inet_aton(ip))
    return Request(DELADDR, 0, body, (errno.EADDRNOTAVAIL,))


def _route(cidr: str, index: int, via: str, source: str, kind: int) -> bytes:
    address, _, length = cidr.partition("/")
    scope = UNIVERSE if via or kind == UNREACHABLE else LINK
    body = _ROUTE.pack(socket.AF_INET, int(length), 0, 0, MAIN, STATIC, scope, kind, 0)
    if int(length):
        body += attribute(1, socket.inet_aton(address))
    if index:
        body += attribute(4, struct.pack("=i", index))
    if via:
        body += attribute(5, socket.inet_aton(via))
    if source:
        body += attribute(7, socket.inet_aton(source))
    return body


def add_route(cidr: str, index: int = 0, *, via: str = "", source: str = "", kind: int = UNICAST) -> Request:
    """In the place of another route to the same addresses, if there is one."""
    return Request(NEWROUTE, CREATE | REPLACE, _route(cidr, index, via, source, kind))


def delete_route(cidr: str, index: int = 0, *, via: str = "", kind: int = UNICAST) -> Request:
    return Request(DELROUTE, 0, _route(cidr, index, via, "", kind), (errno.ESRCH, errno.ENODEV))


def add_neighbour(index: int, ip: str, mac: str) -> Request:
    """One that is never asked for: no ARP can change it, and it does not count towards the kernel's limit for all namespaces (gc_thresh3)."""
    body = _NEIGHBOUR.pack(socket.AF_INET, index, PERMANENT, 0, 0)
    return Request(NEWNEIGH, CREATE | REPLACE, body + attribute(1, socket.inet_aton(ip)) + attribute(2, mac_bytes(mac)))


def delete_neighbour(index: int, ip: str) -> Request:
    body = _NEIGHBOUR.pack(socket.AF_INET, index, 0, 0, 0) + attribute(1, socket.inet_aton(ip))
    return Request(DELNEIGH, 0, body, (errno.ENOENT, errno.ENODEV))


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", "").replace("-", ""))


def attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def messages(data: bytes) -> Sequence[tuple[int, int, int, bytes]]:
    found = []
    at = 0
    while at + _HEAD.size <= len(data):
        length, kind, flags, sequence, _ = _HEAD.unpack_from(data, at)
        if length < _HEAD.size:
            break
        found.append((kind, flags, sequence, data[at + _HEAD.size : at + length]))
        at += (length + 3) & ~3
    return found


def _said(number: int, flags: int, body: bytes) -> str:
    """The kernel's sentence, if it gave one (NLM_F_ACK_TLVS, NLMSGERR_ATTR_MSG)."""
    words = os.strerror(number)
    if flags & 0x200:  # after the error comes the header of the request (NETLINK_CAP_ACK: without its body)
        words += "".join(f" ({_text(value)})" for kind, value in attributes(body[4 + _HEAD.size :]) if kind == 1)
    return words


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
