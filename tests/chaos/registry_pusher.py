"""A client of registries that pushes as docker, skopeo and others do, notes what it was promised, and goes on where it was interrupted."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from registry_client import OCI_MANIFEST, Client, described, digest_of

BROKEN = (OSError, http.client.HTTPException)  # what a client sees of a daemon that is killed

Style = Literal["post", "put", "chunks", "stream", "mount"]


class Blob:
    """One blob on its way. `carry_on` may be called again after an interruption, with another connection."""

    def __init__(self, repository: str, data: bytes, style: Style, chance: random.Random) -> None:
        self.repository = repository
        self.data = data
        self.digest = digest_of(data)
        self.done = False  # the registry has said that it has it
        self.resumed = 0
        self._style = style
        self._chance = chance
        self._location = ""
        self._kept = 0  # bytes that the registry has said it has
        self._completing = False

    def carry_on(self, registry: Client) -> None:
        if self.done:
            status, _, _ = registry.ask("HEAD", f"/v2/{self.repository}/blobs/{self.digest}")
            assert status == 200, f"a blob that was acknowledged is lost: {status}"
            return
        offset = self._resume(registry) if self._location else 0
        if not self._location and self._begin(registry):
            self.done = True
            return
        if self._style == "stream":
            self._patch(registry, offset, len(self.data))
            offset = len(self.data)
        while self._style in ("chunks", "mount") and offset < len(self.data) // 2:
            end = min(len(self.data), offset + self._chance.randint(5_000, max(40_000, len(self.data) // 4)))
            self._patch(registry, offset, end)
            offset = end
        self._completing = True
        status, headers, told = registry.ask("PUT", f"{self._location}?digest={self.digest}", self.data[offset:])
        assert status == 201, (status, told)
        assert headers["docker-content-digest"] == self.digest
        self.done = True

    def _begin(self, registry: Client) -> bool:
        """Whether that was all."""
        path = f"/v2/{self.repository}/blobs/uploads/"
        if self._style == "post":
            status, headers, told = registry.ask("POST", f"{path}?digest={self.digest}", self.data)
        elif self._style == "mount":
            status, headers, told = registry.ask("POST", f"{path}?mount={self.digest}&from=base")
        else:
            status, headers, told = registry.ask("POST", path)
        assert status in (201, 202), (status, told)
        if status == 202:
            self._location = headers["location"]
        return status == 201

    def _patch(self, registry: Client, start: int, end: int) -> None:
        piece = self.data[start:end]
        body: Any = (piece[at : at + 9_000] for at in range(0, len(piece), 9_000)) if self._style == "stream" else piece
        ranged = {} if self._style == "stream" else {"Content-Range": f"{start}-{end - 1}"}
        status, headers, told = registry.ask("PATCH", self._location, body, ranged)
        assert status == 202, (status, told)
        assert headers["range"] == f"0-{end - 1}"
        self._location, self._kept = headers["location"], end

    def _resume(self, registry: Client) -> int:
        """Where to go on."""
        status, headers, told = registry.ask("GET", self._location)
        if status == 404:
            assert self._completing, f"an upload of {self._kept} bytes is lost: {told!r}"
            self._location = ""  # it had become a blob, of which nobody was told
            return 0
        assert status == 204, (status, told)
        last = int(headers["range"].removeprefix("0-"))
        offset = last + 1 if last else 0
        assert self._kept <= offset <= len(self.data), (self._kept, offset, len(self.data))
        self.resumed += 1
        return offset


class Push:
    """An image of a configuration and some layers, one of which many other images have too."""

    def __init__(self, repository: str, tag: str, base: bytes, chance: random.Random) -> None:
        self.repository = repository
        self.tag = tag
        self.acknowledged = False
        config = json.dumps(
            {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}, "tag": tag}
        ).encode()
        layers = [chance.randbytes(chance.randint(1, 120_000)) for _ in range(chance.randint(1, 3))]
        if chance.random() < 0.05:
            layers.append(
                chance.randbytes(chance.choice((3_000_000, 3_000_000, 14_000_000)))
            )  # the last is long enough to go past the page cache
        styles: list[Style] = ["post", "put", "chunks", "stream"]
        self.blobs = [Blob(repository, data, chance.choice(styles), chance) for data in (*layers, config)]
        self.blobs.insert(0, Blob(repository, base, "mount", chance))
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": self._describe(config, "config.v1+json"),
                "layers": self._layers(base, *layers),
            }
        ).encode()
        self.digest = digest_of(self.manifest)

    def _describe(self, data: bytes, kind: str) -> dict[str, object]:
        return described(data, f"application/vnd.oci.image.{kind}")

    def _layers(self, *layers: bytes) -> list[dict[str, object]]:
        return [self._describe(layer, "layer.v1.tar") for layer in layers]

    def carry_on(self, registry: Client, told: Callable[[], None] = lambda: None) -> None:
        for blob in self.blobs:
            blob.carry_on(registry)
        for tag in (self.tag, "latest"):
            status, headers, text = registry.ask(
                "PUT", f"/v2/{self.repository}/manifests/{tag}", self.manifest, {"Content-Type": OCI_MANIFEST}
            )
            assert status == 201, (status, text)
            assert headers["docker-content-digest"] == self.digest
            self.acknowledged = True
            told()

    def delete(self, registry: Client) -> None:
        status, _, told = registry.ask("DELETE", f"/v2/{self.repository}/manifests/{self.digest}")
        assert status == 202, (status, told)


@dataclass
class Promises:
    """What a pusher was told."""

    kept: list[Push] = field(default_factory=list)  # acknowledged
    deleted: list[Push] = field(default_factory=list)
    deleting: list[Push] = field(default_factory=list)  # one whose deletion was not answered: here or gone
    open: list[Push] = field(default_factory=list)  # one that was interrupted


class Pusher(threading.Thread):
    """Pushes one image after the other, and deletes some, until the connection breaks."""

    def __init__(
        self, endpoint: str, token: str, name: str, repositories: list[str], base: bytes, seed: str, told: Callable[[], None]
    ) -> None:
        """
        Args:
            told: called as soon as an image or a deletion was acknowledged.
        """
        super().__init__(daemon=True)
        self.promises = Promises()
        self.failure: BaseException | None = None
        self._registry = Client(endpoint.partition("://")[2], token)
        self._name = name
        self._repositories = repositories
        self._base = base
        self._chance = random.Random(seed)
        self._told = told

    def run(self) -> None:
        try:
            for number in range(1_000_000):
                self._push(f"{self._name}-{number}")
        except BROKEN:
            pass
        except BaseException as failure:
            self.failure = failure
        finally:
            self._registry.close()

    def _push(self, tag: str) -> None:
        promises, chance = self.promises, self._chance
        push = Push(chance.choice(self._repositories), tag, self._base, chance)
        promises.open = [push]
        push.carry_on(self._registry, self._told)
        promises.open = []
        promises.kept.append(push)
        if chance.random() < 0.3:
            victim = promises.kept.pop(chance.randrange(len(promises.kept)))
            promises.deleting = [victim]
            victim.delete(self._registry)
            promises.deleting = []
            promises.deleted.append(victim)
            self._told()
