"""Repositories: create, describe, delete, and what tags and scans they are set to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from msgspec.structs import replace

from cloudstead.engine.registry.gate import Rules
from cloudstead.engine.registry.model import ImageRow
from cloudstead.kernel import quotas, tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.kernel.shapes import Request
from cloudstead.kernel.store import Transaction
from cloudstead.services.ecr import addresses, api, arns, pushes
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import COPIES, PREVIEWS, REPOSITORIES, SCANS, Mutability, RepositoryRow

PAGE = 100
WITH_EXCLUSION = ("MUTABLE_WITH_EXCLUSION", "IMMUTABLE_WITH_EXCLUSION")
_MOST_WILDCARDS = 2  # in one filter: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html

TAG_RULES = tags.Rules(invalid=api.InvalidTagParameterException, too_many=api.TooManyTagsException)


# ── finding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def of(ctx: Context, request: Request) -> RepositoryRow:
    """The repository that a request is about, once its caller may have this done there. The one way for handlers.

    Raises:
        RepositoryNotFoundException
        AccessDenied: it belongs to another account, whose policies do not let the caller in.
    """
    name: str = getattr(request, "repository_name")  # noqa: B009 - of the requests that have one
    return require(ctx, name, getattr(request, "registry_id", None), action=request.operation)


def require(ctx: Context, name: str, registry_id: str | None = None, *, action: str = "") -> RepositoryRow:
    """A repository by its name.

    Args:
        registry_id: the account of the registry; the caller's own when it is missing.
        action: what is to be done, for callers of other accounts ("ecr:BatchGetImage"); without it they are refused.

    Raises:
        RepositoryNotFoundException, AccessDenied
    """
    account = registry_id or ctx.account
    row: RepositoryRow | None = ctx.table(REPOSITORIES).get((account, ctx.region, name))
    if account != ctx.identity.account:
        own = None if row is None else row.policy
        admit_outsider(ctx, account, arns.repository_arn(ctx, account, name), action, own)
    if row is None:
        raise unknown(account, name)
    return row


def admit_outsider(ctx: Context, account: str, resource: str, action: str, policy: str | None = None) -> None:
    """Refuse a caller of another account unless this policy, or that of the registry, lets it in; also where IAM is off.

    Raises:
        AccessDenied
    """
    if account != ctx.identity.account:
        ctx.admit_outsider(action, resource, arns.combined(policy, arns.registry_policy_of(ctx, account, action)))


def owner(ctx: Context, request: Request) -> Context:
    """The call in the account whose registry it is about, once its caller may have this done there.

    Raises:
        AccessDenied
    """
    account = arns.registry_id(ctx, request)
    admit_outsider(ctx, account, arns.repository_arn(ctx, account, "*"), request.operation)
    return ctx if account == ctx.account else ctx.replace(account=account)


def unknown(account: str, name: str) -> api.RepositoryNotFoundException:
    return api.RepositoryNotFoundException(f"The repository with name '{name}' does not exist in the registry with id '{account}'")


def rules_of(ctx: Context, row: RepositoryRow) -> Rules:
    """What the catalog is to keep to in this repository."""
    return pushes.rules_of(ctx.cloud, *row.key)


def describe(ctx: Context, row: RepositoryRow) -> api.Repository:
    return api.Repository(
        repository_arn=row.arn(),
        registry_id=row.account,
        repository_name=row.name,
        repository_uri=addresses.repository_uri(ctx.cloud.endpoint, row.account, row.region, row.name),
        created_at=row.created,
        image_tag_mutability=row.mutability,
        image_tag_mutability_exclusion_filters=describe_filters(row.exclusion_filters),
        image_scanning_configuration=api.ImageScanningConfiguration(scan_on_push=row.scan_on_push),
        encryption_configuration=api.EncryptionConfiguration(encryption_type="AES256"),
    )


def describe_filters(filters: Iterable[str]) -> list[api.ImageTagMutabilityExclusionFilter] | None:
    return [api.ImageTagMutabilityExclusionFilter(filter_type="WILDCARD", filter=each) for each in filters] or None


# ── what a request may ask for ───────────────────────────────────────────────────────────────────────────────────────


def invalid(member: str, why: str) -> NoReturn:
    """Refuse a parameter in AWS's words."""
    raise api.InvalidParameterException(f"Invalid parameter at '{member}' failed to satisfy constraint: '{why}'")


