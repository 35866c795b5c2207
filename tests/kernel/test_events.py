"""Who hears of what, when, how often."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cloudstead.kernel.clock import VirtualClock
from cloudstead.kernel.errors import Unavailable
from cloudstead.kernel.events import LIVE_QUEUE, OUTBOX, TURN, Bus, Event
from cloudstead.kernel.store import MemoryBackend, Row, Store, Table, WriteFailed


class Thing(Row, frozen=True, kw_only=True):
    name: str


THINGS = Table("test.things", Thing, key=lambda one: (one.name,))


def event(name: str, **detail: Any) -> Event:
    return Event(time=1.0, source="aws.test", detail_type=name, detail=detail, account="1", region="r")


class Life:
    """One run of a store and its bus."""

    def __init__(self, backend: MemoryBackend) -> None:
        self.backend = backend
        self.clock = VirtualClock()
        self.store = Store.in_memory(backend, clock=self.clock)
        self.bus = Bus(self.store, self.clock)

    def emit(self, *names: str) -> None:
        with self.store.transaction() as tx:
            for name in names:
                tx.emit(event(name))

    def waiting(self) -> list[str]:
        return [row.event.detail_type for row in self.store.table(OUTBOX).scan()]

    async def pass_time(self, seconds: float) -> None:
        await turns()
        self.clock.advance(seconds)
        await turns()


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Ear(list[str]):
    """A subscriber that notes what it hears, and refuses what it is told to, so many times."""

    def __init__(self, **refuse: int) -> None:
        self.refuse = refuse
        self.tries: list[str] = []

    async def __call__(self, heard: Event) -> None:
        self.tries.append(heard.detail_type)
        await asyncio.sleep(0)
        if self.refuse.get(heard.detail_type, 0) > 0:
            self.refuse[heard.detail_type] -= 1
            raise RuntimeError("not now")
        self.append(heard.detail_type)


def run(*lives: Callable[[Life], Awaitable[None]]) -> None:
    """Each is a run of its own on the same data; what is not on disk at the end of one is lost."""
    backend = MemoryBackend()

    async def main(scenario: Callable[[Life], Awaitable[None]]) -> None:
        life = Life(backend)
        await scenario(life)
        on_disk = copy.deepcopy(backend.live)
        await life.bus.close()
        backend.live = on_disk

    for scenario in lives:
        asyncio.run(main(scenario))


def test_an_event_is_heard_once_its_transaction_is_durable() -> None:
    async def scenario(life: Life) -> None:
        ear = Ear()
        life.bus.subscribe("ear", ear)
        life.emit("a")
        assert ear == []
        await life.bus.idle()
        assert ear == ["a"]

    run(scenario)


def test_an_event_of_an_undone_transaction_is_never_heard() -> None:
    async def scenario(life: Life) -> None:
        live, durable = Ear(), Ear()
        life.bus.subscribe("live", live)
        life.bus.subscribe("durable", durable, durable=True)
        await life.bus.idle()
        with pytest.raises(ZeroDivisionError), life.store.transaction() as tx:  # noqa: PT012
            tx.emit(event("raised"))
            _ = 1 / 0
        life.backend.failures = [WriteFailed("disk full")]
        life.emit("refused")
        with pytest.raises(Unavailable):
            await life.store.settled()
        life.emit("kept")
        await life.bus.idle()
        assert live == durable == ["kept"]
        assert life.waiting() == []

    run(scenario)


def test_events_are_heard_in_the_order_of_their_transactions() -> None:
    async def scenario(life: Life) -> None:
        ears = [Ear(), Ear(), Ear()]
        plain: list[str] = []
        for number, ear in enumerate(ears):
            life.bus.subscribe(f"{number}", ear, durable=number == 0)
        life.bus.subscribe("plain", lambda heard: plain.append(heard.detail_type))
        for number in range(50):
            life.emit(f"{number}a", f"{number}b")
        await life.bus.idle()
        expected = [f"{number}{letter}" for number in range(50) for letter in "ab"]
        assert all(heard == expected for heard in [*ears, plain])

    run(scenario)


def test_publishing_within_a_transaction_belongs_to_it() -> None:
    async def scenario(life: Life) -> None:
        ear = Ear()
        life.bus.subscribe("ear", ear)
        life.bus.publish(event("alone"))
        with pytest.raises(ZeroDivisionError), life.store.transaction():  # noqa: PT012
            life.bus.publish(event("never"))
            _ = 1 / 0
        with life.store.transaction() as tx:
            tx.insert(THINGS, Thing(name="a"))
            life.bus.publish(event("within"))
        await life.bus.idle()
        assert ear == ["alone", "within"]

    run(scenario)


def test_an_event_can_be_emitted_without_a_bus() -> None:
    async def main() -> None:
        store = Store.in_memory()
        with store.transaction() as tx:
            tx.emit(event("unheard"))
        await store.settled()

    asyncio.run(main())


def test_a_failing_subscriber_is_tried_again_later_and_holds_up_nobody() -> None:
    async def scenario(life: Life) -> None:
        bad, good = Ear(a=3), Ear()
        life.bus.subscribe("bad", bad)
        life.bus.subscribe("good", good)
        life.emit("a", "b")
        await life.bus.idle()
        assert (bad, good) == ([], ["a", "b"])
        for seconds, tries in ((0.9, 1), (0.2, 2), (1.5, 2), (0.6, 3), (3.9, 3)):
            await life.pass_time(seconds)
            assert len(bad.tries) == tries
        await life.pass_time(0.2)
        assert bad == ["a", "b"]

    run(scenario)


def test_an_event_that_always_fails_lets_the_others_pass() -> None:
    async def scenario(life: Life) -> None:
        ear = Ear(bad=1000)
        life.bus.subscribe("ear", ear, durable=True)
        life.emit("bad", "a", "b")
        for _ in range(TURN):
            await life.pass_time(60.0)
        assert ear == ["a", "b"]
        assert life.waiting() == ["bad"]

    run(scenario)


def test_a_durable_subscriber_hears_what_was_emitted_before_and_after_a_crash() -> None:
    heard: list[str] = []

    async def first(life: Life) -> None:
        ear = Ear(b=1000)
        life.bus.subscribe("ear", ear, durable=True)
        life.emit("a", "b")
        await life.bus.idle()
        await life.store.settled()
        assert ear == ["a"]
        life.emit("lost")  # the process dies before this is on disk

    async def second(life: Life) -> None:
        life.emit("emitted before the subscriber is back")
        await life.store.settled()
        assert life.waiting() == ["b", "emitted before the subscriber is back"]
        ear = Ear()
        life.bus.subscribe("ear", ear, durable=True)
        life.emit("c")
        await life.bus.idle()
        heard.extend(ear)
        await life.store.settled()

    async def third(life: Life) -> None:
        assert life.waiting() == []
        ear = Ear()
        life.bus.subscribe("ear", ear, durable=True)
        await life.bus.idle()
        assert ear == []

    run(first, second, third)
    assert heard == ["b", "emitted before the subscriber is back", "c"]


def test_an_event_stays_until_the_last_durable_subscriber_has_taken_it() -> None:
    async def scenario(life: Life) -> None:
        one, two = Ear(), Ear(a=1)
        life.bus.subscribe("one", one, durable=True)
        life.bus.subscribe("two", two, durable=True)
        life.emit("a")
        await life.bus.idle()
        assert (one, two, life.waiting()) == (["a"], [], ["a"])
        await life.pass_time(1.0)
        assert (one, two, life.waiting()) == (["a"], ["a"], [])

    run(scenario)


def test_nothing_is_kept_for_live_subscribers() -> None:
    async def first(life: Life) -> None:
        life.bus.subscribe("ear", Ear(a=1000))
        life.emit("a")
        assert life.waiting() == []
        await life.store.settled()

    async def second(life: Life) -> None:
        ear = Ear()
        life.bus.subscribe("ear", ear)
        await life.bus.idle()
        assert ear == []

    run(first, second)


def test_a_subscription_that_ended_hears_no_more_and_a_durable_one_may_come_back() -> None:
    async def scenario(life: Life) -> None:
        before, after = Ear(), Ear()
        end = life.bus.subscribe("ear", before, durable=True)
        with pytest.raises(ValueError, match="ear"):
            life.bus.subscribe("ear", after)
        life.emit("a")
        await life.bus.idle()
        end()
        life.emit("b")
        await life.store.settled()
        life.bus.subscribe("ear", after, durable=True)
        await life.bus.idle()
        assert (before, after) == (["a"], ["b"])

    run(scenario)


def test_who_comes_back_hears_what_is_not_yet_durable_once_and_only_when_it_is() -> None:
    async def scenario(life: Life) -> None:
        ear = Ear()
        life.bus.subscribe("ear", Ear(), durable=True)()
        await life.store.settled()
        life.emit("kept")
        life.bus.subscribe("ear", ear, durable=True)
        await life.bus.idle()
        assert ear == ["kept"]
        life.bus.forget("ear")

    async def undone(life: Life) -> None:
        ear = Ear()
        life.bus.subscribe("ear", Ear(), durable=True)()
        await life.store.settled()
        life.backend.failures = [WriteFailed("disk full")]
        life.emit("refused")
        life.bus.subscribe("ear", ear, durable=True)
        await turns()
        assert ear == []

    run(scenario, undone)


def test_a_forgotten_subscriber_leaves_nothing_behind() -> None:
    async def scenario(life: Life) -> None:
        end = life.bus.subscribe("ear", Ear(a=1000), durable=True)
        other = Ear(a=1000)
        life.bus.subscribe("other", other, durable=True)
        life.emit("a")
        await life.bus.idle()
        end()
        life.bus.forget("ear")
        assert [row.pending for row in life.store.table(OUTBOX).scan()] == [("other",)]
        life.emit("b")
        assert life.store.table(OUTBOX).scan()[-1].pending == ("other",)
        await life.store.settled()

    run(scenario)


def test_a_live_subscriber_that_is_too_slow_loses_the_oldest_events() -> None:
    async def scenario(life: Life) -> None:
        gate = asyncio.Event()
        heard: list[str] = []

        async def slow(what: Event) -> None:
            await gate.wait()
            heard.append(what.detail_type)

        life.bus.subscribe("slow", slow)
        life.emit(*(f"{number}" for number in range(LIVE_QUEUE + 5)))
        await turns()
        gate.set()
        await life.bus.idle()
        assert heard[-1] == f"{LIVE_QUEUE + 4}"
        assert len(heard) == LIVE_QUEUE
        assert len(set(heard)) == len(heard)

    run(scenario)


def test_closing_stops_the_callbacks() -> None:
    async def scenario(life: Life) -> None:
        ear = Ear()
        life.bus.subscribe("ear", ear, durable=True)
        life.emit("a")
        await life.store.settled()
        await life.bus.close()
        life.emit("b")
        await life.store.settled()
        await turns()
        assert "b" not in ear

    run(scenario)
