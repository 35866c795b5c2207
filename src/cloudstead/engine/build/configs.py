"""What instructions that write no files do to an image's configuration, and how Docker's history tells of it. No effects, no waiting."""

from __future__ import annotations

import posixpath
import re

import msgspec

from cloudstead.engine.build import instructions as the
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images.api import ExecConfig
from cloudstead.engine.pods.signals import number_of

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")
MOST_PORTS = 65536
_PORT = re.compile(
    r"(?:(?P<ip>\[[0-9a-fA-F:.]+\]|[\d.]*):)?(?:(?P<host>[\d-]*):)?(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?(?:/(?P<protocol>\w+))?\Z"
)


def with_path(config: ExecConfig) -> ExecConfig:
    """Docker gives every image that it builds a PATH."""
    if any(variable.startswith("PATH=") for variable in config.env or ()):
        return config
    return with_env(config, "PATH", DEFAULT_PATH)


def with_env(config: ExecConfig, name: str, value: str) -> ExecConfig:
    env = list(config.env or ())
    for place, variable in enumerate(env):
        if variable.partition("=")[0] == name:
            env[place] = f"{name}={value}"
            break
    else:
        env.append(f"{name}={value}")
    return msgspec.structs.replace(config, env=tuple(env))


def variables(config: ExecConfig) -> dict[str, str]:
    return {name: value for name, _, value in (variable.partition("=") for variable in config.env or ())}


def shell_of(config: ExecConfig) -> tuple[str, ...]:
    return config.shell or DEFAULT_SHELL


def command_line(config: ExecConfig, args: tuple[str, ...], shell: bool) -> tuple[str, ...]:
    """What is run: the arguments, or the shell with them."""
    return (*shell_of(config), " ".join(args)) if shell else args


def created_by(config: ExecConfig, text: str) -> str:
    """How the history tells of what ran nothing."""
    return f"{' '.join(shell_of(config))} #(nop) {text}"


def working_dir(config: ExecConfig, path: str) -> str:
    """Where a path (of WORKDIR, or a destination) leads, from the working directory there is."""
    joined = posixpath.normpath(posixpath.join("/", config.working_dir or "/", path))
    return "/" + joined.lstrip("/")


def apply(config: ExecConfig, command: the.Command, *, has_cmd: bool = False) -> tuple[ExecConfig, str]:
    """The configuration afterwards, and the text for the history. Variables were put in already.

    Args:
        has_cmd: a CMD came before in this stage, which ENTRYPOINT leaves; an inherited one it takes away.
    """
    match command:
        case the.Env():
            for name, value in command.pairs:
                config = with_env(config, name, value)
            return config, "ENV " + " ".join(f"{name}={value}" for name, value in command.pairs)
        case the.Label():
            labels = {**(config.labels or {}), **dict(command.pairs)}
            return msgspec.structs.replace(config, labels=labels), "LABEL " + " ".join(f"{k}={v}" for k, v in command.pairs)
        case the.User():
            return msgspec.structs.replace(config, user=command.user), f"USER {command.user}"
        case the.Workdir():
            path = working_dir(config, command.path)
            return msgspec.structs.replace(config, working_dir=path), f"WORKDIR {path}"
        case the.Expose():
            ports = [port for text in command.ports for port in exposed(text)]
            known = {**(config.exposed_ports or {}), **{port: {} for port in ports}}
            return msgspec.structs.replace(config, exposed_ports=known), "EXPOSE " + " ".join(ports)
        case the.Volume():
            volumes = {**(config.volumes or {}), **{path: {} for path in command.paths}}
            return msgspec.structs.replace(config, volumes=volumes), f"VOLUME [{' '.join(command.paths)}]"
    return _how_it_runs(config, command, has_cmd)


def _how_it_runs(config: ExecConfig, command: the.Command, has_cmd: bool) -> tuple[ExecConfig, str]:
    match command:
        case the.Cmd():
            args = command_line(config, command.args, command.shell)
            if command.shell and not command.args:
                args = ()
            return msgspec.structs.replace(config, cmd=args, args_escaped=True), f"CMD {quoted(args)}"
        case the.Entrypoint():
            args = command_line(config, command.args, command.shell) if command.args else ()
            cmd = config.cmd if has_cmd else None
            return msgspec.structs.replace(config, entrypoint=args or None, cmd=cmd), f"ENTRYPOINT {quoted(args)}"
        case the.Healthcheck():
            return msgspec.structs.replace(config, healthcheck=command.health), command.original
        case the.Onbuild():
            return msgspec.structs.replace(config, on_build=(*(config.on_build or ()), command.trigger)), f"ONBUILD {command.trigger}"
        case the.Shell():
            return msgspec.structs.replace(config, shell=command.args), f"SHELL [{' '.join(command.args)}]"
        case the.Stopsignal():
            number_of(command.signal)
            return msgspec.structs.replace(config, stop_signal=command.signal), f"STOPSIGNAL {command.signal}"
    raise InvalidArgument(f"{type(command).__name__.upper()} changes no configuration")


def exposed(text: str) -> list[str]:
    """The ports that "80", "80/udp", "8000-8002/tcp" or Docker's longer forms name."""
    match = _PORT.match(text)
    if match is None:
        raise InvalidArgument(f"invalid containerPort: {text}")
    first, last = int(match["first"]), int(match["last"] or match["first"])
    protocol = (match["protocol"] or "tcp").lower()
    if protocol not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f"invalid proto: {protocol}")
    if not first <= last < MOST_PORTS:
        raise InvalidArgument(f"invalid containerPort: {text}")
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def quoted(args: tuple[str, ...]) -> str:
    """As Go prints a list with %q."""
    return "[" + " ".join(msgspec.json.encode(arg).decode() for arg in args) + "]"
