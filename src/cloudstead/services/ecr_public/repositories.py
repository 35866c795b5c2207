"""Repositories: create, describe, delete."""

from __future__ import annotations

from functools import partial
from typing import cast

from cloudstead.engine.registry.catalog import Catalog
from cloudstead.engine.registry.errors import NameUnknown, TooManyRequests
from cloudstead.engine.registry.gate import Put, Rules
from cloudstead.engine.registry.model import IMAGES, TAGS, ImageRow
from cloudstead.kernel import quotas, tags
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.kernel.shapes import Request
from cloudstead.kernel.store import Transaction
from cloudstead.services.ecr_public import api, arns, catalog_data, checks, regions, registries
from cloudstead.services.ecr_public.model import LOGOS, REPOSITORIES, PublicRepository
from cloudstead.services.ecr_public.regions import REGION

PAGE = 100


TAG_RULES = tags.Rules(invalid=api.InvalidTagParameterException, too_many=api.TooManyTagsException)


def catalog(ctx: Context) -> Catalog:
    found: Catalog = ctx.cloud.parts["engine"].registries()
    return found


def of(ctx: Context, request: Request) -> PublicRepository:
    """The repository that a request is about, once its caller may have this done there. The one way for handlers.

    Raises:
        UnsupportedCommandException, RegistryNotFoundException, RepositoryNotFoundException
        AccessDenied: it belongs to another account, whose policy does not let the caller in.
    """
    name: str = getattr(request, "repository_name")  # noqa: B009 - of the requests that have one
    return require(ctx, name, getattr(request, "registry_id", None), action=request.operation)


def require(ctx: Context, name: str, registry: str | None, *, action: str) -> PublicRepository:
    """A repository by its name and the account or alias of its registry; the caller's own when there is none. Raises as `of`."""
    regions.require(ctx, action)
    account = arns.account_of(ctx, registry)
    if account is None:
        raise api.RegistryNotFoundException(f"The registry with id '{registry}' does not exist")
    row: PublicRepository | None = ctx.table(REPOSITORIES).get((account, name))
    if account != ctx.identity.account:
        ctx.admit_outsider(action, arns.repository_arn(ctx, account, name), None if row is None else row.policy)
    if row is None:
        raise unknown(account, name)
    return row


def unknown(account: str, name: str) -> api.RepositoryNotFoundException:
    return api.RepositoryNotFoundException(unknown_sentence(account, name))


def unknown_sentence(registry: str, name: str) -> str:
    return f"The repository with name '{name}' does not exist in the registry with id '{registry}'"


def rules_of(cloud: Cloud, row: PublicRepository) -> Rules:
    """What the catalog is to keep to: tags may always be moved, there may be so many, and nothing of a push stays when its repository went meanwhile."""

    def also(tx: Transaction, put: Put) -> None:
        if row.key not in cloud.store.table(REPOSITORIES):
            raise NameUnknown(unknown_sentence(row.account, row.name))
        _check_quotas(cloud, row, put)

    return Rules(row.place, also=also)


def _check_quotas(cloud: Cloud, row: PublicRepository, put: Put) -> None:
    """In the transaction of a push, whichever way it came. Raises TooManyRequests."""
    ctx = cloud.service_context("ecr-public.amazonaws.com", row.account, REGION)
    if put.created:
        quotas.require(ctx, "ecr-public", "images", ctx.table(IMAGES).count(row.place) - 1, partial(_exceeded, row, "images"))
    if put.tagged:
        tagged = ctx.table(TAGS).count(put.image.key, index="by_digest")
        quotas.require(ctx, "ecr-public", "tags", tagged - 1, partial(_exceeded, row, "tags per image"))


def _exceeded(row: PublicRepository, what: str, limit: int) -> TooManyRequests:
    return TooManyRequests(f"The maximum number of {what} of {limit} has been reached in the repository with name '{row.name}'.")


