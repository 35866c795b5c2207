"""One stage: its base, and its instructions one after the other."""

from __future__ import annotations

from msgspec.structs import replace

from cloudstead.engine.build import bases, configs, copy_step, instructions, parsing, run_step, workdir_step
from cloudstead.engine.build.expanding import expanded
from cloudstead.engine.build.states import State
from cloudstead.engine.build.steps import Step
from cloudstead.engine.build.telling import Channel
from cloudstead.engine.build.variables import Arguments
from cloudstead.engine.build.work import Build
from cloudstead.engine.images import digests
from cloudstead.engine.images.api import ExecConfig


async def run_stage(build: Build, number: int, channel: Channel) -> State:
    """All of it."""
    try:
        return await _Stage(build, number, channel).run()
    finally:
        if number in build.first_steps:
            channel.finish()


class _Stage:
    def __init__(self, build: Build, number: int, channel: Channel) -> None:
        self.build = build
        self.number = number
        self.stage = build.plan.dockerfile.stages[number]
        self.channel = channel
        self.arguments = Arguments(build.given, build.plan.variables, build.plan.dockerfile.escape, build.consumed)
        self.at = build.first_steps.get(number, 0)

    async def run(self) -> State:
        if self.number == min(self.build.first_steps):
            await self._say_outer_arguments()
        await self._say_step(self.stage.start)
        state = await self._base()
        await self.channel.say(f" ---> {digests.short(state.image)}\n")
        state = await self._triggers(state)
        for command in self.stage.commands:
            self.at += 1
            await self._say_step(command)
            state = await self._one(state, command)
            await self.channel.say(f" ---> {digests.short(state.image)}\n")
        return state

    async def _base(self) -> State:
        base = self.build.plan.bases[self.number]
        if base.stage is None:
            return await bases.image(self.build, base, self.channel)
        state, arguments = await self.build.stage(base.stage, self.channel), self.build.arguments.get(base.stage)
        if arguments is not None:
            self.arguments.inherit(arguments)
        return replace(state, has_cmd=False)

    async def _triggers(self, state: State) -> State:
        """What ONBUILD of the base wants done first. It is the base's no more."""
        triggers = state.config.config.on_build or ()
        if not triggers:
            return state
        state = replace(state, config=replace(state.config, config=replace(state.config.config, on_build=None)))
        await self.channel.say(f"# Executing {len(triggers)} build trigger{'s' * (len(triggers) > 1)}\n")
        for trigger in triggers:
            state = await self._one(state, parsing.parse_trigger(trigger, self.stage.start.line))
            await self.channel.say(f" ---> {digests.short(state.image)}\n")
        return state

    async def _one(self, state: State, command: instructions.Command) -> State:
        if isinstance(command, instructions.Arg):
            return await self._without_files(state, state.config.config, self.arguments.declare(command, state.env))
        visible = self.arguments.visible(state.env)
        command = expanded(command, visible, self.build.plan.dockerfile.escape)
        step = Step(self.build, self.channel, self.number, state, self.arguments)
        if isinstance(command, instructions.Run):
            state = await run_step.run(step, command)
        elif isinstance(command, instructions.Copy):
            state = await copy_step.run(step, command)
        elif isinstance(command, instructions.Workdir):
            state = await workdir_step.run(step, command)
        elif isinstance(command, instructions.Maintainer):
            state = replace(state, config=replace(state.config, author=command.name))
            state = await self._without_files(state, state.config.config, f"MAINTAINER {command.name}")
        else:
            config, text = configs.apply(state.config.config, command, has_cmd=state.has_cmd)
            state = await self._without_files(state, config, text)
        self.build.arguments[self.number] = self.arguments
        return replace(state, has_cmd=True) if isinstance(command, instructions.Cmd) else state

    async def _without_files(self, state: State, config: ExecConfig, text: str) -> State:
        created_by = configs.created_by(state.config.config, f" {text}")
        return await Step(self.build, self.channel, self.number, state, self.arguments).noted(created_by, config)

    async def _say_outer_arguments(self) -> None:
        steps = self.build.steps
        for number, arg in enumerate(self.build.plan.dockerfile.args):
            await self.channel.say(f"Step {number + 1}/{steps} : {arg.original}\n")

    async def _say_step(self, what: instructions.Instruction) -> None:
        if self.number in self.build.first_steps:
            await self.channel.say(f"Step {self.at}/{self.build.steps} : {what.original}\n")
