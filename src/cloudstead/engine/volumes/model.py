"""The rows that volumes are kept in.

volumes/<name>                    a folder, or what is mounted on it           Volume
uses/<name>/<container>           a container has it mounted, or will          Use
"""

from __future__ import annotations

from cloudstead.kernel.store import Row, Table


class Volume(Row, frozen=True, kw_only=True):
    name: str
    created: float
    labels: dict[str, str] = {}
    options: dict[str, str] = {}  # type, device, o
    anonymous: bool = False  # nobody gave it a name
    removing: bool = False  # its folder may be gone already


class Use(Row, frozen=True, kw_only=True):
    volume: str
    container: str


VOLUMES = Table("engine.volumes", Volume, key=lambda v: (v.name,))
USES = Table("engine.volume_uses", Use, key=lambda u: (u.volume, u.container), indexes={"by_container": lambda u: (u.container, u.volume)})
