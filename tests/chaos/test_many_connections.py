"""One client that opens all the connections there can be does not stop the daemon from serving others."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from support import Daemon

FEW = 256  # open files that the daemon may have here


def test_a_hoard_of_idle_connections_keeps_nobody_out(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "data")
    daemon.prefix = ("sh", "-c", f'ulimit -Sn 64 && ulimit -Hn {FEW} && exec "$0" "$@"')
    with daemon:
        host, _, port = daemon.endpoint.removeprefix("http://").partition(":")
        hoard = [socket.create_connection((host, int(port)), timeout=10) for _ in range(2 * FEW)]
        logs = daemon.client("logs")
        logs.create_log_group(logGroupName="g")
        logs.create_log_stream(logGroupName="g", logStreamName="s")
        logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=[{"timestamp": int(time.time() * 1000), "message": "x"}])
        assert daemon.client("ssm").describe_parameters()["Parameters"] == []
        for one in hoard:
            one.close()
