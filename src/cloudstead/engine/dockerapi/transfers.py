"""Images come and go: pull, push, import, load, save."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from cloudstead.engine.dockerapi.answers import stream_answer
from cloudstead.engine.dockerapi.api import DockerApi
from cloudstead.engine.dockerapi.changes import apply_changes
from cloudstead.engine.dockerapi.credentials import from_request
from cloudstead.engine.dockerapi.images import named
from cloudstead.engine.dockerapi.progress import Feed, answer_with, error_line
from cloudstead.engine.dockerapi.routing import DockerRequest, route
from cloudstead.engine.errors import EngineError, InvalidArgument, NotFound, Unsupported
from cloudstead.engine.images.api import ExecConfig, Platform, Progress
from cloudstead.engine.images.references import Reference, parse, try_parse
from cloudstead.http.messages import HttpResponse


def platform_of(text: str) -> Platform | None:
    """ "linux/arm64/v8". Raises InvalidArgument."""
    if not text:
        return None
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in parts):
        raise InvalidArgument(
            f'"{text[:100]}" is an invalid component: a platform is an OS, a machine and perhaps a variant: linux/arm64/v8'
        )
    if len(parts) == 1:
        return Platform(architecture=parts[0]) if parts[0] != "linux" else None
    return Platform(os=parts[0], architecture=_machine(parts[1]), variant=parts[2] if len(parts) == 3 else "")


def _machine(name: str) -> str:
    return {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm", "i386": "386"}.get(name, name)


@route("POST", "/images/create")
async def create_image(api: DockerApi, request: DockerRequest) -> HttpResponse:
    if request.text("fromImage"):
        return await _pull(api, request)
    if request.text("fromSrc"):
        return await _import(api, request)
    raise InvalidArgument("neither fromImage nor fromSrc says where the image is to come from")


async def _pull(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """Without a tag, all that the repository has (`docker pull -a`)."""
    name, tag = request.text("fromImage"), request.text("tag")
    if request.text("fromSrc") or any(request.parameters.all("changes")):
        raise InvalidArgument("an image is either pulled (fromImage) or imported (fromSrc, with changes)")
    written = parse(name)
    everything = not (tag or written.tag or written.digest)
    platform, credentials = platform_of(request.text("platform")), from_request(request.http)

    async def work(feed: Feed) -> None:
        lines, images = Held(feed), api.engine.images
        tags = await images.remote_tags(name, credentials=credentials) if everything else (tag,)
        for each in tags:
            reference = named(name, each) if each else written
            await images.pull(reference.full, platform=platform, credentials=credentials, tell=lines.tell)

    return await answer_with(work)


class Held:
    """Keeps the first line back until there is a second: an image that is not there is then still an answer with its status, as clients expect."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._first: Progress | None = None
        self._seen = 0

    def tell(self, progress: Progress) -> None:
        self._seen += 1
        if self._seen == 1:
            self._first = progress
            return
        if self._first is not None:
            self._feed.progress(self._first)
            self._first = None
        self._feed.progress(progress)


async def _import(api: DockerApi, request: DockerRequest) -> HttpResponse:
    source = request.text("fromSrc")
    if source != "-":
        raise Unsupported(
            "an image is imported from what is sent with the request (fromSrc=-); fetching it from an address is not supported"
        )
    repository = request.text("repo")
    reference = named(repository, request.text("tag")) if repository else None
    if reference is not None and reference.digest:
        raise InvalidArgument("cannot import digest reference")
    config = apply_changes(ExecConfig(), request.parameters.all("changes"))

    async def work(feed: Feed) -> None:
        image = await api.engine.images.import_tar(
            request.http.stream(),
            reference=reference.full if reference else "",
            changes=config,
            message=request.text("message") or "Imported from -",
            platform=platform_of(request.text("platform")),
        )
        feed.tell({"status": image.id})

    return await answer_with(work, request=request.http)


@route("POST", "/images/{name}/push")
async def push_image(api: DockerApi, request: DockerRequest) -> HttpResponse:
    name, tag = request["name"], request.text("tag")
    if request.text("platform"):
        raise Unsupported("pushing one platform of several is not supported")
    references = _to_push(api, name, tag)
    credentials = from_request(request.http)

    async def work(feed: Feed) -> None:
        for reference in references:
            pushed = await api.engine.images.push(reference.full, credentials=credentials, tell=feed.progress)
            feed.tell({"progressDetail": {}, "aux": {"Tag": reference.tag, "Digest": pushed.digest, "Size": pushed.size}})

    return await answer_with(work)


def _to_push(api: DockerApi, name: str, tag: str) -> list[Reference]:
    """What the name stands for: without a tag all that there are of the repository.

    Raises:
        NotFound, InvalidArgument: in Docker's words.
    """
    reference = named(name, tag) if tag else parse(name)
    if reference.digest:
        raise InvalidArgument("cannot push a digest reference")
    if reference.tag:
        try:
            api.engine.images.resolve(reference.full)
        except NotFound:
            raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}") from None
        return [reference]
    tags = (try_parse(tag) for image in api.engine.images.all() for tag in image.tags)
    found = sorted((tag for tag in tags if tag is not None and tag.name == reference.name), key=lambda tag: tag.tag)
    if not found:
        raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
    return found


@route("POST", "/images/load")
async def load_images(api: DockerApi, request: DockerRequest) -> HttpResponse:
    """What is wrong with the archive is said in the stream, as Docker does: docker-py tells ImageLoadError from other errors by that."""
    quiet = request.flag("quiet", True)
    if request.text("platform"):
        raise Unsupported("loading one platform of several is not supported")

    async def work(feed: Feed) -> None:
        tell = None if quiet else feed.progress
        try:
            loaded = await api.engine.images.load(request.http.stream(), tell=tell)
        except EngineError as error:
            feed.tell(error_line(error))
            return
        for name in loaded:
            what = "Loaded image ID" if name.startswith("sha256:") else "Loaded image"
            feed.tell({"stream": f"{what}: {name}\n"})

    return await answer_with(work, request=request.http)


@route("GET", "/images/get")
async def save_images(api: DockerApi, request: DockerRequest) -> HttpResponse:
    names = [name for text in request.parameters.all("names") for name in text.split(",") if name]
    return await _save(api, request, tuple(names))


@route("GET", "/images/{name}/get")
async def save_image(api: DockerApi, request: DockerRequest) -> HttpResponse:
    return await _save(api, request, (request["name"],))


async def _save(api: DockerApi, request: DockerRequest, names: tuple[str, ...]) -> HttpResponse:
    if request.text("platform"):
        raise Unsupported("saving one platform of several is not supported")
    if not names:
        raise InvalidArgument("no images are named")
    for name in names:
        if not _is_repository(api, name):
            api.engine.images.resolve(name)
    pieces = Begun(api.engine.images.save(names))
    await pieces.begin()
    return stream_answer(pieces, "application/x-tar")


def _is_repository(api: DockerApi, name: str) -> bool:
    """A name without tag stands for all tags of it; `save` knows them."""
    reference = try_parse(name)
    if reference is None or reference.tag or reference.digest:
        return False
    tags = (try_parse(tag) for image in api.engine.images.all() for tag in image.tags)
    return any(tag is not None and tag.name == reference.name for tag in tags)


class Begun:
    """A stream whose first piece has been taken, so that what fails at once is still an answer with its status."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._first: bytes | None = None

    async def begin(self) -> None:
        try:
            self._first = await anext(self._pieces, b"")
        except BaseException:
            await self.aclose()
            raise

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, None
        return await anext(self._pieces) if first is None else first

    async def aclose(self) -> None:
        close: Any = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()
