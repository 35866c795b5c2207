"""The handler: who calls (the gate), what for (the path), whether they may (the gate), then one function for each method of each path.

A request costs two look-ups in dictionaries and no regular expression but that of the repository's name; HEAD and small GETs wait for nothing, unless
the gate or a transaction that somebody else has just made does. No answer leaves before what it could have seen is on disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.errors import NameUnknown, UnsupportedHere
from cloudstead.engine.registry.gate import Doing, Gate, Rules
from cloudstead.engine.registry.http import blobs, listings, manifests, paths, uploads
from cloudstead.engine.registry.http.answers import JSON, VERSION, refusal
from cloudstead.engine.registry.uploads import Uploads
from cloudstead.http.messages import FileRegion, HttpRequest, HttpResponse
from cloudstead.kernel.ids import request_id

Method: TypeAlias = Callable[["Call"], Awaitable[HttpResponse]]


class Call:
    """One request. It fills on the way; what stands there at the end is for the log."""

    __slots__ = ("caller", "catalog", "error", "gate", "id", "kind", "name", "request", "rest", "rules", "uploads")

    rules: Rules

    def __init__(self, api: RegistryApi, request: HttpRequest, id_: str) -> None:
        self.catalog = api.catalog
        self.uploads = api.uploads
        self.gate = api.gate
        self.request = request
        self.id = id_
        self.caller: Any = None
        self.kind, self.name, self.rest = paths.split(request.path)
        self.error = ""

    @property
    def operation(self) -> str:
        """As the log calls it: "GET.manifests"."""
        return f"{self.request.method}.{self.kind or 'unknown'}"


class RegistryApi:
    """The registries behind one gate."""

    def __init__(self, catalog: Catalog, gate: Gate) -> None:
        self.catalog = catalog
        self.gate = gate
        self.uploads = Uploads(catalog)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        return await self.answer(self.call(request, request_id()))

    def call(self, request: HttpRequest, id_: str) -> Call:
        return Call(self, request, id_)

    async def answer(self, call: Call) -> HttpResponse:
        """Never raises, but when it is cancelled."""
        store = self.catalog.store
        failures = store.failures  # what is undone while the call awaits something must not be acknowledged
        try:
            response = await self._answer(call)
        except Exception as error:
            response, call.error = refusal(error, call.id)
        settled = False
        try:
            await store.settled(failures)
            settled = True
        except Exception as error:
            unsent, (response, call.error) = response, refusal(error, call.id)
            _close(unsent)
        finally:
            if not settled:
                _close(response)
        return response

    async def _answer(self, call: Call) -> HttpResponse:
        call.caller = await self.gate.admit(call.request)
        kind = call.kind
        method = _METHODS.get((kind, call.request.method))
        if method is None:
            raise _not_here(call)
        doing, function = method
        if call.name or kind not in ("base", "catalog"):
            paths.require_name(call.name)
            call.rules = await self.gate.enter(call.caller, call.name, doing)
        return await function(call)


def _close(response: HttpResponse) -> None:
    """Of an answer that will not be sent."""
    if isinstance(response.body, FileRegion):
        response.body.close()


async def _base(call: Call) -> HttpResponse:
    return HttpResponse(200, [JSON, VERSION], b"{}")


def _not_here(call: Call) -> Exception:
    allowed = ", ".join(method for kind, method in _METHODS if kind == call.kind)
    if not allowed:
        return NameUnknown("the registry has no such path")
    return UnsupportedHere("the operation is unsupported", headers=(("Allow", allowed),))


_METHODS: dict[tuple[paths.Kind, str], tuple[Doing, Method]] = {
    ("base", "GET"): ("catalog", _base),
    ("base", "HEAD"): ("catalog", _base),
    ("catalog", "GET"): ("catalog", listings.repositories),
    ("tags", "GET"): ("tags", listings.tags),
    ("referrers", "GET"): ("manifest-get", listings.referrers),
    ("manifests", "GET"): ("manifest-get", manifests.get),
    ("manifests", "HEAD"): ("manifest-get", manifests.head),
    ("manifests", "PUT"): ("manifest-put", manifests.put),
    ("manifests", "DELETE"): ("delete", manifests.delete),
    ("blobs", "GET"): ("blob-get", blobs.get),
    ("blobs", "HEAD"): ("blob-head", blobs.head),
    ("blobs", "DELETE"): ("delete", blobs.delete),
    ("uploads", "POST"): ("upload-start", uploads.begin),
    ("upload", "PATCH"): ("upload-part", uploads.append),
    ("upload", "GET"): ("upload-part", uploads.status),
    ("upload", "DELETE"): ("upload-part", uploads.cancel),
    ("upload", "PUT"): ("upload-complete", uploads.complete),
}
