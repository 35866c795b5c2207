"""What a request to S3 needs: actions, and the ARNs of bucket and object, which method, path and query string tell.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html, "Permissions" of each page
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote

from cloudstead.edge.companion.needs import Need
from cloudstead.edge.protocols import xml_body
from cloudstead.http.messages import HttpRequest
from cloudstead.kernel.errors import MalformedRequest

MOST_KEYS: Final = 1000  # of one DeleteObjects
CONTROL: Final = "/v20180820/"  # S3 Control, which signs as S3; moto tells it by this and by its host name

_BUCKET: Final = {
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


def needs(request: HttpRequest, path: str, form_key: str = "") -> list[Need]:
    """All that the caller of a path-style request must be allowed.

    Args:
        path: raw, with the bucket in it.
        form_key: the object that a form names (`post_form`).
    """
    plain = unquote(path)  # as moto reads it: a slash that was encoded is one
    if plain.startswith((CONTROL, "//")) or "s3-control" in request.host:
        return [Need("s3:*")]
    given = dict(parse_qsl(request.query, keep_blank_values=True))
    bucket, _, key = plain[1:].partition("/")
    action = s3_action(request.method, plain, request.query)
    if action == "ListAllMyBuckets":
        return [Need("s3:ListAllMyBuckets", "*")]
    conditions = {f"s3:{name}": given[name] for name in ("prefix", "delimiter", "max-keys") if name in given}
    found = [Need(f"s3:{action}", resource, conditions) for resource in _resources(request, bucket, key or form_key, given)]
    source = request.headers.get("x-amz-copy-source")
    if source is not None:
        name, _, version = source.removeprefix("/").partition("?versionId=")
        found.append(Need("s3:GetObjectVersion" if version else "s3:GetObject", f"arn:aws:s3:::{unquote(name)}"))
    return found


def _resources(request: HttpRequest, bucket: str, key: str, given: dict[str, str]) -> list[str]:
    """The ARNs; an empty one when they cannot be told."""
    if key:
        return [f"arn:aws:s3:::{bucket}/{key}"]
    if request.method != "POST":
        return [f"arn:aws:s3:::{bucket}"]
    if "delete" not in given or request.whole is None:
        return [""]
    try:
        root = xml_body.parse(request.whole)
    except MalformedRequest:
        return [""]
    keys = [element.text or "" for element in root.iter() if xml_body.local_name(element.tag) == "Key"]
    return [f"arn:aws:s3:::{bucket}/{key}" for key in keys] if 0 < len(keys) <= MOST_KEYS else [""]


def s3_action(method: str, path: str, query: str) -> str:
    """The action of a path-style request (its path decoded), without its prefix; "*" when there is none."""
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
