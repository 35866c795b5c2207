"""A registry and images over one content store, without an engine host or a service: who may what is decided by a few lists."""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from image_support import Shop, shop

from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.errors import Denied, NameUnknown, Unauthorized
from cloudstead.engine.registry.gate import Doing, Rules
from cloudstead.engine.registry.http.api import RegistryApi
from cloudstead.engine.registry.model import ImageRow, Repository
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.clock import Clock, SystemClock

OWN = "localhost:4566"
PASSWORD = "right"
REGISTRY = "000000000000/us-east-1"


@dataclass
class SimpleGate:
    """One user, who may do all but what is denied, in repositories that exist."""

    names: set[str] = field(default_factory=lambda: {"app", "other"})
    denied: set[Doing] = field(default_factory=set)
    password: str = PASSWORD

    async def admit(self, request: HttpRequest) -> Any:
        sent = request.headers.get("authorization") or ""
        if sent != "Basic " + base64.b64encode(f"AWS:{self.password}".encode()).decode():
            raise Unauthorized("authentication required", headers=(("WWW-Authenticate", 'Basic realm="https://registry/",service="test"'),))
        return "AWS"

    async def enter(self, caller: Any, repository: str, doing: Doing) -> Rules:
        if doing in self.denied:
            raise Denied(f"User AWS is not authorized to perform: {doing}")
        if repository not in self.names:
            raise NameUnknown(f"The repository with name '{repository}' does not exist")
        return rules(repository)

    async def missing(self, caller: Any, rules: Rules, reference: str) -> None:
        return None

    def pulled(self, caller: Any, rules: Rules, image: ImageRow) -> None:
        return None

    def mountable(self, caller: Any, rules: Rules, digest: str, source: str) -> bool:
        return False

    def repositories(self, caller: Any) -> list[str]:
        return sorted(self.names)


def rules(repository: str) -> Rules:
    return Rules(Repository(REGISTRY, repository))


class OwnRegistry:
    """`images.api.OwnRegistries`, which notes what it was asked."""

    secure = False

    def __init__(self, catalog: Catalog, gate: SimpleGate) -> None:
        self.api = RegistryApi(catalog, gate)
        self.asked: list[tuple[str, str]] = []

    def serves(self, domain: str) -> bool:
        return domain == OWN

    async def answer(self, request: HttpRequest) -> HttpResponse:
        self.asked.append((request.method, request.target))
        assert request.host == OWN
        return await self.api(request)


@dataclass
class Both:
    """The two sides of one content store."""

    shop: Shop
    catalog: Catalog
    gate: SimpleGate
    own: OwnRegistry

    def files(self) -> dict[str, tuple[int, int]]:
        """Every blob with its inode and size: the same again means that nothing was written."""
        folder = self.shop.data / "blobs" / "sha256"
        return {f"sha256:{path.name}": (path.stat().st_ino, path.stat().st_size) for path in folder.iterdir()}

    def age(self, seconds: float = 7200.0) -> None:
        """Make every blob old, so that the sweep may take it."""
        then = time.time() - seconds
        for path in (self.shop.data / "blobs" / "sha256").iterdir():
            os.utime(path, (then, then))


@contextlib.asynccontextmanager
async def both(data: Path, *, clock: Clock | None = None) -> AsyncIterator[Both]:
    clock = clock or SystemClock()
    async with shop(data, clock=clock) as here:
        catalog, gate = Catalog(here.store, clock, here.images), SimpleGate()
        own = OwnRegistry(catalog, gate)
        here.images.know_own(own)
        yield Both(here, catalog, gate, own)
