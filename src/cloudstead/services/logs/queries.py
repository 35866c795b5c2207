"""Runs of Logs Insights queries."""

from __future__ import annotations


class Queries:
    async def stop(self) -> None:
        return
