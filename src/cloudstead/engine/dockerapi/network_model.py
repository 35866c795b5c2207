"""Docker's networks: what the engine's networks do not know of them.

    docker.networks/<id>        name, labels, options and addresses as they were asked for           DockerNetwork

A network of the driver `bridge` is an engine network of the same id. `host` and `null` are modes of a pod and have none.
"""

from __future__ import annotations

from typing import Literal

from cloudstead.kernel.store import Row, Table


class DockerNetwork(Row, frozen=True, kw_only=True):
    id: str  # 64 hexadecimal digits
    name: str
    driver: Literal["bridge", "host", "null"] = "bridge"
    created: float
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    internal: bool = False
    attachable: bool = False
    cidr: str = ""
    gateway: str = ""
    range: str = ""  # of addresses that are given out, when it was asked for
    predefined: bool = False  # bridge, host and none: made at the first start, never removed

    @property
    def user_defined(self) -> bool:
        """Its containers find one another by name, and may ask for an address."""
        return not self.predefined


NETWORKS = Table("docker.networks", DockerNetwork, key=lambda n: (n.id,), indexes={"by_name": lambda n: (n.name,)}, unique=("by_name",))
