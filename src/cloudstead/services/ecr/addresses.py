"""Where clients find a registry: `<account>.dkr.ecr.<region>.<where Cloudstead is>`."""

from __future__ import annotations

import re
from functools import lru_cache

from cloudstead.engine.registry.addresses import below

# AWS's own endpoints are <account>.dkr.ecr.<region>.amazonaws.com, with -fips and, for both families of addresses, <account>.dkr-ecr.<region>.on.aws.
_HOST = re.compile(r"(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.", re.ASCII | re.IGNORECASE)


def registry_host(endpoint: str, account: str, region: str) -> str:
    """Host and port of a registry."""
    return below(endpoint, f"{account}.dkr.ecr.{region}")


def registry_url(endpoint: str, account: str, region: str) -> str:
    return f"{endpoint.partition('://')[0]}://{registry_host(endpoint, account, region)}"


def repository_uri(endpoint: str, account: str, region: str, name: str) -> str:
    return f"{registry_host(endpoint, account, region)}/{name}"


@lru_cache(1024)
def place_of(host: str) -> tuple[str, str] | None:
    """The account and region that a Host header names."""
    found = _HOST.match(host)
    return None if found is None else (found[1], found[2].lower())
