"""A container's configuration: what the client wants over what the image says, as Docker puts the two together."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cloudstead.engine.dockerapi.shapes import ContainerConfig, CreateRequest, HealthConfig
from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images.api import ExecConfig

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def merge(wanted: CreateRequest | ContainerConfig, image: ExecConfig) -> ContainerConfig:
    """The configuration that inspect shows.

    Raises:
        InvalidArgument: there is nothing to run, or a variable has no name.
    """
    fields: dict[str, Any] = {name: getattr(wanted, name) for name in ContainerConfig.__struct_fields__}
    entrypoint, command = words(wanted.entrypoint), words(wanted.cmd)
    if not entrypoint:
        if not command:
            command = list(image.cmd) if image.cmd else None
        if entrypoint is None:
            entrypoint = list(image.entrypoint) if image.entrypoint else None
    if entrypoint == [""]:  # `--entrypoint ""`: none, and the image's neither
        entrypoint = None
    if not entrypoint and not command:
        raise InvalidArgument("no command specified")
    fields.update(
        entrypoint=entrypoint,
        cmd=command,
        env=merge_env(list(image.env or ()), check_env(wanted.env or [])),
        user=wanted.user or image.user,
        working_dir=wanted.working_dir or image.working_dir,
        labels={**(image.labels or {}), **(wanted.labels or {})},
        exposed_ports={**(image.exposed_ports or {}), **(wanted.exposed_ports or {})} or None,
        volumes={**(image.volumes or {}), **(wanted.volumes or {})} or None,
        stop_signal=wanted.stop_signal or image.stop_signal,
        stop_timeout=wanted.stop_timeout if wanted.stop_timeout is not None else image.stop_timeout,
        shell=wanted.shell or (list(image.shell) if image.shell else None),
        healthcheck=merge_health(wanted.healthcheck, image),
    )
    return ContainerConfig(**fields)


def words(value: list[str] | str | None) -> list[str] | None:
    """Docker takes one string for a list of one."""
    return [value] if isinstance(value, str) else value


def check_env(env: list[str]) -> list[str]:
    for line in env:
        if not line.partition("=")[0] or "\0" in line:
            raise InvalidArgument(f"invalid environment variable: {line[:200]}")
    return env


def merge_env(first: list[str], then: list[str]) -> list[str]:
    """`then` over `first`. A name without "=" stays, to take the variable away where the process's environment is made."""
    lines: dict[str, str] = {}
    for line in first + then:
        lines[line.partition("=")[0]] = line
    return list(lines.values())


def environment(config: ContainerConfig, hostname: str) -> tuple[str, ...]:
    """What its process gets: Docker's own variables, which the configuration may overrule."""
    own = [DEFAULT_PATH, f"HOSTNAME={hostname}", *(["TERM=xterm"] if config.tty else [])]
    return tuple(line for line in merge_env(own, config.env or []) if "=" in line)


def merge_health(wanted: HealthConfig | None, image: ExecConfig) -> HealthConfig | None:
    """Field by field: what is not said is as in the image."""
    known = image.healthcheck
    if known is None:
        return wanted
    base = HealthConfig(
        test=list(known.test),
        interval=known.interval,
        timeout=known.timeout,
        start_period=known.start_period,
        start_interval=known.start_interval,
        retries=known.retries,
    )
    if wanted is None:
        return base
    said = {name: value for name in HealthConfig.__struct_fields__ if (value := getattr(wanted, name))}
    return replace(base, **said)
