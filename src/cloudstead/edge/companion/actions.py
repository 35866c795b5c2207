"""What IAM policies call a request to a service that is not written here: `ssm:GetParameter`.

Requests of most services name their operation (`identify` finds it). Those of REST services only show method and path, which are looked up in
`routes.json` (made by tools/companion_routes.py from botocore's models), but for S3 and API Gateway, whose actions have rules of their own.
What cannot be told is `<service>:*`, which only a policy for the whole service allows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qsl

import msgspec

from cloudstead.edge.http.messages import HttpRequest
from cloudstead.edge.protocols.rest import Routes
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

    def of(self, request: HttpRequest, service: str, path: str, operation: str = "") -> list[str]:
        """Every action that the request needs.

        Args:
            path: with the bucket in it, where the host named one.
            operation: what the request itself calls its operation; empty for REST services.
        """
        prefix = self.prefix(service)
        if service == "s3":
            if path.startswith("/v20180820/") or "s3-control" in request.host:  # what moto takes for S3 Control
                return [f"{prefix}:*"]
            copies = ["s3:GetObject"] if "x-amz-copy-source" in request.headers else []
            return [f"{prefix}:{s3_action(request.method, path, request.query)}", *copies]
        if service in ("apigateway", "apigatewayv2"):
            return [f"{prefix}:{request.method}"]
        return [f"{prefix}:{operation or self._routed(request, service, path) or '*'}"]

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


# The actions of S3: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html, "Permissions" of each page.
_BUCKET = {
    "accelerate": "AccelerateConfiguration",
    "acl": "BucketAcl",
    "analytics": "AnalyticsConfiguration",
    "cors": "BucketCORS",
    "encryption": "EncryptionConfiguration",
    "intelligent-tiering": "IntelligentTieringConfiguration",
    "inventory": "InventoryConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "location": "BucketLocation",
    "logging": "BucketLogging",
    "metrics": "MetricsConfiguration",
    "notification": "BucketNotification",
    "object-lock": "BucketObjectLockConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "replication": "ReplicationConfiguration",
    "requestPayment": "BucketRequestPayment",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
    "website": "BucketWebsite",
}
_OBJECT = {"acl": "ObjectAcl", "tagging": "ObjectTagging", "retention": "ObjectRetention", "legal-hold": "ObjectLegalHold"}
_PARTS = frozenset((*_BUCKET, *_OBJECT, "attributes", "delete", "restore", "select", "torrent", "uploads", "versions"))
_OWN_DELETE = ("policy", "website", "ownershipControls")
"""Deleting these has a permission of its own; deleting any other configuration of a bucket is one of putting it."""


def s3_action(method: str, path: str, query: str) -> str:
    """The action of a path-style S3 request, without its prefix; "*" when there is none."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    if sum(name in given for name in _PARTS) > 1:
        return "*"  # two parts of a resource at once: which of them moto answers is its own affair
    bucket, _, key = path.lstrip("/").partition("/")
    if not bucket:
        return "ListAllMyBuckets" if method in ("GET", "HEAD") else "*"
    return _object_action(method, given) if key else _bucket_action(method, given)


def _bucket_action(method: str, given: dict[str, str]) -> str:
    part = next((name for name in _BUCKET if name in given), "")
    if method in ("GET", "HEAD"):
        if part:
            return f"Get{_BUCKET[part]}"
        return "ListBucketVersions" if "versions" in given else "ListBucketMultipartUploads" if "uploads" in given else "ListBucket"
    if method == "PUT":
        return f"Put{_BUCKET[part]}" if part else "CreateBucket"
    if method == "DELETE":
        return f"{'Delete' if part in _OWN_DELETE else 'Put'}{_BUCKET[part]}" if part else "DeleteBucket"
    if method == "POST":
        return "DeleteObject" if "delete" in given else "PutObject"
    return "*"


def _object_action(method: str, given: dict[str, str]) -> str:
    part = next((name for name in _OBJECT if name in given), "")
    version = "versionId" in given
    if part:
        what = _OBJECT[part].replace("Object", "ObjectVersion") if version and part in ("acl", "tagging") else _OBJECT[part]
        return {"GET": "Get", "HEAD": "Get", "PUT": "Put", "DELETE": "Delete"}.get(method, "Put") + what
    if method in ("GET", "HEAD"):
        if "uploadId" in given:
            return "ListMultipartUploadParts"
        return ("GetObjectVersion" if version else "GetObject") + ("Attributes" if "attributes" in given else "")
    if method == "PUT":
        return "PutObject"
    if method == "DELETE":
        return "AbortMultipartUpload" if "uploadId" in given else "DeleteObjectVersion" if version else "DeleteObject"
    if method == "POST":
        return "RestoreObject" if "restore" in given else "GetObject" if "select" in given else "PutObject"
    return "*"
