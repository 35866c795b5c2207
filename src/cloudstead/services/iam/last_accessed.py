"""Service last accessed details: which services an entity could use, and when it did.

What is told is what was noted: uses of access keys and of temporary credentials, of services as a whole, as far back as they are kept. A service
that was never used is listed when a policy names it; what a policy means by `*` is not spelled out.
https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_last-accessed.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cloudstead.kernel import ids
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import access_keys, api, grants, groups, managed_policies, rules, tasks
from cloudstead.services.iam.attachments import Owner
from cloudstead.services.iam.model import GROUPS, ROLES, USERS, USES, Group, Task, Use, User

_NAMES: Final = {
    "apigateway": "Amazon API Gateway",
    "batch": "AWS Batch",
    "cloudwatch": "Amazon CloudWatch",
    "dynamodb": "Amazon DynamoDB",
    "ec2": "Amazon EC2",
    "ecr": "Amazon Elastic Container Registry",
    "ecs": "Amazon Elastic Container Service",
    "events": "Amazon EventBridge",
    "iam": "AWS Identity and Access Management",
    "kms": "AWS Key Management Service",
    "lambda": "AWS Lambda",
    "lightsail": "Amazon Lightsail",
    "logs": "Amazon CloudWatch Logs",
    "s3": "Amazon S3",
    "secretsmanager": "AWS Secrets Manager",
    "sns": "Amazon SNS",
    "sqs": "Amazon SQS",
    "ssm": "AWS Systems Manager",
    "sts": "AWS Security Token Service",
}


@operation(resource=lambda ctx, request: request.arn)
async def generate_service_last_accessed_details(
    ctx: Context, request: api.GenerateServiceLastAccessedDetailsRequest
) -> api.GenerateServiceLastAccessedDetailsResponse:
    """Begin a report about a user, group, role or policy. It is worked out when it is asked for."""
    _subjects(ctx, request.arn)  # refuses what is not there
    job_id = ids.uuid4()
    with ctx.transaction() as tx:
        tasks.add(ctx, tx, job_id, request.arn, request.granularity or "SERVICE_LEVEL")
    return api.GenerateServiceLastAccessedDetailsResponse(job_id=job_id)


@operation(resource="*")
async def get_service_last_accessed_details(
    ctx: Context, request: api.GetServiceLastAccessedDetailsRequest
) -> api.GetServiceLastAccessedDetailsResponse:
    task = _require(ctx, request.job_id)
    found, marker = rules.page_of(ctx, request, _services(ctx, task.subject), key=str)
    answers = [_describe(service, _last_uses(ctx, task.subject, service)) for service in found]
    return api.GetServiceLastAccessedDetailsResponse(
        job_status="COMPLETED",
        job_type="ACTION_LEVEL" if task.granularity == "ACTION_LEVEL" else "SERVICE_LEVEL",
        job_creation_date=task.created,
        job_completion_date=task.created,
        services_last_accessed=answers,
        is_truncated=marker is not None,
        marker=marker,
    )


@operation(resource="*")
async def get_service_last_accessed_details_with_entities(
    ctx: Context, request: api.GetServiceLastAccessedDetailsWithEntitiesRequest
) -> api.GetServiceLastAccessedDetailsWithEntitiesResponse:
    """Who of those that a report is about could use one service, and when each did."""
    task = _require(ctx, request.job_id)
    uses = {owner.arn: use for owner, use in _last_uses(ctx, task.subject, request.service_namespace)}
    found, marker = rules.page_of(ctx, request, _subjects(ctx, task.subject), key=lambda owner: owner.name)
    answers = [_describe_entity(owner, uses.get(owner.arn)) for owner in found]
    return api.GetServiceLastAccessedDetailsWithEntitiesResponse(
        job_status="COMPLETED",
        job_creation_date=task.created,
        job_completion_date=task.created,
        entity_details_list=answers,
        is_truncated=marker is not None,
        marker=marker,
    )


def _require(ctx: Context, job_id: str) -> Task:
    task = tasks.find(ctx, job_id)
    if task is None:
        raise api.NoSuchEntityException(f"The job with id {job_id} cannot be found.")
    return task


def _subjects(ctx: Context, arn: str) -> list[Owner]:
    """The users and roles that a report is about: itself, the members of a group, those who have a policy.

    Raises:
        NoSuchEntityException, InvalidInputException
    """
    if ":policy/" in arn:
        managed_policies.require(ctx, arn)
        place = (ctx.account, arn)
        found: list[Owner] = [*ctx.table(USERS).scan(place, index="by_policy"), *ctx.table(ROLES).scan(place, index="by_policy")]
        for group in ctx.table(GROUPS).scan(place, index="by_policy"):
            found += groups.members(ctx, group)
        return list({owner.arn: owner for owner in found}.values())
    owner = grants.entity(ctx, arn)
    return [*groups.members(ctx, owner)] if isinstance(owner, Group) else [owner]


def _uses(ctx: Context, owner: Owner) -> Iterator[Use]:
    subjects = [owner.arn]
    if isinstance(owner, User):
        subjects += [key.access_key_id for key in access_keys.keys_of(ctx, owner.name)]
    for subject in subjects:
        yield from ctx.table(USES).scan((ctx.account, subject))


def _services(ctx: Context, arn: str) -> set[str]:
    """Those that were used, and those that a policy names."""
    owners = _subjects(ctx, arn)
    used = {use.service for owner in owners for use in _uses(ctx, owner)}
    if ":policy/" in arn:
        documents = [managed_policies.require(ctx, arn).document]
    else:
        documents = [one.document for one in grants.held(ctx, grants.entity(ctx, arn))]
    named = {vendor for document in documents for vendor in grants.vendors(document)}
    return used | {vendor for vendor in named if vendor and not {"*", "?"} & set(vendor)}


def _last_uses(ctx: Context, arn: str, service: str) -> list[tuple[Owner, Use]]:
    """Who used a service, and each one's last use of it; the latest first."""
    found = []
    for owner in _subjects(ctx, arn):
        uses = [use for use in _uses(ctx, owner) if use.service == service]
        if uses:
            found.append((owner, max(uses, key=lambda use: use.at)))
    return sorted(found, key=lambda one: one[1].at, reverse=True)


def _describe(service: str, uses: list[tuple[Owner, Use]]) -> api.ServiceLastAccessed:
    owner, use = uses[0] if uses else (None, None)
    return api.ServiceLastAccessed(
        service_name=_NAMES.get(service, service),
        service_namespace=service,
        last_authenticated=None if use is None else use.at,
        last_authenticated_entity=None if owner is None else owner.arn,
        last_authenticated_region=None if use is None else use.region,
        total_authenticated_entities=len(uses),
    )


def _describe_entity(owner: Owner, use: Use | None) -> api.EntityDetails:
    about = api.EntityInfo(arn=owner.arn, name=owner.name, type=grants.entity_type(owner), id=grants.entity_id(owner), path=owner.path)
    return api.EntityDetails(entity_info=about, last_authenticated=None if use is None else use.at)
