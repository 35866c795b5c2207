"""Where the engine's things lie. Only the host touches what is below; the daemon knows names and digests.

    <data>/blobs/sha256/<hex>           the content store: the daemon's own, shared with the registry
    <data>/engine/snapshots/<id>/       unpacked layers, by short ids (snapshots/)
    <data>/engine/containers/<id>/      bundle, upper and work folder of the overlay, log, exit file (pods/, snapshots/)
    <data>/engine/volumes/<name>/_data  named volumes
    <data>/engine/keeper                without root: who keeps the namespaces of the engine (keeping.py)
    <run>/                              /run/cloudstead/<instance>: gone after a reboot, as what it describes; without root in the user's own folder
        netns/<name>                    network namespaces, bound
        runtime/                        the OCI runtime's state
        sockets/                        conmon's attach sockets
        host.sock, host.log, lock       when the host was started by itself

The instance is derived from the data directory, so that several clouds on one machine keep apart; it is part of every name that the kernel
sees (cgroup `cloudstead/<instance>`, nft tables, host side of veths).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

RUN = Path("/run/cloudstead")


def usual_runs() -> Path:
    """Where the instances of this user have their folders."""
    if os.geteuid() == 0:
        return RUN
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(own) / "cloudstead" if own.startswith("/") and os.access(own, os.W_OK) else Path(f"/tmp/cloudstead-{os.geteuid()}")


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one instance.

    Args:
        runs: the folder of `run`.
        delegated: the cgroup that this host has instead of the root (delegation.py).
    """

    data: Path
    runs: Path = field(default_factory=usual_runs)
    delegated: str = ""

    @property
    def instance(self) -> str:
        """Eight hexadecimal digits."""
        return hashlib.sha256(str(self.data).encode()).hexdigest()[:8]

    @property
    def run(self) -> Path:
        return self.runs / self.instance

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
    def keeper(self) -> Path:
        return self.engine / "keeper"

    @property
    def why_not_ours(self) -> str:
        """What is there was made by an engine with other rights: files have other owners, layers other attributes. Empty: it was not."""
        try:
            owner = self.engine.stat().st_uid
        except FileNotFoundError:
            return ""
        if owner == os.geteuid():
            return ""
        whose = "root" if owner == 0 else f"the user {owner}"
        return f"the engine's files in {self.data} were made by {whose}: run this as {whose}, or empty the folder as {whose} with `cloudstead reset`"

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
        return f"{self.delegated}/cloudstead/{self.instance}"
