"""Which machine images there are: AMIs here are images of the container engine.

    ami/<name>[:tag]     tagged so (`docker tag web ami/web`), the image is an AMI of every account, in every region: "self"
    STOCK                names under which AWS's own and others' AMIs are looked for; each stands for the first of its engine images that is here

The id of an AMI is worked out of its name, so it is the same everywhere and for ever.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from cloudstead.engine.errors import EngineError
from cloudstead.kernel.context import Cloud

if TYPE_CHECKING:
    from cloudstead.engine.images.api import Image

PREFIX = "ami/"
ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64", "386": "i386"}


class Stock(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    owner: str
    description: str
    references: tuple[str, ...]  # of the engine
    alias: str = ""
    created: str = "2026-01-01T00:00:00.000Z"


class Ami(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    owner: str  # empty: whoever asks
    description: str
    root: str  # the engine's image; empty: it is not here
    wants: str  # the engine's name for it
    alias: str = ""
    created: str = ""
    architecture: str = "x86_64"
    tags: dict[str, str] = {}

    @property
    def public(self) -> bool:
        return bool(self.owner)


STOCK = (
    Stock(
        name="debian-12-amd64-20260101-0001",
        owner="136693071363",
        description="Debian 12",
        references=("debian:12", "debian:bookworm", "debian:latest"),
    ),
    Stock(
        name="al2023-ami-2023.0.20260101.0-kernel-6.1-x86_64",
        owner="137112412989",
        alias="amazon",
        description="Amazon Linux 2023, or Debian 12 in its place",
        references=("amazonlinux:2023", "debian:12"),
    ),
    Stock(
        name="ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20260101",
        owner="099720109477",
        description="Ubuntu 22.04, or Debian 12 in its place",
        references=("ubuntu:22.04", "debian:12"),
    ),
    Stock(
        name="ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20260101",
        owner="099720109477",
        description="Ubuntu 24.04, or Debian 12 in its place",
        references=("ubuntu:24.04", "debian:12"),
    ),
)


def ami_id(name: str) -> str:
    return "ami-" + hashlib.sha256(name.encode()).hexdigest()[:17]


def amis(cloud: Cloud) -> dict[str, Ami]:
    """All, by id. No engine is started for it."""
    found = [_own(image, tag) for image in cloud.parts["engine"].images().all() for tag in image.tags if tag.startswith(PREFIX)]
    return {one.id: one for one in (*found, *(_stock(cloud, stock) for stock in STOCK))}


def _own(image: Image, tag: str) -> Ami:
    name = tag[len(PREFIX) :].removesuffix(":latest")
    return Ami(
        id=ami_id(name),
        name=name,
        owner="",
        description=f"The image {tag}",
        root=image.id,
        wants=tag,
        created=image.config.created,
        architecture=ARCHITECTURES.get(image.config.architecture, "x86_64"),
        tags=dict(image.config.config.labels or {}),
    )


def _stock(cloud: Cloud, stock: Stock) -> Ami:
    root = next((id for reference in stock.references if (id := _resolved(cloud, reference))), "")
    return Ami(
        id=ami_id(stock.name),
        name=stock.name,
        owner=stock.owner,
        alias=stock.alias,
        description=stock.description,
        root=root,
        wants=stock.references[-1],
        created=stock.created,
    )


def _resolved(cloud: Cloud, reference: str) -> str:
    try:
        return str(cloud.parts["engine"].images().resolve(reference).id)
    except EngineError:
        return ""
