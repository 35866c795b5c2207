"""The log of calls must not get into the way of calls."""

from __future__ import annotations

import asyncio
import io

import pytest

from cloudstead.edge import calllog


class FullDisk(io.StringIO):
    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_call_is_answered_also_when_its_line_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calllog, "FLUSH_AT", 1)

    async def story() -> str:
        stream = FullDisk()
        log = calllog.CallLog(stream)
        log.write("1", "000000000000", "us-east-1", "iam:ListUsers", 200, 0.001)
        stream.full = False
        log.write("2", "000000000000", "us-east-1", "iam:ListUsers", 200, 0.001)
        log.flush()
        return stream.getvalue()

    text = asyncio.run(story())
    assert "request_id=2" in text
    assert text.count("\n") == 1
