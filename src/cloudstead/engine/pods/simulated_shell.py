"""A few commands and a very small shell, so that simulated containers run what real ones with busybox run: enough for tests, no more.

The shell knows `;` `&&` `||` `&`, `> file`, `>> file`, `>&2`, $NAME, $?, $$, `trap`, `wait`, `exec`, `while …; do …; done` and what COMMANDS holds.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable

from cloudstead.engine.errors import EngineError
from cloudstead.engine.pods.signals import number_of
from cloudstead.engine.pods.simulated_programs import Process

Command = Callable[[Process, list[str]], Awaitable[int]]

_VARIABLE = re.compile(r"\$(\?|\$|[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})")
_ENDS = (";", "&&", "||", "&")


async def shell(process: Process, script: str) -> int:
    return await _Shell(process).run(script)


class _Shell:
    def __init__(self, process: Process) -> None:
        self.process = process
        self.status = 0
        self.background: list[asyncio.Task[int]] = []

    async def run(self, script: str) -> int:
        lexer = shlex.shlex(script.replace("\n", ";"), posix=False, punctuation_chars=";&|<>")
        lexer.whitespace_split = True
        return await self.sequence(list(lexer))

    async def sequence(self, words: list[str]) -> int:
        while words:
            if words[0] in _ENDS:
                words.pop(0)
            elif words[0] == "while":
                words = await self.loop(words)
            else:
                words = await self.step(words)
        return self.status

    async def loop(self, words: list[str]) -> list[str]:
        do, done = words.index("do"), words.index("done")
        while await self.sequence(words[1:do]) == 0:
            await self.sequence(words[do + 1 : done])
            await self.process.sleep(0)
        self.status = 0
        return words[done + 1 :]

    async def step(self, words: list[str]) -> list[str]:
        end = next((at for at, word in enumerate(words) if word in _ENDS), len(words))
        command, separator, rest = words[:end], words[end] if end < len(words) else ";", words[end + 1 :]
        if separator == "&":
            self.background.append(self.process.spawn(self.command(command)))
            self.status = 0
        else:
            self.status = await self.command(command)
        if (separator == "&&" and self.status) or (separator == "||" and not self.status):
            skipped = next((at for at, word in enumerate(rest) if word == ";"), len(rest))
            return rest[skipped:]
        return rest

    async def command(self, words: list[str]) -> int:
        process = self.process
        args, target = self.redirected(words)
        if not args:
            return 0
        if args[0] == "exec":
            args = args[1:]
        if args[0] == "trap":
            return self.trap(args[1], args[2:])
        if args[0] == "wait":
            await asyncio.gather(*self.background)
            return 0
        if args[0] == "exit":
            process.exit(int(args[1]) if len(args) > 1 else self.status)
            await asyncio.get_running_loop().create_future()
        if target is None:
            return await run(process, args)
        before, written = process.output, bytearray()
        process.output = lambda stream, data: written.extend(data) if stream == "stdout" else before(stream, data)
        try:
            return await run(process, args)
        finally:
            process.output = before
            self.put(target, bytes(written))

    def put(self, target: str, data: bytes) -> None:
        if target == "&2":
            self.process.write(data, "stderr")
            return
        files, path, mtime = self.process.container.files, target.lstrip(">"), self.process.clock.time()
        old = files.read(path) if target.startswith(">") and path in files.entries else b""
        if path != "/dev/null":
            files.write(path, old + data, mtime=mtime)

    def redirected(self, words: list[str]) -> tuple[list[str], str | None]:
        args, target, at = [], None, 0
        while at < len(words):
            word = words[at]
            if word in (">", ">>", ">&") and at + 1 < len(words):
                target = {">": "", ">>": ">", ">&": "&"}[word] + self.expanded(words[at + 1])
                at += 1
            else:
                args.append(self.expanded(word))
            at += 1
        return args, target

    def expanded(self, word: str) -> str:
        if word.startswith("'") and word.endswith("'") and len(word) > 1:
            return word[1:-1]
        if word.startswith('"') and word.endswith('"') and len(word) > 1:
            word = word[1:-1]
        special = {"?": str(self.status), "$": "1"}
        return _VARIABLE.sub(lambda m: special.get(m[1]) or self.process.env.get(m[1].strip("{}"), special.get(m[1], "")), word)

    def trap(self, action: str, names: list[str]) -> int:
        def act() -> None:
            self.process.spawn(_Shell(self.process).run(action))

        for name in names:
            self.process.on_signal(name, act if action else None)
        return 0


async def run(process: Process, args: list[str]) -> int:
    """A command of a shell."""
    name = args[0].rpartition("/")[2]
    found = process.container.machine.find(process.container, tuple(args))
    if found is not None:
        return await found(process)
    command = COMMANDS.get(name)
    if command is None:
        process.print(f"sh: {args[0]}: not found", "stderr")
        return 127
    return await command(process, args[1:])


async def _true(process: Process, args: list[str]) -> int:
    return 0


async def _false(process: Process, args: list[str]) -> int:
    return 1


async def _echo(process: Process, args: list[str]) -> int:
    end = b"\n"
    if args[:1] == ["-n"]:
        args, end = args[1:], b""
    process.write(" ".join(args).encode() + end)
    return 0


async def _sleep(process: Process, args: list[str]) -> int:
    if args[0] == "infinity":
        await asyncio.get_running_loop().create_future()
    await process.sleep(float(args[0]))
    return 0


async def _cat(process: Process, args: list[str]) -> int:
    for path in args:
        try:
            process.write(process.container.files.read(path))
        except EngineError:
            process.print(f"cat: can't open '{path}': No such file or directory", "stderr")
            return 1
    while not args and (data := await process.read()):
        process.write(data)
    return 0


async def _kill(process: Process, args: list[str]) -> int:
    number = number_of(args[0].lstrip("-")) if args[0].startswith("-") else 15
    process.container.signal_pid(int(args[-1]), number)
    await asyncio.sleep(0)
    return 0


async def _env(process: Process, args: list[str]) -> int:
    for name, value in process.env.items():
        process.print(f"{name}={value}")
    return 0


async def _pwd(process: Process, args: list[str]) -> int:
    process.print(process.cwd)
    return 0


async def _rm(process: Process, args: list[str]) -> int:
    for path in args:
        if not path.startswith("-"):
            process.container.files.remove(path)
    return 0


async def _mkdir(process: Process, args: list[str]) -> int:
    for path in args:
        if not path.startswith("-"):
            process.container.files.make_folders(path, process.clock.time())
    return 0


async def _tail(process: Process, args: list[str]) -> int:
    """`tail /dev/zero` keeps its one endless line in memory."""
    while args[-1:] == ["/dev/zero"]:
        process.use_memory(16 << 20)
        await process.sleep(0.01)
    return 0


async def _stty(process: Process, args: list[str]) -> int:
    process.print(f"{process.size[0]} {process.size[1]}")
    return 0


async def _sh(process: Process, args: list[str]) -> int:
    if args[:1] == ["-c"]:
        return await shell(process, args[1])
    while line := await process.read():
        await shell(process, line.decode(errors="replace"))
    return 0


COMMANDS: dict[str, Command] = {
    "true": _true,
    ":": _true,
    "false": _false,
    "echo": _echo,
    "sleep": _sleep,
    "cat": _cat,
    "kill": _kill,
    "env": _env,
    "pwd": _pwd,
    "rm": _rm,
    "mkdir": _mkdir,
    "tail": _tail,
    "stty": _stty,
    "sh": _sh,
}
