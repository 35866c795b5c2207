"""Where clients find sessions on the edge. Light to import: a daemon without sessions loads nothing of them."""

from __future__ import annotations

from typing import Final

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.context import Cloud

PATH: Final = "/_cloudstead/session/"
PART: Final = "ecs.sessions"


async def answer(cloud: Cloud, request: HttpRequest) -> HttpResponse:
    """A request below PATH."""
    sessions = cloud.parts.get(PART)
    return not_found() if sessions is None else await sessions.answer(request)


async def stop(cloud: Cloud) -> None:
    """End all sessions, while their containers and connections are still there."""
    sessions = cloud.parts.get(PART)
    if sessions is not None:
        await sessions.stop()


def not_found() -> HttpResponse:
    return HttpResponse(404, [("Content-Type", "text/plain; charset=utf-8")], b"There is no such session.\n")
