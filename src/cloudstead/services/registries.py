"""The handler of all registries of this cloud: the host tells whose they are, and the service behind is made ready at the first request. Where the host
is Cloudstead's own (localhost), a repository whose name begins with the alias of a public registry is that one's.

Nothing of them is imported before: a cloud that is asked for no image pays nothing.
"""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.errors import Throttled

if TYPE_CHECKING:
    from cloudstead.engine.registry.http.api import RegistryApi
    from cloudstead.kernel.store import TableView
    from cloudstead.services.ecr_public.model import PublicRegistry


class Family(NamedTuple):
    """Registries with one gate."""

    service: str
    gate: str  # <module>:<class>, made with the cloud


PRIVATE: Final = Family("ecr", "cloudstead.services.ecr.gate:EcrGate")
PUBLIC: Final = Family("ecr-public", "cloudstead.services.ecr_public.gate:PublicGate")
_ALIAS = re.compile(r"/v2/([a-z][a-z0-9]{7})/")


class Told(NamedTuple):
    """For the log of calls."""

    account: str
    region: str
    operation: str
    error: str
    caller: str


class Registries:
    """What `edge.dispatch` hands requests for registries to."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._apis: dict[Family, RegistryApi] = {}
        self._aliases: TableView[PublicRegistry] | None = None

    async def __call__(self, request: HttpRequest, request_id: str, *, busy: bool) -> tuple[HttpResponse, Told]:
        """Never raises.

        Args:
            busy: so much is under way that this is refused.
        """
        family = self._family(request)
        try:
            if busy:
                raise Throttled("Rate exceeded")
            api = self._apis.get(family) or await self._open(family)
        except Exception as error:
            from cloudstead.engine.registry.http.answers import refusal

            response, code = refusal(error, request_id)
            return response, Told("", "", f"{family.service}:{request.method}", code, "")
        call = api.call(request, request_id)
        response = await api.answer(call)
        caller = call.caller
        identity = getattr(caller, "identity", None)
        return response, Told(
            getattr(caller, "account", ""),
            getattr(caller, "region", ""),
            f"{family.service}:{call.operation}",
            call.error,
            getattr(identity, "arn", ""),
        )

    def _family(self, request: HttpRequest) -> Family:
        if request.host[:11].lower() == "public.ecr.":
            return PUBLIC
        found = _ALIAS.match(request.path)
        return PUBLIC if found is not None and ".dkr" not in request.host and self._is_public(found[1]) else PRIVATE

    def _is_public(self, alias: str) -> bool:
        if self._aliases is None:
            from cloudstead.services.ecr_public.model import REGISTRIES, TABLES

            self._cloud.store.attach(TABLES)
            self._aliases = self._cloud.store.table(REGISTRIES)
        return self._aliases.find("by_alias", (alias,)) is not None

    async def _open(self, family: Family) -> RegistryApi:
        from cloudstead.engine.registry.http.api import RegistryApi

        await self._cloud.ready(family.service)
        module, _, name = family.gate.partition(":")
        gate = getattr(importlib.import_module(module), name)(self._cloud)
        return self._apis.setdefault(family, RegistryApi(self._cloud.parts["engine"].registries(), gate))
