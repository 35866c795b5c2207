"""The replication configuration of a registry, and how far the replication of an image is."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecr import api, arns, image_ids, repositories
from cloudstead.services.ecr.catalogs import catalog
from cloudstead.services.ecr.model import COPIES, REGISTRIES, Copy, Destination, Registry, ReplicationRule
from cloudstead.services.ecr.repositories import invalid


@operation(resource="*")
async def put_replication_configuration(
    ctx: Context, request: api.PutReplicationConfigurationRequest
) -> api.PutReplicationConfigurationResponse:
    """What is pushed from now on goes to these destinations; an empty list ends it."""
    rules = tuple(map(_rule, request.replication_configuration.rules))
    _check(ctx, rules)
    key = (ctx.account, ctx.region)
    row = ctx.table(REGISTRIES).get(key) or Registry(account=ctx.account, region=ctx.region)
    with ctx.transaction() as tx:
        row = tx.put(REGISTRIES, replace(row, replication=rules))
    return api.PutReplicationConfigurationResponse(replication_configuration=describe(row.replication))


def describe(rules: tuple[ReplicationRule, ...]) -> api.ReplicationConfiguration:
    return api.ReplicationConfiguration(rules=[_describe(rule) for rule in rules])


def _describe(rule: ReplicationRule) -> api.ReplicationRule:
    filters = [api.RepositoryFilter(filter=prefix, filter_type="PREFIX_MATCH") for prefix in rule.prefixes]
    return api.ReplicationRule(
        destinations=[api.ReplicationDestination(region=each.region, registry_id=each.account) for each in rule.destinations],
        repository_filters=filters or None,
        delete_replication=None if rule.deletes is None else api.DeleteReplication(enabled=rule.deletes),
    )


def _rule(rule: api.ReplicationRule) -> ReplicationRule:
    return ReplicationRule(
        tuple(Destination(each.region, each.registry_id) for each in rule.destinations),
        tuple(each.filter for each in rule.repository_filters or ()),
        None if rule.delete_replication is None else rule.delete_replication.enabled,
    )


def _check(ctx: Context, rules: tuple[ReplicationRule, ...]) -> None:
    """
    Raises:
        InvalidParameterException
    """
    member = "replicationConfiguration"
    quota = partial(quotas.limit, ctx, "ecr")
    if len(rules) > (most := quota("replication_rules")):
        invalid(member, f"Replication configuration cannot have more than {most} rules")
    if any(not rule.destinations for rule in rules):
        invalid(member, "Replication rule must have at least one destination")
    found = [destination for rule in rules for destination in rule.destinations]
    if Destination(ctx.region, ctx.account) in found:
        invalid(member, "Replication destination cannot be the same as the source registry")
    if any(len(set(rule.destinations)) < len(rule.destinations) for rule in rules):
        invalid(member, "Replication destinations of a rule must be unique")
    if len(set(found)) > (most := quota("replication_destinations")):
        invalid(member, f"Replication configuration cannot have more than {most} unique destinations across all rules")


@operation(resource=arns.repository, resource_tags=arns.repository_tags, resource_policy=arns.repository_policy)
async def describe_image_replication_status(
    ctx: Context, request: api.DescribeImageReplicationStatusRequest
) -> api.DescribeImageReplicationStatusResponse:
    """Where an image has gone; nowhere, when it was pushed before its registry replicated."""
    row = repositories.of(ctx, request)
    image, tag = image_ids.require(catalog(ctx), row, request.image_id)
    copies: list[Copy] = ctx.table(COPIES).scan((*row.key, image.digest))
    return api.DescribeImageReplicationStatusResponse(
        repository_name=row.name,
        image_id=image_ids.identifier(image.digest, tag),
        replication_statuses=[
            api.ImageReplicationStatus(
                region=copy.to_region, registry_id=copy.to_account, status=copy.status, failure_code=copy.failure or None
            )
            for copy in copies
            if not copy.gone
        ],
    )
