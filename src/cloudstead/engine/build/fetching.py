"""Files from http(s): what ADD names by URL, and contexts that lie elsewhere. Redirects are followed; nothing else is asked for."""

from __future__ import annotations

import email.utils
import posixpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cloudstead.engine.build.spool import Spool
from cloudstead.engine.build.tree import Entry, Tree
from cloudstead.engine.errors import Failed, InvalidArgument, NotFound
from cloudstead.engine.images import digests
from cloudstead.engine.images.own import RegistryResponse
from cloudstead.engine.images.transport import CHOSEN_BY_OTHERS, Transport, join, split_url
from cloudstead.engine.threads import in_thread
from cloudstead.http.upstream import NotSent

MOST_REDIRECTS = 10
REDIRECTS = (301, 302, 303, 307, 308)
FILE_MODE = 0o600  # Docker's, of what it fetched


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def is_git(source: str) -> bool:
    """What Docker would clone. Raises InvalidArgument for an address that is none."""
    if source.startswith(("git://", "git@", "ssh://", "github.com/")):
        return True
    return is_url(source) and split_url(source, True)[1].partition("?")[0].endswith(".git")


async def fetch(transport: Transport, url: str, folder: Path, *, limit: int, checksum: str = "") -> Tree:
    """A tree with the one file that an address gives, under the name that it has there.

    Raises:
        NotFound, Failed, InvalidArgument: with the sentences of Docker's builder.
    """
    if checksum:
        digests.require(checksum)
    response, final = await _open(transport, url)
    spool = Spool(folder)
    try:
        await spool.fill(transport.pieces(response), limit=limit, what=url)
        digest = await in_thread(spool.sha256, 0, spool.size)
        if checksum and checksum != f"sha256:{digest}":
            raise InvalidArgument(f"digest mismatch sha256:{digest}: {checksum}")
    except BaseException:
        spool.close()
        raise
    name = posixpath.basename(unquote(urlsplit(final).path)) or posixpath.basename(unquote(urlsplit(url).path)) or "__unnamed__"
    entry = Entry(path=name, kind="file", mode=FILE_MODE, size=spool.size, mtime=_modified(response), sha256=digest)
    return Tree.of_one(spool, entry)


async def _open(transport: Transport, url: str) -> tuple[RegistryResponse, str]:
    chosen: list[tuple[str, str]] = []
    for _ in range(MOST_REDIRECTS):
        try:
            response = await transport.send("GET", url, [("Accept-Encoding", "identity"), ("User-Agent", "cloudstead"), *chosen])
        except NotSent as error:
            raise Failed(str(error)) from error
        if response.status in REDIRECTS and (location := response.headers.get("location")):
            await response.aclose()
            url, chosen = join(url, location), [CHOSEN_BY_OTHERS]
            continue
        if response.status != 200:
            await response.aclose()
            kind = NotFound if response.status == 404 else Failed
            raise kind(f"failed to GET {url} with status {response.status}")
        return response, url
    raise Failed(f"failed to GET {url}: more than {MOST_REDIRECTS} redirects")


def _modified(response: RegistryResponse) -> int:
    try:
        return int(email.utils.parsedate_to_datetime(response.headers.get("last-modified") or "").timestamp())
    except ValueError:
        return 0
