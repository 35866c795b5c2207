"""The settings of health checks: AWS's defaults, and what may be set.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
"""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from cloudstead.services.elbv2 import api
from cloudstead.services.elbv2.failures import invalid, unsupported
from cloudstead.services.elbv2.model import HTTP, HealthCheck

_CODES = re.compile(r"\d{3}(-\d{3})?(,\d{3}(-\d{3})?)*")


def defaults(protocol: str, target_type: str) -> HealthCheck:
    """What is checked when nothing was said."""
    if protocol in HTTP:
        return HealthCheck(protocol="HTTP", path="/", healthy=5, unhealthy=2, matcher="200")
    if target_type == "alb":
        return HealthCheck(protocol="HTTP", path="/", timeout=6, healthy=5, unhealthy=2, matcher="200-399")
    return HealthCheck(protocol="TCP", timeout=10, healthy=5, unhealthy=2)


def with_changes(check: HealthCheck, request: api.CreateTargetGroupRequest | api.ModifyTargetGroupRequest, group: str) -> HealthCheck:
    """The settings with those of a request, which CreateTargetGroup and ModifyTargetGroup spell alike.

    Raises:
        ValidationFailed
    """
    wanted: dict[str, Any] = {
        "protocol": request.health_check_protocol,
        "port": request.health_check_port,
        "path": request.health_check_path,
        "interval": request.health_check_interval_seconds,
        "timeout": request.health_check_timeout_seconds,
        "healthy": request.healthy_threshold_count,
        "unhealthy": request.unhealthy_threshold_count,
        "matcher": _matcher(request.matcher),
        "enabled": request.health_check_enabled,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    protocol = given.get("protocol", check.protocol)
    if protocol != check.protocol:
        check = _other(check, protocol)
    if protocol not in HTTP and ("path" in given or "matcher" in given):
        invalid(f"Health check path and matcher cannot be specified for health checks with the protocol '{protocol}'")
    found = replace(check, **given)
    _require_valid(found, group)
    return found


def _other(check: HealthCheck, protocol: str) -> HealthCheck:
    """The same with another protocol: what only HTTP has comes or goes."""
    if protocol not in HTTP:
        return replace(check, protocol=protocol, path=None, matcher=None)
    return replace(check, protocol=protocol, path=check.path or "/", matcher=check.matcher or "200-399")


def _matcher(given: api.Matcher | None) -> str | None:
    if given is None:
        return None
    if given.grpc_code is not None:
        unsupported("A matcher of gRPC codes")
    code = given.http_code
    if code is None or not _CODES.fullmatch(code) or not all(200 <= int(each) <= 599 for each in re.findall(r"\d{3}", code)):
        invalid(f"Health check matcher HTTP code '{code}' must be within '200-599' inclusive")
    return code


def _require_valid(check: HealthCheck, group: str) -> None:
    if check.protocol not in ("HTTP", "HTTPS", "TCP"):
        invalid(f"Health check protocol '{check.protocol}' must be one of 'HTTP, HTTPS, TCP'")
    if group in HTTP and check.protocol not in HTTP:
        invalid(f"Health check protocol '{check.protocol}' is not supported for target groups with the protocol '{group}'")
    if not check.enabled:
        invalid("Health check enabled must be true for target groups with target type 'instance', 'ip' or 'alb'")
    if check.port != "traffic-port" and not (check.port.isascii() and check.port.isdigit() and 1 <= int(check.port) <= 65535):
        invalid(f"Health check port '{check.port}' is not valid")
    if check.path is not None and (not check.path.startswith("/") or not re.fullmatch(r"[!-~]+", check.path)):
        invalid(
            f"Health check path '{check.path}' must begin with a '/' character, and can only contain printable ASCII characters, with no spaces"
        )
    if check.timeout >= check.interval:
        invalid(f"Health check timeout '{check.timeout}' must be smaller than the interval '{check.interval}'")
