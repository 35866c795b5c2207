"""The requests at 169.254.169.254. Who asks is known by its address.

Version 2: `PUT /latest/api/token` with `X-aws-ec2-metadata-token-ttl-seconds`, and the token with every request that follows. The answer to the PUT is
sent over as many hops as the instance allows and lost beyond; to whoever is too far away we say nothing, so that clients do as they do on AWS.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from cloudstead.http.messages import HttpRequest, HttpResponse
from cloudstead.kernel.clock import Clock
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.role_credentials import RoleCredentials
from cloudstead.kernel.sessions import Sessions
from cloudstead.services.ec2.imds import tokens, tree
from cloudstead.services.ec2.imds.model import Asker, Instance

log = logging.getLogger(__name__)

TOKEN: Final = "X-aws-ec2-metadata-token"
TOKEN_TTL: Final = "X-aws-ec2-metadata-token-ttl-seconds"
SILENCE: Final = 60.0  # seconds that an answer which nobody gets is kept back

Who = Callable[[str], Asker | None]
"""The instance behind an address; None for a stranger."""

Lend = Callable[[Instance, str], Awaitable[RoleCredentials]]
"""The credentials of an instance's role, by the role's ARN. Raises ServiceError."""


class InstanceEndpoint:
    """An HTTP handler; one for each network, whose addresses `who` knows."""

    def __init__(self, clock: Clock, sessions: Sessions, who: Who, lend: Lend) -> None:
        self._clock = clock
        self._sessions = sessions
        self._who = who
        self._lend = lend

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        asker = self._who(request.peer)
        if asker is None:
            return fault(404)
        options = asker.instance.options
        if options.http_endpoint == "disabled":
            return fault(403)
        if request.path.rstrip("/").endswith("/api/token") and request.path.count("/") == 3:
            return await self._token(request, asker)
        if request.method not in ("GET", "HEAD"):
            return fault(405)
        token = request.headers.get(TOKEN)
        if token is None and options.http_tokens == "required":
            return fault(401)
        if token is not None and not tokens.is_good(self._sessions, token, asker.instance.instance_id, self._clock.time()):
            return fault(401)
        return await self._answer(request.path, asker.instance)

    async def _token(self, request: HttpRequest, asker: Asker) -> HttpResponse:
        if request.method != "PUT":
            return fault(405)
        if "x-forwarded-for" in request.headers:  # it has come through a proxy that was left open
            return fault(403)
        seconds = tokens.lifetime(request.headers.get(TOKEN_TTL))
        if seconds is None:
            return fault(400)
        if asker.hops > asker.instance.options.http_put_response_hop_limit:
            await self._clock.sleep(SILENCE)
            return fault(403)
        token = tokens.issue(self._sessions, asker.instance.instance_id, self._clock.time() + seconds)
        return HttpResponse(200, [("Content-Type", "text/plain"), (TOKEN_TTL, str(seconds)), ("Server", "EC2ws")], token.encode())

    async def _answer(self, path: str, instance: Instance) -> HttpResponse:
        found = tree.find(instance, path)
        if found is None:
            return fault(404)
        if isinstance(found, tree.Lent):
            found = await self._credentials(instance, found.role_arn)
        if isinstance(found, bytes):
            return HttpResponse(200, [("Content-Type", "application/octet-stream"), ("Server", "EC2ws")], found)
        return HttpResponse(200, [("Content-Type", "text/plain"), ("Server", "EC2ws")], found.encode())

    async def _credentials(self, instance: Instance, role_arn: str) -> str:
        try:
            return tree.credentials(await self._lend(instance, role_arn))
        except ServiceError as error:
            log.warning("no credentials of %s for %s: %s", role_arn, instance.instance_id, error)
            return tree.failed_credentials(self._clock.time())


def fault(status: int) -> HttpResponse:
    """A page, as the service has them."""
    says = f"{status} - {HTTPStatus(status).phrase}"
    page = (
        '<?xml version="1.0" encoding="iso-8859-1"?>\n'
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"\n'
        '\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n'
        f" <head>\n  <title>{says}</title>\n </head>\n <body>\n  <h1>{says}</h1>\n </body>\n</html>\n"
    )
    return HttpResponse(status, [("Content-Type", "text/html"), ("Server", "EC2ws")], page.encode())
