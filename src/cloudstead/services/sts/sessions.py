"""What goes into a session: how long, which policies, which tags; and the credentials made of it. Pure but for the look-up of managed policies."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import NotImplementedHere, ValidationFailed
from cloudstead.kernel.identity import Credential, Identity
from cloudstead.kernel.policy import SESSION, MalformedPolicy, parse
from cloudstead.kernel.sessions import Sessions
from cloudstead.services.sts import api, lookups

SHORTEST: Final = 900  # seconds
LONGEST_OF_ROOT: Final = 3600
LONGEST_POLICY: Final = 2048  # characters of the plain text
MOST_POLICIES: Final = 10
PACKED: Final = 2048  # bytes that policies and tags may take when packed; AWS keeps its own form and limit to itself


class Tags(msgspec.Struct, frozen=True):
    """The tags of a new session: its own, and those that the caller's session hands on."""

    values: dict[str, str]
    transitive: tuple[str, ...]


def own_tags(requested: Sequence[api.Tag] | None, transitive: Sequence[str] | None, caller: Identity) -> Tags:
    """Lay the requested tags over the transitive ones of the caller's session.

    Raises:
        ValidationFailed
    """
    tags: dict[str, str] = {}
    folded: set[str] = set()
    for tag in requested or ():
        if tag.key.lower() in folded:
            raise ValidationFailed("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        folded.add(tag.key.lower())
        tags[tag.key] = tag.value
    for key in transitive or ():
        if key.lower() not in folded:
            raise ValidationFailed("The specified transitive tag key must be included in the requested tags.")
    inherited = {key: value for key, value in caller.session_tags if key in caller.transitive_tags}
    if any(key.lower() in folded for key in inherited):
        raise ValidationFailed(
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session."
        )
    return Tags({**inherited, **tags}, (*inherited, *(transitive or ())))


async def policies(ctx: Context, account: str, document: str | None, managed: Iterable[api.PolicyDescriptorType] | None) -> tuple[str, ...]:
    """The session policies: the document and the managed policies' ARNs, checked.

    Raises:
        MalformedPolicyDocumentException, PackedPolicyTooLargeException, ValidationFailed
    """
    found: list[str] = []
    if document is not None:
        if len(document) > LONGEST_POLICY:
            raise ValidationFailed(
                "1 validation error detected: Value at 'policy' failed to satisfy constraint: "
                f"Member must have length less than or equal to {LONGEST_POLICY}"
            )
        try:
            parse(document, SESSION)
        except MalformedPolicy as malformed:
            raise api.MalformedPolicyDocumentException(str(malformed)) from None
        found.append(document)
    arns = [policy.arn for policy in managed or () if policy.arn]
    if len(arns) > MOST_POLICIES:
        raise ValidationFailed(f"The number of session policy ARNs must not exceed {MOST_POLICIES}.")
    for arn in arns:
        await lookups.policy_document(ctx, account, arn)
        found.append(arn)
    return tuple(found)


def packed_size(session_policies: Sequence[str], tags: Mapping[str, str]) -> int | None:
    """How much of the space for policies and tags is taken, in percent; None when there are neither.

    Raises:
        PackedPolicyTooLargeException
    """
    if not session_policies and not tags:
        return None
    size = len(zlib.compress(msgspec.msgpack.encode([session_policies, tags])))
    percent = max(1, size * 100 // PACKED)
    if percent > 100:
        raise api.PackedPolicyTooLargeException(f"Packed policy consumes {percent}% of allotted space, please use smaller policy.")
    return percent


def refuse_padding(minimum_size: int | None) -> None:
    """MinimumSessionTokenSize is in the model without a word on what it does.

    Raises:
        NotImplementedHere
    """
    if minimum_size is not None:
        raise NotImplementedHere("MinimumSessionTokenSize is not available in Cloudstead yet.")


def credentials(ctx: Context, identity: Identity, seconds: int) -> api.Credentials:
    """Credentials for this caller that expire after so many seconds."""
    made: Credential = Sessions.of(ctx.cloud).issue(identity, ctx.now() + seconds)
    return api.Credentials(
        access_key_id=made.access_key_id,
        secret_access_key=made.secret_access_key,
        session_token=made.session_token,
        expiration=float(int(ctx.now() + seconds)),
    )
