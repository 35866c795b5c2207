"""Values that a task definition only names: secrets, and files of variables. Got in the name of the execution role.

A secret is named by the ARN or name of a parameter (SSM), or by the ARN of a secret with `:json-key:version-stage:version-id`.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specifying-sensitive-data.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import NotImplementedHere, ServiceError
from cloudstead.services.ecs.definition import ContainerDefinition, Secret
from cloudstead.services.ecs.translation.environment import of_file

_FAILED = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from {}: {}"
_FILE = "ResourceInitializationError: failed to download env files: {}"


class Unavailable(Exception):
    """It could not be got; the message is for `stoppedReason`."""


async def secrets(ctx: Context, each: ContainerDefinition) -> dict[str, str]:
    """By the names of variables."""
    return {one.name: await _secret(ctx, one) for one in each.secrets or ()}


async def _secret(ctx: Context, one: Secret) -> str:
    kind = "asm" if ":secretsmanager:" in one.value_from else "ssm"
    try:
        return await (_of_secrets_manager if kind == "asm" else _of_parameter_store)(ctx, one.value_from)
    except ServiceError as error:
        raise Unavailable(_FAILED.format(kind, f"{error.code}: {error.message}")) from None


async def _of_parameter_store(ctx: Context, text: str) -> str:
    name, where = text, ctx
    if text.startswith("arn:"):
        _, _, _, region, _, resource = text.split(":", 5)
        name, where = resource.removeprefix("parameter"), ctx.replace(region=region)
        name = name if name.count("/") > 1 else name.removeprefix("/")
    arn = f"arn:{ctx.partition}:ssm:{where.region}:{ctx.account}:parameter/{name.removeprefix('/')}"
    answer = await _ask(where, "ssm", "GetParameters", {"Names": [name], "WithDecryption": True}, arn)
    found = answer.get("Parameters") or []
    if not found:
        raise Unavailable(_FAILED.format("ssm", f"invalid ssm parameters: {name}"))
    return str(found[0]["Value"])


async def _of_secrets_manager(ctx: Context, text: str) -> str:
    parts = text.split(":")
    arn, (key, stage, version) = ":".join(parts[:7]), (*parts[7:10], "", "", "")[:3]
    parameters = {"SecretId": arn} | {name: value for name, value in (("VersionStage", stage), ("VersionId", version)) if value}
    answer = await _ask(ctx.replace(region=parts[3]), "secretsmanager", "GetSecretValue", parameters, arn)
    value = str(answer.get("SecretString", ""))
    if not key:
        return value
    try:
        fields = msgspec.json.decode(value)
        found = fields[key]
    except (msgspec.DecodeError, KeyError, TypeError):
        raise Unavailable(_FAILED.format("asm", f"retrieved secret from Secrets Manager did not contain json key {key}")) from None
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


async def files(ctx: Context, each: ContainerDefinition) -> tuple[dict[str, str], ...]:
    """The variables of its environment files, in their order."""
    found = []
    for one in each.environment_files or ():
        bucket, _, key = one.value.partition(":::")[2].partition("/")
        try:
            answer = await _ask(ctx, "s3", "GetObject", {"Bucket": bucket, "Key": key}, one.value)
        except ServiceError as error:
            raise Unavailable(_FILE.format(f"{error.code}: {error.message}")) from None
        body = answer.get("Body", b"")
        found.append(of_file(body if isinstance(body, str) else bytes(body).decode(errors="replace")))
    return tuple(found)


async def _ask(ctx: Context, service: str, operation: str, parameters: Mapping[str, Any], resource: str) -> dict[str, Any]:
    if ctx.cloud.companion is None:
        raise NotImplementedHere(f"{service} is not available.")
    if not ctx.identity.is_service:
        ctx.require(f"{service}:{operation}", resource)
    return await ctx.cloud.companion.call(ctx, service, operation, parameters)
