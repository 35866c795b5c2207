"""The daemon is killed while fifty clients push.

No tag points to a missing blob, nothing that was acknowledged is lost (images, blobs, parts of uploads, deletions), what was interrupted is gone on with
where it stopped, and after a collection the content store has what rows need, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from registry_pusher import Push, Pusher

from cloudstead.engine.registry.model import BLOBS, IMAGES, TAGS
from cloudstead.kernel.store import Store
from registry_client import Client, digest_of, token_of
from support import Daemon

SEED = int(os.environ.get("CLOUDSTEAD_SEED", "1"))
PUSHERS = 50
REPOSITORIES = ["one", "two", "team/three"]
LONG_AGO = 30 * 24 * 3600.0


def test_a_registry_keeps_its_promises_when_it_is_killed(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, rounds=3)


@pytest.mark.slow
def test_a_registry_keeps_its_promises_when_it_is_killed_fifty_times(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, rounds=50)


def kill_again_and_again(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(SEED)
    history = History(chance.randbytes(150_000))
    daemon = Daemon(tmp_path / "data", "--engine", "off")
    with daemon:
        for name in (*REPOSITORIES, "base"):
            daemon.client("ecr").create_repository(repositoryName=name)
        first = Push("base", "base", history.base, chance)
        with connected(daemon) as registry:
            first.carry_on(registry)
        history.kept[first.digest] = first
        for number in range(rounds):
            round_(daemon, history, number, chance)
        verify_all(daemon, history)
    assert history.interrupted, "no push was interrupted"
    assert history.resumed, "no upload was gone on with"
    collect(daemon, tmp_path / "data")
    print(history)


class History:
    """What all clients were told so far."""

    def __init__(self, base: bytes) -> None:
        self.base = base
        self.kept: dict[str, Push] = {}
        self.deleted: dict[str, Push] = {}
        self.interrupted = 0
        self.resumed = 0

    def __str__(self) -> str:
        counts = f"{len(self.kept)} images kept, {len(self.deleted)} deleted"
        return f"{counts}, {self.interrupted} pushes interrupted, {self.resumed} uploads gone on with"


class Killer:
    """Kills at once, or in the very moment in which the next client reads that its image, or its deletion, was taken: what follows must not matter."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._armed = threading.Event()

    def __call__(self) -> None:
        """A client was told something."""
        if self._armed.is_set():
            assert self._daemon.process is not None
            self._daemon.process.send_signal(signal.SIGKILL)

    def kill(self, *, at_a_promise: bool) -> None:
        assert self._daemon.process is not None
        if at_a_promise:
            self._armed.set()
            self._daemon.process.wait(60)
        else:
            self._daemon.kill()


@contextlib.contextmanager
def connected(daemon: Daemon) -> Any:
    registry = Client(daemon.endpoint.partition("://")[2], token_of(daemon.client("ecr")))
    try:
        yield registry
    finally:
        registry.close()


def round_(daemon: Daemon, history: History, number: int, chance: random.Random) -> None:
    token = token_of(daemon.client("ecr"))
    killer = Killer(daemon)
    pushers = [
        Pusher(daemon.endpoint, token, f"r{number}-{each}", REPOSITORIES, history.base, f"{SEED} {number} {each}", killer)
        for each in range(PUSHERS)
    ]
    for pusher in pushers:
        pusher.start()
    time.sleep(chance.uniform(0.1, 2.0))
    killer.kill(at_a_promise=number % 2 == 0)
    for pusher in pushers:
        pusher.join(60)
        assert not pusher.is_alive()
        if pusher.failure is not None:
            raise pusher.failure
    age(daemon.data / "blobs" / "sha256")  # all that no row speaks of is collected as soon as the daemon is back, while clients go on
    daemon.start()
    here: list[Push] = []
    interrupted: list[Push] = []
    for pusher in pushers:
        promises = pusher.promises
        here += promises.kept
        interrupted += promises.open
        history.deleted |= {push.digest: push for push in promises.deleted}
    with connected(daemon) as registry:
        doubtful = [push for pusher in pushers for push in pusher.promises.deleting]
        here += [push for push in doubtful if registry.ask("HEAD", f"/v2/{push.repository}/manifests/{push.digest}")[0] == 200]
    at_once(daemon, lambda registry, push: require_whole(registry, push.repository, push.tag, push.digest), here)
    at_once(
        daemon, lambda registry, push: push.acknowledged and require_whole(registry, push.repository, push.tag, push.digest), interrupted
    )
    at_once(daemon, lambda registry, push: push.carry_on(registry), interrupted)
    at_once(daemon, lambda registry, push: require_whole(registry, push.repository, push.tag, push.digest), interrupted)
    history.kept |= {push.digest: push for push in (*here, *interrupted)}
    history.interrupted += len(interrupted)
    history.resumed += sum(blob.resumed for push in interrupted for blob in push.blobs)
    for push in (*here, *interrupted):
        push.blobs = []  # verified; many rounds would be much memory


