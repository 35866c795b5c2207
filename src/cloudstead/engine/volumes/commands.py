"""What the host does for volumes."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

import msgspec

from cloudstead.engine.host.messages import Command

VolumeName: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{1,254}\Z")]
"""Docker's rule: at least two characters."""
Text: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*\Z", max_length=4000)]  # mount(2) takes a page


class MakeVolume(Command[None], frozen=True, kw_only=True):
    """Make the folder, if it is not there, and note what is to be mounted on it. The same again changes nothing."""

    name: VolumeName
    kind: Text = ""  # of the file system; empty: the folder itself
    device: Text = ""
    options: Text = ""  # as mount(8) takes them


class MountVolume(Command[None], frozen=True, kw_only=True):
    """Mount what the volume is made of, if it is not mounted; may take as long as a server of NFS needs to answer."""

    name: VolumeName


class UnmountVolume(Command[None], frozen=True, kw_only=True):
    """Nobody uses it. A plain folder stays as it is."""

    name: VolumeName


class DropVolume(Command[None], frozen=True, kw_only=True):
    """Unmount and delete. A second time it does nothing."""

    name: VolumeName


class MeasureVolumes(Command[dict[str, int]], frozen=True, kw_only=True):
    """Bytes on disk by name; what is not there, and what is mounted from elsewhere, is left out."""

    answers: ClassVar[object] = dict[str, int]
    names: tuple[VolumeName, ...]


class SweepVolumes(Command[list[str]], frozen=True, kw_only=True):
    """Finish removals that were cut off, and remove empty folders that are not among `keep`. Answers the folders with content that no row
    owns: they stay, because somebody's data may be all that is left of a lost store."""

    answers: ClassVar[object] = list[str]
    keep: tuple[str, ...]
