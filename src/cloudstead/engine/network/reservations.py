"""Ports of the machine that are published: held by sockets of this process, so that nobody else takes them and everybody sees that they are taken.

In the engine host the sockets of IPv4 never see a packet: nftables sends it on before. Those of IPv6 are handed to the daemon, which relays (there is no IPv6
inside). Without root the daemon itself holds all of them, and relays all: the host has a network of its own, in which nobody else looks for ports.
"""

from __future__ import annotations

import contextlib
import errno
import socket

from msgspec.structs import replace

from cloudstead.engine.errors import Conflict, Failed, InvalidArgument, NoSpace, Unsupported
from cloudstead.engine.network.commands import PortSetup

FIRST, LAST = 32768, 60999  # as the kernel's own ip_local_port_range
Key = tuple[str, str, int]  # protocol, the host's address, port
NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class Reservations:
    def __init__(self) -> None:
        self._held: dict[Key, list[socket.socket]] = {}
        self._next = FIRST

    def reserve(self, port: PortSetup) -> PortSetup:
        """Hold it, and choose it where that is left to us. What is held already for the very same stays.

        Raises:
            Conflict: somebody has it.
            Failed: the address is not one of this host's.
        """
        if port.host_port:
            key = key_of(port)
            if key in self._held:
                raise _taken(port.host_ip, port.host_port)
            self._held[key] = _bind(port)
            return port
        for _ in range(LAST - FIRST + 1):
            number, self._next = self._next, self._next + 1 if self._next < LAST else FIRST
            with contextlib.suppress(Conflict):
                return self.reserve(replace(port, host_port=number))
        raise NoSpace("all ports that could be chosen are in use")

    def holds(self, port: PortSetup) -> bool:
        return key_of(port) in self._held

    def release(self, port: PortSetup) -> None:
        for sock in self._held.pop(key_of(port), ()):
            sock.close()

    def keep_only(self, ports: set[Key]) -> list[str]:
        stray = [key for key in self._held if key not in ports]
        for key in stray:
            for sock in self._held.pop(key):
                sock.close()
        return [f"released port {number}/{protocol}, which no pod publishes" for protocol, _, number in stray]

    def six(self, host_ip: str, host_port: int) -> int | None:
        """The descriptor of the IPv6 socket, which stays ours."""
        for sock in self._held.get(("tcp", host_ip, host_port), ()):
            if sock.family == socket.AF_INET6:
                return sock.fileno()
        return None

    def duplicates(self, port: PortSetup) -> list[socket.socket]:
        """Further descriptors of the sockets that hold a port."""
        return [sock.dup() for sock in self._held.get(key_of(port), ())]

    def close(self) -> None:
        self.keep_only(set())


def key_of(port: PortSetup) -> Key:
    return port.protocol, port.host_ip, port.host_port


def is_six(port: PortSetup) -> bool:
    """Only by IPv6: nothing of nftables'."""
    return ":" in port.host_ip


def _bind(port: PortSetup) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        if not is_six(port):
            bound.append(_socket(socket.AF_INET, port.protocol, port.host_ip or "0.0.0.0", port.host_port))
        elif port.protocol == "udp":
            raise Unsupported(f"udp port {port.host_port} cannot be published at {port.host_ip}: by IPv6 only tcp ports can")
        else:
            bound.append(_socket(socket.AF_INET6, "tcp", port.host_ip, port.host_port))
        if port.protocol == "tcp" and not port.host_ip:
            try:
                bound.append(_socket(socket.AF_INET6, "tcp", "::", port.host_port))
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
    except BaseException as error:
        for sock in bound:
            sock.close()
        if isinstance(error, OSError):
            raise _refusal(error, port) from None
        raise
    return bound


def _socket(family: int, protocol: str, ip: str, number: int) -> socket.socket:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            # Connections that a program had on this port before may linger in TIME_WAIT; a listening socket refuses others all the same.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ip, number))
        if protocol == "tcp":
            sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return sock


def _taken(ip: str, number: int) -> Conflict:
    shown = f"[{ip}]" if ":" in ip else ip or "0.0.0.0"
    return Conflict(f"Bind for {shown}:{number} failed: port is already allocated")


def _refusal(error: OSError, port: PortSetup) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return _taken(port.host_ip, port.host_port)
    if isinstance(error, socket.gaierror):
        return InvalidArgument(f"invalid host address {port.host_ip!r}")
    reason = error.strerror
    if error.errno == errno.EACCES and port.host_port < 1024:
        reason = f"{reason}: without root, ports below 1024 need `sysctl -w net.ipv4.ip_unprivileged_port_start={port.host_port}`"
    return Failed(f"listen {port.protocol} {port.host_ip or '0.0.0.0'}:{port.host_port}: bind: {reason}")
