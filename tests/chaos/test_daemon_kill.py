"""The daemon is killed at random moments while clients write. What it acknowledged is there when it is back; what it did not is whole or absent."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support import Daemon

ROUNDS = 200
CALLERS = 8
SEED = int(os.environ.get("CLOUDSTEAD_SEED", "1"))
SIGNED = (
    "AWS4-HMAC-SHA256 Credential=000000000000/20260101/us-east-1/logs/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + "0" * 64
)
GROUP = "load"


class Writer(threading.Thread):
    """Creates log groups (rows of the store) and puts events (the journal) until the connection breaks; notes what was acknowledged."""

    def __init__(self, endpoint: str, name: str) -> None:
        super().__init__(daemon=True)
        self.groups: list[str] = []
        self.messages: list[str] = []
        self.refused = ""
        self._address = urlsplit(endpoint)
        self._prefix = name

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=20)
        try:
            for number in range(1_000_000):
                name = f"{self._prefix}-{number}"
                self._create_group(connection, name)
                self.groups.append(name)
                self._put_event(connection, name)
                self.messages.append(name)
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()

    def _create_group(self, connection: http.client.HTTPConnection, name: str) -> None:
        self._send(connection, "CreateLogGroup", {"logGroupName": name})

    def _put_event(self, connection: http.client.HTTPConnection, name: str) -> None:
        event = {"timestamp": int(time.time() * 1000), "message": name}
        self._send(connection, "PutLogEvents", {"logGroupName": GROUP, "logStreamName": "stream", "logEvents": [event]})

    def _send(self, connection: http.client.HTTPConnection, operation: str, parameters: dict[str, Any]) -> None:
        headers = {"X-Amz-Target": f"Logs_20140328.{operation}", "Content-Type": "application/x-amz-json-1.1", "Authorization": SIGNED}
        connection.request("POST", "/", json.dumps(parameters), {**headers, "X-Amz-Date": "20260101T000000Z"})
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            self.refused = text
            raise http.client.HTTPException(text)


@pytest.mark.timeout(900)
def test_every_acknowledged_write_survives_the_death_of_the_daemon(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    daemon = Daemon(tmp_path / "data")
    groups: set[str] = set()
    messages: set[str] = set()
    with daemon:
        logs = daemon.client("logs")
        logs.create_log_group(logGroupName=GROUP)
        logs.create_log_stream(logGroupName=GROUP, logStreamName="stream")
        for round_ in range(ROUNDS):
            writers = [Writer(daemon.endpoint, f"r{round_}-w{number}") for number in range(CALLERS)]
            for writer in writers:
                writer.start()
            time.sleep(chance.uniform(0.01, 0.25))
            daemon.kill()
            for writer in writers:
                writer.join(30)
                assert not writer.refused
                groups.update(writer.groups)
                messages.update(writer.messages)
            daemon.start()
        assert len(groups) > ROUNDS, "the load was too light to mean anything"
        pages = daemon.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix="r")
        found = [group["logGroupName"] for page in pages for group in page["logGroups"]]
        assert len(found) == len(set(found))
        assert groups <= set(found), sorted(groups - set(found))[:5]
        pages = daemon.client("logs").get_paginator("filter_log_events").paginate(logGroupName=GROUP)
        logged = [event["message"] for page in pages for event in page["events"]]
        assert messages <= set(logged), sorted(messages - set(logged))[:5]
        assert len(logged) == len(set(logged)), "an event was written twice"
        assert len(set(found) - groups) <= ROUNDS * CALLERS, "more was kept than was ever under way"
