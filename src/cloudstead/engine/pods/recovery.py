"""What was known against what is there: after the daemon, the host or the machine went down and came back. Pure.

known        found                     then
alive        the same run, alive       it goes on (it may have been paused or resumed by hand)
alive        another run, alive        told as its end and a new start: the daemon died between the two
alive        exited                    its end is told, with the time and code that conmon wrote
alive        nothing                   the machine went down: exit code 255, as dockerd gives it
not alive    alive                     its start is told: the daemon died before it could write that down
not alive    exited, a later run       its start and its end are told
not alive    a run cut off             cleaned up
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from cloudstead.engine.pods.commands import FoundContainer
from cloudstead.engine.pods.states import ContainerStatus

Step: TypeAlias = Literal["adopt", "begin", "end", "lose", "clean"]

ALIVE = ("running", "paused")
SAME = 0.005  # seconds by which two notes of the same start may differ; a second run cannot follow so soon


def plan(known: ContainerStatus, found: FoundContainer | None) -> tuple[Step, ...]:
    """What to do, in order."""
    alive = known.state in ALIVE
    if found is None:
        return ("lose",) if alive else ()
    later = found.started > known.started + SAME
    clean: tuple[Step, ...] = () if found.cleaned else ("clean",)
    if found.state in ALIVE:
        if alive:
            return ("lose", "begin") if later else ("adopt",)
        return ("begin",) if later else ()
    if found.state == "exited":
        if alive:
            return ("lose", "begin", "end") if later else ("end",)
        return ("begin", "end") if later else clean
    return ("lose", *clean) if alive else clean
