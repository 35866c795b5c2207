"""The Docker Engine API over one engine: an HTTP handler, and what runs beside the requests.

A module of `MODULES` registers its routes by being imported, which the first `DockerApi` does. It may also have `async def start(api)` and `async def stop(api)`, called in this
order (and in reverse). What such a module keeps in memory is a class of its own, made by `api.part(ThatClass)` when it is first asked for.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cloudstead import __version__
from cloudstead.engine.dockerapi.answers import error_answer
from cloudstead.engine.dockerapi.errors import DockerError, status_of
from cloudstead.engine.dockerapi.events import Events
from cloudstead.engine.dockerapi.routing import API_VERSION, ROUTES, DockerRequest, numbers, split_version
from cloudstead.engine.dockerapi.serving import LIMITS as LIMITS
from cloudstead.engine.errors import EngineError
from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.errors import CommonError
from cloudstead.kernel.store import StoreError

if TYPE_CHECKING:
    from cloudstead.engine.build.builder import Builder
    from cloudstead.engine.engine import Engine

log = logging.getLogger(__name__)

MODULES = (
    "system",
    "networks",  # before containers: theirs must be there when containers are started anew
    "connections",
    "network_names",
    "volumes",
    "images",
    "transfers",
    "auth",
    "distribution",
    "build",
    "df",
    "containers",
    "lifecycle",
    "listing",
    "inspecting",
    "files",
    "commit",
    "observing",
    "attach",
    "logs",
    "execs",
    "swarm",
    "supervision",  # last: it starts what is to be started again
)

P = TypeVar("P")


class DockerApi:
    """`Server(DockerApi(engine, builder))`, between `start` and `stop`."""

    def __init__(self, engine: Engine, builder: Builder | None = None) -> None:
        self.engine = engine
        self.builder = builder
        self.events = Events(engine.clock)
        self._parts: dict[type[Any], Any] = {}
        self._modules = [importlib.import_module(f"{__package__}.{name}") for name in MODULES]  # here: they import this one

    def part(self, kind: type[P]) -> P:
        """The one object of a class for this API, made as `kind(api)`."""
        found = self._parts.get(kind)
        if found is None:
            found = self._parts[kind] = cast(Any, kind)(self)
        return cast(P, found)

    async def start(self) -> None:
        for module in self._modules:
            if hasattr(module, "start"):
                await module.start(self)

    async def stop(self) -> None:
        for module in reversed(self._modules):
            if hasattr(module, "stop"):
                await module.stop(self)
        self.events.close()

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        response = await self._answer(request)
        response.headers += [
            ("Api-Version", API_VERSION),
            ("Docker-Experimental", "false"),
            ("Ostype", "linux"),
            ("Server", f"Cloudstead/{__version__} (linux)"),
        ]
        return response

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        try:
            version, path = split_version(request.path)
            found = ROUTES.find(request.method, path)
            if found is None:
                return error_answer(404, "page not found")
            function, names = found
            return await function(self, DockerRequest(request, names, version or numbers(API_VERSION)))
        except (EngineError, DockerError, CommonError) as error:
            return error_answer(status_of(error), error.message)
        except StoreError as error:
            return error_answer(409, f"it was changed by somebody else meanwhile: {error}")
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return error_answer(500, "an error inside Cloudstead; its log says more")
