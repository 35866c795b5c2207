"""Which requests are for a registry, and not for an API of AWS.

    <account>.dkr.ecr.<region>.<any suffix>, <account>.dkr-ecr.<region>.…, public.ecr.<any suffix>      by the host, whatever the path
    /v2, /v2/…                                                                                           by the path, when it is not signed

API Gateway's own API lives below /v2/ too, and is always signed. What applications answer there (an API of a user's own, a function's URL, a public
bucket) is told by its host.
"""

from __future__ import annotations

import functools
import re

from cloudstead.http.messages import HttpRequest

_HOST = re.compile(r"\d{12}\.dkr[.-]ecr(?:-fips)?\.[a-z0-9-]+\.|public\.ecr\.", re.ASCII | re.IGNORECASE)
# The hosts under which other services, and what users have made with them, answer.
_OTHERS = re.compile(
    r"\.(?:amazonaws\.com(?:\.cn)?|on\.aws|localhost\.localstack\.cloud)$|\.(?:execute-api|lambda-url|s3[a-z0-9-]*)\.",
    re.ASCII | re.IGNORECASE,
)


def is_for_registry(request: HttpRequest) -> bool:
    path = request.path
    if path.startswith("/v2/") or path == "/v2":
        authorization = request.headers.get("authorization")
        if authorization is None:
            return "X-Amz-" not in request.query and not _of_another(request.host)
        scheme = authorization[:7].lower()
        return scheme.startswith(("basic ", "bearer ")) and not _of_another(request.host)
    host = request.host
    return (".dkr" in host and _is_registry(host)) or (host[:7] == "public." and _is_registry(host))


@functools.lru_cache(1024)
def _is_registry(host: str) -> bool:
    return _HOST.match(host) is not None


@functools.lru_cache(1024)
def _of_another(host: str) -> bool:
    return _HOST.match(host) is None and _OTHERS.search(host.partition(":")[0]) is not None
