"""What a Dockerfile can say: one struct for each instruction. Variables are not put in yet."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from cloudstead.engine.build.lines import Heredoc
from cloudstead.engine.images.api import HealthConfig


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    original: str  # as written, continued lines joined
    line: int


class From(Instruction, frozen=True, kw_only=True):
    base: str
    name: str = ""  # AS
    platform: str = ""


class Arg(Instruction, frozen=True, kw_only=True):
    pairs: tuple[tuple[str, str | None], ...]


class Env(Instruction, frozen=True, kw_only=True):
    pairs: tuple[tuple[str, str], ...]


class Label(Instruction, frozen=True, kw_only=True):
    pairs: tuple[tuple[str, str], ...]
    literal: bool = False  # given with the build, not in the file: no variables in it


class Run(Instruction, frozen=True, kw_only=True):
    args: tuple[str, ...]
    shell: bool
    files: tuple[Heredoc, ...] = ()
    mounts: tuple[str, ...] = ()  # as written; `mounts.parse` reads them when variables are known
    network: str = "default"


class Copy(Instruction, frozen=True, kw_only=True):
    """COPY and ADD."""

    add: bool = False
    sources: tuple[str, ...]
    files: tuple[Heredoc, ...] = ()
    dest: str
    stage: str = ""  # --from
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    excludes: tuple[str, ...] = ()
    checksum: str = ""
    unpack: bool | None = None


class Workdir(Instruction, frozen=True, kw_only=True):
    path: str


class User(Instruction, frozen=True, kw_only=True):
    user: str


class Expose(Instruction, frozen=True, kw_only=True):
    ports: tuple[str, ...]


class Volume(Instruction, frozen=True, kw_only=True):
    paths: tuple[str, ...]


class Cmd(Instruction, frozen=True, kw_only=True):
    args: tuple[str, ...]
    shell: bool


class Entrypoint(Instruction, frozen=True, kw_only=True):
    args: tuple[str, ...]
    shell: bool


class Healthcheck(Instruction, frozen=True, kw_only=True):
    health: HealthConfig


class Onbuild(Instruction, frozen=True, kw_only=True):
    trigger: str


class Shell(Instruction, frozen=True, kw_only=True):
    args: tuple[str, ...]


class Stopsignal(Instruction, frozen=True, kw_only=True):
    signal: str


class Maintainer(Instruction, frozen=True, kw_only=True):
    name: str


Command: TypeAlias = (
    Arg
    | Env
    | Label
    | Run
    | Copy
    | Workdir
    | User
    | Expose
    | Volume
    | Cmd
    | Entrypoint
    | Healthcheck
    | Onbuild
    | Shell
    | Stopsignal
    | Maintainer
)


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """From one FROM to the next."""

    index: int
    start: From
    commands: tuple[Command, ...]


class Dockerfile(msgspec.Struct, frozen=True, kw_only=True):
    args: tuple[Arg, ...]  # before the first FROM
    stages: tuple[Stage, ...]
    escape: str
    warnings: tuple[str, ...] = ()
