"""The rules of a pull-through cache: which names stand for repositories of which other registry."""

from __future__ import annotations

from typing import NoReturn, cast

from cloudstead.engine.errors import EngineError
from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.ecr import api, checks, prefixes, repositories, upstream_credentials, upstreams
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import PULL_THROUGH_RULES, PullThroughRule
from cloudstead.services.ecr.prefixes import ROOT
from cloudstead.services.ecr.repositories import invalid
from cloudstead.services.ecr.upstreams import Upstream

PAGE = 100


def rule_for(ctx: Context, name: str) -> PullThroughRule | None:
    """The rule of the context's registry with the longest prefix of a repository's name."""
    return prefixes.longest(ctx.table(PULL_THROUGH_RULES).scan((ctx.account, ctx.region)), name)


@operation(resource="*")
async def create_pull_through_cache_rule(
    ctx: Context, request: api.CreatePullThroughCacheRuleRequest
) -> api.CreatePullThroughCacheRuleResponse:
    """From now on pulls of names below the prefix are looked up over there."""
    ctx = repositories.owner(ctx, request)
    prefix, upstream_prefix = request.ecr_repository_prefix, request.upstream_repository_prefix or ""
    upstream = _upstream(ctx, request)
    if prefix == ROOT and upstream_prefix not in ("", ROOT):
        invalid("upstreamRepositoryPrefix", "Upstream repository prefix cannot be specified when the ECR repository prefix is ROOT")
    if prefixes.find(ctx, PULL_THROUGH_RULES, prefix) is not None:
        raise api.PullThroughCacheRuleAlreadyExistsException(
            f"The pull through cache rule with Amazon ECR repository prefix '{prefix}' already exists in the registry with id '{ctx.account}'"
        )
    await _check_access(ctx, request.credential_arn, request.custom_role_arn, upstream)
    used = ctx.table(PULL_THROUGH_RULES).count((ctx.account, ctx.region))
    quotas.require(ctx, "ecr", "pull_through_rules", used, _too_many)
    now = ctx.now()
    row = PullThroughRule(
        account=ctx.account,
        region=ctx.region,
        prefix=prefix,
        upstream_url=request.upstream_registry_url,
        upstream_registry=upstream.kind,
        upstream_prefix=upstream_prefix,
        credential=request.credential_arn,
        custom_role=request.custom_role_arn,
        created=now,
        updated=now,
    )
    with ctx.transaction() as tx:
        if prefixes.find(ctx, PULL_THROUGH_RULES, prefix) is None:  # another call may have been as quick, while the secret was asked for
            tx.insert(PULL_THROUGH_RULES, row)
    return api.CreatePullThroughCacheRuleResponse(
        ecr_repository_prefix=row.prefix,
        upstream_registry_url=row.upstream_url,
        created_at=row.created,
        registry_id=ctx.account,
        upstream_registry=_kind(row),
        credential_arn=row.credential,
        custom_role_arn=row.custom_role,
        upstream_repository_prefix=row.upstream_prefix or None,
    )


@operation(resource="*")
async def update_pull_through_cache_rule(
    ctx: Context, request: api.UpdatePullThroughCacheRuleRequest
) -> api.UpdatePullThroughCacheRuleResponse:
    """Other credentials, or another role."""
    ctx = repositories.owner(ctx, request)
    row = _require(ctx, request.ecr_repository_prefix)
    if request.credential_arn is None and request.custom_role_arn is None:
        raise api.InvalidParameterException("Invalid input: Please set either credential arn or role arn to update the credentials")
    if request.credential_arn is not None:
        await upstream_credentials.check_secret(ctx, request.credential_arn)
    if request.custom_role_arn is not None:
        checks.check_role(ctx, request.custom_role_arn)
    row = _require(ctx, request.ecr_repository_prefix)  # as it is by now
    with ctx.transaction() as tx:
        row = tx.update(
            PULL_THROUGH_RULES,
            row,
            credential=request.credential_arn or row.credential,
            custom_role=request.custom_role_arn or row.custom_role,
            updated=ctx.now(),
        )
    return api.UpdatePullThroughCacheRuleResponse(
        ecr_repository_prefix=row.prefix,
        registry_id=ctx.account,
        updated_at=row.updated,
        credential_arn=row.credential,
        custom_role_arn=row.custom_role,
        upstream_repository_prefix=row.upstream_prefix or None,
    )


@operation(resource="*")
async def delete_pull_through_cache_rule(
    ctx: Context, request: api.DeletePullThroughCacheRuleRequest
) -> api.DeletePullThroughCacheRuleResponse:
    """What was cached stays."""
    ctx = repositories.owner(ctx, request)
    row = _require(ctx, request.ecr_repository_prefix)
    with ctx.transaction() as tx:
        tx.delete(PULL_THROUGH_RULES, PULL_THROUGH_RULES.key(row))
    return api.DeletePullThroughCacheRuleResponse(
        ecr_repository_prefix=row.prefix,
        upstream_registry_url=row.upstream_url,
        created_at=row.created,
        registry_id=ctx.account,
        credential_arn=row.credential,
        custom_role_arn=row.custom_role,
        upstream_repository_prefix=row.upstream_prefix or None,
    )


