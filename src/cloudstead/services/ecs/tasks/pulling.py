"""The images of a task: pulled in the name of its execution role; where a registry cannot be asked, the one that is here is taken."""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from cloudstead.engine.errors import EngineError
from cloudstead.engine.images import api as engine_api
from cloudstead.engine.images import references
from cloudstead.kernel.context import Context
from cloudstead.services.ecr import api as ecr_api
from cloudstead.services.ecs.translation.supplies import Image

if TYPE_CHECKING:
    from cloudstead.engine.engine import Engine


class Pulled(msgspec.Struct, frozen=True):
    image: Image
    id: str
    digest: str  # of the manifest


async def pull(engine: Engine, ctx: Context, name: str) -> Pulled:
    """
    Raises:
        EngineError, ServiceError
    """
    found = await _image(engine, ctx, name)
    layers = await engine.images.layers_of(found.id)
    config = found.config.config
    image = Image(
        layers=layers,
        entrypoint=config.entrypoint or (),
        cmd=config.cmd or (),
        env=config.env or (),
        cwd=config.working_dir,
        user=config.user,
        stop_signal=config.stop_signal,
        volumes=tuple(config.volumes or ()),
    )
    return Pulled(image, found.id, found.manifest.digest)


async def _image(engine: Engine, ctx: Context, name: str) -> engine_api.Image:
    try:
        return await engine.images.pull(name, credentials=await _credentials(engine, ctx, name))
    except EngineError:
        if _own(engine, name):
            raise
        with contextlib.suppress(EngineError):
            return engine.images.resolve(name)
        raise


def _own(engine: Engine, name: str) -> bool:
    """Whether an image is of a registry that is this process; what is asked of it is never answered from elsewhere."""
    images: Any = engine.images
    reference = references.try_parse(name)
    return reference is not None and images.is_own(reference.domain)


async def _credentials(engine: Engine, ctx: Context, name: str) -> engine_api.Credentials | None:
    if not _own(engine, name):
        return None
    told = await ctx.call(ecr_api.GetAuthorizationTokenRequest())
    user, _, password = base64.b64decode(told.authorization_data[0].authorization_token).decode().partition(":")
    return engine_api.Credentials(username=user, password=password)
