"""A registry as a whole: its policy, what it scans, what it says of itself."""

from __future__ import annotations

import re
from typing import Any, cast

from msgspec.structs import replace

from cloudstead.kernel import wildcards
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.policy import RESOURCE, MalformedPolicy, parse
from cloudstead.services.ecr import api, arns, replication, repositories
from cloudstead.services.ecr.model import REGISTRIES, REPOSITORIES, Registry, RepositoryRow, ScanningRule

# The model's pattern takes time exponential in the length; this one matches the same.
_FILTER = re.compile(r"[a-z0-9*]+(?:[._\-/][a-z0-9*]+)*", re.ASCII)


def of(ctx: Context) -> Registry:
    """The registry of the caller's account and region, whose settings may all be as AWS gives them."""
    found: Registry | None = ctx.table(REGISTRIES).get((ctx.account, ctx.region))
    return found or Registry(account=ctx.account, region=ctx.region)


def change(ctx: Context, **changes: Any) -> Registry:
    with ctx.transaction() as tx:
        return tx.put(REGISTRIES, replace(of(ctx), **changes))


@operation(resource="*")
async def describe_registry(ctx: Context, request: api.DescribeRegistryRequest) -> api.DescribeRegistryResponse:
    """The registry's account and where it replicates to."""
    return api.DescribeRegistryResponse(registry_id=ctx.account, replication_configuration=replication.describe(of(ctx).replication))


# the registry's policy


@operation(resource="*")
async def put_registry_policy(ctx: Context, request: api.PutRegistryPolicyRequest) -> api.PutRegistryPolicyResponse:
    """Say whom the whole registry lets in: to replicate into it, to pull through it, or (scope V2) to anything."""
    try:
        parse(request.policy_text, RESOURCE)
    except MalformedPolicy:
        repositories.invalid("PolicyText", "Invalid registry policy provided")
    change(ctx, policy=request.policy_text)
    return api.PutRegistryPolicyResponse(registry_id=ctx.account, policy_text=request.policy_text)


@operation(resource="*")
async def get_registry_policy(ctx: Context, request: api.GetRegistryPolicyRequest) -> api.GetRegistryPolicyResponse:
    """The policy as it was put, letter for letter."""
    return api.GetRegistryPolicyResponse(registry_id=ctx.account, policy_text=_require_policy(ctx))


@operation(resource="*")
async def delete_registry_policy(ctx: Context, request: api.DeleteRegistryPolicyRequest) -> api.DeleteRegistryPolicyResponse:
    """Take the policy away."""
    policy = _require_policy(ctx)
    change(ctx, policy=None)
    return api.DeleteRegistryPolicyResponse(registry_id=ctx.account, policy_text=policy)


def _require_policy(ctx: Context) -> str:
    policy = of(ctx).policy
    if policy is None:
        raise api.RegistryPolicyNotFoundException(f"Registry policy does not exist in the registry with id '{ctx.account}'")
    return policy


# what is scanned


@operation(resource="*")
async def put_registry_scanning_configuration(
    ctx: Context, request: api.PutRegistryScanningConfigurationRequest
) -> api.PutRegistryScanningConfigurationResponse:
    """Say which repositories are scanned on push, whatever they say themselves. Enhanced scanning is Amazon Inspector's, which is not here."""
    if request.scan_type == "ENHANCED":
        repositories.invalid("scanType", "Scan type ENHANCED (Amazon Inspector) is not supported by Cloudstead")
    rules = tuple(ScanningRule(rule.scan_frequency, tuple(each.filter for each in rule.repository_filters)) for rule in request.rules or ())
    _check_rules(rules)
    registry = change(ctx, scan_type="BASIC", scanning_rules=rules)
    return api.PutRegistryScanningConfigurationResponse(registry_scanning_configuration=_describe_scanning(registry))


@operation(resource="*")
async def get_registry_scanning_configuration(
    ctx: Context, request: api.GetRegistryScanningConfigurationRequest
) -> api.GetRegistryScanningConfigurationResponse:
    """Which repositories are scanned, and how."""
    return api.GetRegistryScanningConfigurationResponse(registry_id=ctx.account, scanning_configuration=_describe_scanning(of(ctx)))


@operation(resource=arns.repositories, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def batch_get_repository_scanning_configuration(
    ctx: Context, request: api.BatchGetRepositoryScanningConfigurationRequest
) -> api.BatchGetRepositoryScanningConfigurationResponse:
    """How some repositories are scanned, by their own setting and the registry's rules together."""
    configurations, failures = [], []
    for name in dict.fromkeys(request.repository_names):
        row = ctx.table(REPOSITORIES).get((ctx.account, ctx.region, name))
        if row is None:
            failures.append(
                api.RepositoryScanningConfigurationFailure(
                    repository_name=name, failure_code="REPOSITORY_NOT_FOUND", failure_reason="REPOSITORY_NOT_FOUND"
                )
            )
        else:
            configurations.append(_describe_repository(ctx, row))
    return api.BatchGetRepositoryScanningConfigurationResponse(scanning_configurations=configurations, failures=failures)


def scans_on_push(cloud: Cloud, row: RepositoryRow) -> bool:
    """Whether an image that is pushed to this repository is scanned."""
    return row.scan_on_push or bool(_applied(cloud, row))


def _applied(cloud: Cloud, row: RepositoryRow) -> list[str]:
    """The filters of the registry by which a repository is scanned on push."""
    registry = cloud.store.table(REGISTRIES).get((row.account, row.region))
    rules = () if registry is None else registry.scanning_rules
    filters = [each for rule in rules if rule.frequency == "SCAN_ON_PUSH" for each in rule.filters]
    # One without a wildcard matches every name that contains it: AmazonECR/latest/userguide/image-scanning-filters.html
    return [each for each in filters if wildcards.matches(each if "*" in each else f"*{each}*", row.name)]


def _check_rules(rules: tuple[ScanningRule, ...]) -> None:
    if len({rule.frequency for rule in rules}) < len(rules):
        repositories.invalid("rules", "Scan frequencies must not be duplicated")
    for rule in rules:
        if rule.frequency == "CONTINUOUS_SCAN":
            repositories.invalid("rules", "Scan frequency CONTINUOUS_SCAN is only valid with scan type ENHANCED")
        for each in rule.filters:
            if not _FILTER.fullmatch(each):
                repositories.invalid("filter", f"Member must satisfy regular expression pattern: {_FILTER.pattern}")


def _describe_scanning(registry: Registry) -> api.RegistryScanningConfiguration:
    rules = [
        api.RegistryScanningRule(scan_frequency=cast(api.ScanFrequency, rule.frequency), repository_filters=_describe_filters(rule.filters))
        for rule in registry.scanning_rules
    ]
    return api.RegistryScanningConfiguration(scan_type=cast(api.ScanType, registry.scan_type), rules=rules)


def _describe_filters(filters: list[str] | tuple[str, ...]) -> list[api.ScanningRepositoryFilter]:
    return [api.ScanningRepositoryFilter(filter=each, filter_type="WILDCARD") for each in filters]


def _describe_repository(ctx: Context, row: RepositoryRow) -> api.RepositoryScanningConfiguration:
    on_push = scans_on_push(ctx.cloud, row)
    return api.RepositoryScanningConfiguration(
        repository_arn=row.arn(),
        repository_name=row.name,
        scan_on_push=on_push,
        scan_frequency="SCAN_ON_PUSH" if on_push else "MANUAL",
        applied_scan_filters=_describe_filters(_applied(ctx.cloud, row)),
    )
