"""Forgetting connections of udp. A client that keeps sending from one port keeps its entry in conntrack alive, and with it the translation to a
pod that is gone: so when a udp port gets another owner, the entries go (nfnetlink, linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import socket
import struct

from cloudstead.engine.network.host_netlink import ACK, DONE, DUMP, ERROR, REQUEST, attribute, attributes, messages

NETLINK_NETFILTER = 12
GET, DELETE = 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET and _DELETE
TUPLE_ORIG, ID, FILTER = 1, 12, 25
TUPLE_PROTO, PROTO_NUM, PROTO_DST_PORT = 2, 1, 3
BY_PROTOCOL_AND_PORT = 1 << 3 | 1 << 5  # CTA_FILTER_FLAG(CTA_PROTO_NUM), …(CTA_PROTO_DST_PORT)
NESTED = 0x8000
_HEAD = struct.Struct("=IHHII")
_FAMILY = struct.pack("=BBH", socket.AF_INET, 0, 0)


def forget_udp(ports: set[int]) -> int:
    """Remove the entries, of the namespace that the process is in, whose first packet was to one of these ports. How many there were."""
    if not ports:
        return 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as sock:
        sock.bind((0, 0))
        found = [entry for port in ports for entry in _entries(sock, port)]
        for entry in found:
            _send(sock, DELETE, ACK, entry)
            sock.recv(1 << 16)  # gone by itself is as good
    return len(found)


def _entries(sock: socket.socket, port: int) -> list[bytes]:
    """What names each entry in a request to delete it. Kernels before 5.8 do not filter: then all entries come, and are looked at here."""
    protocol = attribute(PROTO_NUM, bytes([socket.IPPROTO_UDP])) + attribute(PROTO_DST_PORT, struct.pack(">H", port))
    wanted = attribute(TUPLE_ORIG | NESTED, attribute(TUPLE_PROTO | NESTED, protocol))
    wanted += attribute(FILTER | NESTED, attribute(1, struct.pack("=I", BY_PROTOCOL_AND_PORT)))
    _send(sock, GET, DUMP, wanted)
    found: list[bytes] = []
    while True:
        for kind, _, _, body in messages(sock.recv(1 << 18)):
            if kind in (DONE, ERROR):
                return found
            fields = dict(attributes(body[len(_FAMILY) :]))
            tuple_ = fields.get(TUPLE_ORIG, b"")
            proto = dict(attributes(dict(attributes(tuple_)).get(TUPLE_PROTO, b"")))
            if proto.get(PROTO_NUM) == bytes([socket.IPPROTO_UDP]) and proto.get(PROTO_DST_PORT) == struct.pack(">H", port):
                found.append(attribute(TUPLE_ORIG | NESTED, tuple_) + attribute(ID, fields.get(ID, bytes(4))))


def _send(sock: socket.socket, kind: int, flags: int, body: bytes) -> None:
    sock.send(_HEAD.pack(_HEAD.size + len(_FAMILY) + len(body), kind, REQUEST | flags, 1, 0) + _FAMILY + body)
