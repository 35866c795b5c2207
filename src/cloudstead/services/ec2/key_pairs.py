"""Key pairs: the private half is told once, when it is made, and not kept."""

from __future__ import annotations

import asyncio
from typing import Any

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.ec2 import api, arns, key_material, kinds, tagging
from cloudstead.services.ec2.calls import begin
from cloudstead.services.ec2.describing import passing
from cloudstead.services.ec2.failures import Ec2Error, failure, invalid, missing, unsupported
from cloudstead.services.ec2.filtering import Filters
from cloudstead.services.ec2.key_material import Key
from cloudstead.services.ec2.model import KEY_PAIRS, KeyPair

FILTERS: Filters = {
    "fingerprint": lambda row: row.fingerprint,
    "key-name": lambda row: row.name,
    "key-pair-id": lambda row: row.id,
}


def _by_name(ctx: Context, name: str) -> KeyPair | None:
    return ctx.table(KEY_PAIRS).find("by_name", (ctx.account, ctx.region, name))


def _no_pair(name: str) -> Ec2Error:
    return failure("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")


def _refuse_taken(ctx: Context, name: str) -> None:
    if not name:
        raise missing("KeyName")
    if len(name) > 255 or not name.isascii():
        raise invalid(f"Value ({name}) for parameter KeyName is invalid. Must be up to 255 ASCII characters.")
    if _by_name(ctx, name) is not None:
        raise failure("InvalidKeyPair.Duplicate", f"The keypair already exists: {name}")


def _keep(ctx: Context, name: str, key: Key, tags: dict[str, str]) -> KeyPair:
    _refuse_taken(ctx, name)  # somebody may have been quicker
    row = KeyPair(
        account=ctx.account,
        region=ctx.region,
        id=kinds.KEY_PAIR.new_id(),
        tags=tags,
        name=name,
        kind=key.kind,
        fingerprint=key.fingerprint,
        public_key=key.public,
        created=ctx.now(),
    )
    with ctx.transaction() as tx:
        return tx.insert(KEY_PAIRS, row)


@operation(resource=arns.key_pair, conditions=arns.region)
async def create_key_pair(ctx: Context, request: api.CreateKeyPairRequest) -> api.CreateKeyPairResponse:
    """A new RSA (2048 bits) or ED25519 key."""
    begin(ctx, request, "key_name", "key_type", "key_format", "tag_specifications")
    _refuse_taken(ctx, request.key_name)
    if request.key_format == "ppk":
        raise unsupported("Keys in the format of PuTTY (ppk) are not supported by Cloudstead.")
    tags = tagging.given(ctx, request, kinds.KEY_PAIR)
    key, private = await asyncio.to_thread(key_material.generate, request.key_type or "rsa")  # an RSA key takes tens of milliseconds
    row = _keep(ctx, request.key_name, key, tags)
    return api.CreateKeyPairResponse(
        key_pair_id=row.id,
        tags=tagging.to_list(row.tags),
        key_name=row.name,
        key_fingerprint=row.fingerprint,
        key_material=private,
    )


@operation(resource=arns.key_pair, conditions=arns.region)
async def import_key_pair(ctx: Context, request: api.ImportKeyPairRequest) -> api.ImportKeyPairResponse:
    """A public key that somebody has the private half of."""
    begin(ctx, request, "key_name", "public_key_material", "tag_specifications")
    _refuse_taken(ctx, request.key_name)
    key = key_material.read(request.public_key_material)
    row = _keep(ctx, request.key_name, key, tagging.given(ctx, request, kinds.KEY_PAIR))
    return api.ImportKeyPairResponse(key_fingerprint=row.fingerprint, key_name=row.name, key_pair_id=row.id, tags=tagging.to_list(row.tags))


@operation(resource="*", conditions=arns.region)
async def describe_key_pairs(ctx: Context, request: api.DescribeKeyPairsRequest) -> api.DescribeKeyPairsResponse:
    """The key pairs of the region; with IncludePublicKey their public halves."""
    begin(ctx, request, "key_names", "key_pair_ids", "include_public_key", "filters")
    rows = kinds.KEY_PAIR.require_all(ctx, request.key_pair_ids or ())
    for name in request.key_names or ():
        row = _by_name(ctx, name)
        if row is None:
            raise _no_pair(name)
        rows.append(row)
    if not request.key_pair_ids and not request.key_names:
        rows = kinds.KEY_PAIR.all(ctx)
    found = passing({row.id: row for row in rows}.values(), request.filters, FILTERS)
    return api.DescribeKeyPairsResponse(key_pairs=[_info(row, bool(request.include_public_key)) for row in found])


def _info(row: KeyPair, with_public: bool) -> api.KeyPairInfo:
    kind: Any = row.kind
    return api.KeyPairInfo(
        key_pair_id=row.id,
        key_type=kind,
        tags=tagging.to_list(row.tags),
        public_key=row.public_key if with_public else None,
        create_time=row.created,
        key_name=row.name,
        key_fingerprint=row.fingerprint,
    )


@operation(resource=arns.key_pair, resource_tags=arns.key_pair_tags, conditions=arns.region)
async def delete_key_pair(ctx: Context, request: api.DeleteKeyPairRequest) -> api.DeleteKeyPairResponse:
    """Delete a pair by name or id. One that is not there is no error, as in AWS."""
    begin(ctx, request, "key_name", "key_pair_id")
    if request.key_pair_id:
        row = kinds.KEY_PAIR.find(ctx, request.key_pair_id)
    elif request.key_name:
        row = _by_name(ctx, request.key_name)
    else:
        raise missing("KeyName or KeyPairId")
    if row is not None:
        with ctx.transaction() as tx:
            tx.delete(KEY_PAIRS, (ctx.account, ctx.region, row.id))
    return api.DeleteKeyPairResponse(return_=True, key_pair_id=row.id if row is not None else None)
