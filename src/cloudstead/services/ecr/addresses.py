"""Where clients find a registry: `<account>.dkr.ecr.<region>.<where Cloudstead is>`.

Names below `.localhost` mean this machine (RFC 6761), so that every account and region has an address of its own without DNS. Where Cloudstead is
reached by an address that is not this machine's, no such names exist: clients use the address itself, and the token says which registry it is for.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

# AWS's own endpoints are <account>.dkr.ecr.<region>.amazonaws.com, with -fips and, for both families of addresses, <account>.dkr-ecr.<region>.on.aws.
_HOST = re.compile(r"(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.", re.ASCII | re.IGNORECASE)


def registry_host(endpoint: str, account: str, region: str) -> str:
    """Host and port of a registry."""
    suffix, apart = _suffix(endpoint)
    return f"{account}.dkr.ecr.{region}.{suffix}" if apart else suffix


def registry_url(endpoint: str, account: str, region: str) -> str:
    return f"{endpoint.partition('://')[0]}://{registry_host(endpoint, account, region)}"


def repository_uri(endpoint: str, account: str, region: str, name: str) -> str:
    return f"{registry_host(endpoint, account, region)}/{name}"


@lru_cache(64)
def _suffix(endpoint: str) -> tuple[str, bool]:
    """What comes behind the region, and whether registries have names of their own."""
    parts = urlsplit(endpoint)
    host, port = parts.hostname or "localhost", f":{parts.port}" if parts.port else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"{host}{port}", True
    if address.is_loopback:
        return f"localhost{port}", True
    return f"{parts.netloc.rpartition('@')[2]}", False


@lru_cache(1024)
def place_of(host: str) -> tuple[str, str] | None:
    """The account and region that a Host header names."""
    found = _HOST.match(host)
    return None if found is None else (found[1], found[2].lower())
