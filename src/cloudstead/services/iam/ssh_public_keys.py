"""SSH public keys of users, for git."""

from __future__ import annotations

from cloudstead.kernel import ids
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.services.iam import api, arns, certificates, rules, users
from cloudstead.services.iam.model import SSH_PUBLIC_KEYS, SshPublicKey, fold


def _of(ctx: Context, user: str) -> list[SshPublicKey]:
    return ctx.table(SSH_PUBLIC_KEYS).scan((ctx.account, fold(user)))


def _require(ctx: Context, user: str, key_id: str) -> SshPublicKey:
    """
    Raises:
        NoSuchEntityException
    """
    row: SshPublicKey | None = ctx.table(SSH_PUBLIC_KEYS).get((ctx.account, fold(users.require(ctx, user).name), key_id))
    if row is None:
        raise api.NoSuchEntityException(f"The Public Key with id {key_id} cannot be found.")
    return row


def _describe(key: SshPublicKey, *, pem: bool = False) -> api.SSHPublicKey:
    return api.SSHPublicKey(
        user_name=key.user,
        ssh_public_key_id=key.key_id,
        fingerprint=key.fingerprint,
        ssh_public_key_body=certificates.ssh_key_as_pem(key.body) if pem else key.body,
        status=key.status,
        upload_date=key.uploaded,
    )


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def upload_ssh_public_key(ctx: Context, request: api.UploadSSHPublicKeyRequest) -> api.UploadSSHPublicKeyResponse:
    user = users.require(ctx, request.user_name)
    key = certificates.ssh_key(request.ssh_public_key_body)
    there = _of(ctx, user.name)
    if any(one.body == key.body for one in there):
        raise api.DuplicateSSHPublicKeyException(f"The SSH public key is already associated with the user {user.name}.")
    rules.within_quota(ctx, "ssh_keys_per_user", len(there))
    row = SshPublicKey(
        account=ctx.account,
        user=user.name,
        key_id=ids.unique_id("APKA"),
        body=key.body,
        fingerprint=key.fingerprint,
        uploaded=ctx.now(),
    )
    with ctx.transaction() as tx:
        tx.insert(SSH_PUBLIC_KEYS, row)
    return api.UploadSSHPublicKeyResponse(ssh_public_key=_describe(row))


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def get_ssh_public_key(ctx: Context, request: api.GetSSHPublicKeyRequest) -> api.GetSSHPublicKeyResponse:
    key = _require(ctx, request.user_name, request.ssh_public_key_id)
    return api.GetSSHPublicKeyResponse(ssh_public_key=_describe(key, pem=request.encoding == "PEM"))


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def list_ssh_public_keys(ctx: Context, request: api.ListSSHPublicKeysRequest) -> api.ListSSHPublicKeysResponse:
    user = users.user_or_caller(ctx, request.user_name)
    found, marker = rules.page_of(ctx, request, _of(ctx, user.name), key=lambda key: key.key_id)
    answers = [
        api.SSHPublicKeyMetadata(user_name=key.user, ssh_public_key_id=key.key_id, status=key.status, upload_date=key.uploaded)
        for key in found
    ]
    return api.ListSSHPublicKeysResponse(ssh_public_keys=answers, is_truncated=marker is not None, marker=marker)


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def update_ssh_public_key(ctx: Context, request: api.UpdateSSHPublicKeyRequest) -> api.UpdateSSHPublicKeyResponse:
    key = _require(ctx, request.user_name, request.ssh_public_key_id)
    with ctx.transaction() as tx:
        tx.update(SSH_PUBLIC_KEYS, key, status=rules.settable(request.status))
    return api.UpdateSSHPublicKeyResponse()


@operation(resource=arns.user, resource_tags=arns.user_tags)
async def delete_ssh_public_key(ctx: Context, request: api.DeleteSSHPublicKeyRequest) -> api.DeleteSSHPublicKeyResponse:
    key = _require(ctx, request.user_name, request.ssh_public_key_id)
    with ctx.transaction() as tx:
        tx.delete(SSH_PUBLIC_KEYS, SSH_PUBLIC_KEYS.key(key))
    return api.DeleteSSHPublicKeyResponse()
