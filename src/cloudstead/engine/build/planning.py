"""Which stages a build needs, and on which others each waits. Pure: nothing is fetched or run.

A stage waits for the one that it begins from, and for those that its COPY --from and RUN --mount=from name. Stages that the target does not reach
are not built. What a base image's ONBUILD wants is known only when the image is there; a stage that it names is begun then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloudstead.engine.build import instructions as the
from cloudstead.engine.build.words import expand
from cloudstead.engine.errors import InvalidArgument, NotFound


@dataclass(frozen=True, slots=True)
class Base:
    """What a stage begins from."""

    stage: int | None = None  # another stage
    image: str = ""  # "scratch": nothing
    platform: str = ""


@dataclass(slots=True)
class Plan:
    dockerfile: the.Dockerfile
    target: int
    bases: dict[int, Base]  # of the stages that are needed
    waits: dict[int, set[int]]
    variables: dict[str, str]  # what ARG before the first FROM and the platforms give

    @property
    def steps(self) -> int:
        """How many steps Docker counts."""
        return len(self.dockerfile.args) + sum(1 + len(self.dockerfile.stages[n].commands) for n in self.bases)

    def first_steps(self) -> dict[int, int]:
        """The number of each stage's FROM."""
        number = len(self.dockerfile.args) + 1
        found: dict[int, int] = {}
        for n in sorted(self.bases):
            found[n] = number
            number += 1 + len(self.dockerfile.stages[n].commands)
        return found


def make(dockerfile: the.Dockerfile, target: str, arguments: Mapping[str, str], platforms: Mapping[str, str]) -> Plan:
    """The plan for a target.

    Args:
        arguments: --build-arg.
        platforms: TARGETPLATFORM and its like.

    Raises:
        InvalidArgument: a stage or base that cannot be.
    """
    variables = dict(platforms)
    for arg in dockerfile.args:
        for name, default in arg.pairs:
            if name in arguments:
                variables[name] = arguments[name]
            elif default is not None:
                variables[name] = expand(default, variables, escape=dockerfile.escape)
    end = find_target(dockerfile, target)
    plan = Plan(dockerfile, end, {}, {}, variables)
    todo = [end]
    while todo:
        n = todo.pop()
        if n not in plan.bases:
            add(plan, n)
            todo += plan.waits[n]
    return plan


def add(plan: Plan, n: int) -> None:
    """Take one stage in."""
    stage = plan.dockerfile.stages[n]
    base = base_of(plan, stage)
    waits = set() if base.stage is None else {base.stage}
    for command in stage.commands:
        for name in sources(command):
            if (other := find_stage(plan.dockerfile, name, before=n)) is not None:
                waits.add(other)
    plan.bases[n], plan.waits[n] = base, waits


def base_of(plan: Plan, stage: the.Stage) -> Base:
    start = stage.start
    name = expand(start.base, plan.variables, escape=plan.dockerfile.escape)
    if not name:
        raise InvalidArgument(f"base name ({start.base}) should not be blank")
    platform = expand(start.platform, plan.variables, escape=plan.dockerfile.escape) if start.platform else ""
    for other in reversed(plan.dockerfile.stages[: stage.index]):
        if other.start.name and other.start.name == name.lower():
            return Base(stage=other.index, platform=platform)
    return Base(image=name, platform=platform)


def sources(command: the.Command) -> list[str]:
    """What an instruction names by `from`."""
    if isinstance(command, the.Copy):
        return [command.stage] if command.stage else []
    if isinstance(command, the.Run):
        fields = [field.partition("=") for mount in command.mounts for field in mount.split(",")]
        return [value for name, _, value in fields if name.lower() == "from" and value]
    return []


def find_stage(dockerfile: the.Dockerfile, name: str, *, before: int) -> int | None:
    """A stage by name or number; None when it can only be an image.

    Raises:
        InvalidArgument: a number that no earlier stage has, or the stage itself.
    """
    for stage in reversed(dockerfile.stages[:before]):
        if stage.start.name and stage.start.name == name.lower():
            return stage.index
    if name.isascii() and name.isdigit():
        if int(name) == before:
            raise InvalidArgument(f"invalid from flag value {name}: refers to current build stage")
        if int(name) > before:
            raise InvalidArgument(f"invalid from flag value {name}: index out of bounds")
        return int(name)
    return None


def find_target(dockerfile: the.Dockerfile, target: str) -> int:
    if not target:
        return len(dockerfile.stages) - 1
    for stage in dockerfile.stages:
        if stage.start.name and stage.start.name == target.lower():
            return stage.index
    if target.isascii() and target.isdigit() and int(target) < len(dockerfile.stages):
        return int(target)
    raise NotFound(f"failed to reach build target {target} in Dockerfile")
