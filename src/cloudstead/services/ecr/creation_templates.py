"""Creation templates: how repositories look that are made because somebody pushed, pulled through the cache, or replicated to them.

Of the templates that apply for an occasion the one with the longest prefix counts (prefixes.py).
https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-creation-templates.html
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast

from msgspec.structs import replace

from cloudstead.kernel import tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.ecr import api, checks, lifecycle_policies, prefixes, repositories
from cloudstead.services.ecr.model import REPOSITORIES, TEMPLATES, CreationTemplate, RepositoryRow
from cloudstead.services.ecr.prefixes import ROOT
from cloudstead.services.ecr.repositories import TAG_RULES, invalid

Occasion: TypeAlias = Literal["REPLICATION", "PULL_THROUGH_CACHE", "CREATE_ON_PUSH"]

PAGE = 100


# for those who make repositories


def template_for(ctx: Context, name: str, applied_for: Occasion) -> CreationTemplate | None:
    """The template of the context's registry by which a repository of this name is made on this occasion."""
    applying = [row for row in ctx.table(TEMPLATES).scan((ctx.account, ctx.region)) if applied_for in row.applied_for]
    return prefixes.longest(applying, name)


def create_by(ctx: Context, name: str, applied_for: Occasion) -> RepositoryRow:
    """Make a repository as its template says, or with defaults where there is none; one that is there stays as it is.

    Raises:
        LimitExceededException
    """
    standing: RepositoryRow | None = ctx.table(REPOSITORIES).get((ctx.account, ctx.region, name))
    if standing is not None:
        return standing
    row = RepositoryRow(account=ctx.account, region=ctx.region, name=name, created=ctx.now())
    template = template_for(ctx, name, applied_for)
    return repositories.create(ctx, row if template is None else shaped(row, template))


def shaped(row: RepositoryRow, template: CreationTemplate) -> RepositoryRow:
    return replace(
        row,
        mutability=template.mutability,
        exclusion_filters=template.exclusion_filters,
        encryption=template.encryption,
        kms_key=template.kms_key,
        policy=template.policy,
        lifecycle_policy=None if template.lifecycle_policy is None else lifecycle_policies.check(template.lifecycle_policy),
        tags=template.tags,
        created_by_template=template.prefix,
    )


# operations


@operation(resource="*")
async def create_repository_creation_template(
    ctx: Context, request: api.CreateRepositoryCreationTemplateRequest
) -> api.CreateRepositoryCreationTemplateResponse:
    """Keep a template; nothing is made by it yet."""
    if prefixes.find(ctx, TEMPLATES, request.prefix) is not None:
        raise api.TemplateAlreadyExistsException(
            f"The repository creation template with the prefix '{request.prefix}' already exists in the registry with id '{ctx.account}'"
        )
    now = ctx.now()
    blank = CreationTemplate(account=ctx.account, region=ctx.region, prefix=request.prefix, applied_for=(), created=now, updated=now)
    row = _changed(ctx, blank, request)
    _check(ctx, row)
    with ctx.transaction() as tx:
        tx.insert(TEMPLATES, row)
    return api.CreateRepositoryCreationTemplateResponse(registry_id=ctx.account, repository_creation_template=_describe(row))


@operation(resource="*")
async def update_repository_creation_template(
    ctx: Context, request: api.UpdateRepositoryCreationTemplateRequest
) -> api.UpdateRepositoryCreationTemplateResponse:
    """Change what is named and leave the rest; repositories that were made by it stay as they are."""
    old = _require(ctx, request.prefix)
    row = replace(_changed(ctx, old, request), updated=ctx.now())
    _check(ctx, row)
    with ctx.transaction() as tx:
        tx.put(TEMPLATES, row)
    return api.UpdateRepositoryCreationTemplateResponse(registry_id=ctx.account, repository_creation_template=_describe(row))


@operation(resource="*")
async def delete_repository_creation_template(
    ctx: Context, request: api.DeleteRepositoryCreationTemplateRequest
) -> api.DeleteRepositoryCreationTemplateResponse:
    """Repositories that were made by it stay as they are."""
    row = _require(ctx, request.prefix)
    with ctx.transaction() as tx:
        tx.delete(TEMPLATES, (ctx.account, ctx.region, row.prefix))
    return api.DeleteRepositoryCreationTemplateResponse(registry_id=ctx.account, repository_creation_template=_describe(row))


