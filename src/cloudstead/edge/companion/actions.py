"""What IAM policies call a request to a service that is not written here: `ssm:GetParameter`.

Requests of most services name their operation (`identify` finds it). Those of REST services only show method and path, which are looked up in
`routes.json` (made by tools/companion_routes.py from botocore's models), but for S3 (`s3.py`) and API Gateway, whose actions have rules of their own.
What cannot be told is `<service>:*`, which only a policy for the whole service allows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

import msgspec

from cloudstead.edge.companion import s3
from cloudstead.edge.companion.needs import Need
from cloudstead.edge.protocols.rest import Routes
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import MalformedRequest

TABLE = Path(__file__).with_name("routes.json")

# Where the prefix of a service's actions is neither its signing name nor its endpoint's.
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
_PREFIXES = {
    "cloudwatch": "cloudwatch",
    "iot-data": "iot",
    "resourcegroupstaggingapi": "tag",
    "mediastore-data": "mediastore",
    "cloudsearch": "cloudsearch",
    "iot-jobs-data": "iotjobsdata",
    "marketplace-metering": "aws-marketplace",
    "neptunedata": "neptune-db",
    "personalize-events": "personalize",
    "personalize-runtime": "personalize",
    "sagemaker-metrics": "sagemaker",
    "sagemaker-runtime": "sagemaker",
}


class Actions:
    """
    Args:
        signing_name: the signing name of one of botocore's services; KeyError when AWS has none of that name.
    """

    def __init__(self, signing_name: Callable[[str], str]) -> None:
        self._signing_name = signing_name

    def needs(self, request: HttpRequest, service: str, path: str, operation: str = "", form_key: str = "") -> list[Need]:
        """All that the caller must be allowed; the call's own action first.

        Args:
            path: with the bucket in it, where the host named one.
            operation: what the request itself calls its operation; empty for REST services.
            form_key: the object that a form to S3 names.
        """
        if service == "s3":
            return s3.needs(request, path, form_key)
        prefix = self.prefix(service)
        if service in ("apigateway", "apigatewayv2"):
            return [Need(f"{prefix}:{request.method}")]
        return [Need(f"{prefix}:{operation or self._routed(request, service, path) or '*'}")]

    def prefix(self, service: str) -> str:
        if service in _PREFIXES:
            return _PREFIXES[service]
        try:
            return self._signing_name(service)
        except KeyError:
            return service

    def _routed(self, request: HttpRequest, service: str, path: str) -> str:
        try:
            found = routes(service).match(request.method, path, request.query)
            plain = unquote(path)
            if plain != path and found is not None:  # to moto a slash is a slash, also when it was encoded
                again = routes(service).match(request.method, plain.replace("%", "%25"), request.query)
                found = found if again is not None and again[0] == found[0] else None
        except MalformedRequest:
            return ""
        return found[0] if found is not None else ""


@lru_cache(maxsize=16)
def routes(service: str) -> Routes:
    """The routes of a REST service; none of any other."""
    known = _table().get(service)
    operations: dict[str, str] = msgspec.json.decode(known) if known is not None else {}
    return Routes({name: dict(zip(("method", "requestUri"), route.split(" ", 1), strict=True)) for name, route in operations.items()})


@lru_cache(maxsize=1)
def _table() -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(TABLE.read_bytes(), type=dict[str, msgspec.Raw])
