"""Clusters: made, described, listed. What changes them stands in `cluster_changes.py` and `cluster_capacity.py`."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from cloudstead.kernel import quotas, tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.services.ecs import api, arns, checks, counting, namespaces, settings, strategies
from cloudstead.services.ecs.model import CLUSTERS, DEFAULT_CLUSTER, Cluster, ClusterConfiguration


def find(ctx: Context, text: str | None) -> Cluster | None:
    """The cluster that a request names, by name or ARN, INACTIVE ones too; by default the one called `default`."""
    name = arns.name_of(ctx, "cluster", text or DEFAULT_CLUSTER)
    row: Cluster | None = None if name is None else ctx.table(CLUSTERS).get((ctx.account, ctx.region, name))
    return row


def require(ctx: Context, text: str | None) -> Cluster:
    """
    Raises:
        ClusterNotFoundException: there is none, or it was deleted.
    """
    row = find(ctx, text)
    if row is None:
        raise api.ClusterNotFoundException("Cluster not found.")
    if not row.active:
        raise api.ClusterNotFoundException("The referenced cluster was inactive.")
    return row


def container_insights(ctx: Context, given: list[api.ClusterSetting] | None, otherwise: str) -> str:
    """The value of the one setting that clusters have."""
    found = otherwise
    for setting in given or ():
        if setting.name is None:
            checks.invalid("Setting name cannot be empty.")
        if setting.value not in settings.SETTINGS[setting.name].values:
            checks.invalid(f"Invalid value '{setting.value}' for the cluster setting {setting.name}.")
        found = setting.value
    return found


def configuration(given: api.ClusterConfiguration | None) -> ClusterConfiguration | None:
    """
    Raises:
        InvalidParameterException, ClientException
    """
    if given is None:
        return None
    if given.managed_storage_configuration is not None:
        checks.unsupported("Encryption of a cluster's storage with a KMS key")
    sessions = given.execute_command_configuration
    if sessions is not None:
        if sessions.kms_key_id:
            checks.unsupported("Encryption of the sessions of ECS Exec with a KMS key")
        log = sessions.log_configuration
        if log is not None and sessions.logging != "OVERRIDE":
            checks.invalid("You must set logging to 'OVERRIDE' when you supply a log configuration.")
        if sessions.logging == "OVERRIDE" and not (log is not None and (log.cloud_watch_log_group_name or log.s3_bucket_name)):
            checks.invalid("A CloudWatch log group name or S3 bucket name must be specified when overriding the default log configuration.")
        if log is not None and (log.s3_encryption_enabled or log.cloud_watch_encryption_enabled):
            checks.unsupported("Encryption of the logs of ECS Exec")
        if log is not None and log.s3_key_prefix and not log.s3_bucket_name:
            checks.invalid("An S3 bucket name must be specified with an S3 key prefix.")
    return msgspec.convert(given, ClusterConfiguration, from_attributes=True)


@operation(resource=arns.new_cluster, conditions=arns.capacity_provider_conditions)
async def create_cluster(ctx: Context, request: api.CreateClusterRequest) -> api.CreateClusterResponse:
    """Make a cluster; a call that says the same of one that is there answers with it."""
    name = request.cluster_name or DEFAULT_CLUSTER
    if not checks.NAME.fullmatch(name):
        checks.invalid("Cluster name contains invalid characters.")
    providers = strategies.providers(ctx, request.capacity_providers or ())
    namespace = None
    if request.service_connect_defaults is not None and request.service_connect_defaults.namespace:
        namespace = await namespaces.resolve(ctx, request.service_connect_defaults.namespace)
    row = Cluster(
        account=ctx.account,
        region=ctx.region,
        name=name,
        created=ctx.now(),
        container_insights=container_insights(ctx, request.settings, settings.value(ctx, "containerInsights")),
        configuration=configuration(request.configuration),
        capacity_providers=providers,
        strategy=strategies.default(ctx, request.default_capacity_provider_strategy or (), providers),
        namespace=namespace,
        tags=checks.new_tags(ctx, request.tags, arns.of(ctx, "cluster", name), "CreateCluster"),
    )
    return api.CreateClusterResponse(cluster=describe(ctx, _made(ctx, row, request), include=("SETTINGS", "TAGS", "CONFIGURATIONS")))


def _made(ctx: Context, row: Cluster, request: api.CreateClusterRequest) -> Cluster:
    there: Cluster | None = ctx.table(CLUSTERS).get(row.key)
    if there is not None and there.active:
        if _says_otherwise(row, there, request):
            checks.invalid("Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
        return there
    count = sum(each.active for each in ctx.table(CLUSTERS).scan((ctx.account, ctx.region)))
    quotas.require(ctx, "ecs", "clusters", count, lambda limit: api.ClientException("The maximum number of clusters has been reached."))
    with ctx.transaction() as tx:
        return tx.put(CLUSTERS, row)


def _says_otherwise(row: Cluster, there: Cluster, request: api.CreateClusterRequest) -> bool:
    """Whether a call to make a cluster again says something that it is not."""
    return bool(
        (request.settings and row.container_insights != there.container_insights)
        or (request.configuration and row.configuration != there.configuration)
        or (request.capacity_providers and row.capacity_providers != there.capacity_providers)
        or (request.default_capacity_provider_strategy and row.strategy != there.strategy)
        or (row.namespace and row.namespace != there.namespace)
        or (row.tags and row.tags != there.tags)
    )


@operation(resource=arns.clusters, resource_tags=arns.clusters_tags, conditions=arns.of_tags(arns.clusters_tags))
async def describe_clusters(ctx: Context, request: api.DescribeClustersRequest) -> api.DescribeClustersResponse:
    """Describe up to 100 clusters, deleted ones too; an unknown one is a failure, not an error."""
    wanted = request.clusters or [DEFAULT_CLUSTER]
    if len(wanted) > checks.PAGE:
        checks.invalid(f"clusters can have at most {checks.PAGE} items.")
    found, failures = [], []
    for text in dict.fromkeys(wanted):
        row = find(ctx, text)
        if row is None:
            arn = text if text.startswith("arn:") else arns.of(ctx, "cluster", text)
            failures.append(api.Failure(arn=arn, reason="MISSING"))
        else:
            found.append(describe(ctx, row, include=request.include or ()))
    return api.DescribeClustersResponse(clusters=found, failures=failures)


@operation(resource="*")
async def list_clusters(ctx: Context, request: api.ListClustersRequest) -> api.ListClustersResponse:
    """The ARNs of the active clusters."""
    rows, token = page(
        ctx,
        CLUSTERS,
        (ctx.account, ctx.region),
        request=request,
        token=request.next_token,
        limit=checks.page_size(request.max_results),
        invalid=checks.invalid_token,
        where=lambda row: row.active,
    )
    return api.ListClustersResponse(cluster_arns=[row.arn() for row in rows], next_token=token)


def describe(ctx: Context, row: Cluster, *, include: Collection[str] = ()) -> api.Cluster:
    """A cluster as AWS tells it; settings, statistics and tags are empty unless they are asked for."""
    counts = counting.of(ctx, row)
    statistics = counting.statistics(counts) if "STATISTICS" in include else []
    insights = api.ClusterSetting(name="containerInsights", value=row.container_insights)
    return api.Cluster(
        cluster_arn=row.arn(),
        cluster_name=row.name,
        configuration=_configuration(row) if "CONFIGURATIONS" in include else None,
        status=row.status,
        registered_container_instances_count=counts.container_instances,
        running_tasks_count=sum(counts.running.values()),
        pending_tasks_count=sum(counts.pending.values()),
        active_services_count=sum(counts.services.values()),
        statistics=[api.KeyValuePair(name=name, value=value) for name, value in statistics],
        tags=tags.to_list(row.tags, api.Tag) if "TAGS" in include else [],
        settings=[insights] if "SETTINGS" in include else [],
        capacity_providers=list(row.capacity_providers),
        default_capacity_provider_strategy=[strategies.describe(each) for each in row.strategy],
        attachments=[] if "ATTACHMENTS" in include else None,  # scaling plans of Auto Scaling groups, which do not act yet
        service_connect_defaults=None if row.namespace is None else api.ClusterServiceConnectDefaults(namespace=row.namespace),
    )


def _configuration(row: Cluster) -> api.ClusterConfiguration | None:
    if row.configuration is None:
        return None
    return msgspec.convert(row.configuration, api.ClusterConfiguration, from_attributes=True)
