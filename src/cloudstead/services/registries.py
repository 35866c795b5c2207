"""The handler of all registries of this cloud: the host tells whose they are, and the service behind is made ready at the first request.

Nothing of them is imported before: a cloud that is asked for no image pays nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final, NamedTuple

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.errors import Throttled

if TYPE_CHECKING:
    from cloudstead.engine.registry.http.api import RegistryApi


class Family(NamedTuple):
    """Registries with one gate."""

    service: str
    gate: str  # <module>:<class>, made with the cloud


PRIVATE: Final = Family("ecr", "cloudstead.services.ecr.gate:EcrGate")
PUBLIC: Final = Family("ecr-public", "cloudstead.services.ecr_public.gate:PublicGate")


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

    async def __call__(self, request: HttpRequest, request_id: str, *, busy: bool) -> tuple[HttpResponse, Told]:
        """Never raises.

        Args:
            busy: so much is under way that this is refused.
        """
        family = family_of(request.host)
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

    async def _open(self, family: Family) -> RegistryApi:
        from cloudstead.engine.registry.http.api import RegistryApi

        await self._cloud.ready(family.service)
        module, _, name = family.gate.partition(":")
        gate = getattr(importlib.import_module(module), name)(self._cloud)
        return self._apis.setdefault(family, RegistryApi(self._cloud.parts["engine"].registries(), gate))


def family_of(host: str) -> Family:
    return PUBLIC if host.startswith("public.ecr.") else PRIVATE
