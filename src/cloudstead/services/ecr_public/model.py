"""The rows that ECR Public keeps beside those of `engine.registry.model` (images, tags, blobs), whose registry is "public/<account>".

    account: a registry             alias, display name                     PublicRegistry
    └── repositories/<name>         policy, tags, catalog data              PublicRepository
        └── logo                    the picture of its catalog data         Logo

Times are seconds since the epoch.
"""

from __future__ import annotations

import msgspec

from cloudstead.engine.registry.model import Repository
from cloudstead.kernel import quotas
from cloudstead.kernel.quotas import Quota
from cloudstead.kernel.store import Row, Table


def registry_of(account: str) -> str:
    """The name under which `engine.registry` keeps what a public registry has."""
    return f"public/{account}"


class CatalogData(msgspec.Struct, frozen=True):
    """What a gallery shows of a repository."""

    description: str | None = None
    architectures: tuple[str, ...] = ()
    operating_systems: tuple[str, ...] = ()
    about_text: str | None = None
    usage_text: str | None = None
    has_logo: bool = False


class PublicRegistry(Row, frozen=True, kw_only=True):
    """There from the first repository or setting on."""

    account: str
    alias: str  # the default one; empty before there is a repository
    display_name: str | None = None


class PublicRepository(Row, frozen=True, kw_only=True):
    account: str
    name: str
    created: float
    catalog_data: CatalogData = CatalogData()
    policy: str | None = None  # a policy document
    tags: dict[str, str] = {}

    @property
    def place(self) -> Repository:
        return Repository(registry_of(self.account), self.name)

    @property
    def key(self) -> tuple[str, str]:
        return (self.account, self.name)

    def arn(self) -> str:
        return f"arn:aws:ecr-public::{self.account}:repository/{self.name}"


class Logo(Row, frozen=True, kw_only=True):
    """Apart from its repository, which is written and told of much more often."""

    account: str
    repository: str
    image: bytes


REGISTRIES = Table(
    "ecr_public.registries",
    PublicRegistry,
    key=lambda row: (row.account,),
    indexes={"by_alias": lambda row: (row.alias,) if row.alias else None},
)
REPOSITORIES = Table("ecr_public.repositories", PublicRepository, key=lambda row: (row.account, row.name))
LOGOS = Table("ecr_public.logos", Logo, key=lambda row: (row.account, row.repository))

TABLES = (REGISTRIES, REPOSITORIES, LOGOS)

# https://docs.aws.amazon.com/AmazonECR/latest/public/public-service-quotas.html
quotas.declare(
    Quota("ecr-public", "repositories", "Registered repositories", 10_000, everywhere=True),
    Quota("ecr-public", "images", "Images per repository", 100_000, everywhere=True),
    Quota("ecr-public", "layer_parts", "Layer parts", 1000, adjustable=False, everywhere=True),
    Quota("ecr-public", "tags", "Tags per image", 1000, adjustable=False, everywhere=True),
)
