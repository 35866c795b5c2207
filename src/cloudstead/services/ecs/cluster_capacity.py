"""The capacity providers that a cluster has, and its default strategy."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecs import api, arns, clusters, strategies
from cloudstead.services.ecs.model import CLUSTERS


@operation(resource=arns.cluster, resource_tags=arns.cluster_tags, conditions=arns.cluster_capacity_conditions)
async def put_cluster_capacity_providers(
    ctx: Context, request: api.PutClusterCapacityProvidersRequest
) -> api.PutClusterCapacityProvidersResponse:
    """Give a cluster these capacity providers and this default strategy in place of those that it has."""
    row = clusters.require(ctx, request.cluster)
    providers = strategies.providers(ctx, request.capacity_providers)
    strategy = strategies.default(ctx, request.default_capacity_provider_strategy, providers)
    with ctx.transaction() as tx:
        row = tx.update(CLUSTERS, row, capacity_providers=providers, strategy=strategy)
    return api.PutClusterCapacityProvidersResponse(cluster=clusters.describe(ctx, row, include=("SETTINGS", "TAGS", "ATTACHMENTS")))
