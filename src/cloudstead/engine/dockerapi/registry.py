"""Docker's containers: found by name or id, changed, waited for.

api.part(Containers).find("web")                 the row; NotFound and ambiguous ids in Docker's words
api.part(Containers).of_image(id) … of_volume(name)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cloudstead.engine.dockerapi.model import CONTAINERS, DockerContainer
from cloudstead.engine.errors import Conflict, InvalidArgument, NotFound
from cloudstead.engine.pods.states import ContainerStatus
from cloudstead.kernel.store import Exists

if TYPE_CHECKING:
    from cloudstead.engine.dockerapi.api import DockerApi

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


class Containers:
    """All of them."""

    def __init__(self, api: DockerApi) -> None:
        self._api = api
        self._store = api.engine.store
        self._store.attach([CONTAINERS])
        self._rows = self._store.table(CONTAINERS)
        self.removing: set[str] = set()  # ids of those that are being removed
        self.restarting: set[str] = set()  # ids of those that have ended and will be started again

    # finding

    def find(self, name: str) -> DockerContainer:
        """By id, by name, by the beginning of an id, in this order.

        Raises:
            NotFound
            InvalidArgument: several ids begin so.
        """
        row = self.by_id(name) or self.by_name(name)
        if row is not None:
            return row
        prefix = name.removeprefix("/")
        found = self._rows.scan(starts=prefix, limit=2) if prefix else []
        if len(found) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {name}")
        if not found:
            raise NotFound(f"No such container: {name}")
        return found[0]

    def by_id(self, id: str) -> DockerContainer | None:
        return self._rows.get((id,))

    def by_name(self, name: str) -> DockerContainer | None:
        return self._rows.find("by_name", (name.removeprefix("/"),))

    def all(self) -> list[DockerContainer]:
        return self._rows.scan()

    def of_image(self, image_id: str) -> list[DockerContainer]:
        return self._rows.scan((image_id,), index="by_image")

    def of_volume(self, name: str) -> list[DockerContainer]:
        return self._rows.scan((name,), index="by_volume")

    def status(self, row: DockerContainer) -> ContainerStatus:
        """How it is. One that the driver has lost is shown as exited."""
        try:
            return self._api.engine.pods.inspect(row.id)
        except NotFound:
            return ContainerStatus(
                id=row.id, name="main", pod=row.id, state="exited", exit_code=255, error="its files are gone", created=row.created
            )

    def runs(self, row: DockerContainer) -> bool:
        return self.status(row).state in ("running", "paused")

    def state(self, row: DockerContainer) -> str:
        """In Docker's words: created, running, paused, restarting, removing, exited."""
        if row.id in self.restarting:
            return "restarting"
        state = self.status(row).state
        return "removing" if row.id in self.removing and state not in ("running", "paused") else state

    # changing

    def check_name(self, name: str) -> str:
        """A name that a container may have, without its slash.

        Raises:
            InvalidArgument, Conflict
        """
        bare = name.removeprefix("/")
        if not NAME.fullmatch(bare):
            raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
        if (holder := self.by_name(bare)) is not None:
            raise name_taken(bare, holder.id)
        return bare

    def insert(self, row: DockerContainer) -> DockerContainer:
        """Keep a new one. Durable when `store.settled` has returned."""
        try:
            with self._store.transaction() as tx:
                return tx.insert(CONTAINERS, row)
        except Exists:
            holder = self.by_name(row.name)
            raise name_taken(row.name, holder.id if holder else "") from None

    def change(self, id: str, **changes: Any) -> DockerContainer | None:
        """Change what is kept of it now; None when it is gone."""
        row = self.by_id(id)
        if row is None:
            return None
        try:
            with self._store.transaction() as tx:
                return tx.update(CONTAINERS, row, **changes)
        except Exists:
            holder = self.by_name(changes["name"])
            raise name_taken(changes["name"], holder.id if holder else "") from None

    def delete(self, id: str) -> None:
        with self._store.transaction() as tx:
            tx.delete(CONTAINERS, (id,))

    # telling

    def tell(self, row: DockerContainer, action: str, attributes: dict[str, str] | None = None, *, time: float = 0.0) -> None:
        """To `docker events`."""
        self._api.events.tell(
            "container", action, row.id, {**row.labels, "image": row.image, "name": row.name, **(attributes or {})}, time=time
        )


def name_taken(name: str, holder: str) -> Conflict:
    return Conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )


def short(id: str) -> str:
    return id[:12]
