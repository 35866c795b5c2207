"""Names of images, by Docker's grammar (github.com/distribution/reference).

    [domain[:port]/]path[/path…][:tag][@digest]

The first part is a domain when it has a dot, a colon or an upper case letter, or is `localhost`; without one the image is Docker Hub's, where a single
path part stands for `library/<part>`. A reference is kept in full ("docker.io/library/debian:12") and shown in its familiar form ("debian:12").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from cloudstead.engine.errors import InvalidArgument
from cloudstead.engine.images import digests

HUB = "docker.io"
_OLD_HUB = "index.docker.io"
_LIBRARY = "library/"
_INVALID = "invalid reference format"
_NAME_LIMIT = 255

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that was understood. `tag` and `digest` may both be empty, and both be there."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Domain and path."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        if self.domain != HUB:
            return self.name
        short = self.path.removeprefix(_LIBRARY)
        return short if "/" not in short else self.path

    @property
    def full(self) -> str:
        return self.name + self._suffix

    @property
    def familiar(self) -> str:
        return self.familiar_name + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest when there is one."""
        return self.digest or self.tag or "latest"

    def with_default_tag(self) -> Reference:
        return self if self.tag or self.digest else replace(self, tag="latest")

    def with_digest(self, digest: str) -> Reference:
        """The same repository by digest alone."""
        return replace(self, tag="", digest=digest)

    @property
    def key(self) -> str:
        """Under which it is kept: a digest makes a tag beside it mean nothing."""
        return replace(self, tag="").full if self.digest else self.with_default_tag().full

    def __str__(self) -> str:
        return self.familiar


def parse(text: str) -> Reference:
    """
    Raises:
        InvalidArgument: with Docker's sentence.
    """
    if _IDENTIFIER.fullmatch(text):
        raise InvalidArgument(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    domain, rest = _split_domain(text)
    remote = rest.partition("@")[0].partition(":")[0]
    if remote.lower() != remote:
        raise InvalidArgument(f"{_INVALID}: repository name ({remote}) must be lowercase")
    rest, at, digest = rest.partition("@")
    path, colon, tag = rest.partition(":")
    if not (_DOMAIN.fullmatch(domain) and _PATH.fullmatch(path)):
        raise InvalidArgument(_INVALID)
    if (colon and not _TAG.fullmatch(tag)) or (at and not _DIGEST.fullmatch(digest)):
        raise InvalidArgument(_INVALID)
    if len(path) > _NAME_LIMIT:
        raise InvalidArgument(f"repository name must not be more than {_NAME_LIMIT} characters")
    if digest:
        digests.require(digest)
    return Reference(domain, path, tag, digest)


def try_parse(text: str) -> Reference | None:
    try:
        return parse(text)
    except InvalidArgument:
        return None


def repository(domain: str, path: str) -> Reference:
    """Of two parts that come from elsewhere. Raises InvalidArgument."""
    return parse(f"{domain}/{path}")


def _split_domain(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        domain, rest = HUB, text
    else:
        domain = first
    if domain == _OLD_HUB:
        domain = HUB
    if domain == HUB and "/" not in rest:
        rest = _LIBRARY + rest
    return domain, rest
