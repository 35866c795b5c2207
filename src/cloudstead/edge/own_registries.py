"""Which registries are this process, by the names that images have of them.

    localhost:4566/app, 127.0.0.1:4566/app                               any name of this machine, at our port
    000000000000.dkr.ecr.us-east-1.localhost:4566/app                    what GetAuthorizationToken and describe-repositories say; whatever is
    public.ecr.localhost:4566/…                                          below .localhost, or has that form, at our port
    000000000000.dkr.ecr.us-east-1.amazonaws.com/app                     AWS's own name, where this cloud has repositories of that account and region

The last is what task definitions and Dockerfiles say that were written for AWS. A registry of an account that has nothing here is asked in the internet,
so that images of a real account can be pulled beside those of this cloud.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from cloudstead.http.messages import Handler, HttpRequest, HttpResponse

ECR = re.compile(r"(?P<account>\d{12})\.dkr[.-]ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.(?P<suffix>[a-z0-9.-]+)")
_AWS = frozenset({"amazonaws.com", "amazonaws.com.cn", "on.aws", "on.amazonwebservices.com.cn"})


class OwnNames:
    """`images.api.OwnRegistries` of a daemon."""

    def __init__(self, handler: Handler, has: Callable[[str, str], bool], host: str, *, secure: bool) -> None:
        """
        Args:
            has: whether this cloud has repositories of an account and region.
            host: on which the daemon listens.
        """
        self.port = 0  # before it listens nothing is ours
        self.secure = secure
        self._handler = handler
        self._has = has
        self._host = host

    def serves(self, domain: str) -> bool:
        try:
            split = urlsplit(f"//{domain}")
            host, port = split.hostname or "", split.port
        except ValueError:
            return False
        ecr = ECR.fullmatch(host)
        if ecr is not None and ecr["suffix"] in _AWS:
            return port in (None, 80, 443) and self._has(ecr["account"], ecr["region"])
        if not self.port or self.port not in ((port,) if port else (80, 443)):
            return False
        return ecr is not None or host == "localhost" or host.endswith(".localhost") or self._is_address(host)

    def _is_address(self, host: str) -> bool:
        """Of this machine, as far as it listens there."""
        if host == self._host.lower():
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    async def answer(self, request: HttpRequest) -> HttpResponse:
        return await self._handler(request)