def require_filters(mutability: str, filters: list[api.ImageTagMutabilityExclusionFilter] | None) -> tuple[str, ...]:
    """The exclusion filters of a repository or template; there are some exactly where the mutability speaks of them.

    Raises:
        InvalidParameterException
    """
    member = "imageTagMutabilityExclusionFilters"
    found = tuple(each.filter for each in filters or ())
    if mutability not in WITH_EXCLUSION and filters:
        invalid(member, "Exclusion filters can only be specified with MUTABLE_WITH_EXCLUSION or IMMUTABLE_WITH_EXCLUSION")
    if mutability in WITH_EXCLUSION and not found:
        invalid(member, f"At least one exclusion filter must be specified with {mutability}")
    if len(set(found)) < len(found):
        invalid(member, "Exclusion filters must be unique")
    if any(each.count("*") > _MOST_WILDCARDS for each in found):
        invalid(member, f"An exclusion filter must not have more than {_MOST_WILDCARDS} wildcards")
    return found


def require_encryption(
    configuration: api.EncryptionConfiguration | api.EncryptionConfigurationForRepositoryCreationTemplate | None,
) -> None:
    """Content is not encrypted with keys of KMS here, so that nobody shall believe it is.

    Raises:
        InvalidParameterException
    """
    if configuration is None:
        return
    if configuration.encryption_type != "AES256":
        invalid("encryptionConfiguration", f"Encryption type {configuration.encryption_type} is not supported by Cloudstead")
    if configuration.kms_key:
        invalid("encryptionConfiguration", "A KMS key cannot be specified with encryption type AES256")


# ── the operations ───────────────────────────────────────────────────────────────────────────────────────────────────


def create(ctx: Context, row: RepositoryRow) -> RepositoryRow:
    """Insert a repository: one that was asked for, or that a template makes.

    Raises:
        RepositoryAlreadyExistsException, LimitExceededException
    """
    table = ctx.table(REPOSITORIES)
    if row.key in table:
        raise api.RepositoryAlreadyExistsException(
            f"The repository with name '{row.name}' already exists in the registry with id '{row.account}'"
        )
    owner = ctx if ctx.account == row.account else ctx.replace(account=row.account)
    quotas.require(
        owner,
        "ecr",
        "repositories",
        table.count((row.account, row.region)),
        lambda limit: api.LimitExceededException(
            f"The maximum number of repositories per registry, {limit}, has been reached in the registry with id '{row.account}'"
        ),
    )
    with ctx.transaction() as tx:
        return tx.insert(REPOSITORIES, row)


@operation(resource=arns.repository, resource_policy=arns.registry_policy)
async def create_repository(ctx: Context, request: api.CreateRepositoryRequest) -> api.CreateRepositoryResponse:
    """Make an empty repository."""
    account = arns.registry_id(ctx, request)
    arn = arns.repository(ctx, request)
    admit_outsider(ctx, account, arn, request.operation)
    if request.tags:
        ctx.require("ecr:TagResource", arn)
    require_encryption(request.encryption_configuration)
    mutability: Mutability = request.image_tag_mutability or "MUTABLE"
    scanning = request.image_scanning_configuration
    row = RepositoryRow(
        account=account,
        region=ctx.region,
        name=request.repository_name,
        created=ctx.now(),
        mutability=mutability,
        exclusion_filters=require_filters(mutability, request.image_tag_mutability_exclusion_filters),
        scan_on_push=bool(scanning and scanning.scan_on_push),
        tags=tags.merge({}, tags.from_list(request.tags, TAG_RULES), TAG_RULES),
    )
    return api.CreateRepositoryResponse(repository=describe(ctx, create(ctx, row)))


