"""Which sockets there should be, and for what: a pure function of the rows.

Every listener has one at its load balancer's own address. For each port there is one more at the address where this cloud itself listens, shared by
all load balancers whose listener on it speaks as that of the oldest does. Where that address means all of this machine's, it is the only one:
it takes in the own addresses.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from cloudstead.kernel.store import Key
from cloudstead.services.elbv2.model import HTTP, Listener, LoadBalancer

EVERYWHERE = frozenset(("", "0.0.0.0", "::"))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One socket."""

    host: str
    port: int
    protocol: str
    listener: Key  # whose it is; of a shared one that speaks HTTP that of the oldest
    shared: bool = False
    policy: str | None = None
    names: tuple[str, ...] = ()  # for which TLS has certificates

    @property
    def place(self) -> tuple[str, int]:
        return (self.host, self.port)


def wanted(balancers: Iterable[LoadBalancer], listeners: Iterable[Listener], host: str) -> dict[tuple[str, int], Wanted]:
    """The sockets by their addresses and ports.

    Args:
        host: where this cloud listens.
    """
    known = {row.arn: row for row in balancers}
    ranked = sorted((row for row in listeners if row.load_balancer in known), key=lambda row: (known[row.load_balancer].created, row.arn))
    found: dict[tuple[str, int], Wanted] = {}
    for row in ranked:
        balancer = known[row.load_balancer]
        if host not in EVERYWHERE:
            own = _socket(row, balancer.address, (balancer.dns_name, balancer.address, *row.names))
            found[own.place] = own
    for row in ranked:
        balancer = known[row.load_balancer]
        one = found.get((host, row.port))
        names = (balancer.dns_name, *row.names)
        if one is None:
            found[host, row.port] = msgspec.structs.replace(_socket(row, host, names), shared=True)
        elif one.shared and one.protocol == row.protocol and row.protocol in HTTP:
            found[host, row.port] = msgspec.structs.replace(one, names=(*one.names, *names) if row.protocol == "HTTPS" else ())
    return found


def _socket(row: Listener, host: str, names: tuple[str, ...]) -> Wanted:
    secure = row.protocol in ("HTTPS", "TLS")
    return Wanted(host=host, port=row.port, protocol=row.protocol, listener=row.key, policy=row.ssl_policy, names=names if secure else ())
