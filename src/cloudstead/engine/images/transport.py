"""HTTP to registries: connections by origin, TLS as Docker sets it up, time limits.

A registry is asked by https with the system's authorities. For `localhost`, 127.0.0.0/8 and what the configuration calls insecure, certificates are
not checked, and plain http is tried when https does not work: Docker's rule. Further authorities and client certificates lie where Docker and
Podman look: /etc/docker/certs.d/<host[:port]>/{ca.crt, client.cert, client.key}.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from cloudstead.engine.errors import InvalidArgument, Unavailable
from cloudstead.engine.images import own
from cloudstead.engine.images.api import OwnRegistries
from cloudstead.engine.images.tasks import KeyedLocks
from cloudstead.engine.threads import in_thread
from cloudstead.http.upstream import NotSent, Upstream, UpstreamError
from cloudstead.kernel.clock import Clock

CERTIFICATES = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))
CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 60.0  # from the request's last byte to the answer's head
STALL_SECONDS = 60.0  # without a byte of an answer's body
UPLOAD_SECONDS = 3600.0  # for a body to be taken and answered
MAX_ORIGINS = 64  # kept with their connections; redirects lead to any number of them
_PORTS = {"http": 80, "https": 443}
# Of a request whose address somebody else has chosen: a registry that redirects, or names its token server. What a browser says of the requests that a
# page makes elsewhere; our own APIs, and others that would take us for their user because we are on their machine, refuse it.
CHOSEN_BY_OTHERS = ("Sec-Fetch-Site", "cross-site")
# What machines of clouds are told about themselves, credentials among it. No registry is there.
_METADATA = tuple(map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32")))


class Origin(NamedTuple):
    scheme: str
    host: str
    port: int
    checked: bool  # its certificate

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


class Transport:
    """All connections of the daemon to registries."""

    def __init__(self, clock: Clock, insecure: tuple[str, ...] = (), certificates: tuple[Path, ...] = CERTIFICATES) -> None:
        """
        Args:
            insecure: hosts ("registry:5000") and networks in CIDR form that need no TLS.
        """
        self._clock = clock
        self.own: OwnRegistries | None = None
        self._insecure = insecure
        self._certificates = certificates
        self._upstreams: dict[Origin, Upstream] = {}
        self._making = KeyedLocks()
        self._working: dict[str, str] = {}  # domain -> the scheme that worked

    def is_own(self, domain: str) -> bool:
        """Whether it is this very process."""
        return self.own is not None and self.own.serves(domain)

    def is_insecure(self, domain: str) -> bool:
        if self.is_own(domain):
            return True
        host = split_host(domain)[0]
        if domain in self._insecure or host in self._insecure or host == "localhost":
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.is_loopback or any(address in network for network in _networks(self._insecure))

    def origins(self, domain: str) -> list[Origin]:
        """Where a registry may be, in the order in which to try."""
        host, port = split_host(domain)
        if self.is_own(domain):
            return [Origin("http", host, port or 80, False)]
        if not self.is_insecure(domain):
            return [Origin("https", host, port or 443, True)]
        found = [Origin(scheme, host, port or _PORTS[scheme], False) for scheme in ("https", "http")]
        return [each for each in found if each.scheme == self._working.get(domain, each.scheme)]

    def works(self, domain: str, origin: Origin) -> None:
        self._working[domain] = origin.scheme

    async def send(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        length: int | None = None,
        checked: bool = True,
    ) -> own.RegistryResponse:
        """One request, without following anything.

        Raises:
            NotSent: nobody is there. Unavailable: it was sent, and no answer came. InvalidArgument: no such URL.
        """
        origin, target = split_url(url, checked)
        if self.own is not None and self.own.serves(origin.netloc):
            return await own.ask(self.own, origin.netloc, method, target, headers, body, length)
        upstream = await self._upstream(origin)
        limit = ANSWER_SECONDS if isinstance(body, bytes) else UPLOAD_SECONDS
        try:
            async with self._clock.timeout(limit):
                return await upstream.send(method, target, [("Host", origin.netloc), *headers], body, length=length)
        except NotSent as error:
            raise NotSent(f'{method.capitalize()} "{url}": {error}') from error
        except (UpstreamError, TimeoutError) as error:
            raise Unavailable(f'{method.capitalize()} "{url}": {error or "no answer in time"}') from error
        except ValueError as error:
            raise InvalidArgument(f"{url!r} is no usable address") from error

    async def pieces(self, response: own.RegistryResponse) -> AsyncIterator[bytes]:
        """The body of an answer. Raises Unavailable when it breaks off or nothing comes any more."""
        try:
            while True:
                async with self._clock.timeout(STALL_SECONDS):
                    piece = await anext(response, b"")
                if not piece:
                    return
                yield piece
        except (UpstreamError, TimeoutError) as error:
            raise Unavailable(f"the registry's answer broke off: {error or 'nothing came any more'}") from error
        finally:
            await response.aclose()

    async def read(self, response: own.RegistryResponse, limit: int) -> bytes:
        """All of a small body. Raises InvalidArgument: it is larger."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.pieces(response):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                await response.aclose()
                raise InvalidArgument(f"the registry's answer is larger than {limit} bytes")
        return b"".join(pieces)

    async def close(self) -> None:
        upstreams, self._upstreams = self._upstreams, {}
        for upstream in upstreams.values():
            await upstream.close()

    async def _upstream(self, origin: Origin) -> Upstream:
        async with self._making.hold(str(origin)):
            upstream = self._upstreams.pop(origin, None)
            if upstream is None:
                # In a thread: reading all authorities of the system takes 20 ms.
                tls = await in_thread(self._tls, origin) if origin.scheme == "https" else None
                upstream = Upstream((origin.host, origin.port), max_idle=8, connect_timeout=CONNECT_SECONDS, tls=tls)
            self._upstreams[origin] = upstream
        if len(self._upstreams) > MAX_ORIGINS:
            # Its connections that are idle end by themselves; those in use go on.
            del self._upstreams[next(iter(self._upstreams))]
        return upstream

    def _tls(self, origin: Origin) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if origin.checked:
            context.load_default_certs()
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for folder in self._certificates:
            for name in sorted({origin.netloc, f"{origin.host}:{origin.port}", origin.host}):
                _load(context, folder / name)
        return context


