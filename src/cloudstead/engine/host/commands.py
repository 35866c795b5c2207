"""What the host is asked to do about itself."""

from __future__ import annotations

from typing import ClassVar

from cloudstead.engine.host.messages import Command


class TearDown(Command[list[str]], frozen=True, kw_only=True):
    """Unmount and delete all that the engine keeps of this instance: layers, what containers wrote, volumes, the folder below /run.

    Containers and networks must be gone before (SweepContainers, SweepNetworks). Answers what could not be unmounted; then nothing was deleted,
    because deleting would reach through the mount.
    """

    answers: ClassVar[type[list[str]]] = list[str]
