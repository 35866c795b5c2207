"""Times as people and most documents write them."""

from __future__ import annotations

from datetime import UTC, datetime


def iso8601(seconds: float, timespec: str = "seconds") -> str:
    """Seconds since the epoch, in UTC: 2026-01-01T00:00:00Z. What is finer than `timespec` ("milliseconds") is cut off."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec)[:-6] + "Z"