@operation(resource=arns.repositories, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def describe_repositories(ctx: Context, request: api.DescribeRepositoriesRequest) -> api.DescribeRepositoriesResponse:
    """Those that are named, or all by the page."""
    account = arns.registry_id(ctx, request)
    if request.repository_names is not None:
        if request.next_token is not None or request.max_results is not None:
            invalid("repositoryNames", "It cannot be specified together with nextToken or maxResults")
        names = dict.fromkeys(request.repository_names)
        rows = [require(ctx, name, account, action=request.operation) for name in names]
        return api.DescribeRepositoriesResponse(repositories=[describe(ctx, row) for row in rows])
    admit_outsider(ctx, account, arns.repository_arn(ctx, account, "*"), request.operation)
    rows, token = page(
        ctx,
        REPOSITORIES,
        (account, ctx.region),
        request=request,
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=invalid_token,
    )
    return api.DescribeRepositoriesResponse(repositories=[describe(ctx, row) for row in rows], next_token=token)


def invalid_token() -> api.InvalidParameterException:
    return api.InvalidParameterException("Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid pagination token'")


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def delete_repository(ctx: Context, request: api.DeleteRepositoryRequest) -> api.DeleteRepositoryResponse:
    """Delete a repository; with `force`, all its images too."""
    row = of(ctx, request)
    found = catalog(ctx)
    if not request.force and found.count(row.place):
        raise api.RepositoryNotEmptyException(
            f"The repository with name '{row.name}' in registry with id '{row.account}' cannot be deleted because it still contains images"
        )
    rules = rules_of(ctx, row)

    def removed(tx: Transaction, images: list[ImageRow]) -> None:
        if rules.removed is not None:
            rules.removed(tx, images)
        _delete_rows(tx, ctx, row)

    await found.delete_repository(row.place, Rules(row.place, removed=removed))
    return api.DeleteRepositoryResponse(repository=describe(ctx, row))


def _delete_rows(tx: Transaction, ctx: Context, row: RepositoryRow) -> None:
    """The repository, and what is written about it and its images."""
    tx.delete(REPOSITORIES, row.key)
    tx.delete(PREVIEWS, row.key)
    for scan in ctx.table(SCANS).scan(row.key):
        tx.delete(SCANS, SCANS.key(scan))
    for copy in ctx.table(COPIES).scan(row.key):
        tx.delete(COPIES, COPIES.key(copy))


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def put_image_tag_mutability(ctx: Context, request: api.PutImageTagMutabilityRequest) -> api.PutImageTagMutabilityResponse:
    """Say which tags may be moved to another image."""
    row = of(ctx, request)
    filters = require_filters(request.image_tag_mutability, request.image_tag_mutability_exclusion_filters)
    with ctx.transaction() as tx:
        row = tx.put(REPOSITORIES, replace(row, mutability=request.image_tag_mutability, exclusion_filters=filters))
    return api.PutImageTagMutabilityResponse(
        registry_id=row.account,
        repository_name=row.name,
        image_tag_mutability=row.mutability,
        image_tag_mutability_exclusion_filters=describe_filters(row.exclusion_filters),
    )


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def put_image_scanning_configuration(
    ctx: Context, request: api.PutImageScanningConfigurationRequest
) -> api.PutImageScanningConfigurationResponse:
    """Say whether images are scanned when they are pushed."""
    row = of(ctx, request)
    with ctx.transaction() as tx:
        row = tx.update(REPOSITORIES, row, scan_on_push=bool(request.image_scanning_configuration.scan_on_push))
    return api.PutImageScanningConfigurationResponse(
        registry_id=row.account,
        repository_name=row.name,
        image_scanning_configuration=api.ImageScanningConfiguration(scan_on_push=row.scan_on_push),
    )
