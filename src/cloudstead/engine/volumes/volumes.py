"""Named volumes: folders that outlive containers."""

from __future__ import annotations


class Volumes:
    """All volumes of this cloud."""
