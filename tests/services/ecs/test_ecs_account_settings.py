"""Account settings: whose value counts, and what they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudstead.kernel.context import Context
from cloudstead.kernel.identity import Identity
from cloudstead.services.ecs import api, settings
from support import ACCOUNT, context_in, local_cloud

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ANN = f"arn:aws:iam::{ACCOUNT}:user/ann"


def user(arn: str = ANN) -> Identity:
    return Identity(account=ACCOUNT, arn=arn, user_id="AIDA0", kind="user", principal_arn=arn)


async def effective(ctx: Context, name: str, principal: str | None = None) -> str | None:
    request = api.ListAccountSettingsRequest(name=name, effective_settings=True, principal_arn=principal)  # type: ignore[arg-type]
    (found,) = (await ctx.call(request)).settings
    return str(found.value)


async def test_a_principal_s_own_value_counts_before_the_account_s_and_that_before_aws_s(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        root, ann = context_in(cloud), context_in(cloud, identity=user())
        assert await effective(ann, "containerInsights") == "disabled"
        await root.call(api.PutAccountSettingDefaultRequest(name="containerInsights", value="enhanced"))
        assert await effective(ann, "containerInsights") == "enhanced"
        put = await ann.call(api.PutAccountSettingRequest(name="containerInsights", value="enabled"))
        assert put.setting == api.Setting(name="containerInsights", value="enabled", principal_arn=ANN, type="user")
        assert await effective(ann, "containerInsights") == "enabled"
        assert await effective(root, "containerInsights") == "enhanced"
        assert await effective(root, "containerInsights", ANN) == "enabled"
        await root.call(api.DeleteAccountSettingRequest(name="containerInsights", principal_arn=ANN))
        assert await effective(ann, "containerInsights") == "enhanced"


async def test_root_s_own_value_is_the_account_s(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ann = context_in(cloud, identity=user())
        put = await ann.call(api.PutAccountSettingRequest(name="awsvpcTrunking", value="enabled", principal_arn=ROOT))
        assert put.setting.principal_arn == ROOT
        assert await effective(context_in(cloud, identity=user(f"arn:aws:iam::{ACCOUNT}:role/bob")), "awsvpcTrunking") == "enabled"


async def test_a_new_cluster_has_the_caller_s_container_insights(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ann = context_in(cloud, identity=user())
        await ann.call(api.PutAccountSettingRequest(name="containerInsights", value="enhanced"))
        for ctx, value in ((ann, "enhanced"), (context_in(cloud), "disabled")):
            made = await ctx.call(api.CreateClusterRequest(cluster_name=value))
            assert made.cluster.settings == [api.ClusterSetting(name="containerInsights", value=value)]


async def test_what_was_set_is_listed_and_with_effective_everything(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        assert (await ctx.call(api.ListAccountSettingsRequest())).settings == []
        await ctx.call(api.PutAccountSettingDefaultRequest(name="fargateTaskRetirementWaitPeriod", value="14"))
        assert [each.value for each in (await ctx.call(api.ListAccountSettingsRequest())).settings] == ["14"]
        first = await ctx.call(api.ListAccountSettingsRequest(effective_settings=True))
        rest = await ctx.call(api.ListAccountSettingsRequest(effective_settings=True, next_token=first.next_token))
        assert {each.name for each in first.settings + rest.settings} == set(settings.SETTINGS)
        found = await ctx.call(api.ListAccountSettingsRequest(effective_settings=True, name="awsvpcTrunking", value="enabled"))
        assert found.settings == []


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("containerInsights", "on", "Invalid value for containerInsights"),
        ("fargateTaskRetirementWaitPeriod", "8", "Invalid value"),
        ("serviceLongArnFormat", "disabled", "You can no longer disable Long Arn settings"),
        ("guardDutyActivate", "on", "managed by AWS"),
    ],
)
async def test_a_value_that_there_is_not_is_refused(tmp_path: Path, name: api.SettingName, value: str, sentence: str) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        with pytest.raises(api.InvalidParameterException, match=sentence):
            await context_in(cloud).call(api.PutAccountSettingDefaultRequest(name=name, value=value))


async def test_some_settings_are_the_account_s_alone_and_principals_are_its_own(tmp_path: Path) -> None:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ann = context_in(cloud, identity=user())
        with pytest.raises(api.InvalidParameterException, match="can only be set for the account"):
            await ann.call(api.PutAccountSettingRequest(name="tagResourceAuthorization", value="off"))
        for wrong in ("ann", "arn:aws:iam::111111111111:user/ann", f"arn:aws:iam::{ACCOUNT}:group/all"):
            with pytest.raises(api.InvalidParameterException, match="principal ARN is invalid"):
                await ann.call(api.PutAccountSettingRequest(name="awsvpcTrunking", value="enabled", principal_arn=wrong))
        with pytest.raises(api.InvalidParameterException, match="must specify an account setting name"):
            await ann.call(api.ListAccountSettingsRequest(value="enabled"))
