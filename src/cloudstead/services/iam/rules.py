"""What the resources of IAM share: quotas, pages, tags and the checks of policy documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import quote

from msgspec.structs import replace

from cloudstead.kernel import pagination, quotas, tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.policy import TRUST, Kind, MalformedPolicy, parse
from cloudstead.kernel.quotas import Quota
from cloudstead.kernel.store import IndexKey, Row, Table
from cloudstead.services.iam import api
from cloudstead.services.iam.model import ROLES, USERS, KeyStatus, fold

R = TypeVar("R", bound=Row)
T = TypeVar("T")

PAGE: Final = 100  # what a list answers when it is not told how many

_TAG_RULES: Final = tags.Rules(
    invalid=api.InvalidInputException,
    too_many=lambda _: api.LimitExceededException("The number of tags has reached the maximum limit."),
)
_PRINCIPALS_TAG_RULES: Final = replace(_TAG_RULES, case_sensitive=False)

# ---- quotas: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html

_QUOTAS: Final = {
    # code: (what LimitExceeded calls it, AWS's name, default, AWS's code)
    "users": ("UsersPerAccount", "Users per account", 5000, "L-F55AF5E4"),
    "groups": ("GroupsPerAccount", "Groups per account", 300, "L-F4A5425F"),
    "roles": ("RolesPerAccount", "Roles per account", 1000, "L-FE177D64"),
    "instance_profiles": ("InstanceProfilesPerAccount", "Instance profiles per account", 1000, "L-6E65F664"),
    "policies": ("PoliciesPerAccount", "Customer managed policies per account", 1500, "L-E95E4862"),
    "server_certificates": ("ServerCertificates", "Server certificates per account", 20, "L-BF35879D"),
    "oidc_providers": ("OpenIdConnectProviders", "OpenId connect providers per account", 100, "L-858F3967"),
    "saml_providers": ("SAMLProviders", "SAML providers per account", 100, ""),
    "groups_per_user": ("GroupsPerUser", "IAM groups per user", 10, ""),
    "policies_per_user": ("PoliciesPerUser", "Managed policies per user", 10, "L-4019AD8B"),
    "policies_per_group": ("PoliciesPerGroup", "Managed policies per group", 10, ""),
    "policies_per_role": ("PoliciesPerRole", "Managed policies per role", 10, "L-0DA4ABF3"),
    "access_keys_per_user": ("AccessKeysPerUser", "Access keys per user", 2, "L-8758042E"),
    "mfa_devices_per_user": ("MFADevicesPerUser", "MFA devices per user", 8, ""),
    "ssh_keys_per_user": ("SSHPublicKeysPerUser", "SSH public keys per user", 5, ""),
    "signing_certificates_per_user": ("CertificatesPerUser", "Signing certificates per user", 2, ""),
    "service_credentials_per_user": ("ServiceSpecificCredentialsPerUser", "Service specific credentials per user and service", 2, ""),
    "client_ids": ("ClientIdsPerOpenIdConnectProvider", "Client ids per OpenId connect provider", 100, ""),
    "trust_policy_size": ("ACLSizePerRole", "Role trust policy length", 2048, "L-C07B4B0D"),
    "policy_size": ("PolicySize", "Managed policy length", 6144, ""),
}
quotas.declare(
    *(
        Quota("iam", code, name, default, adjustable=bool(aws_code), aws_code=aws_code, everywhere=True)
        for code, (_, name, default, aws_code) in _QUOTAS.items()
    )
)


def quota(ctx: Context, code: str) -> int:
    return quotas.limit(ctx, "iam", code)


def within_quota(ctx: Context, code: str, used: int) -> None:
    """Refuse one more than the quota allows.

    Raises:
        LimitExceededException
    """
    quotas.require(ctx, "iam", code, used, lambda limit: api.LimitExceededException(f"Cannot exceed quota for {_QUOTAS[code][0]}: {limit}"))


# ---- pages


def invalid_marker() -> Exception:
    return ValidationFailed("Invalid Marker.")


def page(
    ctx: Context,
    table: Table[R],
    request: Any,
    prefix: IndexKey = (),
    *,
    index: str = "",
    where: Callable[[R], bool] | None = None,
) -> tuple[list[R], str | None]:
    """The rows of the caller's account that a request asks for, and the marker of the next ones."""
    return pagination.page(
        ctx,
        table,
        (ctx.account, *prefix),
        request=request,
        token=request.marker,
        limit=request.max_items or PAGE,
        invalid=invalid_marker,
        index=index,
        where=where,
    )


