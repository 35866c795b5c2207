"""Building images: what is asked for, what is told on the way, what comes out.

    builder = Builder(engine); await builder.start()
    image = await builder.build(BuildContext(tar=request_body), BuildOptions(tags=("a:1",)), tell)

A build can be cancelled at any moment (cancel the task): its containers end, nothing of it stays but the steps that were complete. An EngineError is
what Docker tells as `{"errorDetail": {"message": …}, "error": …}`; a StepFailed adds `code` to `errorDetail`. The texts told are those of Docker's
classic builder, each with its line end, to be sent as `{"stream": text}`; standard error of a command as `{"stream": "\\x1b[91m" + text + "\\x1b[0m"}`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import msgspec

from cloudstead.engine.errors import Failed
from cloudstead.engine.images.api import Credentials, Image, Progress
from cloudstead.engine.network.api import PodNetwork
from cloudstead.engine.pods.specs import Resources, Ulimit


@dataclass(slots=True)
class BuildContext:
    """The files that COPY and ADD see.

    `tar`: plain or compressed (gzip, bzip2, xz, zstd), read once. `remote` instead of it: an http(s) address of such a tar or of a Dockerfile; git is refused.
    """

    tar: AsyncIterator[bytes] | None = None
    remote: str = ""


class BuildOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The query of `POST /build`, read. Fields that cannot be acted on are refused by `build`."""

    tags: tuple[str, ...] = ()
    dockerfile: str = "Dockerfile"  # inside the context
    build_args: dict[str, str | None] = {}  # None: named without value; as if it was not given
    target: str = ""  # name or number of a stage; empty: the last
    labels: dict[str, str] = {}
    platform: str = ""  # "linux/arm64"; empty: this machine's
    no_cache: bool = False
    cache_from: tuple[str, ...] = ()  # images that are here, whose steps count as cached
    pull: bool = False  # look for newer base images even when they are here
    network: PodNetwork | None = None  # of RUN; None: the builder's own network, which leads out
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    resources: Resources = Resources()  # of each RUN
    ulimits: tuple[Ulimit, ...] = ()
    shm_size: int = 0  # 0: the usual 64 MiB
    seccomp: str = ""
    secrets: dict[str, bytes] = {}  # for RUN --mount=type=secret, by id
    credentials: dict[str, Credentials] = {}  # by registry
    quiet: bool = False  # tell only the image's id
    remove_intermediate: bool = True  # `--rm`: containers are removed either way; without it, Docker's line about it is not told
    squash: bool = False  # refused
    outputs: tuple[str, ...] = ()  # refused
    isolation: str = ""  # "", "default"; others are refused
    cgroup_parent: str = ""  # refused


class Output(msgspec.Struct, frozen=True):
    """Text for the one who waits."""

    text: str
    stream: Literal["stdout", "stderr"] = "stdout"


class Pulling(msgspec.Struct, frozen=True):
    """A base image on its way."""

    progress: Progress


class Built(msgspec.Struct, frozen=True):
    """Told once, after the image was put and tagged: `{"aux": {"ID": id}}`."""

    id: str


BuildEvent: TypeAlias = Output | Pulling | Built
Tell: TypeAlias = Callable[[BuildEvent], Awaitable[None]]
"""Awaited, so that a slow reader slows the build down instead of filling memory. Never called twice at once."""


class StepFailed(Failed):
    """A RUN did not end with 0. `message` is Docker's sentence."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class CacheRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One result that is kept for later builds; `BuildCache` of `GET /system/df`."""

    id: str
    kind: Literal["regular", "exec.cachemount"]
    description: str
    size: int
    in_use: bool  # by a build that runs
    shared: bool  # an image has the same layer: removing the record wins nothing
    created: float
    last_used: float
    used: int


class Pruned(msgspec.Struct, frozen=True):
    records: tuple[str, ...] = ()
    reclaimed: int = 0


class Building(Protocol):
    """What `builder.Builder` offers."""

    async def start(self) -> None:
        """Remove what a crash left of builds."""

    async def stop(self) -> None:
        """Cancel what is being built."""

    async def build(self, context: BuildContext, options: BuildOptions, tell: Tell) -> Image: ...

    async def records(self) -> list[CacheRecord]: ...

    async def prune(self, *, all: bool = False, unused_for: float = 0.0, keep_bytes: int = 0) -> Pruned:
        """Forget cached steps: those that no image shares (with `all`, every one), not used for so many seconds, the oldest first until `keep_bytes` are left."""
        ...

    async def sweep(self) -> list[str]: ...
