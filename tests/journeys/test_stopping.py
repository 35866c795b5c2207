"""A daemon that is to stop does so soon, whatever its clients are doing."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from botocore.config import Config

from support import ACCOUNT, Daemon


def test_a_live_tail_ends_when_the_daemon_stops(tmp_path: Path) -> None:
    """Its answer has no end of its own; cut off, its client would see an error."""
    with Daemon(tmp_path / "data") as daemon:
        logs = daemon.client("logs", config=Config(inject_host_prefix=False))
        logs.create_log_group(logGroupName="g")
        tail = logs.start_live_tail(logGroupIdentifiers=[f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:g"])["responseStream"]
        assert "sessionStart" in next(iter(tail))
        assert daemon.process is not None
        began = time.monotonic()
        daemon.process.send_signal(signal.SIGINT)
        assert all("sessionUpdate" in event for event in tail)
        assert daemon.process.wait(10) == 0
        assert time.monotonic() - began < 5
