"""How many images a repository may have, and how many tags an image: looked at in the transaction of each push, whichever way it came."""

from __future__ import annotations

from cloudstead.engine.registry.errors import TooManyRequests
from cloudstead.engine.registry.gate import Put
from cloudstead.engine.registry.model import IMAGES, TAGS
from cloudstead.kernel import quotas
from cloudstead.kernel.context import Cloud
from cloudstead.kernel.store import Transaction
from cloudstead.services.ecr.model import RepositoryRow


def check(cloud: Cloud, tx: Transaction, row: RepositoryRow, put: Put) -> None:
    """Hook of pushes.py.

    Raises:
        TooManyRequests: nothing of the push stays.
    """
    ctx = cloud.service_context("ecr.amazonaws.com", row.account, row.region)
    if put.created:
        images = ctx.table(IMAGES).count(put.image.place) - 1
        quotas.require(ctx, "ecr", "images", images, lambda limit: _exceeded("images", row.name, limit))
    if put.tagged:
        tags = ctx.table(TAGS).count(put.image.key, index="by_digest") - 1
        quotas.require(ctx, "ecr", "tags", tags, lambda limit: _exceeded("tags per image", row.name, limit))


def _exceeded(what: str, name: str, limit: int) -> TooManyRequests:
    return TooManyRequests(f"The maximum number of {what} of {limit} has been reached in the repository with name '{name}'.")
