"""Base images: those that are here, and those that have to come."""

from __future__ import annotations

from cloudstead.engine.build import planning, states
from cloudstead.engine.build.api import Pulling
from cloudstead.engine.build.telling import Channel
from cloudstead.engine.build.work import Build
from cloudstead.engine.errors import InvalidArgument, NotFound
from cloudstead.engine.images import references
from cloudstead.engine.images.api import Credentials, Image, Platform
from cloudstead.engine.images.images import registry_host

SCRATCH = "scratch"


async def image(build: Build, base: planning.Base, channel: Channel) -> states.State:
    """What a stage begins from."""
    platform = parse_platform(base.platform) if base.platform else build.platform
    if base.image == SCRATCH:
        return states.scratch(platform)
    found = await find(build, base.image, platform if base.platform or build.options.platform else None, channel)
    chains = await build.engine.images.layers_of(found.id)
    build.hold(*chains, *(layer.digest for layer in found.layers))
    return states.of_image(found, chains)


async def find(build: Build, name: str, platform: Platform | None, channel: Channel) -> Image:
    """An image by name, pulled when it is not here, or when newer ones are asked for."""
    images = build.engine.images
    async with build.cache.alone(f"image {name}"):
        if not build.options.pull or name in build.pulled:
            try:
                return images.resolve(name, platform=platform)
            except NotFound:
                if name in build.pulled:
                    raise
        credentials = credentials_for(build, name)
        pulled = await images.pull(name, platform=platform, credentials=credentials, tell=lambda told: channel.post(Pulling(told)))
        build.pulled.add(name)
        return pulled


def credentials_for(build: Build, name: str) -> Credentials | None:
    domain = references.parse(name).domain
    for address, credentials in build.options.credentials.items():
        if registry_host(address) == domain:
            return credentials
    return None


def parse_platform(text: str) -> Platform:
    """ "linux/arm64/v8", "arm64"."""
    parts = text.split("/")
    if not 1 <= len(parts) <= 3 or not all(part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in parts):
        raise InvalidArgument(f'"{text}" is an invalid component of "{text}": platform specifier component must match "^[A-Za-z0-9_-]+$"')
    if len(parts) == 1:
        parts = [parts[0], ""] if parts[0] == "linux" else ["linux", parts[0]]
    system, architecture, variant = (*parts, "")[:3]
    if system != "linux":
        raise InvalidArgument(f'operating system "{system}" is not supported')
    known = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
    return Platform(os=system, architecture=known.get(architecture.lower(), architecture.lower()), variant=variant)
