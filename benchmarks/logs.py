"""What a log event costs: accepting, searching and reading events, Cloudstead beside moto_server in one run.

    .venv/bin/python benchmarks/logs.py [--events 200000] [--rounds 3] [--callers 16] [--json]

Both servers get the same signed requests over `--callers` kept-alive connections, in turn, round by round, moto_server a fraction of them. Cloudstead
runs with --strict and answers PutLogEvents when the events are on disk; moto keeps them in memory. CPU is the server process's, all threads; the
client's is not counted. Events are about 100 bytes, in 100 streams of 10 groups.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api import measure, target
from peers import Peer, cloudstead, moto

GROUPS, STREAMS = 10, 10
MOTO_SHARE = 20  # moto gets one of so many events
_clock = itertools.count()


def logs(peer: Peer, operation: str, **parameters: Any) -> bytes:
    return target(peer, "logs", f"Logs_20140328.{operation}", **parameters)


def group_name(round_: int, number: int) -> str:
    return f"/benchmark/{round_}/{number % GROUPS}"


def prepare(peer: Peer, round_: int) -> None:
    requests = [logs(peer, "CreateLogGroup", logGroupName=group_name(round_, number)) for number in range(GROUPS)]
    measure(peer, requests, 1)
    requests = [
        logs(peer, "CreateLogStream", logGroupName=group_name(round_, number), logStreamName=f"stream-{stream}")
        for number in range(GROUPS)
        for stream in range(STREAMS)
    ]
    measure(peer, requests, 1)


def put(peer: Peer, round_: int, number: int, size: int) -> bytes:
    """A PutLogEvents request of so many events."""
    now = int(time.time() * 1000)
    events = []
    for _ in range(size):
        i = next(_clock)
        level = "ERROR" if i % 100 == 0 else "INFO"
        message = f"{level} request {i:09d} GET /api/v1/things/{i % 997} answered 200 in {i % 83} ms by worker {i % 7} of zone-{i % 3}"
        events.append({"timestamp": now, "message": message})
    return logs(
        peer,
        "PutLogEvents",
        logGroupName=group_name(round_, number),
        logStreamName=f"stream-{number // GROUPS % STREAMS}",
        logEvents=events,
    )


def workloads(peer: Peer, events: int, round_: int) -> Iterator[tuple[str, list[bytes], int]]:
    """Name, requests, and how many events a request is about."""
    for size, share in ((1, 0.05), (100, 0.5), (1000, 0.45)):
        count = max(4, int(events * share) // size)
        yield f"put {size} a call", [put(peer, round_, number, size) for number in range(count)], size
    in_a_group = _events_in_a_group(events)
    searches = [
        ("search a group: a word, rare", "nowhere"),
        ("search a group: two words", "worker ERROR"),
        ("search a group: an expression", "%answered 5[0-9]+%"),
        ("search a group: fields", "[level, ..., status=5*, in, took, unit, by, w, n, of, zone]"),
    ]
    for name, pattern in searches:
        request = logs(peer, "FilterLogEvents", logGroupName=group_name(round_, 3), filterPattern=pattern)
        yield name, [request] * (4 if peer.name == "cloudstead" else 2), in_a_group
    request = logs(peer, "GetLogEvents", logGroupName=group_name(round_, 3), logStreamName="stream-1", startFromHead=True, limit=1000)
    yield "get 1000 of a stream", [request] * 20, 1000


def _events_in_a_group(events: int) -> int:
    """About: what is put is spread evenly."""
    return events // GROUPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=200_000, help="put in each round to Cloudstead; a twentieth to moto_server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cloudstead-benchmark-"))
    peers: list[Peer] = []
    figures: dict[str, dict[str, list[tuple[float, float]]]] = {}
    try:
        peers += [cloudstead(folder / "data"), moto()]
        for round_ in range(options.rounds + 1):  # the first warms up and is not counted
            for peer in peers:
                events = options.events // (1 if peer.name == "cloudstead" else MOTO_SHARE) // (1 if round_ else 10)
                prepare(peer, round_)
                for name, requests, size in workloads(peer, events, round_):
                    cpu, rate = measure(peer, requests, options.callers if name.startswith("put") else 1)
                    if round_:
                        figures.setdefault(name, {}).setdefault(peer.name, []).append((cpu / size, rate * size))
        report(figures, peers, options.json)
    finally:
        for peer in peers:
            peer.stop()
        shutil.rmtree(folder)


def report(figures: dict[str, dict[str, list[tuple[float, float]]]], peers: list[Peer], as_json: bool) -> None:
    rows = [
        {
            "workload": name,
            **{f"{peer} cpu_us_event": round(statistics.median(cpu for cpu, _ in found), 2) for peer, found in by_peer.items()},
            **{f"{peer} events_s": round(statistics.median(rate for _, rate in found)) for peer, found in by_peer.items()},
        }
        for name, by_peer in figures.items()
    ]
    if as_json:
        print(json.dumps({"rows": rows, "memory_mb": {peer.name: peer.memory() for peer in peers}}))
        return
    print(f"{'':32} {'CPU µs an event':>25} {'':>7} {'events a second':>25}")
    print(f"{'':32} {'cloudstead':>12} {'moto':>12} {'ratio':>7} {'cloudstead':>12} {'moto':>12}")
    for row in rows:
        ours, theirs = float(row["cloudstead cpu_us_event"]), float(row["moto_server cpu_us_event"])
        ratio = theirs / ours if ours else float("inf")
        print(
            f"{row['workload']:32} {ours:12.2f} {theirs:12.2f} {ratio:6.0f}x {row['cloudstead events_s']:>12,} {row['moto_server events_s']:>12,}"
        )
    print("memory:", ", ".join(f"{peer.name} {peer.memory():.0f} MB" for peer in peers))


if __name__ == "__main__":
    main()
