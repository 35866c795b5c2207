"""The headers that a load balancer changes on the way to a target.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from cloudstead.kernel import ids

_VALID = re.compile(r"[A-Za-z0-9-]+")
_OURS = frozenset(("x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-amzn-trace-id"))


class Ways(msgspec.Struct, frozen=True, kw_only=True):
    """How a load balancer treats headers: its attributes, read."""

    forwarded_for: str = "append"  # append, preserve, remove
    client_port: bool = False
    drop_invalid: bool = False
    preserve_host: bool = False


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request comes from, and by which listener."""

    address: str
    port: int
    listener_port: int
    protocol: str  # HTTP, HTTPS
    now: float


def passed_on(headers: Iterable[tuple[str, str]], client: Client, ways: Ways) -> list[tuple[str, str]]:
    """What a target gets of a client's headers; those of the connection are the upstream's business, but for the ones that `Connection` names."""
    pairs = list(headers)
    named = {word.strip().lower() for name, value in pairs if name.lower() == "connection" for word in value.split(",")} - {
        "",
        "close",
        "keep-alive",
        "upgrade",
        "host",
    }
    known: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    for name, value in pairs:
        lower = name.lower()
        if lower in _OURS:
            known[lower] = f"{known[lower]}, {value}" if lower in known else value
        elif lower in named or (ways.drop_invalid and not _VALID.fullmatch(name)):
            continue
        elif lower == "host" and not ways.preserve_host and client.listener_port not in (80, 443) and ":" not in value:
            found.append((name, f"{value}:{client.listener_port}"))
        else:
            found.append((name, value))
    before = known.get("x-forwarded-for")
    if ways.forwarded_for == "append":
        address = f"{client.address}:{client.port}" if ways.client_port else client.address
        found.append(("X-Forwarded-For", f"{before}, {address}" if before else address))
    elif ways.forwarded_for == "preserve" and before:
        found.append(("X-Forwarded-For", before))
    found.append(("X-Forwarded-Proto", client.protocol.lower()))
    found.append(("X-Forwarded-Port", str(client.listener_port)))
    found.append(("X-Amzn-Trace-Id", traced(known.get("x-amzn-trace-id", ""), client.now)))
    return found


def traced(before: str, now: float) -> str:
    """The trace that a request belongs to: a new one, or the client's with our own step put in."""
    fresh = f"1-{int(now):08x}-{ids.hex_digits(24)}"
    if not before:
        return f"Root={fresh}"
    kept = ";".join(part for part in before.split(";") if not part.strip().startswith("Self="))
    return f"Self={fresh};{kept}" if "Root=" in kept else f"Root={fresh};{kept}"