def _load(context: ssl.SSLContext, folder: Path) -> None:
    try:
        for authority in sorted(folder.glob("*.crt")):
            context.load_verify_locations(authority)
        for certificate in sorted(folder.glob("*.cert")):
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"the certificates in {folder} cannot be used: {error}") from error


def split_host(domain: str) -> tuple[str, int]:
    """Host and port, which is 0 when it is not said. An IPv6 address without its brackets."""
    try:
        split = urlsplit(f"//{domain}")
        host, port = split.hostname, split.port
    except ValueError as error:
        raise InvalidArgument(f"{domain!r} is no registry: {error}") from error
    if not host:
        raise InvalidArgument(f"{domain!r} is no registry")
    return host, port or 0


def split_url(url: str, checked: bool) -> tuple[Origin, str]:
    """Where to connect, and what to ask for there."""
    try:
        split = urlsplit(url)
        host, port = split.hostname, split.port
    except ValueError as error:
        raise InvalidArgument(f"{url!r} is no usable address") from error
    if split.scheme not in _PORTS or not host:
        raise InvalidArgument(f"{url!r} is no usable address")
    target = (split.path or "/") + (f"?{split.query}" if split.query else "")
    if any(ord(letter) <= 32 or ord(letter) >= 127 for letter in target) or _has_no_registry(host):
        raise InvalidArgument(f"{url!r} is no usable address")
    return Origin(split.scheme, host, port or _PORTS[split.scheme], checked), target


def _has_no_registry(host: str) -> bool:
    """Whether it is a link-local address, however it is written: 2852039166 is one, too."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False  # a name
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in network for network in _METADATA)


def join(url: str, location: str) -> str:
    """A Location header's target."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise InvalidArgument(f"{location!r} is no usable address") from error


def _networks(names: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    found = []
    for name in names:
        try:
            found.append(ipaddress.ip_network(name))
        except ValueError:
            continue  # a host name
    return found
