"""What EventBridge costs: matching one event against a bus of 300 rules, and PutEvents through to a durable delivery.

    python benchmarks/events.py [--rules 300] [--seconds 2] [--json]

matching   CPU µs to find the rules that want an event, among rules that ask for other sources, other types, other details, and odd ones
unwanted   CPU µs of PutEvents (without HTTP) for an event that nobody wants: no write
wanted     CPU µs of PutEvents for an event with one target, the durable write included
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from cloudstead.kernel import identity as identities
from cloudstead.kernel.clock import SystemClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.events import Bus
from cloudstead.kernel.operations import Registry
from cloudstead.kernel.store import Store
from cloudstead.services import SERVICES
from cloudstead.services.events import api
from cloudstead.services.events.envelope import seal

ACCOUNT = "000000000000"
AT_ONCE = 16


def patterns(count: int) -> list[dict[str, Any]]:
    """A bus as they are: most rules ask for one source and type, some for details, some for a prefix of the source."""
    found: list[dict[str, Any]] = []
    for n in range(count):
        match n % 6:
            case 0 | 1:
                found.append({"source": [f"app.{n}"]})
            case 2:
                found.append({"source": ["shop"], "detail-type": [f"Type {n}"]})
            case 3:
                found.append(
                    {"source": ["shop"], "detail-type": ["Order"], "detail": {"state": [f"state-{n}"], "total": [{"numeric": [">", n]}]}}
                )
            case 4:
                found.append({"source": ["aws.ec2", "aws.ecs"], "detail": {"tags": {"team": [{"prefix": f"team-{n}"}]}}})
            case _:
                found.append({"source": [{"prefix": f"partner-{n}."}]})
    return found


def detail(n: int) -> str:
    return json.dumps(
        {"id": n, "state": "state-3", "total": 250.5, "customer": {"name": "Ann", "city": "Berlin"}, "items": [{"sku": "a"}, {"sku": "b"}]}
    )


async def measure(rules: int, seconds: float, data: Path) -> dict[str, float]:
    clock = SystemClock()
    store = Store.open(data, clock)
    bus = Bus(store, clock)
    cloud = Cloud(data=data, store=store, clock=clock, bus=bus, registry=Registry(SERVICES))
    ctx = cloud.context(identity=identities.root(ACCOUNT), account=ACCOUNT, region="us-east-1")
    for n, pattern in enumerate(patterns(rules)):
        await ctx.call(api.PutRuleRequest(name=f"r{n}", event_pattern=json.dumps(pattern)))
    try:
        return {"matching": matching(cloud, seconds), **await putting(ctx, seconds)}
    finally:
        await cloud.close()
        await bus.close()
        await store.close()


def matching(cloud: Cloud, seconds: float) -> float:
    router = cloud.parts["events"].router
    event = seal(
        id="1", detail_type="Order", source="shop", account=ACCOUNT, time=time.time(), region="us-east-1", resources=(), detail=detail(1)
    )
    key = (ACCOUNT, "us-east-1", "default")
    wanted = router.wanting(key, event)
    assert [rule.name for rule in wanted.rules] == ["r3"], wanted
    count, began, end = 0, time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(100):
            router.wanting(key, event)
        count += 100
    return (time.process_time() - began) / count * 1e6


async def putting(ctx: Context, seconds: float) -> dict[str, float]:
    await ctx.call(api.CreateEventBusRequest(name="sink"))
    await ctx.call(api.CreateEventBusRequest(name="drain"))
    await ctx.call(api.PutRuleRequest(name="all", event_pattern='{"source": ["shop"]}', event_bus_name="sink"))
    drain = api.Target(id="drain", arn=f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/drain")
    await ctx.call(api.PutTargetsRequest(rule="all", targets=[drain], event_bus_name="sink"))
    return {"unwanted": await _put(ctx, seconds, "drain"), "wanted": await _put(ctx, seconds, "sink")}


async def _put(ctx: Context, seconds: float, bus: str) -> float:
    """CPU µs an event, puts by 16 callers, and for wanted ones their delivery (to a bus without rules)."""
    end, count = time.perf_counter() + seconds, 0

    async def caller() -> None:
        nonlocal count
        while time.perf_counter() < end:
            entry = api.PutEventsRequestEntry(source="shop", detail_type="Order", detail=detail(count), event_bus_name=bus)
            await ctx.call(api.PutEventsRequest(entries=[entry]))
            await ctx.store.settled()
            count += 1

    began = time.process_time()
    await asyncio.gather(*[caller() for _ in range(AT_ONCE)])
    await ctx.cloud.parts["events"].deliveries.controller.settled()
    return (time.process_time() - began) / count * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = uvloop.run(measure(options.rules, options.seconds, Path(folder)))
    if options.json:
        print(json.dumps({name: round(value, 2) for name, value in found.items()}))
        return 0
    for name, value in found.items():
        print(f"{name:10} {value:8.1f} µs CPU   {1e6 / value:10,.0f} events/s of one core")
    return 0


if __name__ == "__main__":
    sys.exit(main())
