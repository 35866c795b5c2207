"""Task definitions: revisions, their statuses, lists, and that they go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cloudstead.kernel import identity as identities
from cloudstead.kernel.context import Context
from cloudstead.services.ecs import api, references
from cloudstead.services.ecs.controller import Ecs
from support import context_in, local_cloud

APP = api.ContainerDefinition(name="app", image="nginx", memory=64)


async def registered(ctx: Context, family: str = "web", *containers: api.ContainerDefinition, **members: Any) -> api.TaskDefinition:
    request = api.RegisterTaskDefinitionRequest(family=family, container_definitions=list(containers) or [APP], **members)
    answer: api.RegisterTaskDefinitionResponse = await ctx.call(request)
    assert answer.task_definition is not None
    return answer.task_definition


async def described(ctx: Context, text: str) -> api.TaskDefinition:
    answer: api.DescribeTaskDefinitionResponse = await ctx.call(api.DescribeTaskDefinitionRequest(task_definition=text))
    assert answer.task_definition is not None
    return answer.task_definition


async def deregistered(ctx: Context, text: str) -> api.TaskDefinition:
    answer: api.DeregisterTaskDefinitionResponse = await ctx.call(api.DeregisterTaskDefinitionRequest(task_definition=text))
    assert answer.task_definition is not None
    return answer.task_definition


async def listed(ctx: Context, **members: Any) -> list[str]:
    answer: api.ListTaskDefinitionsResponse = await ctx.call(api.ListTaskDefinitionsRequest(**members))
    return [arn.rpartition("/")[2] for arn in answer.task_definition_arns or ()]


async def families(ctx: Context, **members: Any) -> list[str]:
    answer: api.ListTaskDefinitionFamiliesResponse = await ctx.call(api.ListTaskDefinitionFamiliesRequest(**members))
    return answer.families or []


async def test_a_revision_is_found_by_family_number_and_arn(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        assert [(await registered(ctx)).revision for _ in range(3)] == [1, 2, 3]
        assert (await described(ctx, "web")).revision == 3
        assert (await described(ctx, "web:2")).revision == 2
        assert (await described(ctx, "arn:aws:ecs:us-east-1:000000000000:task-definition/web:1")).revision == 1
        assert (await described(ctx, "arn:aws:ecs:us-east-1:000000000000:task-definition/web")).revision == 3
        await deregistered(ctx, "web:3")
        assert (await described(ctx, "web")).revision == 2


@pytest.mark.parametrize(
    "text",
    [
        "web",
        "web:1",
        "other:1",
        "web:2",
        "arn:aws:ecs:eu-west-1:000000000000:task-definition/web:1",
        "arn:nonsense",
        "web:99999999999999999999",
    ],
)
async def test_what_is_not_there_cannot_be_described(tmp_path: Path, text: str) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        await registered(context_in(cloud, account="111111111111"))
        with pytest.raises(
            (api.ClientException, api.InvalidParameterException), match=r"Unable to describe task definition|Invalid revision number"
        ):
            await described(context_in(cloud), text)


async def test_the_answer_holds_aws_s_defaults(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        container = api.ContainerDefinition(
            name="app",
            image="nginx",
            port_mappings=[api.PortMapping(container_port=80), api.PortMapping(container_port_range="90-99", protocol="udp")],
            health_check=api.HealthCheck(command=["CMD", "true"], interval=10),
            ulimits=[],
        )
        made = await registered(ctx, "web", container, network_mode="awsvpc", cpu="1 vCPU", memory="2 GB")
        (said,) = made.container_definitions or ()
        assert (made.cpu, made.memory, made.volumes, made.placement_constraints) == ("1024", "2048", [], [])
        assert (said.cpu, said.essential, said.environment, said.mount_points, said.volumes_from, said.system_controls) == (
            0,
            True,
            [],
            [],
            [],
            [],
        )
        assert said.port_mappings == [
            api.PortMapping(container_port=80, host_port=80, protocol="tcp"),
            api.PortMapping(container_port_range="90-99", protocol="udp"),
        ]
        assert said.health_check == api.HealthCheck(command=["CMD", "true"], interval=10, timeout=5, retries=3)
        assert (said.ulimits, said.links, said.linux_parameters) == ([], None, None)
        assert made.registered_by == ctx.identity.arn


async def test_a_port_of_bridge_is_a_free_one_of_the_host(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        container = api.ContainerDefinition(name="app", image="nginx", memory=64, port_mappings=[api.PortMapping(container_port=80)])
        made = await registered(context_in(cloud), "web", container)
        assert [each.port_mappings for each in made.container_definitions or ()] == [
            [api.PortMapping(container_port=80, host_port=0, protocol="tcp")]
        ]


async def test_numbers_of_revisions_are_never_given_again(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        await registered(ctx)
        await registered(ctx)
        for text in ("web:1", "web:2"):
            await deregistered(ctx, text)
        await ctx.call(api.DeleteTaskDefinitionsRequest(task_definitions=["web:1", "web:2"]))
        await forgotten(ctx, "web:1", "web:2")
        assert await families(ctx) == []
        assert (await registered(ctx)).revision == 3


async def forgotten(ctx: Context, *texts: str) -> None:
    """Wait until these are gone."""
    async with asyncio.timeout(20):
        for text in texts:
            while True:
                try:
                    await described(ctx, text)
                except api.ClientException:
                    break
                await asyncio.sleep(0.01)


async def test_an_inactive_revision_can_be_described_and_deregistered_again(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        await registered(ctx)
        first = await deregistered(ctx, "web:1")
        assert first.status == "INACTIVE"
        assert first.deregistered_at is not None
        assert await deregistered(ctx, "web:1") == first
        with pytest.raises(api.ClientException, match="Revision is missing"):
            await deregistered(ctx, "web")


async def test_what_cannot_be_deleted_is_a_failure_with_aws_s_reason(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        await registered(ctx)
        answer = await ctx.call(api.DeleteTaskDefinitionsRequest(task_definitions=["web:1", "web:2", "web", "web:x"]))
        assert answer.task_definitions == []
        assert [each.reason.partition(".")[0] for each in answer.failures] == [
            "The specified task definition is still in ACTIVE status",
            "The specified task definition does not exist",
            "The specified task definition identifier is invalid",
            "The specified task definition identifier is invalid",
        ]
        for texts in ([], ["web:1"] * 11):
            with pytest.raises(api.InvalidParameterException, match="references list"):
                await ctx.call(api.DeleteTaskDefinitionsRequest(task_definitions=texts))


async def test_a_revision_that_is_used_waits_with_its_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "to_task_definition", lambda store, row: True)
    async with local_cloud(tmp_path) as cloud:
        ctx = context_in(cloud)
        await registered(ctx)
        await deregistered(ctx, "web:1")
        answer = await ctx.call(api.DeleteTaskDefinitionsRequest(task_definitions=["web:1"]))
        assert [each.status for each in answer.task_definitions] == ["DELETE_IN_PROGRESS"]
        assert isinstance(cloud.parts["ecs"], Ecs)
        await asyncio.sleep(0.05)
        assert (await described(ctx, "web:1")).status == "DELETE_IN_PROGRESS"
        assert await listed(ctx, status="DELETE_IN_PROGRESS") == ["web:1"]
    monkeypatch.setattr(references, "to_task_definition", lambda store, row: False)
    async with local_cloud(tmp_path) as cloud:  # a restart looks at what is left
        await forgotten(context_in(cloud), "web:1")


async def test_revisions_are_listed_by_family_status_and_number(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        for family in ("web", "api", "web-2", *["web"] * 10):
            await registered(ctx, family)
        await deregistered(ctx, "web:3")
        webs = [f"web:{number}" for number in range(1, 12) if number != 3]
        assert await listed(ctx) == ["api:1", *webs, "web-2:1"]
        assert await listed(ctx, family_prefix="web") == webs
        assert await listed(ctx, family_prefix="web", sort="DESC", max_results=3) == ["web:11", "web:10", "web:9"]
        assert await listed(ctx, status="INACTIVE") == ["web:3"]
        found, token = [], None
        while token is not None or not found:
            answer = await ctx.call(api.ListTaskDefinitionsRequest(sort="DESC", max_results=4, next_token=token))
            found += [arn.rpartition("/")[2] for arn in answer.task_definition_arns]
            token = answer.next_token
        assert found == list(reversed(["api:1", *webs, "web-2:1"]))


async def test_families_are_listed_by_prefix_and_status(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        for family in ("web", "api", "web-2"):
            await registered(ctx, family)
        await deregistered(ctx, "web:1")
        assert await families(ctx) == ["api", "web", "web-2"]
        assert await families(ctx, family_prefix="web") == ["web", "web-2"]
        assert await families(ctx, status="ACTIVE") == ["api", "web-2"]
        assert await families(ctx, status="INACTIVE") == ["web"]
        first = await ctx.call(api.ListTaskDefinitionFamiliesRequest(max_results=2))
        assert first.families == ["api", "web"]
        assert await families(ctx, max_results=2, next_token=first.next_token) == ["web-2"]


async def test_tags_are_told_when_they_are_asked_for(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        made = await registered(ctx, tags=[api.Tag(key="team", value="shop")])
        arn = made.task_definition_arn or ""
        await ctx.call(api.TagResourceRequest(resource_arn=arn, tags=[api.Tag(key="zone", value="b")]))
        await ctx.call(api.UntagResourceRequest(resource_arn=arn, tag_keys=["team"]))
        wanted = [api.Tag(key="zone", value="b")]
        assert (await ctx.call(api.ListTagsForResourceRequest(resource_arn=arn))).tags == wanted
        assert (await ctx.call(api.DescribeTaskDefinitionRequest(task_definition="web", include=["TAGS"]))).tags == wanted
        assert (await ctx.call(api.DescribeTaskDefinitionRequest(task_definition="web"))).tags is None
        with pytest.raises(api.ClientException, match="Tags can not be empty"):
            await registered(ctx, tags=[])


async def test_only_what_bears_tags_can_be_tagged(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        here = "arn:aws:ecs:us-east-1:000000000000"
        for arn, error in (
            ("nonsense", api.InvalidParameterException),
            (f"{here}:capacity-provider/FARGATE", api.InvalidParameterException),
            (f"{here}:task-definition/web", api.InvalidParameterException),
            ("arn:aws:ecs:us-east-1:111111111111:cluster/x", api.InvalidParameterException),
            (f"{here}:cluster/none", api.ClusterNotFoundException),
            (f"{here}:task-definition/web:1", api.ResourceNotFoundException),
        ):
            with pytest.raises(error):
                await ctx.call(api.TagResourceRequest(resource_arn=arn, tags=[]))


async def test_a_role_is_given_by_arn_or_name_and_is_of_the_account(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        arn = "arn:aws:iam::000000000000:role/path/app"
        assert (await registered(ctx, task_role_arn=arn)).task_role_arn == arn
        assert (await registered(ctx, task_role_arn="app")).task_role_arn == "arn:aws:iam::000000000000:role/app"
        assert (await registered(ctx, task_role_arn="")).task_role_arn is None
        for wrong in ("arn:aws:iam::111111111111:role/app", "arn:aws:iam::000000000000:user/app", "a b"):
            with pytest.raises(api.ClientException, match="Role is not valid"):
                await registered(ctx, task_role_arn=wrong)


async def test_accounts_do_not_see_each_other(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        other = context_in(cloud, account="111111111111", identity=identities.root("111111111111"))
        await registered(other)
        assert await listed(context_in(cloud)) == []
        assert (await registered(context_in(cloud))).revision == 1


async def test_revisions_are_there_after_a_restart(tmp_path: Path) -> None:
    async with local_cloud(tmp_path) as cloud:
        before = await registered(context_in(cloud), network_mode="host", pid_mode="task", volumes=[api.Volume(name="v")])
    async with local_cloud(tmp_path) as cloud:
        assert await described(context_in(cloud), "web:1") == before
        assert (await registered(context_in(cloud))).revision == 2
