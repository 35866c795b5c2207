"""The host's side of snapshots: the commands, and what the container runtime's host side calls in the same process."""

from __future__ import annotations

from cloudstead.engine.snapshots.host_mounts import mount_writable, unmount_writable

__all__ = ["mount_writable", "unmount_writable"]
