"""Instructions of a Dockerfile over a configuration: `docker import --change` and `docker commit --change`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from cloudstead.engine.build import instructions as the
from cloudstead.engine.build import words
from cloudstead.engine.build.lines import read
from cloudstead.engine.build.parsing import instruction
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images.api import ExecConfig

DEFAULT_SHELL = ("/bin/sh", "-c")
ALLOWED = (
    the.Cmd,
    the.Entrypoint,
    the.Env,
    the.Expose,
    the.Healthcheck,
    the.Label,
    the.Onbuild,
    the.Stopsignal,
    the.User,
    the.Volume,
    the.Workdir,
)


def apply_changes(config: ExecConfig, changes: Iterable[str]) -> ExecConfig:
    """The configuration that comes of them, one after the other.

    Raises:
        InvalidArgument: an instruction that makes no sense, or does not change a configuration.
    """
    text = "\n".join(changes)
    if not text.strip():
        return config
    source = read(text)
    for line in source.lines:
        parsed = instruction(line, source.escape)
        if not isinstance(parsed, ALLOWED):
            raise InvalidArgument(f"{line.keyword} is not a valid change command")
        config = replace(config, **_changed(config, parsed))
    return config


def _changed(config: ExecConfig, change: the.Command) -> dict[str, Any]:
    """The fields that an instruction sets."""
    variables = dict(line.partition("=")[::2] for line in config.env or ())

    def filled(text: str) -> str:
        return words.expand(text, variables)

    match change:
        case the.Cmd():
            return {"cmd": _command(config, change)}
        case the.Entrypoint():
            return {"entrypoint": _command(config, change)}
        case the.Env():
            new = {filled(name): filled(value) for name, value in change.pairs}
            return {"env": tuple(f"{name}={value}" for name, value in {**variables, **new}.items())}
        case the.Expose():
            ports = [port if "/" in port else f"{port}/tcp" for spelled in change.ports for port in words.split(spelled, variables)]
            return {"exposed_ports": {**(config.exposed_ports or {}), **{port: {} for port in ports}}}
        case the.Healthcheck():
            return {"healthcheck": change.health}
        case the.Label():
            return {"labels": {**(config.labels or {}), **{filled(name): filled(value) for name, value in change.pairs}}}
        case the.Onbuild():
            return {"on_build": (*(config.on_build or ()), change.trigger)}
        case the.Stopsignal():
            return {"stop_signal": filled(change.signal)}
        case the.User():
            return {"user": filled(change.user)}
        case the.Volume():
            return {"volumes": {**(config.volumes or {}), **{filled(path): {} for path in change.paths}}}
        case the.Workdir():
            path = filled(change.path)
            return {"working_dir": path if path.startswith("/") else f"{config.working_dir.rstrip('/')}/{path}"}
    raise AssertionError(change)


def _command(config: ExecConfig, change: the.Cmd | the.Entrypoint) -> tuple[str, ...]:
    return (*(config.shell or DEFAULT_SHELL), *change.args) if change.shell else change.args
