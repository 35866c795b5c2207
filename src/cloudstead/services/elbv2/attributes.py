"""Attributes of load balancers, target groups and listeners, as data: which there are for whom, what they are when nobody set them, what they may be.

What is set to something that would have to act and does not is refused; what holds anyway (no request that could be smuggled is passed on, whatever the
mode of mitigation) may be set.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#load-balancer-attributes
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from cloudstead.services.elbv2.model import LoadBalancer, TargetGroup

Check = Callable[[str], bool]


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    default: str
    valid: Check
    here: Check = lambda value: True  # whether it is done here


def _one_of(*values: str) -> Check:
    return lambda value: value in values


def _number(low: int, high: int) -> Check:
    return lambda value: value.isascii() and value.isdigit() and low <= int(value) <= high


def _any(value: str) -> bool:
    return True


_flag = _one_of("true", "false")
_off = _one_of("false")
_empty = _one_of("")


def _bool(default: str = "false") -> Attribute:
    return Attribute(default=default, valid=_flag)


_NOT_HERE: Final = Attribute(default="false", valid=_flag, here=_off)
_TEXT_NOT_HERE: Final = Attribute(default="", valid=_any, here=_empty)

LOAD_BALANCER: Final[Mapping[str, Mapping[str, Attribute]]] = {
    "application": {
        "access_logs.s3.enabled": _NOT_HERE,
        "access_logs.s3.bucket": Attribute(default="", valid=_any),
        "access_logs.s3.prefix": Attribute(default="", valid=_any),
        "client_keep_alive.seconds": Attribute(default="3600", valid=_number(60, 604800), here=_one_of("3600")),
        "connection_logs.s3.enabled": _NOT_HERE,
        "connection_logs.s3.bucket": Attribute(default="", valid=_any),
        "connection_logs.s3.prefix": Attribute(default="", valid=_any),
        "deletion_protection.enabled": _bool(),
        "health_check_logs.s3.enabled": _NOT_HERE,
        "health_check_logs.s3.bucket": Attribute(default="", valid=_any),
        "health_check_logs.s3.prefix": Attribute(default="", valid=_any),
        "idle_timeout.timeout_seconds": Attribute(default="60", valid=_number(1, 4000)),
        "ipv6.deny_all_igw_traffic": _bool(),
        "load_balancing.cross_zone.enabled": Attribute(default="true", valid=_one_of("true")),
        "routing.http.desync_mitigation_mode": Attribute(default="defensive", valid=_one_of("monitor", "defensive", "strictest")),
        "routing.http.drop_invalid_header_fields.enabled": _bool(),
        "routing.http.preserve_host_header.enabled": _bool(),
        "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": _NOT_HERE,
        "routing.http.xff_client_port.enabled": _bool(),
        "routing.http.xff_header_processing.mode": Attribute(default="append", valid=_one_of("append", "preserve", "remove")),
        "routing.http2.enabled": _bool("true"),
        "waf.fail_open.enabled": _bool(),
        "zonal_shift.config.enabled": _bool(),
    },
    "network": {
        "access_logs.s3.enabled": _NOT_HERE,
        "access_logs.s3.bucket": Attribute(default="", valid=_any),
        "access_logs.s3.prefix": Attribute(default="", valid=_any),
        "deletion_protection.enabled": _bool(),
        "dns_record.client_routing_policy": Attribute(
            default="any_availability_zone",
            valid=_one_of("any_availability_zone", "availability_zone_affinity", "partial_availability_zone_affinity"),
            here=_one_of("any_availability_zone"),
        ),
        "ipv6.deny_all_igw_traffic": _bool(),
        "load_balancing.cross_zone.enabled": _bool(),
        "secondary_ips.auto_assigned.per_subnet": Attribute(default="0", valid=_number(0, 7), here=_one_of("0")),
        "zonal_shift.config.enabled": _bool(),
    },
}

_COMMON_GROUP: Final[Mapping[str, Attribute]] = {
    "deregistration_delay.timeout_seconds": Attribute(default="300", valid=_number(0, 3600)),
    "load_balancing.cross_zone.enabled": Attribute(
        default="use_load_balancer_configuration", valid=_one_of("true", "false", "use_load_balancer_configuration")
    ),
    "target_group_health.dns_failover.minimum_healthy_targets.count": Attribute(
        default="1", valid=lambda value: value == "off" or _number(1, 1000)(value), here=_one_of("1", "off")
    ),
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": Attribute(
        default="off", valid=lambda value: value == "off" or _number(1, 100)(value), here=_one_of("off")
    ),
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": Attribute(default="1", valid=_number(1, 1000)),
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": Attribute(
        default="off", valid=lambda value: value == "off" or _number(1, 100)(value)
    ),
}
_HTTP_GROUP: Final[Mapping[str, Attribute]] = {
    **_COMMON_GROUP,
    "load_balancing.algorithm.anomaly_mitigation": Attribute(default="off", valid=_one_of("on", "off"), here=_one_of("off")),
    "load_balancing.algorithm.type": Attribute(
        default="round_robin", valid=_one_of("round_robin", "least_outstanding_requests", "weighted_random")
    ),
    "slow_start.duration_seconds": Attribute(default="0", valid=lambda value: value == "0" or _number(30, 900)(value)),
    "stickiness.enabled": _bool(),
    "stickiness.type": Attribute(default="lb_cookie", valid=_one_of("lb_cookie", "app_cookie")),
    "stickiness.lb_cookie.duration_seconds": Attribute(default="86400", valid=_number(1, 604800)),
    "stickiness.app_cookie.cookie_name": Attribute(
        default="", valid=lambda value: not value or (_is_token(value) and not value.upper().startswith("AWSALB"))
    ),
    "stickiness.app_cookie.duration_seconds": Attribute(default="86400", valid=_number(1, 604800)),
}
_FAILOVER: Final = Attribute(default="no_rebalance", valid=_one_of("rebalance", "no_rebalance"))
_TCP_GROUP: Final[Mapping[str, Attribute]] = {
    **_COMMON_GROUP,
    "deregistration_delay.connection_termination.enabled": _bool(),
    "preserve_client_ip.enabled": _NOT_HERE,
    "proxy_protocol_v2.enabled": _bool(),
    "stickiness.enabled": _bool(),
    "stickiness.type": Attribute(default="source_ip", valid=_one_of("source_ip")),
    "target_health_state.unhealthy.connection_termination.enabled": _bool("true"),
    "target_health_state.unhealthy.draining_interval_seconds": Attribute(default="0", valid=_number(0, 360000), here=_one_of("0")),
}

LISTENER_HTTP: Final[Mapping[str, Attribute]] = {
    "routing.http.response.server.enabled": _bool("true"),
    **{
        f"routing.http.response.{name}.header_value": Attribute(default="", valid=lambda value: not re.search(r"[\r\n\0]", value))
        for name in (
            "strict_transport_security",
            "access_control_allow_origin",
            "access_control_allow_methods",
            "access_control_allow_headers",
            "access_control_allow_credentials",
            "access_control_expose_headers",
            "access_control_max_age",
            "content_security_policy",
            "x_content_type_options",
            "x_frame_options",
        )
    },
}
LISTENER_HTTPS: Final[Mapping[str, Attribute]] = {
    **{
        f"routing.http.request.{name}.header_name": Attribute(default="", valid=_any, here=_empty)
        for name in (
            "x_amzn_mtls_clientcert_serial_number",
            "x_amzn_mtls_clientcert_issuer",
            "x_amzn_mtls_clientcert_subject",
            "x_amzn_mtls_clientcert_validity",
            "x_amzn_mtls_clientcert_leaf",
            "x_amzn_mtls_clientcert",
            "x_amzn_tls_version",
            "x_amzn_tls_cipher_suite",
        )
    },
    **LISTENER_HTTP,
}
LISTENER_TCP: Final[Mapping[str, Attribute]] = {"tcp.idle_timeout.seconds": Attribute(default="350", valid=_number(60, 6000))}


def _is_token(value: str) -> bool:
    return re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", value) is not None


def of_load_balancer(kind: str) -> Mapping[str, Attribute]:
    return LOAD_BALANCER[kind]


def of_target_group(row: TargetGroup) -> Mapping[str, Attribute]:
    return _HTTP_GROUP if row.protocol in ("HTTP", "HTTPS") else _TCP_GROUP


def of_listener(protocol: str) -> Mapping[str, Attribute]:
    if protocol == "HTTP":
        return LISTENER_HTTP
    return LISTENER_HTTPS if protocol == "HTTPS" else LISTENER_TCP if protocol == "TCP" else {}


def told(known: Mapping[str, Attribute], kept: Mapping[str, str]) -> list[tuple[str, str]]:
    """All attributes with their values."""
    return [(key, kept.get(key, attribute.default)) for key, attribute in known.items()]


def value(known: Mapping[str, Attribute], kept: Mapping[str, str], key: str) -> str:
    """What an attribute is; empty where there is none of that name."""
    found = kept.get(key)
    return found if found is not None else known[key].default if key in known else ""


def group_value(row: TargetGroup, key: str) -> str:
    return value(of_target_group(row), row.attributes, key)


def balancer_value(row: LoadBalancer, key: str) -> str:
    return value(of_load_balancer(row.kind), row.attributes, key)
