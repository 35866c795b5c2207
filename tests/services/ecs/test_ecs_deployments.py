"""The plan of a service: AWS's examples of rolling updates, the circuit breaker, and what holds of every plan."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cloudstead.services.ecs.deployments import sentences
from cloudstead.services.ecs.deployments.accounting import LONGEST_WAIT, waiting
from cloudstead.services.ecs.deployments.beginning import begin
from cloudstead.services.ecs.deployments.capacity import distribute
from cloudstead.services.ecs.deployments.health import alive, healthy, occupies
from cloudstead.services.ecs.deployments.limits import maximum, minimum_healthy, threshold
from cloudstead.services.ecs.deployments.model import (
    Breaker,
    CapacityItem,
    Deployment,
    Observed,
    Plan,
    Service,
    State,
    Target,
    Task,
    Threshold,
)
from cloudstead.services.ecs.deployments.plan import Unplanned, plan
from cloudstead.services.ecs.deployments.remembering import placed, room, unplaced

NOW = 1_767_225_600.0


def deployment(id: str = "v1", **more: Any) -> Deployment:
    return Deployment(**({"id": id, "revision": id, "created": NOW - 900, "updated": NOW - 900} | more))


def service(desired: int = 4, **more: Any) -> Service:
    return Service(**({"name": "web", "desired": desired, "deployments": (deployment(),)} | more))


def updated(desired: int = 4, **more: Any) -> Service:
    """A service whose v1 was completed, and whose v2 begins."""
    old = deployment(rollout="COMPLETED")
    return begin(service(desired, **({"deployments": (old,), "completed": old} | more)), "v2", "v2", NOW)


def tasks(count: int, version: str = "v1", **more: Any) -> tuple[Task, ...]:
    """Tasks that have run for long, unless it is said otherwise."""
    about = {"deployment": version, "created": NOW - 600, "phase": "RUNNING", "running_since": NOW - 600, "proven": True} | more
    if about["phase"] == "PENDING":
        about |= {"running_since": None, "proven": False}
    return tuple(Task(id=f"{version}-{about['phase'].lower()}-{number}", **about) for number in range(count))


def made(service: Service, *groups: tuple[Task, ...], now: float = NOW, instances: tuple[str, ...] = ()) -> Plan:
    return plan(Observed(tasks=tuple(task for group in groups for task in group), instances=instances), service, now)


def starts(made: Plan) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in made.starts:
        found[start.deployment] = found.get(start.deployment, 0) + start.count
    return found


def stops(made: Plan) -> dict[str, int]:
    """How many, by deployment."""
    found: dict[str, int] = {}
    for stop in made.stops:
        version = stop.task.split("-")[0]
        found[version] = found.get(version, 0) + 1
    return found


def said(made: Plan) -> list[str]:
    return [event.message for event in made.events]


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("desired", "percent", "least"), [(4, 50, 2), (4, 100, 4), (1, 50, 1), (3, 50, 2), (10, 33, 4), (5, 0, 0), (0, 100, 0), (4, 150, 4)]
)
def test_the_minimum_is_rounded_up(desired: int, percent: int, least: int) -> None:
    assert minimum_healthy(desired, percent) == least


@pytest.mark.parametrize(("desired", "percent", "most"), [(4, 200, 8), (4, 150, 6), (1, 150, 1), (3, 150, 4), (10, 133, 13), (4, 100, 4)])
def test_the_maximum_is_rounded_down(desired: int, percent: int, most: int) -> None:
    assert maximum(desired, percent) == most


@pytest.mark.parametrize(("desired", "failures"), [(0, 3), (1, 3), (5, 3), (6, 3), (7, 4), (25, 13), (100, 50), (400, 200), (800, 200)])
def test_the_threshold_of_the_circuit_breaker_is_half_of_desired_between_3_and_200(desired: int, failures: int) -> None:
    assert threshold(desired, Threshold()) == failures


@pytest.mark.parametrize(
    ("configured", "desired", "failures"),
    [
        (Threshold("COUNT", 2), 100, 2),
        (Threshold("UNBOUNDED_PERCENT", 10), 10, 1),
        (Threshold("UNBOUNDED_PERCENT", 100), 800, 800),
        (Threshold("BOUNDED_PERCENT", 10), 100, 10),
        (Threshold("BOUNDED_PERCENT", 10), 10, 3),
    ],
)
def test_the_threshold_can_be_configured(configured: Threshold, desired: int, failures: int) -> None:
    assert threshold(desired, configured) == failures


# ── which tasks count ────────────────────────────────────────────────────────────────────────────────────────────────

_FINE, _SICK, _NEW = Target("tg", 80, "healthy"), Target("tg", 80, "unhealthy", "Health checks failed"), Target("tg", 80, "initial")


@pytest.mark.parametrize(
    ("task", "balanced", "counts"),
    [
        ({}, False, True),
        ({"running_since": NOW - 39}, False, False),
        ({"running_since": NOW - 40}, False, True),
        ({"phase": "PENDING"}, False, False),
        ({"phase": "STOPPING"}, False, False),
        ({"stopping": True}, False, False),
        ({"checked": True}, False, False),
        ({"checked": True, "health": "HEALTHY", "running_since": NOW - 1}, False, True),
        ({"checked": True, "health": "UNHEALTHY"}, False, False),
        ({"targets": ()}, True, False),
        ({"targets": (_FINE,), "running_since": NOW - 1}, True, True),
        ({"targets": (_FINE, _NEW)}, True, False),
        ({"targets": (_FINE,), "checked": True}, True, False),
        ({"targets": (_FINE,), "checked": True, "health": "HEALTHY"}, True, True),
    ],
)
def test_a_task_counts_when_all_its_checks_have_passed(task: dict[str, Any], balanced: bool, counts: bool) -> None:
    assert healthy(tasks(1, **task)[0], service(balanced=balanced), NOW) is counts


# ── rolling updates ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_service_starts_all_its_tasks() -> None:
    assert starts(made(service(4))) == {"v1": 4}


def test_four_tasks_at_200_percent_start_four_before_the_old_ones_stop() -> None:
    first = made(updated(4), tasks(4))
    assert (starts(first), stops(first)) == ({"v2": 4}, {})
    half = made(updated(4), tasks(4), tasks(2, "v2"), tasks(2, "v2", phase="PENDING"))
    assert (starts(half), stops(half)) == ({}, {"v1": 2})
    whole = made(updated(4), tasks(4), tasks(4, "v2"))
    assert (starts(whole), stops(whole)) == ({}, {"v1": 4})


def test_four_tasks_between_50_and_100_percent_go_two_by_two() -> None:
    wanted = updated(4, minimum=50, maximum=100)
    first = made(wanted, tasks(4))
    assert (starts(first), stops(first)) == ({}, {"v1": 2})
    then = made(wanted, tasks(2))
    assert (starts(then), stops(then)) == ({"v2": 2}, {})
    waiting = made(wanted, tasks(2), tasks(2, "v2", phase="PENDING"))
    assert (starts(waiting), stops(waiting)) == ({}, {})
    last = made(wanted, tasks(2), tasks(2, "v2"))
    assert (starts(last), stops(last)) == ({}, {"v1": 2})


def test_between_100_and_150_percent_half_as_many_come_before_as_many_go() -> None:
    wanted = updated(4, minimum=100, maximum=150)
    first = made(wanted, tasks(4))
    assert (starts(first), stops(first)) == ({"v2": 2}, {})
    then = made(wanted, tasks(4), tasks(2, "v2"))
    assert (starts(then), stops(then)) == ({}, {"v1": 2})


def test_a_minimum_of_nothing_lets_all_go_at_once_when_there_is_no_room() -> None:
    assert stops(made(updated(4, minimum=0, maximum=100), tasks(4))) == {"v1": 4}


def test_one_task_at_150_percent_is_stuck_and_says_so_once() -> None:
    wanted = updated(1, minimum=100, maximum=150)
    first = made(wanted, tasks(1))
    assert (starts(first), stops(first)) == ({}, {})
    assert said(first) == [
        "(service web) was unable to stop or start tasks during a deployment because of the service deployment configuration. "
        "Update the minimumHealthyPercent or maximumPercent value and try again."
    ]
    assert said(made(replace(wanted, state=first.state), tasks(1), now=NOW + 60)) == []
    assert len(said(made(replace(wanted, state=first.state), tasks(1), now=NOW + 7 * 3600))) == 1


def test_old_tasks_that_never_ran_stop_at_once() -> None:
    first = made(updated(4), tasks(2), tasks(2, phase="PENDING"))
    assert {stop.task for stop in first.stops} == {"v1-pending-0", "v1-pending-1"}


def test_old_tasks_that_serve_but_do_not_count_yet_are_not_thrown_away() -> None:
    """Two updates in a row must not take the service down."""
    first = made(updated(4), tasks(4, running_since=NOW - 5, proven=False))
    assert (starts(first), stops(first)) == ({"v2": 4}, {})


def test_tasks_on_their_way_out_are_room_when_they_no_longer_run() -> None:
    wanted = updated(4, minimum=50, maximum=100)
    assert starts(made(wanted, tasks(2), tasks(2, stopping=True))) == {}
    assert starts(made(wanted, tasks(2), tasks(2, phase="STOPPING", stopping=True))) == {"v2": 2}


def test_scaling_in_keeps_the_zones_even_and_stops_the_oldest_first() -> None:
    there = [
        replace(task, id=f"v1-{zone}{n}", zone=zone, created=NOW - 600 - int(n))
        for zone, n in ("a1", "a2", "a3", "b1", "c1")
        for task in tasks(1)
    ]
    first = made(service(3), tuple(there))
    assert [stop.task for stop in first.stops] == ["v1-a3", "v1-a2"]


def test_scaling_in_takes_pending_tasks_first_and_protected_ones_never() -> None:
    first = made(service(2), tasks(3, protected_until=NOW + 60), tasks(2, phase="PENDING"))
    assert {stop.task for stop in first.stops} == {"v1-pending-0", "v1-pending-1"}
    assert made(service(0), tasks(3, protected_until=NOW + 60)).requeue_after == 60
    assert stops(made(service(0), tasks(3, protected_until=NOW - 1))) == {"v1": 3}


def test_a_surplus_that_cannot_go_takes_no_serving_task_with_it() -> None:
    """The one that does not serve yet is protected: the other one stays, until there is another that serves."""
    starting = tasks(1, running_since=NOW - 5, proven=False, protected_until=NOW + 60)
    serving = tuple(replace(task, id="v1-serving") for task in tasks(1))
    assert stops(made(service(1), starting, serving)) == {}
    assert stops(made(service(1), starting, serving, now=NOW + 60)) == {"v1": 1}


def test_a_protected_task_outlasts_a_deployment_until_its_time() -> None:
    wanted = updated(1)
    first = made(wanted, tasks(1, protected_until=NOW + 90), tasks(1, "v2"))
    assert stops(first) == {}
    assert first.deployments[0].rollout == "IN_PROGRESS"
    assert stops(made(wanted, tasks(1, protected_until=NOW + 90), tasks(1, "v2"), now=NOW + 90)) == {"v1": 1}


def test_a_lost_task_is_replaced_and_not_blamed_on_the_deployment() -> None:
    first = made(service(4), tasks(3), tasks(1, phase="STOPPED"))
    assert starts(first) == {"v1": 1}
    assert first.settled == ("v1-stopped-0",)
    assert first.deployments[0].failed == 0


def test_a_draining_instance_is_emptied_inside_the_limits() -> None:
    leaving = tasks(2, leaving=True)
    stay = tuple(replace(task, id=f"v1-stay-{task.id[-1]}") for task in tasks(2))
    before = made(service(4, maximum=200), leaving, stay)
    assert (starts(before), stops(before)) == ({"v1": 2}, {})
    replaced = tuple(replace(task, id=f"v1-new-{task.id[-1]}") for task in tasks(2))
    after = made(service(4, maximum=200), leaving, stay, replaced)
    assert {stop.task for stop in after.stops} == {task.id for task in leaving}
    assert {stop.why for stop in after.stops} == {"leaving"}
    tight = made(service(4, minimum=75, maximum=100), leaving, stay)
    assert (starts(tight), stops(tight)) == ({}, {"v1": 1})


# ── health ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unhealthy_task_is_replaced_first_and_stopped_then() -> None:
    sick = tasks(1, targets=(_SICK,))
    fine = tuple(replace(task, id=f"v1-fine-{task.id[-1]}", targets=(_FINE,)) for task in tasks(4))
    wanted = service(4, balanced=True)
    before = made(wanted, sick, fine[:3])
    assert (starts(before), stops(before)) == ({"v1": 1}, {})
    after = made(wanted, sick, fine)
    assert stops(after) == {"v1": 1}
    assert said(after)[0] == "(service web) (port 80) is unhealthy in (target-group tg) due to (reason Health checks failed)."


def test_an_unhealthy_task_is_stopped_first_where_the_maximum_leaves_no_room() -> None:
    sick = tasks(3, checked=True, health="UNHEALTHY")
    first = made(service(4, maximum=100), sick, tuple(replace(task, id="v1-fine") for task in tasks(1)))
    assert (starts(first), stops(first)) == ({}, {"v1": 1})
    assert said(first)[0] == "(service web) (task v1-running-0) failed container health checks."


def test_what_health_checks_say_is_not_heard_in_the_grace_period() -> None:
    sick = tasks(4, checked=True, health="UNHEALTHY", running_since=NOW - 30, proven=False)
    assert stops(made(service(4, grace=60), sick)) == {}
    assert made(service(4, grace=60), sick).requeue_after == pytest.approx(10.0)  # when it has run for 40 seconds
    assert stops(made(service(4, grace=30), sick)) == {"v1": 4}


# ── the circuit breaker and back-off ─────────────────────────────────────────────────────────────────────────────────


def failures(count: int, version: str = "v2") -> tuple[Task, ...]:
    return tasks(count, version, phase="STOPPED", failed=True, proven=False)


def test_the_circuit_breaker_rolls_back_to_the_last_completed_deployment() -> None:
    wanted = updated(4, breaker=Breaker(rollback=True))
    two = made(wanted, tasks(4), failures(2))
    assert (two.deployments[0].failed, two.deployments[0].rollout, starts(two)) == (2, "IN_PROGRESS", {"v2": 4})
    three = made(wanted, tasks(4), failures(3), tasks(1, "v2", phase="PENDING"))
    back, gone = three.deployments
    assert (back.id, back.status, back.rollout) == ("v1", "PRIMARY", "IN_PROGRESS")
    assert back.reason == "ECS deployment circuit breaker: rolling back to deploymentId v1."
    assert (gone.id, gone.status, gone.rollout, gone.reason) == (
        "v2",
        "ACTIVE",
        "FAILED",
        "ECS deployment circuit breaker: tasks failed to start.",
    )
    assert (starts(three), stops(three)) == ({}, {"v2": 1})
    assert said(three)[:2] == [
        "(service web) (deployment v2) deployment failed: tasks failed to start.",
        "(service web) rolling back to deployment v1.",
    ]
    after = made(replace(wanted, deployments=three.deployments, completed=three.completed, state=three.state), tasks(4))
    assert said(after) == ["(service web) (deployment v1) deployment completed.", "(service web) has reached a steady state."]


def test_a_rollback_brings_back_a_deployment_that_has_no_tasks_any_more() -> None:
    wanted = updated(4, minimum=0, maximum=100, breaker=Breaker(rollback=True))
    alone = made(wanted, failures(1))
    assert [each.id for each in alone.deployments] == ["v2"]
    back = made(replace(wanted, deployments=alone.deployments, completed=alone.completed), failures(4))
    assert back.deployments[0].id == "v1"
    assert starts(back) == {"v1": 4}


def test_without_rollback_a_failed_deployment_starts_nothing_and_the_old_tasks_stay() -> None:
    wanted = updated(4, breaker=Breaker())
    failed = made(wanted, tasks(4), failures(3))
    assert failed.deployments[0].rollout == "FAILED"
    after = replace(wanted, deployments=failed.deployments, state=failed.state)
    assert (starts(made(after, tasks(4))), stops(made(after, tasks(4)))) == ({}, {})
    assert starts(made(replace(after, state=State()), tasks(3))) == {"v1": 1}


def test_a_first_deployment_that_fails_stands_still() -> None:
    failed = made(service(2, breaker=Breaker(rollback=True)), failures(3, "v1"))
    assert failed.deployments[0].rollout == "FAILED"
    assert starts(failed) == {}


def test_a_healthy_task_ends_the_row_of_failures_unless_told_otherwise() -> None:
    came = tasks(1, "v2", proven=False)
    counted = (replace(updated(4).deployments[0], failed=2), *updated(4).deployments[1:])
    assert made(updated(4, breaker=Breaker()), came).proven == ("v2-running-0",)
    for breaker, left in ((Breaker(), 0), (Breaker(reset_on_healthy_task=False), 2)):
        first = made(replace(updated(4, breaker=breaker), deployments=counted), tasks(4), came)
        assert first.deployments[0].failed == left


def test_failed_health_checks_count_for_the_circuit_breaker() -> None:
    sick = tasks(3, "v2", checked=True, health="UNHEALTHY", proven=False)
    first = made(updated(4, breaker=Breaker(rollback=True)), tasks(4), sick)
    assert (stops(first), first.deployments[0].failed) == ({"v2": 3}, 3)
    assert set(first.settled) == {task.id for task in sick}
    ended = tuple(replace(task, phase="STOPPED", stopping=True, settled=True) for task in sick)
    then = made(updated(4, breaker=Breaker(rollback=True), state=first.state), tasks(4), ended)
    assert then.deployments[0].failed == 0  # they are not counted again


def test_tasks_that_keep_failing_are_started_ever_more_rarely() -> None:
    assert [waiting(failures, 1) for failures in (1, 2, 3, 4, 5, 11)] == [0, 0, 10, 20, 40, LONGEST_WAIT]
    assert [waiting(failures, 100) for failures in (100, 299, 300)] == [0, 0, 10]
    wanted = service(1)
    third = made(replace(wanted, state=State(failures=2)), failures(1, "v1"))
    assert starts(third) == {}
    assert third.requeue_after == 10
    assert said(third)[0].startswith("(service web) is unable to consistently start tasks successfully.")
    later = made(replace(wanted, state=third.state), now=NOW + 10)
    assert (starts(later), said(later)) == ({"v1": 1}, [])
    fourth = made(replace(wanted, state=later.state), failures(1, "v1"), now=NOW + 11)
    assert (fourth.requeue_after, said(fourth)) == (20, [])


def test_a_new_version_that_keeps_failing_takes_no_old_task_with_it() -> None:
    wanted = replace(updated(4, minimum=0, maximum=200), state=State(failures=12, launch_after=NOW + 10))
    assert stops(made(wanted, tasks(4))) == {}


def test_a_new_deployment_does_not_wait_for_the_failures_of_the_one_before() -> None:
    assert begin(service(1, state=State(failures=9, launch_after=NOW + 900, impaired=True)), "v2", "v2", NOW).state == State()


def test_when_there_is_no_place_old_tasks_make_some_as_far_as_the_minimum_allows() -> None:
    wanted = updated(4, minimum=50, maximum=200)
    state, events = unplaced(wanted, NOW, "i1", "RESOURCE:CPU")
    wanted = replace(wanted, state=state)
    assert [event.message for event in events] == [sentences.no_place("web", "i1", "RESOURCE:CPU").message]
    assert unplaced(wanted, NOW + 5, "i1", "RESOURCE:CPU")[1] == []  # it was said
    first = made(wanted, tasks(4))
    assert (starts(first), stops(first), first.requeue_after) == ({}, {"v1": 2}, 5)
    assert starts(made(replace(wanted, state=room(wanted)), tasks(4))) == {"v2": 4}
    assert len(unplaced(replace(wanted, state=placed(wanted)), NOW + 60)[1]) == 1  # it had a place in between


# ── ends and steadiness ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_deployment_is_completed_when_all_its_tasks_count_and_the_old_ones_are_gone() -> None:
    wanted = updated(4)
    assert made(wanted, tasks(1), tasks(4, "v2")).deployments[0].rollout == "IN_PROGRESS"
    done = made(wanted, tasks(4, "v2"))
    assert [(each.id, each.rollout, each.reason) for each in done.deployments] == [("v2", "COMPLETED", "ECS deployment v2 completed.")]
    assert done.completed == done.deployments[0]
    assert said(done) == ["(service web) (deployment v2) deployment completed.", "(service web) has reached a steady state."]


def test_a_steady_state_is_told_when_it_is_reached_and_every_six_hours() -> None:
    wanted = service(2, deployments=(deployment(rollout="COMPLETED"),))
    first = made(wanted, tasks(2))
    assert said(first) == ["(service web) has reached a steady state."]
    wanted = replace(wanted, state=first.state)
    assert said(made(wanted, tasks(2), now=NOW + 3600)) == []
    assert len(said(made(wanted, tasks(2), now=NOW + 6 * 3600))) == 1
    lost = made(wanted, tasks(1), now=NOW + 60)
    assert not lost.state.steady
    assert len(said(made(replace(wanted, state=lost.state), tasks(2), now=NOW + 70))) == 1


def test_several_updates_in_a_row_end_with_the_last_one() -> None:
    wanted = begin(updated(2), "v3", "v3", NOW)
    assert [(each.id, each.status) for each in wanted.deployments] == [("v3", "PRIMARY"), ("v2", "ACTIVE"), ("v1", "ACTIVE")]
    first = made(wanted, tasks(2), tasks(1, "v2"))
    assert starts(first) == {"v3": 1}  # of at most four
    last = made(wanted, tasks(2), tasks(2, "v3"))
    assert stops(last) == {"v1": 2}
    assert [each.id for each in last.deployments] == ["v3", "v1"]


def test_a_service_that_is_deleted_stops_everything_and_is_over_at_the_end() -> None:
    ending = service(4, ending=True)
    first = made(ending, tasks(3, protected_until=NOW + 60), tasks(1, phase="PENDING"))
    assert (starts(first), stops(first), first.over) == ({}, {"v1": 4}, False)
    assert not made(ending, tasks(1, phase="STOPPING", stopping=True)).over
    assert made(ending).over


@pytest.mark.parametrize("more", [{"controller": "CODE_DEPLOY"}, {"controller": "EXTERNAL"}, {"strategy": "BLUE_GREEN"}])
def test_what_is_not_ours_to_plan_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(Unplanned):
        made(service(1, **more))


# ── daemons ──────────────────────────────────────────────────────────────────────────────────────────────────────────

MACHINES = ("i0", "i1", "i2", "i3")


def daemon(**more: Any) -> Service:
    return service(0, **({"kind": "DAEMON", "minimum": 0, "maximum": 100} | more))


def on_each(version: str = "v1", count: int = 4, **more: Any) -> tuple[Task, ...]:
    return tuple(replace(task, instance=f"i{number}") for number, task in enumerate(tasks(count, version, **more)))


def test_a_daemon_runs_once_on_each_instance() -> None:
    first = made(daemon(), on_each(count=2), instances=MACHINES)
    assert [start.instance for start in first.starts] == ["i2", "i3"]
    assert made(daemon(), on_each(), instances=MACHINES).deployments[0].rollout == "COMPLETED"


def test_daemons_leave_instances_that_are_not_theirs() -> None:
    assert [(stop.task, stop.why) for stop in made(daemon(), on_each(), instances=MACHINES[:3]).stops] == [("v1-running-3", "leaving")]


def test_a_daemon_is_replaced_as_far_as_the_minimum_allows() -> None:
    wanted = begin(daemon(minimum=50), "v2", "v2", NOW)
    assert stops(made(wanted, on_each(), instances=MACHINES)) == {"v1": 2}
    assert stops(made(begin(daemon(), "v2", "v2", NOW), on_each(), instances=MACHINES)) == {"v1": 4}
    half = made(wanted, on_each(count=4)[2:], instances=MACHINES)
    assert [start.instance for start in half.starts] == ["i0", "i1"]


def test_daemons_stand_beside_each_other_only_where_the_maximum_allows() -> None:
    wanted = begin(daemon(minimum=100, maximum=150), "v2", "v2", NOW)
    first = made(wanted, on_each(), instances=MACHINES)
    assert (len(first.starts), stops(first)) == (2, {})
    then = made(wanted, on_each(), on_each("v2", 2), instances=MACHINES)
    assert {stop.task for stop in then.stops} == {"v1-running-0", "v1-running-1"}


def test_of_two_old_daemons_on_an_instance_one_makes_way() -> None:
    """A protected one had stayed beside its successor."""
    wanted = begin(begin(daemon(minimum=100, maximum=150), "v2", "v2", NOW), "v3", "v3", NOW)
    first = made(wanted, on_each(count=1), on_each("v2", 1), on_each("v3")[1:], instances=MACHINES)
    assert [stop.task for stop in first.stops] == ["v1-running-0"]
    then = made(wanted, on_each("v2", 1), on_each("v3")[1:], instances=MACHINES)
    assert ([start.instance for start in then.starts], then.stops) == (["i0"], ())


# ── capacity providers ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("strategy", "running", "count", "given"),
    [
        ([], {}, 3, [("", 3)]),
        ([CapacityItem("A", 1), CapacityItem("B", 1)], {}, 4, [("A", 2), ("B", 2)]),
        ([CapacityItem("A", 1), CapacityItem("B", 4)], {}, 5, [("A", 1), ("B", 4)]),
        ([CapacityItem("A", 1, base=2), CapacityItem("B", 1)], {}, 6, [("A", 4), ("B", 2)]),
        ([CapacityItem("A", 1, base=2), CapacityItem("B", 1)], {"A": 2}, 2, [("A", 1), ("B", 1)]),
        ([CapacityItem("A", 0, base=1), CapacityItem("B", 1)], {}, 4, [("A", 1), ("B", 3)]),
        ([CapacityItem("A", 1), CapacityItem("B", 1)], {"A": 3}, 3, [("B", 3)]),
    ],
)
def test_tasks_go_to_capacity_providers_by_base_and_weight(
    strategy: list[CapacityItem], running: dict[str, int], count: int, given: list[tuple[str, int]]
) -> None:
    assert distribute(strategy, running, count) == given


def test_the_starts_of_a_service_name_their_capacity_provider() -> None:
    wanted = service(4, capacity=(CapacityItem("FARGATE", 1, base=1), CapacityItem("FARGATE_SPOT", 2)))
    assert [(start.capacity_provider, start.count) for start in made(wanted).starts] == [("FARGATE", 2), ("FARGATE_SPOT", 2)]


# ── sentences ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_events_are_said_in_awss_words() -> None:
    assert sentences.started("web", ["t1", "t2"])[0].message == "(service web) has started 2 tasks: (task t1) (task t2)."
    assert sentences.no_place("web", "i1", "RESOURCE:MEMORY").message == (
        "(service web) was unable to place a task because no container instance met all of its requirements. The closest matching "
        "(container-instance i1) has insufficient memory available. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
    )
    assert '(container-instance i1) encountered error "RESOURCE:ENI".' in sentences.no_place("web", "i1", "RESOURCE:ENI").message
    assert "Reason: No Container Instances were found in your cluster." in sentences.no_place("web", "", "").message
    assert [len(event.message.split("(task ")) - 1 for event in sentences.started("web", [str(n) for n in range(23)])] == [10, 10, 3]


# ── what holds of every plan ─────────────────────────────────────────────────────────────────────────────────────────

_TASK = st.fixed_dictionaries(
    {
        "deployment": st.sampled_from(["v1", "v2", "v3"]),
        "phase": st.sampled_from(["PENDING", "RUNNING", "RUNNING", "RUNNING", "STOPPING", "STOPPED"]),
        "stopping": st.sampled_from([False, False, False, True]),
        "running_since": st.sampled_from([NOW - 5, NOW - 100]),
        "checked": st.booleans(),
        "health": st.sampled_from(["UNKNOWN", "HEALTHY", "HEALTHY", "UNHEALTHY"]),
        "leaving": st.sampled_from([False, False, True]),
        "protected_until": st.sampled_from([None, None, NOW + 50]),
        "failed": st.booleans(),
        "proven": st.booleans(),
        "zone": st.sampled_from("ab"),
        "instance": st.sampled_from(["i0", "i1", "i2"]),
    }
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(_TASK, max_size=14),
    st.integers(0, 6),
    st.sampled_from([(0, 100), (50, 100), (50, 150), (100, 150), (100, 200), (100, 100), (75, 125)]),
    st.sampled_from([None, Breaker(), Breaker(rollback=True)]),
    st.sampled_from(["REPLICA", "DAEMON"]),
    st.sampled_from([State(), State(blocked=2, launch_after=NOW + 5), State(failures=5), State(steady=True)]),
)
def test_no_plan_crosses_the_limits(
    given_tasks: list[dict[str, Any]], desired: int, limits: tuple[int, int], breaker: Any, kind: Any, state: State
) -> None:
    there = tuple(Task(id=f"t{number}", created=NOW - number, **each) for number, each in enumerate(given_tasks))
    instances = tuple(f"i{number}" for number in range(min(desired, 3)))
    old = deployment("v1", rollout="COMPLETED")
    wanted = begin(service(desired, deployments=(old,), completed=old), "v2", "v2", NOW)
    wanted = replace(begin(wanted, "v3", "v3", NOW), minimum=limits[0], maximum=limits[1], breaker=breaker, kind=kind, state=state)
    found = plan(Observed(tasks=there, instances=instances), wanted, NOW)
    size = desired if kind == "REPLICA" else len(instances)
    stopped = {stop.task for stop in found.stops}
    started = sum(start.count for start in found.starts)

    assert stopped <= {task.id for task in there if alive(task)}
    assert len(stopped) == len(found.stops)
    occupied = [task for task in there if occupies(task) and (kind == "REPLICA" or task.instance in instances)]
    if started:
        assert len(occupied) + started <= maximum(size, limits[1])
    good = [task for task in there if healthy(task, wanted, NOW) and (kind == "REPLICA" or task.instance in instances)]
    left = [task for task in good if task.id not in stopped]
    if len(left) < len(good):
        assert len(left) >= minimum_healthy(size, limits[0])
    reasons = {stop.task: stop.why for stop in found.stops}
    for task in there:
        if task.protected_until is not None and task.id in stopped:
            assert reasons[task.id] == "unhealthy" or kind == "DAEMON"
    assert len(set(found.settled)) == len(found.settled)
    assert [each.status for each in found.deployments].count("PRIMARY") == 1
    assert found.deployments[0].status == "PRIMARY"
