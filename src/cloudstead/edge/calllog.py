"""One line a call, at the cost of one formatted string: lines gather in memory and are written a few times a second.

The standard logging module costs more than the whole codec; it is kept for everything that is not once a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TextIO

FLUSH_AFTER = 0.25  # seconds
FLUSH_AT = 2_000  # lines


class CallLog:
    """Lines of `key=value` pairs, logfmt. `enabled=False` makes `write` a no-op."""

    def __init__(self, stream: TextIO | None = None, *, enabled: bool = True) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._second = 0
        self._stamp = ""
        self.enabled = enabled

    def write(
        self, request_id: str, account: str, region: str, operation: str, status: int, seconds: float, error: str = "", caller: str = ""
    ) -> None:
        if not self.enabled:
            return
        line = f"{self._now()} call request_id={request_id} account={account} region={region} operation={operation} status={status} ms={seconds * 1000:.2f}"
        if error:
            line += f" error={error}"
        if caller:
            line += f" caller={caller}"
        self._lines.append(line)
        if len(self._lines) >= FLUSH_AT:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER, self.flush)

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}Z"

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            stream = self._stream or sys.stderr
            lines, self._lines = self._lines, []
            with contextlib.suppress(OSError):  # a full disk, a closed terminal: calls are answered all the same
                stream.write("\n".join(lines) + "\n")
                stream.flush()
