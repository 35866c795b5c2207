"""What containers find in /etc/hosts and /etc/resolv.conf. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.network.api import AttachedInterface, PodNetwork

HOST_GATEWAY = "host-gateway"  # in `extra_hosts`: the address by which the host is reached
FALLBACK = ("8.8.8.8", "8.8.4.4")  # Docker's, for a machine whose own resolver is at a loopback address

_LOCAL = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def hosts(network: PodNetwork, interfaces: Sequence[AttachedInterface], hostname: str, domainname: str = "") -> str:
    """/etc/hosts of a namespace of its own: the extra names before the own one, as Docker has them."""
    gateway = next((interface.gateway for interface in interfaces if interface.gateway), "")
    lines = [_LOCAL, *extra_lines(network, gateway)]
    names = f"{hostname}.{domainname} {hostname}" if domainname else hostname
    lines += [f"{interface.ip}\t{names}\n" for interface in interfaces]
    return "".join(lines)


def check(network: PodNetwork) -> None:
    """Refuse what would be further words or lines in the files. Raises InvalidArgument."""
    for what, entries in (
        ("name server", network.dns),
        ("search domain", network.dns_search),
        ("option of the resolver", network.dns_options),
        ("entry of /etc/hosts", network.extra_hosts),
    ):
        for entry in entries:
            if not entry or any(character.isspace() or not character.isprintable() for character in entry):
                raise InvalidArgument(f"invalid {what}: {entry[:200]!r}")


def extra_lines(network: PodNetwork, gateway: str) -> list[str]:
    found = []
    for entry in network.extra_hosts:
        name, _, address = entry.partition(":")
        address = gateway if address == HOST_GATEWAY else address.strip("[]")
        if address:
            found.append(f"{address}\t{name}\n")
    return found


def resolv_conf(servers: Iterable[str], network: PodNetwork, of_host: str = "") -> str:
    """With the given servers; what the pod does not say is as on the host: search domains and options."""
    search = list(network.dns_search) or _words(of_host, "search") or _words(of_host, "domain")
    options = list(network.dns_options) or _words(of_host, "options")
    lines = [f"nameserver {server}" for server in servers]
    if search and search != ["."]:
        lines.append(f"search {' '.join(search)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return "\n".join(lines) + "\n"


def servers_of(text: str) -> list[str]:
    """The name servers of a resolv.conf."""
    return [word for line in text.splitlines() if line.split()[:1] == ["nameserver"] for word in line.split()[1:2]]


def reachable(servers: Iterable[str]) -> list[str]:
    """Those that a namespace of its own can reach: not the host's loopback."""
    return [server for server in servers if not server.startswith("127.") and server != "::1"] or list(FALLBACK)


def _words(text: str, keyword: str) -> list[str]:
    found: list[str] = []
    for line in text.splitlines():
        if line.split()[:1] == [keyword]:
            found = line.split()[1:]  # the last one counts: resolv.conf(5)
    return found
