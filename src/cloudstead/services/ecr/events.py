"""What EventBridge is told of a registry, in the forms of AWS's page. Each is written in the transaction that it tells of.

    ECR Image Action                a push, a deletion, a change of the storage class          here
    ECR Referrer Action             the same of an image that refers to another: a signature, a list of contents
    ECR Image Scan                  a scan has come to its end                                  `image_scan`
    ECR Pull Through Cache Action   an image of an upstream registry was fetched, or not        `pull_through`
    ECR Replication Action          an image has been copied, or not; told where it arrives     `replication`

https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cloudstead.engine.registry.gate import Put
from cloudstead.engine.registry.model import TAGS as IMAGE_TAGS
from cloudstead.engine.registry.model import ImageRow, TagRow
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.dates import iso8601
from cloudstead.kernel.events import Event
from cloudstead.kernel.store import Transaction
from cloudstead.services.ecr.model import RepositoryRow

SOURCE = "aws.ecr"


# ── hooks of pushes.py ───────────────────────────────────────────────────────────────────────────────────────────────


def pushed(cloud: Cloud, tx: Transaction, row: RepositoryRow, put: Put) -> None:
    """An image is new, has a new tag, or is out of the archive again."""
    now = cloud.clock.time()
    if put.restored:
        tx.emit(storage_class_changed(row, put.image, now))
    if put.created or put.tagged:
        tx.emit(image_action(row, put.image, "PUSH", now, tag=put.tag))


def removed(cloud: Cloud, tx: Transaction, row: RepositoryRow, images: list[ImageRow]) -> None:
    """Images go: one event for each tag, or for the digest of one that has none."""
    now = cloud.clock.time()
    for image in images:
        tags: list[TagRow] = cloud.store.table(IMAGE_TAGS).scan(image.key, index="by_digest")
        for tag in [each.tag for each in tags] or [""]:
            tx.emit(image_action(row, image, "DELETE", now, tag=tag))


def untagged(cloud: Cloud, tx: Transaction, row: RepositoryRow, image: ImageRow, tag: str) -> None:
    """A tag goes, its image has others."""
    tx.emit(image_action(row, image, "DELETE", cloud.clock.time(), tag=tag))


# ── the events ───────────────────────────────────────────────────────────────────────────────────────────────────────


def image_action(row: RepositoryRow, image: ImageRow, action: str, now: float, *, tag: str = "", **more: str) -> Event:
    """ "PUSH", "DELETE" or "UPDATE_STORAGE_CLASS"; `more` are further members of the detail, with underscores for their hyphens."""
    detail: dict[str, Any] = {
        "result": "SUCCESS",
        "repository-name": row.name,
        "image-digest": image.digest,
        "action-type": action,
        "manifest-media-type": image.media_type,
    }
    if tag:
        detail["image-tag"] = tag
    if image.artifact_type:
        detail["artifact-media-type"] = image.artifact_type
    detail |= {name.replace("_", "-"): value for name, value in more.items()}
    return _event(row, "ECR Referrer Action" if image.subject else "ECR Image Action", detail, now, arn=False)


def storage_class_changed(row: RepositoryRow, image: ImageRow, now: float) -> Event:
    """An image was archived, or is active again."""
    if image.status == "ARCHIVED":
        return image_action(row, image, "UPDATE_STORAGE_CLASS", now, target_storage_class="ARCHIVE")
    since = {} if image.activated is None else {"last_activated_at": iso8601(image.activated, "milliseconds")}
    return image_action(row, image, "UPDATE_STORAGE_CLASS", now, target_storage_class="STANDARD", **since)


def image_scan(row: RepositoryRow, digest: str, now: float, *, status: str, counts: Mapping[str, int], tags: Iterable[str] = ()) -> Event:
    """A scan is over. `status` is "COMPLETE" or "FAILED"; `counts` has the findings of each severity that there are any of."""
    detail = {
        "scan-status": status,
        "repository-name": row.name,
        "finding-severity-counts": {severity: count for severity, count in counts.items() if count},
        "image-digest": digest,
        "image-tags": list(tags),
    }
    return _event(row, "ECR Image Scan", detail, now)


def pull_through(
    row: RepositoryRow, now: float, *, prefix: str, upstream: str, tag: str = "", digest: str = "", failure: str = ""
) -> Event:
    """An image was fetched from an upstream registry; with a `failure`, it was not."""
    detail: dict[str, Any] = {
        "rule-version": "1",
        "sync-status": "FAILED" if failure else "SUCCESS",
        "ecr-repository-prefix": prefix,
        "repository-name": row.name,
        "upstream-registry-url": upstream,
    }
    detail |= {name: value for name, value in (("image-tag", tag), ("image-digest", digest), ("failure-reason", failure)) if value}
    return _event(row, "ECR Pull Through Cache Action", detail, now)


def replication(
    row: RepositoryRow, digest: str, now: float, *, source_account: str, source_region: str, tag: str = "", result: str = "SUCCESS"
) -> Event:
    """An image has been copied into this repository ("SUCCESS"), or could not be ("FAILED")."""
    detail: dict[str, Any] = {
        "result": result,
        "repository-name": row.name,
        "image-digest": digest,
        "source-account": source_account,
        "action-type": "REPLICATE",
        "source-region": source_region,
    }
    if tag:
        detail["image-tag"] = tag
    return _event(row, "ECR Replication Action", detail, now)


def _event(row: RepositoryRow, detail_type: str, detail: dict[str, Any], now: float, *, arn: bool = True) -> Event:
    return Event(
        time=now,
        source=SOURCE,
        detail_type=detail_type,
        detail=detail,
        account=row.account,
        region=row.region,
        resources=(row.arn(),) if arn else (),
    )
