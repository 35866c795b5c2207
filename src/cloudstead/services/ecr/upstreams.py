"""Registries that a pull-through cache may stand before: AWS's list, and any other.

AWS takes only those that it knows. Here any address is taken, such as "localhost:5000" or "http://registry.test:5000", so that a cache can be tried
without the internet; one that AWS knows must keep to AWS's rules.
https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache.html
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cloudstead.services.ecr import addresses
from cloudstead.services.ecr.prefixes import ROOT

# host -> AWS's name of the registry, and whether it wants credentials
_KNOWN = {
    "public.ecr.aws": ("ecr-public", False),
    "registry.k8s.io": ("k8s", False),
    "quay.io": ("quay", False),
    "registry-1.docker.io": ("docker-hub", True),
    "ghcr.io": ("github-container-registry", True),
    "registry.gitlab.com": ("gitlab-container-registry", True),
    "cgr.dev": ("chainguard", True),
}
_AZURE = re.compile(r"[a-zA-Z0-9]{5,50}\.azurecr\.(?:io|cn|us)")
_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?)/?", re.ASCII
)
LONGEST = 255


class Upstream(NamedTuple):
    domain: str  # host, and port if there is one
    plain: bool  # http was asked for
    kind: str  # AWS's name of it; empty: AWS does not know it
    authenticated: bool  # it is of no use without credentials
    place: tuple[str, str] | None  # account and region of a registry of ECR


def parse(url: str) -> Upstream | None:
    """What a rule's upstreamRegistryUrl stands for; None when it is no address."""
    found = _ADDRESS.fullmatch(url.lower()) if len(url) <= LONGEST else None
    if found is None or ".." in found["host"]:
        return None
    domain = found["host"]
    place = addresses.place_of(domain)
    kind, authenticated = ("ecr", False) if place is not None else _KNOWN.get(domain, ("", False))
    if _AZURE.fullmatch(domain):
        kind, authenticated = "azure-container-registry", True
    return Upstream(domain, found["scheme"] == "http", kind, authenticated, place)


def upstream_name(prefix: str, upstream_prefix: str, name: str) -> str:
    """What a repository of the cache is called over there."""
    rest = name if prefix == ROOT else name.removeprefix(prefix.rstrip("/") + "/")
    return rest if upstream_prefix in ("", ROOT) else f"{upstream_prefix.rstrip('/')}/{rest}"
