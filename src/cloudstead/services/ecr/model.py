"""The rows that ECR keeps beside those of `engine.registry.model` (images, tags, blobs), whose registry is "<account>/<region>".

    account
    ├── settings/<name>                         BASIC_SCAN_TYPE_VERSION, BLOB_MOUNTING, REGISTRY_POLICY_SCOPE    AccountSetting
    └── region: a registry                      policy, scanning, replication                                    Registry
        ├── repositories/<name>                 mutability, scanning, policy, lifecycle policy, tags             RepositoryRow
        │   ├── preview                         of a lifecycle policy                                            Preview
        │   ├── scans/<digest>                  findings                                                         Scan
        │   └── copies/<digest>/<destination>   an image on its way to another region or account                 Copy
        ├── pull-through-rules/<prefix>         PullThroughRule
        ├── templates/<prefix>                  CreationTemplate
        ├── backfills/<id>                      Backfill
        └── pull-time-exclusions/<arn>          principals whose pulls do not count as pulls                     PullTimeExclusion

Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from cloudstead.engine.registry.model import Repository
from cloudstead.kernel import quotas
from cloudstead.kernel.quotas import Quota
from cloudstead.kernel.store import Row, Table

Mutability: TypeAlias = Literal["MUTABLE", "IMMUTABLE", "MUTABLE_WITH_EXCLUSION", "IMMUTABLE_WITH_EXCLUSION"]


def registry_of(account: str, region: str) -> str:
    """The name under which `engine.registry` keeps what a registry of ECR has."""
    return f"{account}/{region}"


class RepositoryRow(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    created: float
    mutability: Mutability = "MUTABLE"
    exclusion_filters: tuple[str, ...] = ()  # wildcards of tags
    scan_on_push: bool = False
    encryption: str = "AES256"
    kms_key: str | None = None
    policy: str | None = None  # a policy document
    lifecycle_policy: str | None = None
    lifecycle_evaluated: float | None = None
    tags: dict[str, str] = {}
    created_by_template: str = ""  # the prefix of the template by which a push or a pull-through made it

    @property
    def place(self) -> Repository:
        return Repository(registry_of(self.account, self.region), self.name)

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.account, self.region, self.name)

    def arn(self) -> str:
        return f"arn:aws:ecr:{self.region}:{self.account}:repository/{self.name}"


class ScanningRule(msgspec.Struct, frozen=True):
    frequency: str  # SCAN_ON_PUSH, CONTINUOUS_SCAN, MANUAL
    filters: tuple[str, ...]  # wildcards of repositories' names


class Destination(NamedTuple):
    region: str
    account: str


class ReplicationRule(msgspec.Struct, frozen=True):
    destinations: tuple[Destination, ...]
    prefixes: tuple[str, ...] = ()  # PREFIX_MATCH of repositories' names; none: all
    deletes: bool | None = None  # whether deletions are replicated too; None: not said, no


class Registry(Row, frozen=True, kw_only=True):
    """There from the first setting on; without a row everything is as AWS gives it."""

    account: str
    region: str
    policy: str | None = None
    scan_type: str = "BASIC"
    scanning_rules: tuple[ScanningRule, ...] = ()
    replication: tuple[ReplicationRule, ...] = ()
    signing: str | None = None  # the signing configuration, as JSON


class AccountSetting(Row, frozen=True, kw_only=True):
    account: str
    region: str
    name: str
    value: str


class Preview(Row, frozen=True, kw_only=True):
    account: str
    region: str
    repository: str
    policy: str
    status: Literal["IN_PROGRESS", "COMPLETE", "FAILED"] = "IN_PROGRESS"
    results: tuple[PreviewResult, ...] = ()
    started: float


class PreviewResult(msgspec.Struct, frozen=True):
    tags: tuple[str, ...]
    digest: str
    pushed: float
    action: str  # EXPIRE or TRANSITION
    priority: int  # of the rule; 0: it follows an image that was archived by hand
    storage: str = "STANDARD"  # where it is now


class Finding(msgspec.Struct, frozen=True):
    name: str  # CVE-2023-…
    severity: str  # CRITICAL, HIGH, MEDIUM, LOW, INFORMATIONAL, UNDEFINED
    description: str
    uri: str
    attributes: tuple[tuple[str, str], ...]  # package_name, package_version, fixed_version, …


class Scan(Row, frozen=True, kw_only=True):
    account: str
    region: str
    repository: str
    digest: str
    status: str  # IN_PROGRESS, COMPLETE, FAILED, UNSUPPORTED_IMAGE, …
    description: str = ""
    requested: float
    completed: float | None = None
    source_updated: float | None = None  # the date of the security data
    counts: dict[str, int] = {}  # findings of each severity
    findings: bytes = b""  # packed (scanning/findings.py): thousands of images with hundreds each would fill the memory otherwise


class Copy(Row, frozen=True, kw_only=True):
    """One image and one destination of a replication rule: what is to be done there (IN_PROGRESS), or what came of it."""

    account: str
    region: str
    repository: str
    digest: str
    to_region: str
    to_account: str
    tags: tuple[str, ...] = ()  # to be set there
    untag: tuple[str, ...] = ()  # to be taken off there
    gone: bool = False  # it was deleted, and is to be there too
    status: Literal["IN_PROGRESS", "COMPLETE", "FAILED"] = "IN_PROGRESS"
    failure: str = ""


class PullThroughRule(Row, frozen=True, kw_only=True):
    account: str
    region: str
    prefix: str  # "ROOT" stands for all names
    upstream_url: str
    upstream_registry: str = ""  # ecr-public, docker-hub, github-container-registry, …
    upstream_prefix: str = ""  # "ROOT": all names, as without one; told only where it was given, or Terraform would see a difference
    credential: str | None = None  # the ARN of a secret
    custom_role: str | None = None
    created: float
    updated: float


class CreationTemplate(Row, frozen=True, kw_only=True):
    account: str
    region: str
    prefix: str
    description: str | None = None
    applied_for: tuple[str, ...]  # REPLICATION, PULL_THROUGH_CACHE, CREATE_ON_PUSH
    mutability: Mutability = "MUTABLE"
    exclusion_filters: tuple[str, ...] = ()
    encryption: str = "AES256"
    kms_key: str | None = None
    policy: str | None = None
    lifecycle_policy: str | None = None
    tags: dict[str, str] = {}
    custom_role: str | None = None
    created: float
    updated: float


class Replicated(msgspec.Struct, frozen=True):
    """One replication of a backfill: an image and one of its tags, or an image without any."""

    repository: str
    digest: str
    tag: str = ""
    failure: str = ""


class Backfill(Row, frozen=True, kw_only=True):
    """The images of before a replication configuration, on their way to one destination."""

    account: str
    region: str
    id: str
    to_region: str
    to_account: str
    status: Literal["PREPARING", "IN_PROGRESS", "COMPLETE", "FAILED", "STOPPING", "STOPPED"] = "PREPARING"
    failure: str = ""
    started: float
    ended: float | None = None
    total: int | None = None  # None: not counted yet
    completed: int = 0
    failed: int = 0
    failures: tuple[str, ...] = ()  # each once
    results: tuple[Replicated, ...] = ()  # at its end


class PullTimeExclusion(Row, frozen=True, kw_only=True):
    account: str
    region: str
    principal: str
    created: float


def _in_repository(row: Preview | Scan) -> tuple[str, ...]:
    return (row.account, row.region, row.repository)


REPOSITORIES = Table(
    "ecr.repositories",
    RepositoryRow,
    key=lambda row: (row.account, row.region, row.name),
    indexes={"with_lifecycle": lambda row: None if row.lifecycle_policy is None else row.key},
)
REGISTRIES = Table("ecr.registries", Registry, key=lambda row: (row.account, row.region))
SETTINGS = Table("ecr.settings", AccountSetting, key=lambda row: (row.account, row.region, row.name))
PREVIEWS = Table("ecr.previews", Preview, key=_in_repository)
SCANS = Table(
    "ecr.scans",
    Scan,
    key=lambda row: (row.account, row.region, row.repository, row.digest),
    indexes={"under_way": lambda row: (row.account, row.region, row.repository, row.digest) if row.status == "IN_PROGRESS" else None},
)
COPIES = Table(
    "ecr.copies",
    Copy,
    key=lambda row: (row.account, row.region, row.repository, row.digest, row.to_account, row.to_region),
    indexes={
        "open": lambda row: (
            (row.account, row.region, row.repository, row.to_account, row.to_region, row.digest) if row.status == "IN_PROGRESS" else None
        )
    },
)
PULL_THROUGH_RULES = Table("ecr.pull_through_rules", PullThroughRule, key=lambda row: (row.account, row.region, row.prefix))
TEMPLATES = Table("ecr.creation_templates", CreationTemplate, key=lambda row: (row.account, row.region, row.prefix))
BACKFILLS = Table(
    "ecr.backfills",
    Backfill,
    key=lambda row: (row.account, row.region, row.id),
    indexes={"open": lambda row: (row.account, row.region, row.id) if row.ended is None else None},
)
PULL_TIME_EXCLUSIONS = Table("ecr.pull_time_exclusions", PullTimeExclusion, key=lambda row: (row.account, row.region, row.principal))

TABLES = (
    REPOSITORIES, REGISTRIES, SETTINGS, PREVIEWS, SCANS, COPIES, PULL_THROUGH_RULES, TEMPLATES, BACKFILLS, PULL_TIME_EXCLUSIONS,
)  # fmt: skip

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
quotas.declare(
    Quota("ecr", "repositories", "Registered repositories", 100_000, aws_code="L-CFEB8E8D"),
    Quota("ecr", "images", "Images per repository", 100_000, aws_code="L-03A36CE1"),
    Quota("ecr", "tags", "Tags per image", 1000, adjustable=False, aws_code="L-1A5A4D5E"),
    Quota("ecr", "layer_parts", "Layer parts", 4_200, adjustable=False),
    Quota("ecr", "pull_through_rules", "Pull through cache rules per registry", 50, adjustable=False, aws_code="L-6EF7FC96"),
    Quota("ecr", "replication_rules", "Rules per replication configuration", 10, adjustable=False, aws_code="L-9B60BFFB"),
    Quota(
        "ecr",
        "replication_destinations",
        "Unique destinations across all rules in a replication configuration",
        25,
        adjustable=False,
        aws_code="L-24725E9A",
    ),
)
