"""The host's side of snapshots: the commands, and what the container runtime's host side calls in the same process."""

from __future__ import annotations

from cloudstead.engine.snapshots import host_chains, host_sweep, host_writables
from cloudstead.engine.snapshots.host_mounts import mount_writable, unmount_writable

__all__ = ["host_chains", "host_sweep", "host_writables", "mount_writable", "unmount_writable"]
