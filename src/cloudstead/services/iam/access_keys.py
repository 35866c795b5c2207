"""Access keys: two for each user, and two for the root user."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import api, arns, rules, users
from cloudstead.services.iam.credentials import Keys, new_key
from cloudstead.services.iam.model import ACCESS_KEYS, AccessKey, User, fold


def _owner(ctx: Context, name: str | None) -> str:
    """The name of a key's owner as rows have it: empty for the root user."""
    user: User | None = users.named_or_caller(ctx, name)
    return "" if user is None else user.name


def _require(ctx: Context, owner: str, access_key_id: str) -> AccessKey:
    """
    Raises:
        NoSuchEntityException: the owner has no such key.
    """
    key: AccessKey | None = ctx.table(ACCESS_KEYS).get((ctx.account, access_key_id))
    if key is None or fold(key.user) != fold(owner):
        raise api.NoSuchEntityException(f"The Access Key with id {access_key_id} cannot be found.")
    return key


def keys_of(ctx: Context, owner: str) -> list[AccessKey]:
    """The keys of a user, or (empty name) of the root user, the oldest first."""
    return sorted(
        ctx.table(ACCESS_KEYS).scan((ctx.account, fold(owner)), index="by_user"), key=lambda key: (key.created, key.access_key_id)
    )


def _shown(owner: str) -> str | None:
    """The root user's keys bear no user name."""
    return owner or None


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def create_access_key(ctx: Context, request: api.CreateAccessKeyRequest) -> api.CreateAccessKeyResponse:
    """Make a key; its secret is told this once."""
    owner = _owner(ctx, request.user_name)
    rules.within_quota(ctx, "access_keys_per_user", len(keys_of(ctx, owner)))
    key = new_key(ctx.account, owner, ctx.now())
    with ctx.transaction() as tx:
        tx.insert(ACCESS_KEYS, key)
    answer = api.AccessKey(
        user_name=_shown(owner),  # type: ignore[arg-type]
        access_key_id=key.access_key_id,
        status=key.status,
        secret_access_key=key.secret_access_key,
        create_date=key.created,
    )
    return api.CreateAccessKeyResponse(access_key=answer)


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def list_access_keys(ctx: Context, request: api.ListAccessKeysRequest) -> api.ListAccessKeysResponse:
    owner = _owner(ctx, request.user_name)
    found, marker = rules.page_of(ctx, request, keys_of(ctx, owner), key=lambda key: (key.created, key.access_key_id))
    answers = [
        api.AccessKeyMetadata(user_name=_shown(owner), access_key_id=key.access_key_id, status=key.status, create_date=key.created)
        for key in found
    ]
    return api.ListAccessKeysResponse(access_key_metadata=answers, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def update_access_key(ctx: Context, request: api.UpdateAccessKeyRequest) -> api.UpdateAccessKeyResponse:
    """Switch a key on or off, from its next use."""
    key = _require(ctx, _owner(ctx, request.user_name), request.access_key_id)
    with ctx.transaction() as tx:
        tx.update(ACCESS_KEYS, key, status=rules.settable(request.status))
    return api.UpdateAccessKeyResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def delete_access_key(ctx: Context, request: api.DeleteAccessKeyRequest) -> api.DeleteAccessKeyResponse:
    key = _require(ctx, _owner(ctx, request.user_name), request.access_key_id)
    with ctx.transaction() as tx:
        tx.delete(ACCESS_KEYS, ACCESS_KEYS.key(key))
        users.forget_uses(ctx, tx, key.access_key_id)
    return api.DeleteAccessKeyResponse()


@operation(resource=arns.owner_of_key, resource_tags=arns.tags_of_owner_of_key)
async def get_access_key_last_used(ctx: Context, request: api.GetAccessKeyLastUsedRequest) -> api.GetAccessKeyLastUsedResponse:
    """When, where and for which service a key was last used; up to a quarter of an hour may be lost when the daemon is killed."""
    key: AccessKey | None = ctx.table(ACCESS_KEYS).get((ctx.account, request.access_key_id))
    if key is None:
        raise api.NoSuchEntityException(f"The Access Key with id {request.access_key_id} cannot be found.")
    use = Keys.of(ctx.cloud).last_use(ctx.account, key.access_key_id)
    if use is None:
        used = api.AccessKeyLastUsed(service_name="N/A", region="N/A")
    else:
        used = api.AccessKeyLastUsed(last_used_date=use.at, service_name=use.service, region=use.region)
    return api.GetAccessKeyLastUsedResponse(user_name=_shown(key.user), access_key_last_used=used)
