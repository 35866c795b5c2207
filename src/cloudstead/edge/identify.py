"""Which service, protocol and operation a request is for.

In this order, first answer wins:

    1. the credential scope of its signature (header or query string)
    2. Smithy-Protocol: rpc-v2-cbor, with /service/<id>/operation/<name>
    3. X-Amz-Target: <prefix>.<operation>
    4. the host: <service>.<region>.amazonaws.com and its kin, <bucket>.s3.…
    5. Action and Version, in the query string or a form
    6. S3, which everything else could be

A scope names a *signing name*, which several services share (ELB classic and ELBv2, RDS and Neptune); X-Amz-Target or Version then decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote_plus

from cloudstead.edge.protocols.index import ServiceIndex
from cloudstead.edge.protocols.model import ServiceModel
from cloudstead.edge.sigv4 import Signature
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import BadSignature, UnknownOperation
from cloudstead.kernel.identity import DEFAULT_REGION

FORM = "application/x-www-form-urlencoded"
FORM_LIMIT = 16 << 20  # bytes of a form that are looked through for its Action
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+){1,3}-\d{1,2}")
_HOST = re.compile(
    r"(?:^|\.)(?P<service>[a-z0-9-]+)(?:\.(?P<region>[a-z]{2,4}(?:-[a-z]+)+-\d+))?\.(?:amazonaws\.com(?:\.cn)?|localhost\.localstack\.cloud)$"
)
_ACTION = re.compile(r"(?:^|&)Action=([^&]*)")
_VERSION = re.compile(r"(?:^|&)Version=([^&]*)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
_CBOR_PATH = re.compile(r"^.*/service/(?P<service>[A-Za-z0-9_]+)/operation/(?P<operation>[A-Za-z0-9_]+)$")
NO_LABELS: Mapping[str, str] = {}


class Target:
    """What a request is for. `operation` is AWS's name; of a REST service it is empty until `route`."""

    __slots__ = ("labels", "operation", "protocol", "region", "service")

    def __init__(self, service: str, protocol: str, region: str, operation: str = "") -> None:
        self.service = service
        self.protocol = protocol
        self.region = region
        self.operation = operation
        self.labels: Mapping[str, str] = NO_LABELS

    @classmethod
    def guess(cls, request: HttpRequest) -> Target:
        """What an error can be written as before anything is known."""
        headers = request.headers
        if headers.get("smithy-protocol") == "rpc-v2-cbor":
            return cls("", "smithy-rpc-v2-cbor", DEFAULT_REGION)
        if headers.get("x-amz-target") is not None or "json" in (headers.get("content-type") or ""):
            return cls("", "json", DEFAULT_REGION)
        if (headers.get("content-type") or "").startswith(FORM):
            return cls("", "query", DEFAULT_REGION)
        return cls("", "rest-xml", DEFAULT_REGION)

    def route(self, model: ServiceModel, request: HttpRequest) -> None:
        """Find the operation of a REST service from method and path.

        Raises:
            UnknownOperation: no operation has this route.
        """
        found = (
            model.routes.match(request.method, request.path, request.query, request.headers) if self.protocol.startswith("rest-") else None
        )
        if found is None:
            raise UnknownOperation(self.unknown(model))
        self.operation, self.labels = found

    def unknown(self, model: ServiceModel) -> str:
        """AWS's sentence for an operation that does not exist."""
        if self.protocol in ("query", "ec2"):
            if not self.operation:
                return "Could not find operation; no Action was given."
            return f"Could not find operation {self.operation} for version {model.api_version}"
        return f"Unknown operation {self.operation}" if self.operation else "The requested operation is not recognized."

    def long_body(self, request: HttpRequest) -> bool:
        """Whether a body is better passed on as it comes: its length is unknown or large, or it is signed in pieces."""
        declared = request.headers.get("x-amz-content-sha256") or ""
        length = request.content_length
        if declared.startswith("STREAMING-"):
            return True
        # A presigned upload to S3 declares nothing.
        return (bool(declared) or self.service == "s3") and (length is None or length > 1 << 20)


class Identifier:
    """Reads the signs in the order above."""

    def __init__(self, index: ServiceIndex) -> None:
        self._index = index

    async def identify(self, request: HttpRequest, signature: Signature | None) -> Target:
        """
        Raises:
            UnknownOperation: nothing tells what this is.
            BadSignature: the scope names no region.
        """
        index, headers = self._index, request.headers.index()
        region, service = DEFAULT_REGION, ""
        if signature is not None:
            region, service = region_of(signature.region), index.signed_as(signature.service)
        if headers.get("smithy-protocol") == "rpc-v2-cbor" and (path := _CBOR_PATH.match(request.path)):
            service = index.by_service_id.get(path["service"], service)
            if not service:
                raise UnknownOperation(f"There is no service {path['service']}.")
            return Target(service, "smithy-rpc-v2-cbor", region, path["operation"])
        aimed = headers.get("x-amz-target")
        if aimed is not None:
            prefix, _, operation = aimed.rpartition(".")
            service = index.by_target.get(prefix, service)
            if service and "json" in index.protocols(service):
                return Target(service, "json", region, named(operation))
        if not service:
            service, region = self._by_host(request, region)
        if service and index.protocols(service)[0].startswith("rest-"):
            return Target(service, index.protocols(service)[0], region)
        form = await form_text(request)
        action, version = _ACTION.search(form), _VERSION.search(form)
        if version is not None:
            service = index.of_version(unquote_plus(version[1]), service)
        if service and (action is not None or index.protocols(service)[0] in ("query", "ec2")):
            return Target(service, "ec2" if service == "ec2" else "query", region, named(unquote_plus(action[1])) if action else "")
        if signature is not None and not service:
            raise UnknownOperation(f"There is no service that signs as {signature.service!r}.")
        service = service or "s3"
        return Target(service, index.protocols(service)[0], region)

    def signing_name(self, service: str) -> str:
        """What the scope of a signature for this service must name."""
        return self._index.signing_name(service)

    def _by_host(self, request: HttpRequest, region: str) -> tuple[str, str]:
        found = _HOST.search(request.host.partition(":")[0].lower())
        if found is None:
            return "", region
        return self._index.by_endpoint.get(found["service"], ""), found["region"] or region


def region_of(scope: str) -> str:
    if scope in ("aws-global", "us-east-1", ""):
        return DEFAULT_REGION
    if not _REGION.fullmatch(scope):
        raise BadSignature("Credential should be scoped to a valid region.")
    return scope


def named(operation: str) -> str:
    """The operation's name, if it could be one: it goes into logs and error texts.

    Raises:
        UnknownOperation
    """
    if not _NAME.fullmatch(operation):
        raise UnknownOperation("The requested operation is not recognized.")
    return operation


async def form_text(request: HttpRequest) -> str:
    """The query string, and after it the form in the body when there is one."""
    if request.method == "POST" and (request.headers.get("content-type") or "").startswith(FORM):
        body = await request.read(FORM_LIMIT)
        return f"{request.query}&{body.decode('latin-1')}" if request.query else body.decode("latin-1")
    return request.query
