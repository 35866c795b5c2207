"""One health check: ask a target and say how it did. Never raises."""

from __future__ import annotations

import ssl
from functools import lru_cache

from cloudstead.http.upstream import Upstream, UpstreamError
from cloudstead.kernel.clock import Clock
from cloudstead.services.elbv2.health.states import FAILED, HEALTHY, TIMEOUT, Verdict, accepts, mismatch
from cloudstead.services.elbv2.model import HealthCheck
from cloudstead.services.elbv2.traffic.dialing import Dialer, Place

_AGENT = "ELB-HealthChecker/2.0"


@lru_cache(1)
def unverified() -> ssl.SSLContext:
    """TLS to targets: their certificates are not looked at, as AWS does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def probe(place: Place, check: HealthCheck, dial: Dialer, clock: Clock) -> Verdict:
    try:
        async with clock.timeout(check.timeout):
            if check.protocol == "TCP":
                (await dial(place)).close()
                return HEALTHY
            return await _ask(place, check, dial)
    except TimeoutError:
        return TIMEOUT
    except (OSError, UpstreamError, ValueError):
        return FAILED


async def _ask(place: Place, check: HealthCheck, dial: Dialer) -> Verdict:
    tls = unverified() if check.protocol == "HTTPS" else None
    upstream = Upstream((place.address, place.port), max_idle=0, connect_timeout=check.timeout, tls=tls, dial=lambda: dial(place))
    try:
        headers = [("Host", f"{place.address}:{place.port}"), ("User-Agent", _AGENT), ("Accept-Encoding", "gzip, compressed")]
        response = await upstream.send("GET", check.path or "/", headers)
        await response.aclose()
    finally:
        await upstream.close()
    return HEALTHY if accepts(check.matcher or "200", response.status) else mismatch(response.status)