def at_once(daemon: Daemon, do: Callable[[Client, Any], object], things: Iterable[Any]) -> None:
    """For each thing, by a few connections. A hundred thousand requests are to be sent."""
    todo, failures, token = list(things), [], token_of(daemon.client("ecr"))

    def work() -> None:
        registry = Client(daemon.endpoint.partition("://")[2], token)
        try:
            while todo and not failures:
                do(registry, todo.pop())
        except IndexError:
            pass
        except BaseException as failure:
            failures.append(failure)
        finally:
            registry.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def require_whole(registry: Client, repository: str, reference: str, digest: str = "") -> None:
    """The image is there, with every blob that it speaks of, and each is what its digest says."""
    status, headers, data = registry.ask("GET", f"/v2/{repository}/manifests/{reference}")
    assert status == 200, f"{repository}:{reference} is lost: {data!r}"
    assert digest_of(data) == headers["docker-content-digest"] == (digest or headers["docker-content-digest"])
    manifest = json.loads(data)
    for blob in (manifest["config"], *manifest["layers"]):
        status, _, content = registry.ask("GET", f"/v2/{repository}/blobs/{blob['digest']}")
        assert (status, digest_of(content), len(content)) == (200, blob["digest"], blob["size"]), f"{repository}:{reference} lacks a blob"


def verify_all(daemon: Daemon, history: History) -> None:
    """Every tag that is listed leads to a whole image; what was deleted is gone; what was promised is there."""
    with connected(daemon) as registry:
        tags = {(name, tag) for name in (*REPOSITORIES, "base") for tag in tags_of(registry, name)}
        for push in history.deleted.values():
            status, _, _ = registry.ask("HEAD", f"/v2/{push.repository}/manifests/{push.digest}")
            assert status == 404, "an image that was deleted is back"
            assert (push.repository, push.tag) not in tags
    assert {(push.repository, push.tag) for push in history.kept.values()} <= tags
    at_once(daemon, lambda registry, place: require_whole(registry, *place), tags)


def tags_of(registry: Client, repository: str) -> list[str]:
    found: list[str] = []
    path = f"/v2/{repository}/tags/list?n=500"
    while path:
        status, headers, data = registry.ask("GET", path)
        assert status == 200
        found += json.loads(data)["tags"]
        path = headers.get("link", "").partition("<")[2].partition(">")[0]
    return found


# ------------------------------------------------------------------------------------------------------------- collection


def collect(daemon: Daemon, data: Path) -> None:
    """Let a long time pass for files and rows, and see what the next daemon leaves of them."""
    blobs = data / "blobs"
    stray = blobs / "sha256" / digest_of(b"stray").removeprefix("sha256:")
    stray.write_bytes(b"stray")  # as a process leaves it that was killed before it could write a row
    (blobs / "uploads" / "0123456789abcdef-gone").write_bytes(b"an upload that nobody goes on with")
    before = rows(data, age=True)
    age(blobs)
    needed = before.needed()
    with daemon, connected(daemon) as registry:
        deadline = time.monotonic() + 60
        while (left := files(blobs)) != needed and time.monotonic() < deadline:
            registry.ask("GET", "/v2/")
            time.sleep(0.05)
        assert left == needed, f"{len(left - needed)} are not needed, {len(needed - left)} are missing"
        while leftovers := [path.name for name in ("uploads", "trash") for path in (blobs / name).iterdir()]:
            assert time.monotonic() < deadline, leftovers
            time.sleep(0.05)
    after = rows(data)
    assert after.images == before.images
    assert after.blobs == after.referenced()
    assert after.tagged <= after.images


def age(folder: Path) -> None:
    """Make every file below it old."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - LONG_AGO,) * 2)


class Rows:
    def __init__(self, store: Store) -> None:
        self._images = store.table(IMAGES).scan()
        self.images = {(row.registry, row.repository, row.digest) for row in self._images}
        self.tagged = {(row.registry, row.repository, row.digest) for row in store.table(TAGS).scan()}
        self.blobs = {(row.registry, row.repository, row.digest) for row in store.table(BLOBS).scan()}

    def referenced(self) -> set[tuple[str, str, str]]:
        return {(row.registry, row.repository, blob.digest) for row in self._images for blob in row.blobs}

    def needed(self) -> set[str]:
        """Files: those of the images' manifests, configurations and layers."""
        return {digest for _, _, digest in self.images | self.referenced()}


def rows(data: Path, *, age: bool = False) -> Rows:
    """What the store of a stopped daemon has, after its rows of blobs were made old."""

    async def read() -> Rows:
        store = Store.open(data / "state.db")
        try:
            if age:
                with store.transaction() as tx:
                    for row in store.table(BLOBS).scan():
                        tx.put(BLOBS, replace(row, since=row.since - LONG_AGO))
                await store.settled()
            return Rows(store)
        finally:
            await store.close()

    return asyncio.run(read())


def files(blobs: Path) -> set[str]:
    return {f"{folder.name}:{path.name}" for folder in (blobs / "sha256", blobs / "sha512") for path in folder.iterdir()}
