"""The process that test_store_kill.py kills: sixteen writers at once, each of whose transactions is told over a pipe when it is durable.

What each transaction does, so that a torn one shows:
    counter n of writer w becomes n + 1         with version n + 1
    the entries n - 19 … n of w become n - 18 … n + 1
    one coin goes from one purse to another     the sum of all purses never changes; all writers contend for them
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from cloudstead.kernel.store import Row, Store, Table

WRITERS = 16
ENTRIES = 20
PURSES = 5
COINS = 1000


class Counter(Row, frozen=True, kw_only=True):
    writer: str
    count: int


class Entry(Row, frozen=True, kw_only=True):
    writer: str
    number: int
    text: str


class Purse(Row, frozen=True, kw_only=True):
    name: str
    coins: int


COUNTERS = Table(
    "chaos.counters",
    Counter,
    key=lambda row: (row.writer,),
    indexes={"by_count": lambda row: (row.count, row.writer)},
    unique=("by_count",),
)
ENTRIES_OF = Table(
    "chaos.entries",
    Entry,
    key=lambda row: (row.writer, f"{row.number:08}"),
    indexes={"by_text": lambda row: [(word,) for word in row.text.split()[:2]]},
)
PURSES_OF = Table("chaos.purses", Purse, key=lambda row: (row.name,), indexes={"by_coins": lambda row: (row.coins,)})
TABLES = (COUNTERS, ENTRIES_OF, PURSES_OF)


def fill(store: Store) -> None:
    with store.transaction() as tx:
        for number in range(WRITERS):
            tx.put(COUNTERS, Counter(writer=f"{number:02}", count=0))
        for number in range(PURSES):
            tx.put(PURSES_OF, Purse(name=f"{number}", coins=COINS))


def step(store: Store, writer: str, chance: random.Random) -> int:
    """One transaction; the count that it brings the writer to."""
    with store.transaction() as tx:
        counter = store.table(COUNTERS).get((writer,))
        assert counter is not None
        counter = tx.update(COUNTERS, counter, count=counter.count + 1)
        text = f"{chance.choice('abc')} {writer} " + "x" * chance.choice((0, 10, 100, 2000))
        tx.insert(ENTRIES_OF, Entry(writer=writer, number=counter.count, text=text))
        tx.delete(ENTRIES_OF, (writer, f"{counter.count - ENTRIES:08}"))
        giver, taker = chance.sample(store.table(PURSES_OF).scan(), 2)
        tx.update(PURSES_OF, giver, coins=giver.coins - 1)
        tx.update(PURSES_OF, taker, coins=taker.coins + 1)
    return counter.count


async def work(path: Path, seed: int) -> None:
    """Write until killed; tell on the standard output what is durable."""
    chance = random.Random(seed)
    store = Store.open(path)
    store.attach(TABLES)
    if chance.random() < 0.5:
        store._backend._writer.execute("PRAGMA wal_autocheckpoint = 20")  # type: ignore[attr-defined]  # be killed in one more often
    os.write(1, b"ready\n")

    async def writer(name: str) -> None:
        while True:
            count = step(store, name, chance)
            await store.settled()
            os.write(1, f"{name} {count}\n".encode())
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() / 500)

    await asyncio.gather(*(writer(f"{number:02}") for number in range(WRITERS)))


def main() -> None:
    """Fork a writer for each line of the standard input, "seed path", so that starting one costs milliseconds; tell when it is dead."""
    for line in sys.stdin:
        seed, path = line.rstrip("\n").split(" ", 1)
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(work(Path(path), int(seed)))
            finally:
                os._exit(1)
        os.write(1, f"pid {child}\n".encode())
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    main()
