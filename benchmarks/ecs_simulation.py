"""What deciding costs in ECS: placing 50,000 tasks on 1,000 container instances, and rolling a service of 1,000 tasks. No container is started.

    python benchmarks/ecs_simulation.py [--instances 1000] [--tasks 50000] [--service 1000] [--json]

placing    CPU µs a placement by each strategy, filling an empty cluster of three zones to that many tasks by services of 100; beside it the first tenth and
           the last one, and the same with a tenth of the instances: what grows, and how
mixed      RunTask with one task at a time, of 200 groups with 20 sizes and 10 constraints in turn, in the full cluster, where a task stops for each that comes
one-off    the same, each with a constraint that never came before
rolling    CPU ms of all plans of one service from one version to the next, 100 to 200 percent, a quarter becoming healthy at a time; and a plan when steady
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from random import Random

from msgspec.structs import replace

from cloudstead.services.ecs.deployments.beginning import begin
from cloudstead.services.ecs.deployments.model import Deployment, Observed, Service, Task
from cloudstead.services.ecs.deployments.plan import plan
from cloudstead.services.ecs.placement.fleet import Fleet, Registered
from cloudstead.services.ecs.placement.needs import Needs
from cloudstead.services.ecs.placement.placing import Placer
from cloudstead.services.ecs.placement.ports import PortNeed
from cloudstead.services.ecs.placement.strategies import SERVICE, Strategy

SPREAD_INSTANCES = Strategy("spread", "instanceId")
STRATEGIES = {
    "spread over zones": SERVICE,
    "over zones and instances": (*SERVICE, SPREAD_INSTANCES),
    "over zones, pack memory": (*SERVICE, Strategy("binpack", "memory")),
    "pack memory": (Strategy("binpack", "memory"),),
    "random": (Strategy("random"),),
}
OF_A_SERVICE = 100


def cluster(instances: int, tasks_each: int) -> Fleet:
    """Instances that just hold so many tasks, a tenth to spare."""
    size = tasks_each + tasks_each // 10
    return Fleet(
        Registered(
            id=f"i-{number:08x}",
            zone=f"us-east-1{'abc'[number % 3]}",
            attributes={"ecs.instance-type": ("m5.4xlarge", "c5.4xlarge")[number % 2], "ecs.os-type": "linux"},
            cpu=128 * size,
            memory=256 * size,
        )
        for number in range(instances)
    )


def needs(number: int, cpu: int = 128, expression: str = "attribute:ecs.instance-type =~ (m5|c5).*") -> Needs:
    """A web server of a service: a dynamic port, its attributes, a constraint."""
    return Needs(
        group=f"service:s{number}",
        cpu=cpu,
        memory=256,
        ports=(PortNeed(80),),
        attributes=(("ecs.os-type", "linux"),),
        member_of=(expression,),
    )


def fill(placer: Placer, tasks: int, strategies: tuple[Strategy, ...]) -> list[float]:
    """CPU seconds of each tenth."""
    tenths: list[float] = []
    batches = list(range(0, tasks, OF_A_SERVICE))
    for tenth in range(10):
        began = time.process_time()
        for first in batches[len(batches) * tenth // 10 : len(batches) * (tenth + 1) // 10]:
            made = placer.place(needs(first // OF_A_SERVICE), [f"t{number}" for number in range(first, first + OF_A_SERVICE)], strategies)
            assert not made.unplaced
        tenths.append(time.process_time() - began)
    return tenths


def placing(instances: int, tasks: int) -> Iterator[tuple[str, dict[str, float]]]:
    for name, strategies in STRATEGIES.items():
        placer = Placer(cluster(instances, tasks // instances), Random(1))
        tenths = fill(placer, tasks, strategies)
        small = sum(fill(Placer(cluster(instances // 10, tasks // instances), Random(1)), tasks // 10, strategies))
        each = tasks / 1e6
        yield (
            name,
            {
                "µs": sum(tenths) / each,
                "first tenth": tenths[0] / each * 10,
                "last tenth": tenths[-1] / each * 10,
                "a tenth of the instances": small / each * 10,
                "placements/s": tasks / sum(tenths),
            },
        )
        if name == "spread over zones":
            yield "mixed, one at a time", single(placer, tasks, terms=10, count=5_000)
            yield "one-off", single(placer, tasks, terms=1_000_000, count=500)


def single(placer: Placer, tasks: int, terms: int, count: int) -> dict[str, float]:
    """A task stops, another of the next kind comes."""
    gone = Random(2).sample(range(tasks), count)
    asked = [
        needs(1_000_000 + number % 200, cpu=100 + number % 20, expression=f"attribute:ecs.instance-type != t{terms}.{number % terms}")
        for number in range(count)
    ]
    began = time.process_time()
    for number, (old, wanted) in enumerate(zip(gone, asked, strict=True)):
        placer.fleet.give_back(f"t{old}")
        assert placer.place(wanted, [f"{terms}-{number}"], SERVICE).placed
    spent = time.process_time() - began
    for number, old in enumerate(gone):  # as it was, for the next
        placer.fleet.give_back(f"{terms}-{number}")
        placer.place(needs(old // OF_A_SERVICE), [f"t{old}"], SERVICE)
    return {"µs": spent / count * 1e6, "placements/s": count / spent}


def rolling(size: int) -> dict[str, float]:
    old = Deployment(id="v1", revision="1", created=0, updated=0, rollout="COMPLETED")
    service = Service(name="web", desired=size, deployments=(old,), completed=old)
    now, number = 1_000.0, size
    tasks = {
        f"t{n}": Task(id=f"t{n}", deployment="v1", created=0, phase="RUNNING", running_since=0, proven=True, zone="abc"[n % 3])
        for n in range(size)
    }
    steady, plans = timed(service, tasks, now), 0
    service = begin(service, "v2", "2", now)
    spent = 0.0
    while service.deployments[0].rollout != "COMPLETED":
        observed = Observed(tasks=tuple(tasks.values()))
        began = time.process_time()
        made = plan(observed, service, now)
        spent += time.process_time() - began
        plans += 1
        service = replace(service, deployments=made.deployments, completed=made.completed, state=made.state)
        waiting = [task for task in tasks.values() if task.deployment == "v2" and task.running_since is None]
        for task in waiting[: size // 4]:
            tasks[task.id] = replace(task, phase="RUNNING", running_since=now, checked=True, health="HEALTHY")
        for stop in made.stops:
            del tasks[stop.task]
        for start in made.starts:
            for _ in range(start.count):
                number += 1
                tasks[f"t{number}"] = Task(id=f"t{number}", deployment="v2", created=now, zone="abc"[number % 3])
        now += 1
    return {"ms of all plans": spent * 1e3, "plans": plans, "ms of a plan when steady": steady * 1e3}


def timed(service: Service, tasks: dict[str, Task], now: float) -> float:
    observed = Observed(tasks=tuple(tasks.values()))
    began = time.process_time()
    for _ in range(10):
        plan(observed, service, now)
    return (time.process_time() - began) / 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=1_000)
    parser.add_argument("--tasks", type=int, default=50_000)
    parser.add_argument("--service", type=int, default=1_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = dict(placing(options.instances, options.tasks))
    found["rolling"] = rolling(options.service)
    if options.json:
        print(
            json.dumps({name: {what: round(value, 2) for what, value in each.items()} for name, each in found.items()}, ensure_ascii=False)
        )
        return 0
    for name, each in found.items():
        print(f"{name:26} " + "   ".join(f"{what} {value:,.1f}" for what, value in each.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
