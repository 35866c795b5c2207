"""Where clients find the registries of a Cloudstead: hosts below its own.

Names below `.localhost` mean this machine (RFC 6761), so that every registry has an address of its own without DNS. Where Cloudstead is reached by an
address that is not this machine's, no such names exist, and clients use the address itself.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit


def below(endpoint: str, name: str) -> str:
    """Host and port of a registry: `<name>.localhost:4566` for the endpoint http://127.0.0.1:4566."""
    suffix, apart = _suffix(endpoint)
    return f"{name}.{suffix}" if apart else suffix


@lru_cache(64)
def _suffix(endpoint: str) -> tuple[str, bool]:
    """What comes behind the name, and whether registries have names of their own."""
    parts = urlsplit(endpoint)
    host, port = parts.hostname or "localhost", f":{parts.port}" if parts.port else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"{host}{port}", True
    if address.is_loopback:
        return f"localhost{port}", True
    return parts.netloc.rpartition("@")[2], False
