"""One engine: its parts, put together. The daemon makes it; the Docker API and AWS's services use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cloudstead.engine.host.client import HostClient
    from cloudstead.engine.images.api import Images
    from cloudstead.engine.network.api import Networks
    from cloudstead.engine.pods.api import Driver
    from cloudstead.engine.snapshots.api import Snapshots
    from cloudstead.engine.volumes.volumes import Volumes
    from cloudstead.kernel.clock import Clock
    from cloudstead.kernel.store import Store


@dataclass(slots=True)
class Engine:
    """What there is of it. `host` is None where no container can run; then `why_not` says why, and the parts refuse with it."""

    data: Path
    store: Store
    clock: Clock
    host: HostClient | None
    why_not: str
    snapshots: Snapshots
    images: Images
    networks: Networks
    volumes: Volumes
    pods: Driver