def page_of(ctx: Context, request: Any, items: Iterable[T], key: Callable[[T], Any]) -> tuple[list[T], str | None]:
    """As `page`, for what does not stand in a table of its own."""
    return pagination.page_of(
        ctx,
        items,
        key=key,
        request=request,
        token=request.marker,
        limit=getattr(request, "max_items", None) or PAGE,
        invalid=invalid_marker,
    )


def below(path_prefix: str | None) -> Callable[[Any], bool] | None:
    """Whether something stands below a path, for the lists with PathPrefix."""
    return None if path_prefix in (None, "/") else lambda row: row.path.startswith(path_prefix)


# ---- policy documents


def check_document(document: str, kind: Kind) -> None:
    """Refuse what is not a policy of this kind.

    Raises:
        MalformedPolicyDocumentException
    """
    try:
        parse(document, kind)
    except MalformedPolicy as fault:
        raise api.MalformedPolicyDocumentException(str(fault)) from None


def check_trust_policy(ctx: Context, document: str) -> None:
    """A trust policy must also name users and roles that are there, as far as they are of this account.

    Raises:
        MalformedPolicyDocumentException, LimitExceededException
    """
    check_document(document, TRUST)
    if size(document) > (limit := quota(ctx, "trust_policy_size")):
        raise api.LimitExceededException(f"Cannot exceed quota for ACLSizePerRole: {limit}")
    for name in _principals(document):
        kind, _, rest = name.partition(f":iam::{ctx.account}:")[2].partition("/")
        if kind not in ("user", "role"):
            continue
        row = ctx.table(USERS if kind == "user" else ROLES).get((ctx.account, fold(rest.rpartition("/")[2])))
        if row is None or row.arn != name:
            raise api.MalformedPolicyDocumentException(f'Invalid principal in policy: "AWS":"{name}"')


def _principals(document: str) -> Iterator[str]:
    """The AWS principals that a well-formed policy names."""
    statements = json.loads(document)["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        for member in ("Principal", "NotPrincipal"):
            named = statement.get(member)
            names = named.get("AWS", []) if isinstance(named, dict) else []
            yield from [names] if isinstance(names, str) else names


def size(document: str) -> int:
    """The characters of a document that count: IAM counts no white space."""
    return len("".join(document.split()))


def encoded(document: str) -> str:
    """How a document stands in an answer: percent-encoded as of RFC 3986."""
    return quote(document, safe="")


def tag_rules(table: Table[Any]) -> tags.Rules:
    """To users and roles "Team" and "team" are one key, to all else two.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html
    """
    return _PRINCIPALS_TAG_RULES if table in (USERS, ROLES) else _TAG_RULES


def tags_from(wanted: list[api.Tag] | None, table: Table[Any]) -> dict[str, str]:
    """The tags that a new row is to have.

    Raises:
        InvalidInputException, LimitExceededException
    """
    allowed = tag_rules(table)
    return tags.merge({}, tags.from_list(wanted, allowed), allowed)


def tag_list(row_tags: dict[str, str]) -> list[api.Tag] | None:
    """Tags as users and roles show them: not at all when there are none."""
    return tags.to_list(row_tags, api.Tag) or None


def settable(status: str) -> KeyStatus:
    """The status that a key or certificate is to have.

    Raises:
        InvalidInputException: it is one that only time sets.
    """
    if status == "Active":
        return "Active"
    if status == "Inactive":
        return "Inactive"
    raise api.InvalidInputException(f"The status {status} cannot be set.")
