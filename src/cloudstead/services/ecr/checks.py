"""What several resources of ECR refuse alike, in AWS's sentences."""

from __future__ import annotations

import re

from cloudstead.kernel.context import Context
from cloudstead.kernel.policy import RESOURCE, MalformedPolicy, parse
from cloudstead.services.ecr.repositories import invalid

_ROLE = re.compile(r"arn:[^:]+:iam::(\d{12}):role/[\w+=,.@/-]+")


def check_policy(document: str) -> None:
    try:
        parse(document, RESOURCE)
    except MalformedPolicy:
        invalid("PolicyText", "Invalid repository policy provided")


def check_role(ctx: Context, arn: str) -> None:
    """A role that ECR is to assume: of this account, and one that the caller may pass on."""
    found = _ROLE.fullmatch(arn)
    if found is None or found[1] != ctx.account:
        invalid("customRoleArn", "Member must be the ARN of an IAM role of the registry's account")
    ctx.require("iam:PassRole", arn, {"iam:PassedToService": "ecr.amazonaws.com"})
