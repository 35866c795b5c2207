"""The daemon is killed while events are put. Each that was acknowledged reaches its log group, at least once."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from support import Daemon

ROUNDS = 8
SEED = int(os.environ.get("CLOUDSTEAD_SEED", "1"))
GROUP = "/aws/events/load"


class Putter(threading.Thread):
    """Puts events until the connection breaks; notes what was acknowledged."""

    def __init__(self, events: Any, name: str) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self._events = events
        self._name = name

    def run(self) -> None:
        try:
            for number in range(1_000_000):
                entries = [
                    {"Source": "load", "DetailType": "x", "Detail": json.dumps({"n": f"{self._name}-{number}-{n}"})} for n in range(3)
                ]
                answer = self._events.put_events(Entries=entries)
                assert answer["FailedEntryCount"] == 0
                self.acknowledged += [entry["EventId"] for entry in answer["Entries"]]
        except (BotoCoreError, ClientError, OSError):
            return


def test_every_acknowledged_event_is_delivered_although_the_daemon_dies(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    acknowledged: set[str] = set()
    with Daemon(tmp_path / "data") as daemon:
        daemon.client("logs").create_log_group(logGroupName=GROUP)
        events = daemon.client("events")
        events.put_rule(Name="load", EventPattern='{"source": ["load"]}')
        events.put_targets(Rule="load", Targets=[{"Id": "log", "Arn": f"arn:aws:logs:us-east-1:000000000000:log-group:{GROUP}"}])
        for round_ in range(ROUNDS):
            putters = [Putter(daemon.client("events"), f"{round_}-{number}") for number in range(3)]
            for putter in putters:
                putter.start()
            time.sleep(chance.uniform(0.1, 0.5))
            daemon.kill()
            for putter in putters:
                putter.join(30)
                acknowledged.update(putter.acknowledged)
            daemon.start()
        assert len(acknowledged) > ROUNDS
        deadline = time.monotonic() + 60
        while missing := acknowledged - delivered(daemon):
            assert time.monotonic() < deadline, f"{len(missing)} of {len(acknowledged)} events were lost"
            time.sleep(0.5)


def delivered(daemon: Daemon) -> set[str]:
    pages = daemon.client("logs").get_paginator("filter_log_events").paginate(logGroupName=GROUP)
    return {json.loads(event["message"])["id"] for page in pages for event in page["events"]}
