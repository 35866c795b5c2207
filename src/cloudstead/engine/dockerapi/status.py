"""How a container is, in the sentences of `docker ps`, and its ports."""

from __future__ import annotations

from typing import Any

from cloudstead.engine.dockerapi.model import DockerContainer
from cloudstead.engine.network.api import PortMapping
from cloudstead.engine.pods.states import ContainerStatus, PodStatus

_UNITS = ((60, "second"), (60, "minute"), (48, "hour"), (14, "day"), (0, ""))


def human_duration(seconds: float) -> str:
    """As Docker's clients and daemon say it: "Less than a second", "About a minute", "3 hours"."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    for limit, length, unit in ((14, 1, "days"), (60, 7, "weeks"), (730, 30, "months")):
        if hours < 24 * limit:
            return f"{hours // 24 // length} {unit}"
    return f"{whole // (365 * 86400)} years"


def sentence(state: str, status: ContainerStatus, now: float) -> str:
    """The `Status` of a list."""
    if state == "removing":
        return "Removal In Progress"
    if state == "restarting":
        return f"Restarting ({status.exit_code}) {human_duration(now - status.finished)} ago"
    if state in ("running", "paused"):
        up = f"Up {human_duration(now - status.started)}"
        if state == "paused":
            return f"{up} (Paused)"
        if status.health is None or status.health.status == "none":
            return up
        return f"{up} (health: starting)" if status.health.status == "starting" else f"{up} ({status.health.status})"
    if not status.started and not status.finished:
        return "Created"
    if not status.finished:
        return "Created" if state == "created" else "Dead"
    return f"Exited ({status.exit_code}) {human_duration(now - status.finished)} ago"


def health_name(status: ContainerStatus) -> str:
    return "none" if status.health is None else status.health.status


def published(pod: PodStatus | None) -> tuple[PortMapping, ...]:
    return () if pod is None else pod.ports


def port_list(row: DockerContainer, pod: PodStatus | None) -> list[dict[str, Any]]:
    """`Ports` of a list: what is published, then what is only exposed."""
    found: list[dict[str, Any]] = []
    known = set()
    for mapping in published(pod):
        known.add(f"{mapping.container_port}/{mapping.protocol}")
        found.append(
            {
                "IP": mapping.host_ip or "0.0.0.0",
                "PrivatePort": mapping.container_port,
                "PublicPort": mapping.host_port,
                "Type": mapping.protocol,
            }
        )
    if pod is not None and any(container.state in ("running", "paused") for container in pod.containers):
        for spelled in exposed(row):
            number, _, protocol = spelled.partition("/")
            if spelled not in known and "-" not in number:
                found.append({"PrivatePort": int(number), "Type": protocol})
    return found


def port_map(row: DockerContainer, pod: PodStatus | None) -> dict[str, list[dict[str, str]] | None]:
    """`NetworkSettings.Ports` of inspect; empty while it does not run."""
    if pod is None or not any(container.state in ("running", "paused") for container in pod.containers):
        return {}
    found: dict[str, list[dict[str, str]] | None] = dict.fromkeys(exposed(row))
    for mapping in published(pod):
        name = f"{mapping.container_port}/{mapping.protocol}"
        found[name] = [*(found.get(name) or []), {"HostIp": mapping.host_ip or "0.0.0.0", "HostPort": str(mapping.host_port)}]
    return found


def exposed(row: DockerContainer) -> list[str]:
    """Ports as "80/tcp"."""
    names = [*(row.config.exposed_ports or {}), *(row.host_config.port_bindings or {})]
    return list(dict.fromkeys(name if "/" in name else f"{name}/tcp" for name in names))
