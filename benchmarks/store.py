"""What the store costs: CPU of the whole process (the writer's thread included), per read and per durable write.

    python benchmarks/store.py [--callers 16] [--rows 20000] [--seconds 2] [--data DIR] [--json]

Promises (SPECIFICATION.md): a durable insert under 16 callers ≤ 60 µs of CPU, a get ≤ 1 µs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from cloudstead.kernel.store import Row, Store, Table


class Thing(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    id: str
    created: float
    status: str = "ACTIVE"
    description: str = ""
    tags: dict[str, str] = {}


THINGS = Table(
    "bench.things",
    Thing,
    key=lambda row: (row.account, row.region, row.name),
    indexes={"by_id": lambda row: (row.account, row.id)},
    unique=("by_id",),
)


def thing(number: int) -> Thing:
    return Thing(
        account="000000000000", region="us-east-1", name=f"thing-{number:010}", id=f"t-{number:017x}", created=1.0, tags={"a": "b"}
    )


def microseconds(function: Callable[[], object], times: int) -> float:
    """CPU of one call, the best of five runs."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(times):
            function()
        best = min(best, time.process_time() - began)
    return best / times * 1e6


def reads(store: Store, rows: int) -> dict[str, float]:
    view = store.table(THINGS)
    key = THINGS.key(thing(rows // 2))
    prefix = key[:2]
    assert view.get(key) is not None
    return {
        "get": microseconds(lambda: view.get(key), 20_000),
        "find by a unique index": microseconds(lambda: view.find("by_id", ("000000000000", f"t-{rows // 2:017x}")), 20_000),
        "scan a page of 50": microseconds(lambda: view.scan(prefix, after=key, limit=50), 2_000),
        "count": microseconds(lambda: view.count(prefix), 5_000),
    }


async def writes(store: Store, callers: int, seconds: float, first: int) -> dict[str, float]:
    """Callers that insert a row and wait until it is on disk, again and again."""
    number, done = first, 0
    over = time.perf_counter() + seconds
    waits: list[float] = []

    async def caller() -> None:
        nonlocal number, done
        while (began := time.perf_counter()) < over:
            number += 1
            with store.transaction() as tx:
                tx.insert(THINGS, thing(number))
            await store.settled()
            waits.append(time.perf_counter() - began)
            done += 1

    cpu = time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    cpu = time.process_time() - cpu
    waits.sort()
    return {
        "cpu": cpu / done * 1e6,
        "a second": done / seconds,
        "median ms": waits[done // 2] * 1e3,
        "p99 ms": waits[done * 99 // 100] * 1e3,
    }


async def writes_beside_work(store: Store, callers: int, seconds: float, first: int) -> dict[str, float]:
    """The same while the loop is never idle: what a write costs in time when reads keep the process busy."""
    over = False

    async def busy() -> None:
        while not over:
            until = time.perf_counter() + 0.0001
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0)

    tasks = [asyncio.ensure_future(busy()) for _ in range(4)]
    result = await writes(store, callers, seconds, first)
    over = True
    await asyncio.gather(*tasks)
    del result["cpu"]
    return result


async def measure(data: Path, callers: int, rows: int, seconds: float) -> dict[str, dict[str, float]]:
    store = Store.open(data)
    began = time.process_time()
    for number in range(rows):
        with store.transaction() as tx:
            tx.insert(THINGS, thing(number))
    memory = (time.process_time() - began) / rows * 1e6
    await store.settled()
    results = {
        "read, µs of CPU": reads(store, rows),
        "insert, in memory and encoded, µs of CPU": {"": memory},
        "durable insert, 1 caller": await writes(store, 1, seconds, rows),
        f"durable insert, {callers} callers": await writes(store, callers, seconds, 10**7),
        f"durable insert, {callers} callers, busy loop": await writes_beside_work(store, callers, seconds, 10**8 - 1),
    }
    rows = len(store.table(THINGS))
    await store.close()
    began = time.process_time()
    store = Store.open(data)
    store.attach([THINGS])
    results[f"load {rows} rows, µs of CPU a row"] = {"": (time.process_time() - began) / rows * 1e6}
    await store.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the store.")
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--data", type=Path, help="a directory on the disk to measure; default: a temporary one")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.data) as data:
        results = uvloop.run(measure(Path(data), arguments.callers, arguments.rows, arguments.seconds))
    if arguments.json:
        json.dump(results, sys.stdout, indent=2)
        return
    for what, values in results.items():
        print(f"{what:45}", "   ".join(f"{name} {value:,.2f}".strip() for name, value in values.items()))


if __name__ == "__main__":
    main()