def given_tags(given: list[api.Tag] | None) -> dict[str, str]:
    """
    Raises:
        InvalidParameterException: one has no key, which the model allows.
    """
    if any(tag.key is None for tag in given or ()):
        raise checks.invalid("tags", "Member must have a key")
    return tags.from_list(cast("list[tags.KeyValue]", given), TAG_RULES)


def describe(ctx: Context, row: PublicRepository) -> api.Repository:
    return api.Repository(
        repository_arn=row.arn(),
        registry_id=row.account,
        repository_name=row.name,
        repository_uri=f"{registries.uri_of(ctx.cloud, registries.alias_of(ctx, row.account))}/{row.name}",
        created_at=row.created,
    )


@operation(resource=arns.repository)
async def create_repository(ctx: Context, request: api.CreateRepositoryRequest) -> api.CreateRepositoryResponse:
    """Make an empty repository; with the first one, the registry gets its alias."""
    regions.require(ctx, request.operation)
    if request.tags:
        ctx.require("ecr-public:TagResource", arns.repository(ctx, request))
    row = PublicRepository(
        account=ctx.account,
        name=request.repository_name,
        created=ctx.now(),
        catalog_data=catalog_data.read(request.catalog_data),
        tags=tags.merge({}, given_tags(request.tags), TAG_RULES),
    )
    table = ctx.table(REPOSITORIES)
    if row.key in table:
        raise api.RepositoryAlreadyExistsException(
            f"The repository with name '{row.name}' already exists in the registry with id '{row.account}'"
        )
    quotas.require(
        ctx,
        "ecr-public",
        "repositories",
        table.count((row.account,)),
        lambda limit: api.LimitExceededException(
            f"The maximum number of repositories per registry, {limit}, has been reached in the registry with id '{row.account}'"
        ),
    )
    with ctx.transaction() as tx:
        tx.insert(REPOSITORIES, row)
        registries.ensure_alias(ctx, tx, row.account)
        if request.catalog_data is not None:
            catalog_data.keep_logo(tx, row, request.catalog_data)
    return api.CreateRepositoryResponse(repository=describe(ctx, row), catalog_data=catalog_data.describe(ctx, row))


@operation(resource=arns.repositories)
async def describe_repositories(ctx: Context, request: api.DescribeRepositoriesRequest) -> api.DescribeRepositoriesResponse:
    """Those that are named, or all by the page."""
    regions.require(ctx, request.operation)
    account = request.registry_id or ctx.account
    if request.repository_names is not None:
        names = dict.fromkeys(request.repository_names)
        named = [require(ctx, name, account, action=request.operation) for name in names]
        return api.DescribeRepositoriesResponse(repositories=[describe(ctx, row) for row in named])
    if account != ctx.identity.account:
        ctx.admit_outsider(request.operation, arns.repository_arn(ctx, account, "*"), None)
    rows, token = page(
        ctx,
        REPOSITORIES,
        (account,),
        request=request,
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=checks.invalid_token,
    )
    return api.DescribeRepositoriesResponse(repositories=[describe(ctx, row) for row in rows], next_token=token)


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def delete_repository(ctx: Context, request: api.DeleteRepositoryRequest) -> api.DeleteRepositoryResponse:
    """Delete a repository; with `force`, all its images too."""
    row = of(ctx, request)
    found = catalog(ctx)
    if not request.force and found.count(row.place):
        raise api.RepositoryNotEmptyException(
            f"The repository with name '{row.name}' in registry with id '{row.account}' cannot be deleted because it still contains images"
        )

    def removed(tx: Transaction, images: list[ImageRow]) -> None:
        tx.delete(REPOSITORIES, row.key)
        tx.delete(LOGOS, row.key)

    answer = api.DeleteRepositoryResponse(repository=describe(ctx, row))
    await found.delete_repository(row.place, Rules(row.place, removed=removed))
    return answer
