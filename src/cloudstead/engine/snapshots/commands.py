"""What the daemon asks the host about snapshots. Streams go through pipes that the daemon makes: the host's end comes as the command's descriptor, and the
answer, which says whether all went well, comes when the stream has ended."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from cloudstead.engine.host.messages import Command, Digest, Name
from cloudstead.engine.snapshots.api import Change, PathStat, Unpacked, View

Chain: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^(sha256:[0-9a-f]{64})?\Z")]
Layers: TypeAlias = Annotated[tuple[Digest, ...], msgspec.Meta(max_length=500)]
ContainerPath: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*\Z", max_length=4096)]
Id: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 2)]
Pid: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1 << 22)]


class HasChain(Command[bool], frozen=True, kw_only=True):
    answers = bool
    chain_id: Digest


class UnpackLayer(Command[Unpacked], frozen=True, kw_only=True):
    """Descriptor: the blob."""

    answers = Unpacked
    parent: Chain
    diff_id: Chain


class MountWritable(Command[str], frozen=True, kw_only=True):
    answers = str
    key: Name
    layers: Layers
    size: Annotated[int, msgspec.Meta(ge=0)] = 0
    skeleton: bool = True


class UnmountWritable(Command[None], frozen=True, kw_only=True):
    key: Name


class RemoveWritable(Command[None], frozen=True, kw_only=True):
    key: Name


class KeepWritable(Command[Unpacked], frozen=True, kw_only=True):
    answers = Unpacked
    key: Name
    parent: Chain
    stubs: Annotated[tuple[ContainerPath, ...], msgspec.Meta(max_length=1000)] = ()


class WriteLayer(Command[None], frozen=True, kw_only=True):
    """The tar of a chain's top layer, or of a writable. Descriptor: a pipe to write to."""

    chain_id: Chain = ""
    key: Name | None = None


class ListChanges(Command[list[Change]], frozen=True, kw_only=True):
    answers = list[Change]
    key: Name


class MeasureWritable(Command[int], frozen=True, kw_only=True):
    answers = int
    key: Name


class StatPath(Command[PathStat], frozen=True, kw_only=True):
    answers = PathStat
    key: Name
    path: ContainerPath
    pid: Pid = 0
    mounts: tuple[View, ...] = ()


class WriteArchive(Command[None], frozen=True, kw_only=True):
    """Descriptor: a pipe to write to. `whole` is for export: names relative to the root."""

    key: Name
    path: ContainerPath
    pid: Pid = 0
    mounts: tuple[View, ...] = ()
    whole: bool = False


class ReadArchive(Command[None], frozen=True, kw_only=True):
    """Descriptor: a pipe to read from."""

    key: Name
    path: ContainerPath
    pid: Pid = 0
    mounts: tuple[View, ...] = ()
    no_overwrite_dir_non_dir: bool = False
    owner: tuple[Id, Id] | None = None


class ListChains(Command[dict[str, int]], frozen=True, kw_only=True):
    answers = dict[str, int]


class RemoveChain(Command[int], frozen=True, kw_only=True):
    answers = int
    chain_id: Digest


class ListWritables(Command[tuple[str, ...]], frozen=True, kw_only=True):
    answers = tuple[str, ...]


class SweepSnapshots(Command[list[str]], frozen=True, kw_only=True):
    answers = list[str]