@operation(resource="*")
async def describe_repository_creation_templates(
    ctx: Context, request: api.DescribeRepositoryCreationTemplatesRequest
) -> api.DescribeRepositoryCreationTemplatesResponse:
    """All of the registry, or those of some prefixes; a prefix without a template is passed over."""
    wanted = None if request.prefixes is None else {prefix.rstrip("/") for prefix in request.prefixes}
    rows, token = page(
        ctx,
        TEMPLATES,
        (ctx.account, ctx.region),
        request=request,
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=repositories.invalid_token,
        where=None if wanted is None else lambda row: row.prefix.rstrip("/") in wanted,
    )
    return api.DescribeRepositoryCreationTemplatesResponse(
        registry_id=ctx.account, repository_creation_templates=[_describe(row) for row in rows], next_token=token
    )


def _require(ctx: Context, prefix: str) -> CreationTemplate:
    row = prefixes.find(ctx, TEMPLATES, prefix)
    if row is None:
        raise api.TemplateNotFoundException(
            f"The repository creation template with the prefix '{prefix}' does not exist in the registry with id '{ctx.account}'"
        )
    return row


def _changed(
    ctx: Context, row: CreationTemplate, request: api.CreateRepositoryCreationTemplateRequest | api.UpdateRepositoryCreationTemplateRequest
) -> CreationTemplate:
    """The template with what a request names. Empty text takes a member away; another mutability without filters has none."""
    changes: dict[str, Any] = {}
    for member, found in (
        ("description", request.description),
        ("policy", request.repository_policy),
        ("lifecycle_policy", request.lifecycle_policy),
        ("custom_role", request.custom_role_arn),
    ):
        if found is not None:
            changes[member] = found or None
    if request.applied_for is not None:
        changes["applied_for"] = tuple(dict.fromkeys(request.applied_for))
    filters = request.image_tag_mutability_exclusion_filters
    if request.image_tag_mutability is not None or filters is not None:
        changes["mutability"] = request.image_tag_mutability or row.mutability
        changes["exclusion_filters"] = repositories.require_filters(changes["mutability"], filters)
    if request.resource_tags is not None:
        changes["tags"] = tags.merge({}, tags.from_list(request.resource_tags, TAG_RULES), TAG_RULES)
    if request.encryption_configuration is not None:
        repositories.require_encryption(request.encryption_configuration)
        changes["encryption"] = request.encryption_configuration.encryption_type
        changes["kms_key"] = request.encryption_configuration.kms_key or None
    return replace(row, **changes)


def _check(ctx: Context, row: CreationTemplate) -> None:
    """Refuse what could not be made, or what the caller could not make himself."""
    if not row.applied_for:
        invalid("appliedFor", "Member must have length greater than or equal to 1")
    prefix = "" if row.prefix == ROOT else row.prefix.rstrip("/") + "/"
    below = f"arn:{ctx.partition}:ecr:{ctx.region}:{ctx.account}:repository/{prefix}*"
    ctx.require("ecr:CreateRepository", below)
    if row.policy is not None:
        checks.check_policy(row.policy)
        ctx.require("ecr:SetRepositoryPolicy", below)
    if row.lifecycle_policy is not None:
        lifecycle_policies.check(row.lifecycle_policy)
        ctx.require("ecr:PutLifecyclePolicy", below)
    _check_role(ctx, row)


def _check_role(ctx: Context, row: CreationTemplate) -> None:
    """Tags and keys of KMS are put on by a role of the account's own; without it ECR's service-linked role acts, which may do neither."""
    if row.custom_role is None:
        if row.tags or row.encryption != "AES256":
            invalid("customRoleArn", "A custom role must be specified when resource tags or KMS encryption are used")
        return
    checks.check_role(ctx, row.custom_role)


def _describe(row: CreationTemplate) -> api.RepositoryCreationTemplate:
    return api.RepositoryCreationTemplate(
        prefix=row.prefix,
        description=row.description,
        encryption_configuration=api.EncryptionConfigurationForRepositoryCreationTemplate(
            encryption_type=cast(api.EncryptionType, row.encryption), kms_key=row.kms_key
        ),
        resource_tags=tags.to_list(row.tags, api.Tag),
        image_tag_mutability=row.mutability,
        image_tag_mutability_exclusion_filters=repositories.describe_filters(row.exclusion_filters),
        repository_policy=row.policy,
        lifecycle_policy=row.lifecycle_policy,
        applied_for=[cast(api.RCTAppliedFor, each) for each in row.applied_for],
        custom_role_arn=row.custom_role,
        created_at=row.created,
        updated_at=row.updated,
    )
