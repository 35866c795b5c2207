"""Clusters and capacity providers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cloudstead.kernel.clock import VirtualClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import NotImplementedHere
from cloudstead.services.ecs import api, cluster_changes, counting
from cloudstead.services.ecs.controller import Ecs
from cloudstead.services.ecs.forgetting import Forgetting
from cloudstead.services.ecs.model import CLUSTERS
from support import context_in, local_cloud

GROUP = "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:11111111-2222-3333-4444-555555555555:autoScalingGroupName/machines"


async def made(ctx: Context, name: str | None = "shop", **members: Any) -> api.Cluster:
    answer: api.CreateClusterResponse = await ctx.call(api.CreateClusterRequest(cluster_name=name, **members))
    assert answer.cluster is not None
    return answer.cluster


async def described(ctx: Context, *names: str, **members: Any) -> api.DescribeClustersResponse:
    answer: api.DescribeClustersResponse = await ctx.call(api.DescribeClustersRequest(clusters=list(names) or None, **members))
    return answer


def items(*pairs: tuple[str, int, int]) -> list[api.CapacityProviderStrategyItem]:
    return [api.CapacityProviderStrategyItem(capacity_provider=name, weight=weight, base=base) for name, weight, base in pairs]


async def test_the_cluster_without_a_name_is_the_default_one(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        missing = (await described(ctx)).failures
        assert missing == [api.Failure(arn="arn:aws:ecs:us-east-1:000000000000:cluster/default", reason="MISSING")]
        assert (await made(ctx, None)).cluster_arn == "arn:aws:ecs:us-east-1:000000000000:cluster/default"
        assert [each.cluster_name for each in (await described(ctx)).clusters or ()] == ["default"]


async def test_a_description_tells_only_what_is_asked_for(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        sessions = api.ExecuteCommandConfiguration(logging="NONE")
        await made(ctx, tags=[api.Tag(key="a", value="b")], configuration=api.ClusterConfiguration(execute_command_configuration=sessions))
        (bare,) = (await described(ctx, "shop")).clusters or ()
        assert (bare.tags, bare.settings, bare.statistics, bare.configuration, bare.attachments) == ([], [], [], None, None)
        (whole,) = (
            await described(ctx, "shop", include=["ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS"])
        ).clusters or ()
        assert whole.tags == [api.Tag(key="a", value="b")]
        assert whole.settings == [api.ClusterSetting(name="containerInsights", value="disabled")]
        assert {each.value for each in whole.statistics or ()} == {"0"}
        assert "runningFargateTasksCount" in {each.name for each in whole.statistics or ()}
        assert whole.configuration == api.ClusterConfiguration(execute_command_configuration=sessions)
        assert whole.attachments == []


async def test_making_a_cluster_again_answers_with_it_unless_it_is_said_to_be_another(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        first = await made(ctx, tags=[api.Tag(key="a", value="b")])
        assert await made(ctx) == first
        assert await made(ctx, tags=[api.Tag(key="a", value="b")]) == first
        with pytest.raises(api.InvalidParameterException, match="Arguments on this idempotent request are inconsistent"):
            await made(ctx, tags=[api.Tag(key="a", value="c")])


@pytest.mark.parametrize("name", ["a b", "a/b", "x" * 256, "café"])
async def test_a_cluster_s_name_has_letters_digits_and_hyphens(tmp_path: Path, name: str) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        with pytest.raises(api.InvalidParameterException):
            await made(context_in(cloud), name)


async def test_a_deleted_cluster_is_inactive_for_an_hour_and_can_be_made_again(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with local_cloud(tmp_path, in_memory=True, clock=clock) as cloud:
        ctx = context_in(cloud)
        await made(ctx, tags=[api.Tag(key="a", value="b")])
        await ctx.call(api.DeleteClusterRequest(cluster="arn:aws:ecs:us-east-1:000000000000:cluster/shop"))
        assert [each.status for each in (await described(ctx, "shop")).clusters or ()] == ["INACTIVE"]
        assert (await ctx.call(api.ListClustersRequest())).cluster_arns == []
        for request in (api.DeleteClusterRequest(cluster="shop"), api.UpdateClusterRequest(cluster="shop")):
            with pytest.raises(api.ClusterNotFoundException, match="The referenced cluster was inactive"):
                await ctx.call(request)
        assert (await made(ctx)).tags == []
        await passes(cloud, clock, 7200)
        assert [each.status for each in (await described(ctx, "shop")).clusters or ()] == ["ACTIVE"]
        await ctx.call(api.DeleteClusterRequest(cluster="shop"))
        await passes(cloud, clock, 3599)
        assert [each.status for each in (await described(ctx, "shop")).clusters or ()] == ["INACTIVE"]
        await passes(cloud, clock, 2)
        assert (await described(ctx, "shop")).clusters == []


async def passes(cloud: Cloud, clock: VirtualClock, seconds: float) -> None:
    """Let time pass, and what waits for it be done."""
    for step in (0.0, seconds):
        clock.advance(step)
        for _ in range(3):
            await cloud.store.settled()
            await asyncio.sleep(0)
            await forgetting_of(cloud).settled()


def forgetting_of(cloud: Cloud) -> Forgetting:
    ecs: Ecs = cloud.parts["ecs"]
    return ecs.forgetting


async def test_an_unknown_cluster_is_not_found(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        for text in ("shop", "arn:aws:ecs:us-west-2:000000000000:cluster/shop", "arn:nonsense"):
            with pytest.raises(api.ClusterNotFoundException, match="Cluster not found"):
                await ctx.call(api.DeleteClusterRequest(cluster=text))


@pytest.mark.parametrize(
    ("counts", "error"),
    [
        (counting.Counts(container_instances=1), api.ClusterContainsContainerInstancesException),
        (counting.Counts(services={"Fargate": 1}), api.ClusterContainsServicesException),
        (counting.Counts(draining={"EC2": 1}), api.ClusterContainsServicesException),
        (counting.Counts(pending={"Fargate": 1}), api.ClusterContainsTasksException),
    ],
)
def test_a_cluster_with_something_in_it_stays(counts: counting.Counts, error: type[Exception]) -> None:
    with pytest.raises(error):
        cluster_changes.refuse_content(counts)


async def test_settings_and_configuration_change_and_the_rest_stays(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        log = api.ExecuteCommandLogConfiguration(s3_bucket_name="sessions", s3_key_prefix="a/")
        sessions = api.ExecuteCommandConfiguration(logging="OVERRIDE", log_configuration=log)
        configuration = api.ClusterConfiguration(execute_command_configuration=sessions)
        await made(ctx, configuration=configuration)
        enhanced = [api.ClusterSetting(name="containerInsights", value="enhanced")]
        for request in (api.UpdateClusterSettingsRequest(cluster="shop", settings=enhanced), api.UpdateClusterRequest(cluster="shop")):
            changed = (await ctx.call(request)).cluster
            assert (changed.settings, changed.configuration) == (enhanced, configuration)
        with pytest.raises(api.InvalidParameterException):
            await ctx.call(
                api.UpdateClusterSettingsRequest(cluster="shop", settings=[api.ClusterSetting(name="containerInsights", value="x")])
            )


@pytest.mark.parametrize(
    ("sessions", "sentence"),
    [
        (api.ExecuteCommandConfiguration(logging="OVERRIDE"), "must be specified when overriding the default log configuration"),
        (
            api.ExecuteCommandConfiguration(
                logging="DEFAULT", log_configuration=api.ExecuteCommandLogConfiguration(cloud_watch_log_group_name="g")
            ),
            "You must set logging to 'OVERRIDE' when you supply a log configuration",
        ),
        (api.ExecuteCommandConfiguration(kms_key_id="k"), "is not supported by Cloudstead"),
    ],
)
async def test_a_configuration_that_cannot_act_is_refused(tmp_path: Path, sessions: api.ExecuteCommandConfiguration, sentence: str) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        with pytest.raises((api.InvalidParameterException, api.ClientException), match=sentence):
            await made(context_in(cloud), configuration=api.ClusterConfiguration(execute_command_configuration=sessions))


class CloudMap:
    """The companion's part in this: namespaces."""

    def __init__(self) -> None:
        self.names = ["old"]

    async def call(self, ctx: Context, service: str, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert service == "servicediscovery"
        if operation == "CreateHttpNamespace":
            self.names.append(parameters["Name"])
            return {"OperationId": "1"}
        return {
            "Namespaces": [
                {"Name": name, "Arn": f"arn:aws:servicediscovery:us-east-1:000000000000:namespace/ns-{name}"} for name in self.names
            ]
        }


async def test_the_namespace_of_service_connect_is_found_or_made(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        with pytest.raises(NotImplementedHere):
            await made(ctx, service_connect_defaults=api.ClusterServiceConnectDefaultsRequest(namespace="new"))
        cloud.companion = CloudMap()
        arn = "arn:aws:servicediscovery:us-east-1:000000000000:namespace/ns-"
        cluster = await made(ctx, service_connect_defaults=api.ClusterServiceConnectDefaultsRequest(namespace="new"))
        assert cluster.service_connect_defaults == api.ClusterServiceConnectDefaults(namespace=f"{arn}new")
        for given, kept in ((f"{arn}old", api.ClusterServiceConnectDefaults(namespace=f"{arn}old")), ("", None)):
            wanted = api.ClusterServiceConnectDefaultsRequest(namespace=given)
            answer = await ctx.call(api.UpdateClusterRequest(cluster="shop", service_connect_defaults=wanted))
            assert answer.cluster.service_connect_defaults == kept
        wanted = api.ClusterServiceConnectDefaultsRequest(namespace=f"{arn}none")
        with pytest.raises(api.NamespaceNotFoundException):
            await ctx.call(api.UpdateClusterRequest(cluster="shop", service_connect_defaults=wanted))


async def test_clusters_are_listed_in_pages(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        for number in range(5):
            await made(ctx, f"c{number}")
        await made(context_in(cloud, region="eu-west-1"), "elsewhere")
        found, token, pages = [], None, 0
        while pages == 0 or token:
            answer = await ctx.call(api.ListClustersRequest(max_results=2, next_token=token))
            found += answer.cluster_arns
            token, pages = answer.next_token, pages + 1
        assert (pages, [arn.rpartition("/")[2] for arn in found]) == (3, ["c0", "c1", "c2", "c3", "c4"])
        for request in (api.ListClustersRequest(max_results=101), api.ListClustersRequest(next_token="nonsense")):
            with pytest.raises(api.InvalidParameterException):
                await ctx.call(request)


async def test_clusters_are_there_after_a_restart(tmp_path: Path) -> None:
    async with local_cloud(tmp_path) as cloud:
        await made(context_in(cloud), capacity_providers=["FARGATE"], default_capacity_provider_strategy=items(("FARGATE", 1, 2)))
    async with local_cloud(tmp_path) as cloud:
        (found,) = (await described(context_in(cloud), "shop")).clusters or ()
        assert found.default_capacity_provider_strategy == items(("FARGATE", 1, 2))


# ── capacity providers ───────────────────────────────────────────────────────────────────────────────────────────────


async def provider(ctx: Context, name: str = "machines", **members: Any) -> api.CapacityProvider:
    group = api.AutoScalingGroupProvider(auto_scaling_group_arn=GROUP, **members)
    answer: api.CreateCapacityProviderResponse = await ctx.call(
        api.CreateCapacityProviderRequest(name=name, auto_scaling_group_provider=group)
    )
    assert answer.capacity_provider is not None
    return answer.capacity_provider


@pytest.mark.parametrize(
    ("strategy", "sentence"),
    [
        (items(("FARGATE", 1, 0), ("FARGATE", 1, 0)), "more than once"),
        (items(("FARGATE", 1, 1), ("FARGATE_SPOT", 1, 1)), "multiple capacity providers with a base value defined"),
        (items(("FARGATE", 0, 0), ("FARGATE_SPOT", 0, 0)), "must have a weight greater than 0"),
        (items(("FARGATE", 1, 0), ("machines", 1, 0)), "cannot contain a mix of capacity providers"),
        (items(("unknown", 1, 0)), "The specified capacity provider was not found"),
        (items(("machines", 1, 0)), "cannot contain a capacity provider that is not associated with the cluster"),
    ],
)
async def test_a_strategy_that_cannot_be_followed_is_refused(
    tmp_path: Path, strategy: list[api.CapacityProviderStrategyItem], sentence: str
) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        await provider(ctx)
        await made(ctx)
        put = api.PutClusterCapacityProvidersRequest(
            cluster="shop", capacity_providers=["FARGATE", "FARGATE_SPOT"], default_capacity_provider_strategy=strategy
        )
        with pytest.raises(api.InvalidParameterException, match=sentence):
            await ctx.call(put)


async def test_a_capacity_provider_that_a_cluster_has_cannot_go(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        await provider(ctx)
        await made(ctx, capacity_providers=["machines"])
        with pytest.raises(api.ClientException, match="it is associated with cluster: shop"):
            await ctx.call(api.DeleteCapacityProviderRequest(capacity_provider="machines"))
        await ctx.call(api.PutClusterCapacityProvidersRequest(cluster="shop", capacity_providers=[], default_capacity_provider_strategy=[]))
        gone = (await ctx.call(api.DeleteCapacityProviderRequest(capacity_provider="machines"))).capacity_provider
        assert (gone.status, gone.update_status) == ("INACTIVE", "DELETE_COMPLETE")
        with pytest.raises(api.ClientException, match="does not exist"):
            await ctx.call(api.DeleteCapacityProviderRequest(capacity_provider="machines"))


async def test_managed_scaling_has_aws_s_defaults_and_changes_member_by_member(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        made_ = await provider(ctx, managed_scaling=api.ManagedScaling(status="ENABLED"), managed_termination_protection="ENABLED")
        assert made_.auto_scaling_group_provider == api.AutoScalingGroupProvider(
            auto_scaling_group_arn=GROUP,
            managed_scaling=api.ManagedScaling(
                status="ENABLED",
                target_capacity=100,
                minimum_scaling_step_size=1,
                maximum_scaling_step_size=10_000,
                instance_warmup_period=300,
            ),
            managed_termination_protection="ENABLED",
            managed_draining="ENABLED",
        )
        change = api.AutoScalingGroupProviderUpdate(managed_scaling=api.ManagedScaling(target_capacity=50))
        changed = await ctx.call(api.UpdateCapacityProviderRequest(name="machines", auto_scaling_group_provider=change))
        scaling = changed.capacity_provider.auto_scaling_group_provider.managed_scaling
        assert (scaling.status, scaling.target_capacity, scaling.maximum_scaling_step_size) == ("ENABLED", 50, 10_000)
        off = api.AutoScalingGroupProviderUpdate(managed_scaling=api.ManagedScaling(status="DISABLED"))
        with pytest.raises(api.ClientException, match="managed scaling must be enabled"):
            await ctx.call(api.UpdateCapacityProviderRequest(name="machines", auto_scaling_group_provider=off))


async def test_what_is_no_capacity_provider_is_refused(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        for name in ("fargate-own", "AWSthing", "ecs1", "a b"):
            with pytest.raises(api.ClientException, match="The specified capacity provider name is invalid"):
                await provider(ctx, name)
        await provider(ctx)
        with pytest.raises(api.ClientException, match="already exists"):
            await provider(ctx)
        with pytest.raises(api.ClientException, match="scaling step size value is invalid"):
            await provider(ctx, "other", managed_scaling=api.ManagedScaling(minimum_scaling_step_size=9, maximum_scaling_step_size=8))
        with pytest.raises(api.ClientException, match="reserved"):
            await ctx.call(api.DeleteCapacityProviderRequest(capacity_provider="FARGATE"))


async def test_capacity_providers_are_described_with_those_of_fargate(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        await provider(ctx)
        everything = await ctx.call(api.DescribeCapacityProvidersRequest())
        assert [each.name for each in everything.capacity_providers] == ["FARGATE", "FARGATE_SPOT", "machines"]
        named = await ctx.call(api.DescribeCapacityProvidersRequest(capacity_providers=["machines", "none", "FARGATE_SPOT"]))
        assert [each.type for each in named.capacity_providers] == ["EC2_AUTOSCALING", "FARGATE_SPOT"]
        assert [(each.reason, each.arn.rpartition("/")[2]) for each in named.failures] == [("MISSING", "none")]


async def test_rows_of_clusters_hold_no_names_of_the_wire(tmp_path: Path) -> None:
    """They are read by controllers, which load no API."""
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        await made(ctx)
        assert _modules(cloud) == {"cloudstead.services.ecs.model"}


def _modules(cloud: Cloud) -> set[str]:
    return {type(row).__module__ for row in cloud.store.table(CLUSTERS).scan()}