@operation(resource="*")
async def describe_pull_through_cache_rules(
    ctx: Context, request: api.DescribePullThroughCacheRulesRequest
) -> api.DescribePullThroughCacheRulesResponse:
    """Those of some prefixes, or all by the page."""
    ctx = repositories.owner(ctx, request)
    if request.ecr_repository_prefixes is not None:
        named = [_require(ctx, prefix) for prefix in dict.fromkeys(request.ecr_repository_prefixes)]
        return api.DescribePullThroughCacheRulesResponse(pull_through_cache_rules=list(map(_describe, named)))
    rows, token = page(
        ctx,
        PULL_THROUGH_RULES,
        (ctx.account, ctx.region),
        request=request,
        token=request.next_token,
        limit=request.max_results or PAGE,
        invalid=repositories.invalid_token,
    )
    return api.DescribePullThroughCacheRulesResponse(pull_through_cache_rules=list(map(_describe, rows)), next_token=token)


@operation(resource="*")
async def validate_pull_through_cache_rule(
    ctx: Context, request: api.ValidatePullThroughCacheRuleRequest
) -> api.ValidatePullThroughCacheRuleResponse:
    """Read the secret, and ask the registry whether it is content."""
    ctx = repositories.owner(ctx, request)
    row = _require(ctx, request.ecr_repository_prefix)
    failure = await _try(ctx, row)
    return api.ValidatePullThroughCacheRuleResponse(
        ecr_repository_prefix=row.prefix,
        registry_id=ctx.account,
        upstream_registry_url=row.upstream_url,
        credential_arn=row.credential,
        custom_role_arn=row.custom_role,
        upstream_repository_prefix=row.upstream_prefix or None,
        is_valid=not failure,
        failure=failure or None,
    )


async def _try(ctx: Context, row: PullThroughRule) -> str:
    """What is wrong; empty: nothing."""
    upstream = upstreams.parse(row.upstream_url)
    assert upstream is not None  # it was when the rule was made
    try:
        credentials = await upstream_credentials.credentials_of(ctx, row, upstream)
        await catalog(ctx).images.remote(upstream.domain, "", credentials).ping()
    except (ServiceError, EngineError) as error:
        return error.message or type(error).__name__
    return ""


def _upstream(ctx: Context, request: api.CreatePullThroughCacheRuleRequest) -> Upstream:
    """
    Raises:
        UnsupportedUpstreamRegistryException
    """
    url = request.upstream_registry_url
    found = upstreams.parse(url)
    images = catalog(ctx).images
    if found is None or (found.plain and not images.is_insecure(found.domain)):
        _unsupported(url)
    if images.is_own(found.domain) and found.place in (None, (ctx.account, ctx.region)):
        _unsupported(url)  # it would be its own upstream
    if request.upstream_registry is not None and request.upstream_registry != found.kind:
        _unsupported(url)
    return found


def _unsupported(url: str) -> NoReturn:
    raise api.UnsupportedUpstreamRegistryException(
        f"The upstream registry URL {url} is invalid. Specify a valid upstream registry URL and try again"
    )


async def _check_access(ctx: Context, credential: str | None, role: str | None, upstream: Upstream) -> None:
    if upstream.authenticated and credential is None:
        raise api.UnsupportedUpstreamRegistryException(
            "The specified upstream registry requires authentication. Specify a valid Secrets Manager ARN and try again"
        )
    if upstream.place is not None and upstream.place[0] != ctx.account and role is None:
        invalid("customRoleArn", "A custom role must be specified when the upstream registry belongs to another account")
    if role is not None:
        checks.check_role(ctx, role)
    if credential is not None:
        await upstream_credentials.check_secret(ctx, credential)


def _too_many(limit: int) -> Exception:
    return api.LimitExceededException(f"The maximum number of pull through cache rules per registry, {limit}, has been reached")


def _require(ctx: Context, prefix: str) -> PullThroughRule:
    row = prefixes.find(ctx, PULL_THROUGH_RULES, prefix)
    if row is None:
        raise api.PullThroughCacheRuleNotFoundException(
            f"The pull through cache rule with Amazon ECR repository prefix '{prefix}' does not exist in the registry with id '{ctx.account}'"
        )
    return row


def _kind(row: PullThroughRule) -> api.UpstreamRegistry | None:
    return cast(api.UpstreamRegistry, row.upstream_registry) if row.upstream_registry else None


def _describe(row: PullThroughRule) -> api.PullThroughCacheRule:
    return api.PullThroughCacheRule(
        ecr_repository_prefix=row.prefix,
        upstream_registry_url=row.upstream_url,
        created_at=row.created,
        registry_id=row.account,
        credential_arn=row.credential,
        custom_role_arn=row.custom_role,
        upstream_repository_prefix=row.upstream_prefix or None,
        upstream_registry=_kind(row),
        updated_at=row.updated,
    )
