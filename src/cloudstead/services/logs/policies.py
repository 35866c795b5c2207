"""Resource policies, by which services of AWS may write to log groups; and destinations, by which other accounts may deliver."""

from __future__ import annotations

from cloudstead.kernel import quotas, tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page
from cloudstead.kernel.policy import RESOURCE, MalformedPolicy, parse
from cloudstead.services.logs import api, arns, delivery, groups
from cloudstead.services.logs.groups import TAG_RULES
from cloudstead.services.logs.model import DESTINATIONS, RESOURCE_POLICIES, Destination, ResourcePolicy

PAGE = 50
LARGEST_DOCUMENT = 5120  # characters


def _account_scope_only(
    request: api.PutResourcePolicyRequest | api.DeleteResourcePolicyRequest | api.DescribeResourcePoliciesRequest,
) -> None:
    if request.resource_arn is not None:
        groups.refuse("A resource policy of a single log group")
    if getattr(request, "expected_revision_id", None) is not None:
        groups.refuse("expectedRevisionId, which belongs to policies of a single log group,")


@operation(resource="*")
async def put_resource_policy(ctx: Context, request: api.PutResourcePolicyRequest) -> api.PutResourcePolicyResponse:
    _account_scope_only(request)
    if not request.policy_name or not request.policy_document:
        raise api.InvalidParameterException("policyName and policyDocument must be specified.")
    if len(request.policy_document) > LARGEST_DOCUMENT:
        raise api.LimitExceededException("Resource limit exceeded.")
    check_policy(request.policy_document)
    key = (ctx.account, ctx.region, request.policy_name)
    if key not in ctx.table(RESOURCE_POLICIES):
        count = ctx.table(RESOURCE_POLICIES).count(key[:2])
        quotas.require(ctx, "logs", "resource_policies", count, lambda limit: api.LimitExceededException("Resource limit exceeded."))
    row = ResourcePolicy(
        account=ctx.account, region=ctx.region, name=request.policy_name, document=request.policy_document, updated=groups.milliseconds(ctx)
    )
    with ctx.transaction() as tx:
        tx.put(RESOURCE_POLICIES, row)
    return api.PutResourcePolicyResponse(resource_policy=_describe_policy(row))


def _describe_policy(row: ResourcePolicy) -> api.ResourcePolicy:
    return api.ResourcePolicy(policy_name=row.name, policy_document=row.document, last_updated_time=row.updated, policy_scope="ACCOUNT")


@operation(resource="*")
async def describe_resource_policies(ctx: Context, request: api.DescribeResourcePoliciesRequest) -> api.DescribeResourcePoliciesResponse:
    _account_scope_only(request)
    if request.policy_scope == "RESOURCE":
        return api.DescribeResourcePoliciesResponse(resource_policies=[])
    rows, token = page(
        ctx,
        RESOURCE_POLICIES,
        (ctx.account, ctx.region),
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=groups.invalid_token,
    )
    return api.DescribeResourcePoliciesResponse(resource_policies=[_describe_policy(row) for row in rows], next_token=token)


@operation(resource="*")
async def delete_resource_policy(ctx: Context, request: api.DeleteResourcePolicyRequest) -> api.DeleteResourcePolicyResponse:
    _account_scope_only(request)
    with ctx.transaction() as tx:
        if tx.delete(RESOURCE_POLICIES, (ctx.account, ctx.region, request.policy_name or "")) is None:
            raise api.ResourceNotFoundException(f"Policy with name [{request.policy_name}] does not exist.")
    return api.DeleteResourcePolicyResponse()


def check_policy(document: str) -> None:
    """Refuse what is no policy document."""
    try:
        parse(document, RESOURCE)
    except MalformedPolicy as error:
        raise api.InvalidParameterException(f"Invalid policy document: {error}") from None


def _require(ctx: Context, name: str) -> Destination:
    row: Destination | None = ctx.table(DESTINATIONS).get((ctx.account, ctx.region, name))
    if row is None:
        raise api.ResourceNotFoundException("The specified destination does not exist.")
    return row


@operation(resource=arns.destination, resource_tags=arns.destination_tags)
async def put_destination(ctx: Context, request: api.PutDestinationRequest) -> api.PutDestinationResponse:
    """Name a Kinesis or Firehose stream, so that filters of other accounts can deliver to it."""
    if not request.target_arn.startswith(("arn:aws:kinesis:", "arn:aws:firehose:")):
        raise api.InvalidParameterException("The specified target ARN is invalid.")
    ctx.require("iam:PassRole", request.role_arn, {"iam:PassedToService": delivery.PRINCIPAL})
    service = ctx.cloud.service_context(delivery.PRINCIPAL, ctx.account, ctx.region)
    try:
        await delivery.send(service, request.target_arn, delivery.control_message(ctx), "CONTROL_MESSAGE")
    except Exception as error:
        raise api.InvalidParameterException(
            "Could not deliver test message to specified destination. Check if the destination is valid."
        ) from error
    old: Destination | None = ctx.table(DESTINATIONS).get((ctx.account, ctx.region, request.destination_name))
    row = Destination(
        account=ctx.account,
        region=ctx.region,
        name=request.destination_name,
        target=request.target_arn,
        role=request.role_arn,
        created=groups.milliseconds(ctx) if old is None else old.created,
        policy=None if old is None else old.policy,
        tags=tags.merge({} if old is None else old.tags, request.tags or {}, TAG_RULES),
    )
    with ctx.transaction() as tx:
        row = tx.put(DESTINATIONS, row)
    return api.PutDestinationResponse(destination=_describe_destination(row))


def _describe_destination(row: Destination) -> api.Destination:
    return api.Destination(
        destination_name=row.name,
        target_arn=row.target,
        role_arn=row.role,
        access_policy=row.policy,
        arn=row.arn(),
        creation_time=row.created,
    )


@operation(resource=arns.destination, resource_tags=arns.destination_tags)
async def put_destination_policy(ctx: Context, request: api.PutDestinationPolicyRequest) -> api.PutDestinationPolicyResponse:
    row = _require(ctx, request.destination_name)
    check_policy(request.access_policy)
    with ctx.transaction() as tx:
        tx.update(DESTINATIONS, row, policy=request.access_policy)
    return api.PutDestinationPolicyResponse()


@operation(resource="*")
async def describe_destinations(ctx: Context, request: api.DescribeDestinationsRequest) -> api.DescribeDestinationsResponse:
    rows, token = page(
        ctx,
        DESTINATIONS,
        (ctx.account, ctx.region),
        starts=request.destination_name_prefix or "",
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=groups.invalid_token,
    )
    return api.DescribeDestinationsResponse(destinations=[_describe_destination(row) for row in rows], next_token=token)


@operation(resource=arns.destination, resource_tags=arns.destination_tags)
async def delete_destination(ctx: Context, request: api.DeleteDestinationRequest) -> api.DeleteDestinationResponse:
    row = _require(ctx, request.destination_name)
    with ctx.transaction() as tx:
        tx.delete(DESTINATIONS, DESTINATIONS.key(row))
    return api.DeleteDestinationResponse()
