"""Instance profiles: the role whose credentials an instance has."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ServiceError
from cloudstead.kernel.ids import hex_id
from cloudstead.kernel.operations import ConditionValue, operation
from cloudstead.services.ec2 import api, arns, kinds
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import paged
from cloudstead.services.ec2.failures import failure, invalid
from cloudstead.services.ec2.filtering import Filters, chosen
from cloudstead.services.ec2.model import INSTANCES, Instance, ProfileAssociation
from cloudstead.services.iam import api as iam

PRINCIPAL = "ec2.amazonaws.com"


async def associate(ctx: Context, said: api.IamInstanceProfileSpecification) -> ProfileAssociation:
    """The profile that is named, once the caller may pass its role.

    Raises:
        InvalidParameterValue, AccessDenied
    """
    name = said.name or (said.arn or "").rpartition("/")[2]
    wrong = "Name" if said.name else "ARN"
    if not name:
        raise failure("MissingParameter", "The request must contain the parameter iamInstanceProfile.name or iamInstanceProfile.arn")
    try:
        found = await ctx.cloud.service_context(PRINCIPAL, ctx.account, ctx.region).call(
            iam.GetInstanceProfileRequest(instance_profile_name=name)
        )
    except ServiceError:
        raise invalid(
            f"Value ({said.name or said.arn}) for parameter iamInstanceProfile.{wrong.lower()} is invalid. Invalid IAM Instance Profile {wrong}"
        ) from None
    profile = found.instance_profile
    if said.arn and said.arn != profile.arn:
        raise invalid(f"Value ({said.arn}) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN")
    role = profile.roles[0].arn if profile.roles else ""
    if role:
        ctx.require("iam:PassRole", role, {"iam:PassedToService": PRINCIPAL})
    return ProfileAssociation(id=hex_id("iip-assoc"), at=ctx.now(), arn=profile.arn, profile_id=profile.instance_profile_id, role=role)


def _told(row: Instance, one: ProfileAssociation, state: Any) -> api.IamInstanceProfileAssociation:
    return api.IamInstanceProfileAssociation(
        association_id=one.id,
        instance_id=row.id,
        iam_instance_profile=api.IamInstanceProfile(arn=one.arn, id=one.profile_id),
        state=state,
        timestamp=one.at,
    )


@operation(resource=arns.on("instance_id"), resource_tags=arns.tags("instance_id"), conditions=arns.region)
async def associate_iam_instance_profile(
    ctx: Context, request: api.AssociateIamInstanceProfileRequest
) -> api.AssociateIamInstanceProfileResponse:
    """Give an instance a profile; it has its credentials at once."""
    begin(ctx, request, "instance_id", "iam_instance_profile")
    kinds.INSTANCE.require(ctx, request.instance_id)
    made = await associate(ctx, request.iam_instance_profile)
    row = kinds.INSTANCE.require(ctx, request.instance_id)
    if row.state not in ("running", "stopped", "pending"):
        raise failure("IncorrectInstanceState", f"The instance '{row.id}' is not in the 'running' or 'stopped' states.")
    if row.profile is not None:
        raise failure("IncorrectState", f"There is an existing association for instance {row.id}")
    with ctx.transaction() as tx:
        row = tx.update(INSTANCES, row, profile=made)
    return api.AssociateIamInstanceProfileResponse(iam_instance_profile_association=_told(row, made, "associating"))


def _disassociated(ctx: Context, request: api.DisassociateIamInstanceProfileRequest) -> str:
    row = _having(ctx, request.association_id)
    return arns.arn(ctx, "instance", row.id if row else "*")


def _having(ctx: Context, association: str) -> Instance | None:
    rows: list[Instance] = kinds.INSTANCE.all(ctx)
    return next((row for row in rows if row.profile and row.profile.id == association), None)


def _tags_of_disassociated(ctx: Context, request: api.DisassociateIamInstanceProfileRequest) -> dict[str, ConditionValue]:
    row = _having(ctx, request.association_id)
    return dict(row.tags) if row else {}


@operation(resource=_disassociated, resource_tags=_tags_of_disassociated, conditions=arns.region)
async def disassociate_iam_instance_profile(
    ctx: Context, request: api.DisassociateIamInstanceProfileRequest
) -> api.DisassociateIamInstanceProfileResponse:
    """Take an instance its profile."""
    begin(ctx, request, "association_id")
    row = _having(ctx, request.association_id)
    if row is None or row.profile is None:
        raise failure("NoSuchAssociation", f"An invalid association-id of '{request.association_id}' was given")
    with ctx.transaction() as tx:
        tx.update(INSTANCES, row, profile=None)
    return api.DisassociateIamInstanceProfileResponse(iam_instance_profile_association=_told(row, row.profile, "disassociating"))


FILTERS: Filters = {"instance-id": lambda row: row.id, "state": lambda row: "associated"}


@operation(resource="*", conditions=arns.region)
async def describe_iam_instance_profile_associations(
    ctx: Context, request: api.DescribeIamInstanceProfileAssociationsRequest
) -> api.DescribeIamInstanceProfileAssociationsResponse:
    """Which instances have which profiles."""
    begin(ctx, request, "association_ids", "filters", "max_results", "next_token")
    passes = chosen(request.filters, FILTERS)
    rows: list[Instance] = [row for row in kinds.INSTANCE.all(ctx) if row.profile is not None and passes(row)]
    wanted = request.association_ids
    for id in wanted or ():
        if _having(ctx, id) is None:
            raise failure("NoSuchAssociation", f"An invalid association-id of '{id}' was given")
    named = [row for row in rows if not wanted or (row.profile and row.profile.id in wanted)]
    page, token = paged(ctx, request, named, key=lambda row: row.id)
    return api.DescribeIamInstanceProfileAssociationsResponse(
        iam_instance_profile_associations=[_told(row, row.profile, "associated") for row in page if row.profile], next_token=token
    )
