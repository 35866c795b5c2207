"""Where the engine's things lie. Only the host touches what is below; the daemon knows names and digests.

    <data>/blobs/sha256/<hex>           the content store: the daemon's own, shared with the registry
    <data>/engine/snapshots/<id>/       unpacked layers, by short ids (snapshots/)
    <data>/engine/containers/<id>/      bundle, upper and work folder of the overlay, log, exit file (pods/, snapshots/)
    <data>/engine/volumes/<name>/_data  named volumes
    <run>/                              /run/cloudstead/<instance>: gone after a reboot, as what it describes
        netns/<name>                    network namespaces, bound
        runtime/                        the OCI runtime's state
        sockets/                        conmon's attach sockets
        host.sock, host.log, lock       when the host was started by itself

The instance is derived from the data directory, so that several clouds on one machine keep apart; it is part of every name that the kernel
sees (cgroup `cloudstead/<instance>`, nft tables, host side of veths).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

RUN = Path("/run/cloudstead")


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one instance."""

    data: Path

    @property
    def instance(self) -> str:
        """Eight hexadecimal digits."""
        return hashlib.sha256(str(self.data).encode()).hexdigest()[:8]

    @property
    def run(self) -> Path:
        return RUN / self.instance

    @property
    def engine(self) -> Path:
        return self.data / "engine"

    @property
    def snapshots(self) -> Path:
        return self.engine / "snapshots"

    @property
    def containers(self) -> Path:
        return self.engine / "containers"

    @property
    def volumes(self) -> Path:
        return self.engine / "volumes"

    @property
    def netns(self) -> Path:
        return self.run / "netns"

    @property
    def runtime(self) -> Path:
        return self.run / "runtime"

    @property
    def sockets(self) -> Path:
        return self.run / "sockets"

    @property
    def cgroup(self) -> str:
        """Below each controller's root (v1) or the unified one (v2)."""
        return f"/cloudstead/{self.instance}"
