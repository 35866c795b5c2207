"""Passing requests on to the companion, and its answers back.

A client's request goes on as it came, with these changes: headers of the connection stay here; headers by which the companion is told things cannot
come from a client; account, region, service and operation are named as the edge has found and judged them, because moto would look for them
in its own way and could find others; and S3's bucket stands in the path, also where the client put it into the host name, because moto takes
every host name with a dot for a bucket's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from cloudstead.edge.companion.actions import Actions
from cloudstead.edge.companion.needs import Need
from cloudstead.edge.companion.process import CompanionProcess
from cloudstead.edge.protocols.index import ServiceIndex
from cloudstead.http.messages import FileRegion, HttpRequest, HttpResponse
from cloudstead.http.upstream import Lost, NotSent, Upstream
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import NotImplementedHere, ServiceError, Unavailable
from cloudstead.kernel.identity import DEFAULT_ACCOUNT

_KIND = "x-cloudstead-companion"
_OPERATION, _REGION = "x-cloudstead-operation", "x-cloudstead-region"
_TOLD = ("x-cloudstead-", "x-moto-")  # headers by which the daemon tells the companion something
_FLATTENED = str.maketrans("_", "-")  # WSGI does not tell x_moto_account_id from x-moto-account-id
_BUCKET_HOST = re.compile(
    r"^(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}?[a-z0-9])\.(?:s3(?:[.-][a-z0-9-]+)*?\.(?:[a-z0-9.-]+)|localhost)(?::\d+)?$", re.IGNORECASE
)
SIMULATED = ("x-cloudstead-answered-by", "moto (simulated, in memory)")


class CompanionError(ServiceError):
    """An error of a companion service in an inner call; `code` and `status` are what AWS's client would see."""


class CompanionProxy:
    """The services that are not written here. Costs nothing before the first call.

    Args:
        index: of AWS's services; loaded when it is needed and not given.
    """

    def __init__(self, cloud: Cloud, index: ServiceIndex | None = None) -> None:
        self._cloud = cloud
        self._index = index
        self.process = CompanionProcess(cloud.data, self._healthy)
        self._upstream = Upstream(self.process.socket)

    async def close(self) -> None:
        """End the process, if there is one."""
        await self._upstream.close()
        await self.process.stop()

    async def handle(self, request: HttpRequest, service: str, account: str, region: str, operation: str = "") -> HttpResponse:
        """What moto answers to this request, in this account and region.

        Args:
            operation: what the request calls its operation; empty for REST services, whose operations follow from method and path.

        Raises:
            NotImplementedHere: moto is not installed.
            Unavailable: there is no companion, or it ended during the call. A call that nobody has taken is made again.
        """
        account = account or DEFAULT_ACCOUNT
        headers = [(name, value) for name, value in request.headers if _passes(name)]
        headers += [(_KIND, "proxy"), ("x-moto-account-id", account), (_REGION, region), (_OPERATION, operation or "-")]
        if service != "s3":
            # moto finds the service in the signature. S3 is what it takes an unsigned request for; there, being unsigned means something.
            headers = [(name, value) for name, value in headers if name.lower() != "authorization"]
            headers.append(
                ("Authorization", f"AWS4-HMAC-SHA256 Credential={account}/20200101/{region}/{self._signing_name(service)}/aws4_request")
            )
        if not request.host:
            headers.append(("Host", urlsplit(self._cloud.endpoint).netloc))
        path = _path(request, service)
        target = f"{path}?{request.query}" if request.query else path
        response = await self._ask(request, target, headers)
        response.headers = [(name, value) for name, value in response.headers if name.lower() != "server"]
        response.headers.append(SIMULATED)
        return response

    async def call(self, ctx: Context, service: str, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """One operation by AWS's names, as boto3's client takes and gives it; timestamps are seconds since the epoch, bodies are bytes.

        Raises:
            ServiceError: what the operation answers, with its code and status.
            Unavailable: there is no companion, or it ended during the call.
        """
        asked = {
            "service": service,
            "operation": operation,
            "parameters": parameters,
            "account": ctx.account or DEFAULT_ACCOUNT,
            "region": ctx.region,
            "host": urlsplit(self._cloud.endpoint).netloc,
        }
        body = msgspec.msgpack.encode(asked)
        inner = HttpRequest.of("POST", "/", [("Host", "companion"), (_KIND, "call")], body)
        response = await self._ask(inner, "/", list(inner.headers))
        answer = msgspec.msgpack.decode(await _whole(response))
        if "error" in answer:
            raise _error(**answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def needs(self, request: HttpRequest, service: str, operation: str, form_key: str = "") -> list[Need]:
        """What the caller must be allowed: "ssm:GetParameter"; "ssm:*" when the action cannot be told. The call's own action is the first."""
        return self._actions.needs(request, service, _path(request, service), operation, form_key)

    async def _ask(self, request: HttpRequest, target: str, headers: list[tuple[str, str]]) -> HttpResponse:
        if not self._installed:
            raise NotImplementedHere(
                "Not available: moto, which answers this service, is not installed (pip install 'cloudstead[companion]')."
            )
        for last in (False, True):
            await self.process.ensure()
            try:
                return await self._upstream.forward(request, target=target, headers=headers)
            except NotSent as error:
                self.process.lost()
                if last:
                    raise Unavailable("The companion does not accept connections.") from error
            except Lost as error:
                raise Unavailable("The companion ended during the call; whether it was carried out is not known.") from error
        raise AssertionError("unreachable")

    async def _healthy(self) -> None:
        answer = await self._upstream.send("GET", "/", [(_KIND, "health")])
        await answer.read()

    def _signing_name(self, service: str) -> str:
        try:
            return self._services.signing_name(service)
        except KeyError:
            return service

    @cached_property
    def _installed(self) -> bool:
        return find_spec("moto") is not None  # looked for, not imported

    @cached_property
    def _services(self) -> ServiceIndex:
        return self._index or ServiceIndex.load()

    @cached_property
    def _actions(self) -> Actions:
        return Actions(self._services.signing_name)


def bucket_of_host(host: str) -> str:
    """The bucket that a host name names, as in bucket.s3.eu-west-1.amazonaws.com, bucket.s3.localhost:4566, bucket.localhost; else empty."""
    found = _BUCKET_HOST.match(host)
    return found["bucket"].lower() if found is not None else ""


def bucket_of(request: HttpRequest) -> str:
    """The bucket that a request to S3 is for, by its host or its path; may be empty."""
    return bucket_of_host(request.host) or unquote(request.path.split("/")[1] if request.path[:1] == "/" else "")


def _path(request: HttpRequest, service: str) -> str:
    """The raw path, with the bucket at its begin."""
    bucket = bucket_of_host(request.host) if service == "s3" else ""
    return f"/{bucket}{request.path}" if bucket else request.path


def _passes(name: str) -> bool:
    return not name.lower().translate(_FLATTENED).startswith(_TOLD)


def _error(code: str, message: str, status: int) -> ServiceError:
    error = type(
        code or "CompanionError", (CompanionError,), {"code": code, "status": status, "fault": "server" if status >= 500 else "client"}
    )
    made: ServiceError = error(message)
    return made


async def _whole(response: HttpResponse) -> bytes:
    body = response.body
    assert not isinstance(body, FileRegion)
    return body if isinstance(body, bytes) else b"".join([piece async for piece in body])
