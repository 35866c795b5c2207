"""Clusters change: their settings, their configuration, and that they go."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ecs import api, arns, clusters, counting, namespaces
from cloudstead.services.ecs.model import CLUSTERS

ALL = ("SETTINGS", "TAGS", "CONFIGURATIONS")


@operation(resource=arns.cluster, resource_tags=arns.cluster_tags, conditions=arns.of_tags(arns.cluster_tags))
async def update_cluster(ctx: Context, request: api.UpdateClusterRequest) -> api.UpdateClusterResponse:
    """Change settings, configuration and the default of Service Connect; what is not given stays. An empty namespace takes it away."""
    clusters.require(ctx, request.cluster)
    configuration = clusters.configuration(request.configuration)
    namespace = None if request.service_connect_defaults is None else request.service_connect_defaults.namespace
    if namespace:
        namespace = await namespaces.resolve(ctx, namespace)
    row = clusters.require(ctx, request.cluster)
    with ctx.transaction() as tx:
        row = tx.update(
            CLUSTERS,
            row,
            container_insights=clusters.container_insights(ctx, request.settings, row.container_insights),
            configuration=row.configuration if configuration is None else configuration,
            namespace=row.namespace if namespace is None else namespace or None,
        )
    return api.UpdateClusterResponse(cluster=clusters.describe(ctx, row, include=ALL))


@operation(resource=arns.cluster, resource_tags=arns.cluster_tags, conditions=arns.of_tags(arns.cluster_tags))
async def update_cluster_settings(ctx: Context, request: api.UpdateClusterSettingsRequest) -> api.UpdateClusterSettingsResponse:
    """Change settings: containerInsights."""
    row = clusters.require(ctx, request.cluster)
    with ctx.transaction() as tx:
        row = tx.update(CLUSTERS, row, container_insights=clusters.container_insights(ctx, request.settings, row.container_insights))
    return api.UpdateClusterSettingsResponse(cluster=clusters.describe(ctx, row, include=ALL))


@operation(resource=arns.cluster, resource_tags=arns.cluster_tags, conditions=arns.of_tags(arns.cluster_tags))
async def delete_cluster(ctx: Context, request: api.DeleteClusterRequest) -> api.DeleteClusterResponse:
    """Delete a cluster in which nothing is. It can be described for a while, as INACTIVE."""
    row = clusters.require(ctx, request.cluster)
    refuse_content(counting.of(ctx, row))
    with ctx.transaction() as tx:
        row = tx.update(CLUSTERS, row, status="INACTIVE", deleted=ctx.now())
    return api.DeleteClusterResponse(cluster=clusters.describe(ctx, row, include=ALL))


def refuse_content(counts: counting.Counts) -> None:
    """
    Raises:
        ClusterContainsServicesException, ClusterContainsTasksException, ClusterContainsContainerInstancesException
    """
    if counts.container_instances:
        raise api.ClusterContainsContainerInstancesException(
            "The Cluster cannot be deleted while Container Instances are active or draining."
        )
    if sum(counts.services.values()) or sum(counts.draining.values()):
        raise api.ClusterContainsServicesException("The Cluster cannot be deleted while Services are active.")
    if sum(counts.running.values()) or sum(counts.pending.values()):
        raise api.ClusterContainsTasksException("The Cluster cannot be deleted while Tasks are active.")
