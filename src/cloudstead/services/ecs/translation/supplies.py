"""What must be known besides a task definition before its containers can be told to the engine."""

from __future__ import annotations

import msgspec

from cloudstead.engine.network.api import PodNetwork


class Unsupported(Exception):
    """The engine cannot do what the definition asks for."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says of its containers."""

    layers: tuple[str, ...]  # chain ids
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()  # "NAME=value"
    cwd: str = ""
    user: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()  # paths that are volumes of the container's own


class Supplies(msgspec.Struct, frozen=True, kw_only=True):
    """By the names of containers."""

    task_id: str
    ids: dict[str, str]  # 64 hexadecimal digits each
    images: dict[str, Image]
    secrets: dict[str, dict[str, str]] = {}  # variable: value
    environment_files: dict[str, tuple[dict[str, str], ...]] = {}  # in the order in which they are named
    environment: dict[str, dict[str, str]] = {}  # what ECS adds: where metadata and credentials are
    labels: dict[str, str] = {}  # of all containers: cluster, task, family
    network: PodNetwork = PodNetwork()  # awsvpc: the task's interface; bridge: the network that containers hang on
    addresses: dict[str, str] = {}  # bridge: those that run already, for links
    host_ports: dict[str, dict[str, int]] = {}  # bridge: "80/tcp": the port that was chosen for it
    hostname: str = ""  # awsvpc: of the interface
    volumes: dict[str, str] = {}  # EFS and what is configured at launch: the engine's volume for the definition's name
    fargate: bool = False
