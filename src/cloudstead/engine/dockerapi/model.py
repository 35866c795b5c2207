"""The rows that Docker's containers are kept in, beside those of the engine.

docker.containers/<id>           what was asked for, and what the engine does not know: name, image's name, labels, restarts      DockerContainer

Each is a pod of the engine with one container; pod and container have the Docker container's id. How it is right now is the driver's to say.
"""

from __future__ import annotations

from cloudstead.engine.dockerapi.endpoints import EndpointSettings
from cloudstead.engine.dockerapi.shapes import ContainerConfig, HostConfig, Shape
from cloudstead.kernel.store import Row, Table


class MountPoint(Shape, frozen=True, kw_only=True):
    """As inspect shows it."""

    type: str
    name: str = ""  # of a volume
    source: str = ""
    destination: str
    driver: str = ""
    mode: str = ""
    rw: bool = True
    propagation: str = ""
    anonymous: bool = False  # made for this container alone: it goes with it, when that is asked for


class DockerContainer(Row, frozen=True, kw_only=True):
    id: str
    name: str  # without slash
    created: float
    image: str  # as it was named
    image_id: str
    path: str
    args: list[str]
    config: ContainerConfig  # with what the image says filled in
    host_config: HostConfig
    networks: dict[str, EndpointSettings] = {}  # by the network's id, in the order of attaching; what was asked for
    mounts: list[MountPoint] = []
    restart_count: int = 0
    stopped: bool = False  # by somebody who wanted it so: `unless-stopped` leaves it
    platform: str = "linux"

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels or {}

    @property
    def tty(self) -> bool:
        return self.config.tty


CONTAINERS = Table(
    "docker.containers",
    DockerContainer,
    key=lambda c: (c.id,),
    indexes={
        "by_name": lambda c: (c.name,),
        "by_image": lambda c: (c.image_id, c.id),
        "by_volume": lambda c: [(mount.name, c.id) for mount in c.mounts if mount.name],
    },
    unique=("by_name",),
)
