"""Placing tasks: needs, reasons, strategies, ports, and that the kept order is the one that looking at everything gives."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudstead.services.ecs.placement.fleet import Fleet, Registered
from cloudstead.services.ecs.placement.needs import Needs, asked, refusal
from cloudstead.services.ecs.placement.placing import Placed, Placer, Refusal, closest, explain
from cloudstead.services.ecs.placement.ports import FIRST_DYNAMIC, LAST_DYNAMIC, PortBinding, PortNeed, Ports
from cloudstead.services.ecs.placement.strategies import Order, Strategy, StrategyInvalid, best, order
from cloudstead.services.ecs.placement.subnets import Subnet, spread

SPREAD_ZONES = Strategy("spread", "attribute:ecs.availability-zone")
SPREAD_INSTANCES = Strategy("spread", "instanceId")
PACK = Strategy("binpack", "memory")


def machine(id: str, zone: str = "a", **more: Any) -> Registered:
    return Registered(**({"id": id, "zone": zone, "cpu": 2048, "memory": 4096, "enis": 3} | more))


def needs(**more: Any) -> Needs:
    return Needs(**({"group": "service:web", "cpu": 256, "memory": 512} | more))


def placed_on(placer: Placer, needs: Needs, count: int, *strategies: Strategy) -> Counter[str]:
    tasks = [f"{needs.group}-{placer.fleet.now}-{number}" for number in range(count)]
    return Counter(each.instance for each in placer.place(needs, tasks, strategies).placed)


def placer(*machines: Registered) -> Placer:
    return Placer(Fleet(machines), Random(1))


# ── what an instance answers ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "instance", "reason"),
    [
        ({}, {}, ""),
        ({"cpu": 2049}, {}, "RESOURCE:CPU"),
        ({"memory": 4097}, {}, "RESOURCE:MEMORY"),
        ({"enis": 4}, {}, "RESOURCE:ENI"),
        ({"gpus": 1}, {}, "RESOURCE:GPU"),
        ({"gpus": 1}, {"gpus": ("g0",)}, ""),
        ({"ports": (PortNeed(22, host_port=22),)}, {}, "RESOURCE:PORTS"),
        ({"ports": (PortNeed(22, "udp", host_port=22),)}, {}, ""),
        ({"attributes": (("ecs.capability.x", None),)}, {}, "ATTRIBUTE"),
        ({"attributes": (("ecs.capability.x", None),)}, {"attributes": {"ecs.capability.x": ""}}, ""),
        ({"attributes": (("ecs.cpu-architecture", "arm64"),)}, {"attributes": {"ecs.cpu-architecture": "x86_64"}}, "ATTRIBUTE"),
        ({"zones": ("b",)}, {}, "LOCATION"),
        ({}, {"connected": False}, "AGENT"),
        ({}, {"status": "DRAINING"}, "INACTIVE"),
        ({"member_of": ("attribute:ecs.availability-zone == b",)}, {}, "MemberOf placement constraint unsatisfied."),
        ({"member_of": ("attribute:ecs.availability-zone == a",)}, {}, ""),
    ],
)
def test_an_instance_says_why_a_task_cannot_go_there(asked: dict[str, Any], instance: dict[str, Any], reason: str) -> None:
    fleet = Fleet([machine("i", **instance)])
    found = fleet.get("i")
    assert found is not None
    assert refusal(needs(**asked), found) == reason


def test_no_two_tasks_of_a_group_go_to_a_distinct_instance() -> None:
    fleet = placer(machine("i"), machine("j"))
    distinct = needs(distinct=True)
    made = fleet.place(distinct, ["1", "2", "3"])
    assert {each.instance for each in made.placed} == {"i", "j"}
    assert made.unplaced == ("3",)
    assert {each.reason for each in made.refusals} == {"DistinctInstance placement constraint unsatisfied."}
    assert len(fleet.place(needs(distinct=True, group="service:other"), ["4", "5"]).placed) == 2


def test_tasks_go_near_those_of_another_group_when_asked_to() -> None:
    fleet = placer(machine("i"), machine("j"))
    fleet.place_on(needs(group="service:database"), "db", "j")
    beside = needs(member_of=("task:group == service:database",))
    assert placed_on(fleet, beside, 3) == {"j": 3}
    fleet.fleet.give_back("db")
    assert placed_on(fleet, beside, 1) == {}


def test_the_closest_matching_instance_is_the_one_that_came_furthest() -> None:
    fleet = Fleet([machine("away", connected=False), machine("small", cpu=128), machine("forgetful", memory=128)])
    found = explain(fleet, needs())
    assert found == (Refusal("away", "AGENT"), Refusal("small", "RESOURCE:CPU"), Refusal("forgetful", "RESOURCE:MEMORY"))
    assert closest(found) == Refusal("forgetful", "RESOURCE:MEMORY")
    assert closest(()) is None


def test_a_task_is_started_on_a_named_instance_or_told_why_not() -> None:
    fleet = placer(machine("i"))
    assert isinstance(fleet.place_on(needs(), "t", "i"), Placed)
    assert fleet.place_on(needs(memory=9000), "u", "i") == Refusal("i", "RESOURCE:MEMORY")
    assert fleet.place_on(needs(), "u", "gone") == Refusal("gone", "MISSING")


def test_placing_a_task_again_leaves_it_where_it_is() -> None:
    fleet = placer(machine("i"), machine("j"))
    first = fleet.place(needs(), ["t"]).placed
    assert fleet.place(needs(), ["t"]).placed == first
    assert sum(each.running for each in fleet.fleet) == 1


def test_gpus_are_given_by_their_ids_and_given_back() -> None:
    fleet = placer(machine("i", gpus=("g0", "g1")))
    made = fleet.place(needs(gpus=1), ["1", "2", "3"])
    assert [each.share.gpus for each in made.placed] == [("g0",), ("g1",)]
    fleet.fleet.give_back("1")
    assert [each.share.gpus for each in fleet.place(needs(gpus=1), ["3"]).placed] == [("g0",)]


# ── strategies: AWS's examples ───────────────────────────────────────────────────────────────────────────────────────

SIX = (machine("a1", "a"), machine("a2", "a"), machine("b1", "b"), machine("b2", "b"), machine("c1", "c"), machine("c2", "c"))


def zones(counts: Counter[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for instance, count in counts.items():
        found[instance[0]] += count
    return found


def test_spread_over_zones() -> None:
    assert zones(placed_on(placer(*SIX), needs(), 9, SPREAD_ZONES)) == {"a": 3, "b": 3, "c": 3}


def test_spread_over_instances() -> None:
    assert placed_on(placer(*SIX), needs(), 12, SPREAD_INSTANCES) == {each.id: 2 for each in SIX}


def test_spread_over_zones_and_then_instances() -> None:
    fleet = placer(*SIX, machine("a3", "a"))
    counts = placed_on(fleet, needs(), 12, SPREAD_ZONES, SPREAD_INSTANCES)
    assert zones(counts) == {"a": 4, "b": 4, "c": 4}
    assert counts["b1"] == counts["b2"] == 2
    assert {counts["a1"], counts["a2"], counts["a3"]} == {1, 2}


def test_spread_over_zones_and_then_pack_into_few_instances() -> None:
    counts = placed_on(placer(*SIX), needs(), 12, SPREAD_ZONES, PACK)
    assert zones(counts) == {"a": 4, "b": 4, "c": 4}
    assert sorted(counts.values()) == [4, 4, 4]


def test_binpack_fills_an_instance_before_it_opens_another() -> None:
    assert sorted(placed_on(placer(*SIX), needs(), 10, PACK).values()) == [2, 8]
    assert sorted(placed_on(placer(*SIX), needs(cpu=512), 6, Strategy("binpack", "cpu")).values()) == [2, 4]


def test_spread_counts_the_own_group_only() -> None:
    fleet = placer(machine("i", "a"), machine("j", "b"))
    for number in range(4):
        fleet.place_on(needs(group="service:other"), f"o{number}", "i")
    assert placed_on(fleet, needs(), 2, SPREAD_ZONES) == {"i": 1, "j": 1}


def test_a_full_zone_does_not_stop_a_spread() -> None:
    fleet = placer(machine("i", "a", cpu=256), machine("j", "b"))
    assert placed_on(fleet, needs(), 5, SPREAD_ZONES) == {"i": 1, "j": 4}


def test_random_is_the_same_from_the_same_seed_and_reaches_every_instance() -> None:
    one, other = (placed_on(Placer(Fleet(SIX), Random(7)), needs(memory=64, cpu=0), 60, Strategy("random")) for _ in range(2))
    assert one == other
    assert set(one) == {each.id for each in SIX}


def test_a_strategy_after_random_no_longer_matters() -> None:
    assert order([SPREAD_ZONES, Strategy("random"), PACK]) == Order(("ecs.availability-zone",), (), ())


@pytest.mark.parametrize(
    "strategy", [Strategy("spread"), Strategy("spread", "zone"), Strategy("binpack", "disk"), Strategy("pile", "cpu"), Strategy("spread", "attribute:")]
)  # fmt: skip
def test_an_unknown_strategy_is_refused(strategy: Strategy) -> None:
    with pytest.raises(StrategyInvalid):
        order([strategy])


# ── the kept order is the one that looking gives ─────────────────────────────────────────────────────────────────────

_STRATEGY = st.sampled_from([SPREAD_ZONES, SPREAD_INSTANCES, PACK, Strategy("binpack", "cpu"), Strategy("spread", "attribute:rack"), Strategy("random")])  # fmt: skip
_STEP = st.one_of(
    st.tuples(st.just("place"), st.integers(0, 4), st.integers(0, 1)),
    st.tuples(st.just("free"), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("drain"), st.integers(0, 7), st.just(0)),
    st.tuples(st.just("join"), st.integers(0, 7), st.integers(0, 2)),
    st.tuples(st.just("leave"), st.integers(0, 7), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_STRATEGY, max_size=3), st.lists(_STEP, max_size=40), st.integers(0, 99))
def test_a_view_finds_the_instance_that_looking_at_all_finds(
    strategies: list[Strategy], steps: list[tuple[str, int, int]], seed: int
) -> None:
    wanted = order(strategies)
    fleet = Fleet([machine(f"m{n}", "abc"[n % 3], cpu=1024, attributes={"rack": str(n % 2)}) for n in range(6)])
    kinds = [
        needs(group="g0"),
        needs(group="g1", cpu=512),
        needs(group="g0", distinct=True, memory=100),
        needs(group="g1", member_of=("attribute:rack == 1",)),
        needs(group="g2", member_of=("not task:group == g0", "attribute:ecs.availability-zone != c")),
    ]
    placer, tasks = Placer(fleet, Random(seed)), 0
    for what, which, more in steps:
        name = f"m{which}"
        if what == "place":
            need = kinds[which]
            assert all(asked(need).fits(each) is (refusal(need, each) == "") for each in fleet)
            expected = best(wanted, need.group, fleet, [each for each in fleet if not refusal(need, each)])
            tasks += 1
            found = placer.place(need, [f"t{tasks}"], strategies).placed
            assert {each.instance for each in found} <= {each.id for each in expected}
            assert bool(found) == bool(expected)
        elif what == "free":
            fleet.give_back(f"t{which}")
        elif what == "leave":
            fleet.drop(name)
        else:
            status = "DRAINING" if what == "drain" else "ACTIVE"
            fleet.put(machine(name, "abc"[more], cpu=1024, status=status, attributes={"rack": str(more)}))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 900), st.integers(1, 2000), st.integers(0, 2)), min_size=1, max_size=60),
    st.lists(_STRATEGY, max_size=2),
)
def test_nothing_is_given_twice_and_all_comes_back(asked: list[tuple[int, int, int]], strategies: list[Strategy]) -> None:
    whole = [machine(f"m{n}", "ab"[n % 2]) for n in range(4)]
    placer = Placer(Fleet(whole), Random(3))
    for number, (cpu, memory, ports) in enumerate(asked):
        mappings = tuple(PortNeed(80 + port, host_port=(0, 8080)[port % 2]) for port in range(ports))
        placer.place(needs(cpu=cpu, memory=memory, enis=1, ports=mappings), [f"t{number}"], strategies)
    for instance in placer.fleet:
        assert min(instance.cpu, instance.memory, instance.enis) >= 0
        owned = Counter(port for share in instance.shares.values() for binding in share.ports for port in binding.ports())
        assert max(owned.values(), default=1) == 1
    for number in range(len(asked)):
        placer.fleet.give_back(f"t{number}")
    for instance in placer.fleet:
        assert (instance.cpu, instance.memory, instance.enis, instance.running, instance.groups) == (2048, 4096, 3, 0, {})
        assert set(instance.ports.used()) == whole[0].ports


def test_an_instance_that_speaks_of_itself_anew_keeps_what_its_tasks_have() -> None:
    fleet = placer(machine("i", gpus=("g0", "g1")))
    (made,) = fleet.place(needs(gpus=1, ports=(PortNeed(80, host_port=80),)), ["t"]).placed
    fleet.fleet.put(machine("i", memory=8192, gpus=("g0", "g1"), status="DRAINING"))
    there = fleet.fleet.get("i")
    assert there is not None
    assert (there.cpu, there.memory, there.gpus, there.status) == (2048 - 256, 8192 - 512, {"g1"}, "DRAINING")
    assert not there.ports.free_for((PortNeed(80, host_port=80),))
    fleet.fleet.give_back("t")
    assert there.memory == 8192
    assert made.share.ports == (PortBinding("tcp", 80, 80),)


# ── ports ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_dynamic_ports_are_above_49152_and_a_freed_one_rests() -> None:
    ports = Ports()
    first = ports.bindings((PortNeed(80),))
    assert first == (PortBinding("tcp", FIRST_DYNAMIC, 80),)
    ports.take(first)
    ports.give_back(first)
    assert ports.bindings((PortNeed(80),)) == (PortBinding("tcp", FIRST_DYNAMIC + 1, 80),)


def test_a_port_never_has_two_owners() -> None:
    ports = Ports()
    ports.take([PortBinding("tcp", 80, 80)])
    assert ports.bindings((PortNeed(8080, host_port=80),)) is None
    assert ports.bindings((PortNeed(1, host_port=90), PortNeed(2, host_port=90))) is None
    with pytest.raises(ValueError, match="80/tcp is in use"):
        ports.take([PortBinding("tcp", 80, 80)])


def test_a_range_of_container_ports_gets_host_ports_in_a_row() -> None:
    ports = Ports()
    ports.take([PortBinding("tcp", FIRST_DYNAMIC + 5, 1)])
    found = ports.bindings((PortNeed(1000, length=10), PortNeed(5000)))
    assert found is not None
    owned = [port for binding in found for port in binding.ports()]
    assert len(set(owned)) == 11
    assert ("tcp", FIRST_DYNAMIC + 5) not in owned
    assert found[0].length == 10


def test_when_the_dynamic_ports_are_used_up_there_are_none() -> None:
    ports = Ports({("tcp", number) for number in range(FIRST_DYNAMIC, LAST_DYNAMIC)})  # all but the last
    assert ports.free_for((PortNeed(80),))
    assert ports.bindings((PortNeed(80),)) == (PortBinding("tcp", LAST_DYNAMIC, 80),)
    assert not ports.free_for((PortNeed(80), PortNeed(81)))
    assert ports.free_for((PortNeed(80), PortNeed(81, "udp")))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["tcp", "udp"]), st.integers(1, 4)), min_size=1, max_size=5))
def test_free_for_says_what_bindings_does(asked: list[tuple[int, str, int]]) -> None:
    ports = Ports({("tcp", number) for number in range(FIRST_DYNAMIC, LAST_DYNAMIC - 4)} | {("udp", 2)})
    wanted = tuple(PortNeed(1, protocol, host_port=host, length=1 if host else length) for host, protocol, length in asked)
    static = [(need.protocol, need.host_port) for need in wanted if need.host_port]
    if len(set(static)) == len(static):  # a task definition that asks for a port twice is refused before
        assert ports.free_for(wanted) == (ports.bindings(wanted) is not None)


# ── Fargate ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fargate_tasks_are_spread_over_zones_and_then_subnets() -> None:
    subnets = [Subnet("s1", "a"), Subnet("s2", "a"), Subnet("s3", "b")]
    assert Counter(spread(subnets, {}, 8)) == {"s1": 2, "s2": 2, "s3": 4}
    assert spread(subnets, {"s1": 1, "s2": 1}, 2) == ["s3", "s3"]


def test_a_subnet_without_addresses_gets_no_task() -> None:
    assert spread([Subnet("s1", "a", free=1), Subnet("s2", "b", free=0)], {}, 3) == ["s1"]
