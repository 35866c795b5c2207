"""RUN: a command in a container of the engine's own, over the layers there are; what it wrote becomes the next one."""

from __future__ import annotations

import codecs
import contextlib
import posixpath
import secrets
from collections.abc import Callable
from typing import Literal

from msgspec.structs import replace

from cloudstead.engine.build import configs, keys, run_mounts
from cloudstead.engine.build.api import StepFailed
from cloudstead.engine.build.instructions import Run
from cloudstead.engine.build.lines import Heredoc, parse_heredoc
from cloudstead.engine.build.mounts import parse
from cloudstead.engine.build.run_mounts import Prepared
from cloudstead.engine.build.states import State
from cloudstead.engine.build.steps import Step
from cloudstead.engine.build.words import expand
from cloudstead.engine.errors import Conflict, NotPermitted
from cloudstead.engine.images import digests
from cloudstead.engine.network.api import PodNetwork
from cloudstead.engine.pods.specs import ContainerSpec, LogSpec, Mount, PodSpec
from cloudstead.engine.snapshots.api import Unpacked

OWNER = "build"
SHM = 64 << 20
STREAMS: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")
SCRIPTS = "/dev/pipes"  # where BuildKit puts scripts that bring their own interpreter


async def run(step: Step, command: Run) -> State:
    """The state with what the command wrote."""
    state, config = step.state, step.state.config.config
    args, script = _command(command, config.shell or configs.DEFAULT_SHELL)
    arguments = step.arguments.of_run(state.env)
    mounts = [parse(text, _expander(step)) for text in command.mounts]
    env = {**state.env, **arguments}
    created_by = _created_by(arguments, args)
    prepared = await run_mounts.prepare(step, mounts, config.working_dir)
    if script is not None:
        await prepared.add_script(f"{SCRIPTS}/{posixpath.basename(script.name)}", script.text)
    key = keys.run(
        state.parent,
        args=args,
        env=env,
        working_dir=config.working_dir,
        user=config.user,
        mounts=prepared.described,
        network=command.network,
        platform=f"{state.config.os}/{state.config.architecture}/{state.config.variant}",
    )
    env |= step.arguments.proxies() | prepared.env
    return await step.layer(key, created_by, lambda: _Running(step, command, args, env, prepared).run())


def _command(command: Run, shell: tuple[str, ...]) -> tuple[tuple[str, ...], Heredoc | None]:
    """What is run, and the script that it may need as a file.

    One heredoc alone is the script itself; with several, or with a command around, the shell gets them as they are written.
    """
    if not command.shell:
        return command.args, None
    text = command.args[0]
    if not command.files:
        return (*shell, text), None
    first = command.files[0]
    if parse_heredoc(text) is None:
        text += "".join(f"\n{file.content}{file.name}" for file in command.files)
        return (*shell, text), None
    if not first.content.startswith("#!"):
        return (*shell, first.text), None
    return (*shell, f"{SCRIPTS}/{posixpath.basename(first.name)}"), first


def _created_by(arguments: dict[str, str], args: tuple[str, ...]) -> str:
    """Docker's way to tell a RUN and the arguments that it saw."""
    told = [f"|{len(arguments)}", *(f"{name}={value}" for name, value in sorted(arguments.items()))] if arguments else []
    return " ".join((*told, *args))


def _expander(step: Step) -> Callable[[str], str]:
    visible = step.arguments.visible(step.state.env)
    escape = step.build.plan.dockerfile.escape
    return lambda text: expand(text, visible, escape=escape)


class _Running:
    """One command at work."""

    def __init__(self, step: Step, command: Run, args: tuple[str, ...], env: dict[str, str], prepared: Prepared) -> None:
        self.step = step
        self.build = step.build
        self.pods = step.build.engine.pods
        self.snapshots = step.build.engine.snapshots
        self.command = command
        self.args = args
        self.env = env
        self.prepared = prepared
        self.container = secrets.token_hex(32)
        self.pod = f"build-{self.build.id}-{self.container[:12]}"

    async def run(self) -> Unpacked:
        """The layer that it wrote.

        Raises:
            StepFailed: it did not end with 0.
        """
        channel = self.step.channel
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._tidy_up)
            mounts = await self.prepared.mount(stack)
            stubs = await self._places(mounts)
            await self.pods.create_pod(PodSpec(id=self.pod, owner=OWNER, network=self._network(), hostname=self.container[:12]))
            await self.pods.create_container(self.pod, self._spec(mounts))
            await channel.say(f" ---> Running in {digests.short(self.container)}\n")
            await self._execute()
            made = await self.snapshots.keep(self.container, self.step.state.parent, stubs=stubs)
        if self.build.options.remove_intermediate:
            await channel.say(f" ---> Removed intermediate container {digests.short(self.container)}\n")
        return made

    async def _execute(self) -> None:
        streams = await self.pods.attach(self.container)
        try:
            await self.pods.start(self.container)
            decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in STREAMS}
            while (piece := await streams.read()) is not None:
                name, data = piece
                if text := decoders[name].decode(data):
                    await self.step.channel.say(text, error=name == "stderr")
            for name, decoder in decoders.items():
                if text := decoder.decode(b"", final=True):
                    await self.step.channel.say(text, error=name == "stderr")
            ended = await self.pods.wait(self.container)
        finally:
            await streams.close()
        if ended.code:
            if ended.oom_killed:
                await self.step.channel.say("The command was killed: it took more memory than the build may.\n", error=True)
            raise StepFailed(f"The command '{' '.join(self.args)}' returned a non-zero code: {ended.code}", ended.code)

    def _spec(self, mounts: list[Mount]) -> ContainerSpec:
        options, config = self.build.options, self.step.state.config.config
        return ContainerSpec(
            id=self.container,
            layers=self.step.state.chains,
            args=self.args,
            env=tuple(f"{name}={value}" for name, value in self.env.items()),
            cwd=config.working_dir or "/",
            user=config.user,
            mounts=tuple(mounts),
            resources=options.resources,
            ulimits=options.ulimits,
            shm_size=options.shm_size or SHM,
            seccomp=options.seccomp,
            log=LogSpec(driver="none"),
            stop_signal="SIGKILL",
        )

    def _network(self) -> PodNetwork:
        network = self.build.network
        if self.command.network == "none":
            return PodNetwork(mode="none")
        if self.command.network == "host" and network.mode != "host":
            raise NotPermitted("RUN --network=host is allowed when the whole build has the host's network: docker build --network=host")
        if network.mode == "pod":
            return network
        options = self.build.options
        return replace(network, extra_hosts=network.extra_hosts + options.extra_hosts, dns=options.dns or network.dns)

    async def _places(self, mounts: list[Mount]) -> tuple[str, ...]:
        """Paths that only mounting makes, the deepest first: they do not belong into the layer."""
        if not mounts:
            return ()
        await self.snapshots.mount(self.container, self.step.state.chains)
        found: list[str] = []
        for mount in mounts:
            path = posixpath.normpath(mount.target)
            while path != "/" and not await run_mounts.is_there(self.snapshots, self.container, path):
                found.append(path)
                path = posixpath.dirname(path)
        return tuple(sorted(set(found), key=lambda path: -path.count("/")))

    def _tidy_up(self) -> None:
        async def remove() -> None:
            try:
                await self.pods.remove_pod(self.pod, force=True)
            except Conflict:  # its start was still under way
                await self.pods.remove_pod(self.pod, force=True)
            await self.snapshots.remove(self.container)

        self.build.later(remove())
