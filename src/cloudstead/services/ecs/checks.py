"""What several resources of ECS refuse alike, in AWS's sentences."""

from __future__ import annotations

import re
from typing import Any, NoReturn, cast

from cloudstead.kernel import tags
from cloudstead.kernel.context import Context
from cloudstead.services.ecs import api, settings

NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
TAG_RULES = tags.Rules(invalid=api.InvalidParameterException)
PAGE = 100

_ROLE = re.compile(r"arn:[^:]+:iam::(\d{12}):role/[\w+=,.@/-]+", re.ASCII)
_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)


def invalid(sentence: str) -> NoReturn:
    raise api.InvalidParameterException(sentence)


def refused(sentence: str) -> NoReturn:
    raise api.ClientException(sentence)


def unsupported(what: str) -> NoReturn:
    """A parameter that Cloudstead would not act on."""
    raise api.ClientException(f"{what} is not supported by Cloudstead.")


def page_size(wanted: int | None) -> int:
    if wanted is not None and not 1 <= wanted <= PAGE:
        invalid(f"maxResults must be between 1 and {PAGE}.")
    return PAGE if wanted is None else wanted


def invalid_token() -> Exception:
    return api.InvalidParameterException("Invalid token.")


def given_tags(given: list[api.Tag] | None) -> dict[str, str]:
    """The tags of a request; the model does not ask for their keys, ECS does."""
    for tag in given or ():
        if tag.key is None:
            invalid("Tag key can not be null.")
    return tags.from_list(cast(Any, given), TAG_RULES)


def new_tags(ctx: Context, given: list[api.Tag] | None, arn: str, action: str) -> dict[str, str]:
    """The tags with which a resource is made. Who makes it must be allowed to tag it, unless the account was set not to ask for that.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/supported-iam-actions-tagging.html
    """
    found = tags.merge({}, given_tags(given), TAG_RULES)
    if found and settings.value(ctx, "tagResourceAuthorization") != "off":
        ctx.require("ecs:TagResource", arn, {"ecs:CreateAction": action})
    return found


def role_arn(ctx: Context, role: str) -> str:
    """The ARN of a role that is given by ARN or name, and that the caller may hand to tasks.

    Raises:
        ClientException, AccessDenied
    """
    arn = f"arn:{ctx.partition}:iam::{ctx.account}:role/{role}" if _ROLE_NAME.fullmatch(role) else role
    found = _ROLE.fullmatch(arn)
    if found is None or found[1] != ctx.account:
        refused("Role is not valid")
    ctx.require("iam:PassRole", arn, {"iam:PassedToService": "ecs-tasks.amazonaws.com"})
    return arn
