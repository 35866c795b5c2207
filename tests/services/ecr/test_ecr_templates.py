"""Creation templates: what is kept, which one counts, and the repositories that are made by them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.services.ecr import api, creation_templates
from support import ACCOUNT, CloudThread, context_in, local_cloud

ROLE = f"arn:aws:iam::{ACCOUNT}:role/ecr-templates"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
LIFECYCLE = (
    '{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":3},'
    '"action":{"type":"expire"}}]}'
)
POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage"}]}'


@asynccontextmanager
async def registry(data: Path) -> AsyncIterator[Context]:
    async with local_cloud(data, in_memory=True) as cloud:
        await cloud.ready("ecr")
        yield context_in(cloud)


async def create(ctx: Context, prefix: str, *applied_for: str, **more: Any) -> api.RepositoryCreationTemplate:
    request = api.CreateRepositoryCreationTemplateRequest(prefix=prefix, applied_for=list(applied_for or ("CREATE_ON_PUSH",)), **more)  # type: ignore[arg-type]
    made: api.RepositoryCreationTemplate = (await ctx.call(request)).repository_creation_template
    return made


async def refused(ctx: Context, *arguments: str, **more: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await create(ctx, *arguments, **more)
    return caught.value


async def test_the_longest_prefix_that_applies_counts(tmp_path: Path) -> None:
    async with registry(tmp_path) as ctx:
        await create(ctx, "ROOT")
        await create(ctx, "prod")
        await create(ctx, "prod/team/")
        await create(ctx, "prod/team/a", "REPLICATION")

        def chosen(name: str) -> str | None:
            found = creation_templates.template_for(ctx, name, "CREATE_ON_PUSH")
            return None if found is None else found.prefix

        assert chosen("prod/team/a/b") == "prod/team/"
        assert chosen("prod/team") == "prod"
        assert chosen("production") == "ROOT"
        assert chosen("prod") == "ROOT"
        assert creation_templates.template_for(ctx, "prod/x", "PULL_THROUGH_CACHE") is None


async def test_a_repository_is_made_as_its_template_says(tmp_path: Path) -> None:
    async with registry(tmp_path) as ctx:
        await create(
            ctx,
            "apps",
            image_tag_mutability="IMMUTABLE_WITH_EXCLUSION",
            image_tag_mutability_exclusion_filters=[api.ImageTagMutabilityExclusionFilter(filter_type="WILDCARD", filter="dev-*")],
            resource_tags=[api.Tag(key="team", value="a")],
            repository_policy=POLICY,
            lifecycle_policy=LIFECYCLE,
            custom_role_arn=ROLE,
        )
        row = creation_templates.create_by(ctx, "apps/web", "CREATE_ON_PUSH")
        assert (row.mutability, row.exclusion_filters, row.tags) == ("IMMUTABLE_WITH_EXCLUSION", ("dev-*",), {"team": "a"})
        assert (row.encryption, row.policy, row.lifecycle_policy) == ("AES256", POLICY, LIFECYCLE)
        assert row.created_by_template == "apps"
        assert creation_templates.create_by(ctx, "apps/web", "REPLICATION") == row


async def test_without_a_template_a_repository_has_the_defaults(tmp_path: Path) -> None:
    async with registry(tmp_path) as ctx:
        row = creation_templates.create_by(ctx, "other", "REPLICATION")
        assert (row.mutability, row.encryption, row.policy, row.tags, row.created_by_template) == ("MUTABLE", "AES256", None, {}, "")


async def test_an_update_changes_what_it_names(tmp_path: Path) -> None:
    async with registry(tmp_path) as ctx:
        await create(ctx, "apps", description="first", repository_policy=POLICY, lifecycle_policy=LIFECYCLE)
        request = api.UpdateRepositoryCreationTemplateRequest(
            prefix="apps/", description="second", lifecycle_policy="", applied_for=["REPLICATION"]
        )
        row = (await ctx.call(request)).repository_creation_template
        assert (row.prefix, row.description, row.repository_policy, row.lifecycle_policy) == ("apps", "second", POLICY, None)
        assert row.applied_for == ["REPLICATION"]
        assert row.updated_at > row.created_at


async def test_another_mutability_has_no_filters_of_the_one_before(tmp_path: Path) -> None:
    async with registry(tmp_path) as ctx:
        filters = [api.ImageTagMutabilityExclusionFilter(filter_type="WILDCARD", filter="dev-*")]
        await create(ctx, "apps", image_tag_mutability="MUTABLE_WITH_EXCLUSION", image_tag_mutability_exclusion_filters=filters)
        row = (
            await ctx.call(api.UpdateRepositoryCreationTemplateRequest(prefix="apps", image_tag_mutability="IMMUTABLE"))
        ).repository_creation_template
        assert (row.image_tag_mutability, row.image_tag_mutability_exclusion_filters) == ("IMMUTABLE", None)


async def test_one_prefix_has_one_template(tmp_path: Path) -> None:
    async with registry(tmp_path) as ctx:
        await create(ctx, "apps")
        error = await refused(ctx, "apps/")
        assert error.code == "TemplateAlreadyExistsException"


async def test_a_template_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    async with registry(tmp_path) as ctx:
        for request in (
            api.DeleteRepositoryCreationTemplateRequest(prefix="none"),
            api.UpdateRepositoryCreationTemplateRequest(prefix="none"),
        ):
            with pytest.raises(api.TemplateNotFoundException, match="prefix 'none' does not exist"):
                await ctx.call(request)
        described = await ctx.call(api.DescribeRepositoryCreationTemplatesRequest(prefixes=["none"]))
        assert described.repository_creation_templates == []


@pytest.mark.parametrize(
    "bad",
    [
        {"resource_tags": [api.Tag(key="a", value="b")]},
        {"encryption_configuration": api.EncryptionConfigurationForRepositoryCreationTemplate(encryption_type="KMS")},
        {"custom_role_arn": "arn:aws:iam::999999999999:role/other"},
        {"custom_role_arn": "no role"},
        {"image_tag_mutability": "MUTABLE_WITH_EXCLUSION"},
        {"image_tag_mutability_exclusion_filters": [api.ImageTagMutabilityExclusionFilter(filter_type="WILDCARD", filter="a*")]},
        {"repository_policy": "{"},
        {"lifecycle_policy": "[]"},
        {
            "encryption_configuration": api.EncryptionConfigurationForRepositoryCreationTemplate(encryption_type="AES256", kms_key=KEY),
            "custom_role_arn": ROLE,
        },
    ],
)
async def test_what_no_repository_could_have_is_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    async with registry(tmp_path) as ctx:
        assert (await refused(ctx, "apps", **bad)).code in ("InvalidParameterException", "ValidationException")


async def test_reserved_tags_are_refused(tmp_path: Path) -> None:
    async with registry(tmp_path) as ctx:
        error = await refused(ctx, "apps", resource_tags=[api.Tag(key="aws:x", value="b")], custom_role_arn=ROLE)
        assert error.code in ("InvalidTagParameterException", "InvalidParameterException")


def test_templates_over_the_wire_come_in_pages_and_go(tmp_path: Path) -> None:
    with CloudThread(tmp_path) as cloud:
        ecr = cloud.client("ecr")
        for prefix in ("a", "b", "ROOT"):
            ecr.create_repository_creation_template(prefix=prefix, appliedFor=["REPLICATION", "PULL_THROUGH_CACHE"])
        first = ecr.describe_repository_creation_templates(maxResults=2)
        second = ecr.describe_repository_creation_templates(maxResults=2, nextToken=first["nextToken"])
        found = [each["prefix"] for answer in (first, second) for each in answer["repositoryCreationTemplates"]]
        assert sorted(found) == ["ROOT", "a", "b"]
        assert "nextToken" not in second
        template = ecr.describe_repository_creation_templates(prefixes=["a"])["repositoryCreationTemplates"][0]
        assert template["encryptionConfiguration"] == {"encryptionType": "AES256"}
        assert (template["imageTagMutability"], template["resourceTags"]) == ("MUTABLE", [])
        ecr.delete_repository_creation_template(prefix="a")
        assert len(ecr.describe_repository_creation_templates()["repositoryCreationTemplates"]) == 2
