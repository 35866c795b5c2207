"""The conditions of rules: the wire's two forms (values, or a config of the field's own), checked, to ours and back.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.services.elbv2 import api
from cloudstead.services.elbv2.failures import invalid, unsupported
from cloudstead.services.elbv2.model import Condition

_ONCE = frozenset(("path-pattern", "host-header", "http-request-method", "source-ip"))
_HOST = re.compile(r"[A-Za-z0-9.*?_:-]{1,128}")
_PATH = re.compile(r"[A-Za-z0-9_\-.$/~\"'@:+&*?%!(),;=|\[\]{}^<>#\\`]{1,128}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}")
_METHOD = re.compile(r"[A-Z_-]{1,40}")
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,128}")


def parse(ctx: Context, given: Sequence[api.RuleCondition]) -> tuple[Condition, ...]:
    """
    Raises:
        ValidationFailed
    """
    if not given:
        invalid("A condition must be specified")
    found = tuple(_one(each) for each in given)
    fields = [one.field for one in found]
    for field in _ONCE:
        if fields.count(field) > 1:
            invalid(f"Rules can have only one '{field}' condition")
    values = [value for one in found for value in (*one.values, *(f"{key}{text}" for key, text in one.pairs))]
    most = quotas.limit(ctx, "elbv2", "condition-values-per-alb-rule")
    if sum(len(one.values) + len(one.pairs) for one in found) > most:
        invalid(f"A rule can have only '{most}' condition values")
    most = quotas.limit(ctx, "elbv2", "condition-wildcards-per-alb-rule")
    if sum(value.count("*") + value.count("?") for value in values) > most:
        invalid(f"A rule can have only '{most}' condition wildcards")
    return found


def _one(given: api.RuleCondition) -> Condition:
    _refuse_what_is_not_here(given)
    field = given.field
    if field == "path-pattern":
        config = given.path_pattern_config
        return _checked(Condition(field=field, values=_values(given, config.values if config is not None else None)), _PATH)
    if field == "host-header":
        host = given.host_header_config
        return _checked(Condition(field=field, values=_values(given, host.values if host is not None else None)), _HOST)
    if field == "http-request-method":
        method = given.http_request_method_config
        return _checked(Condition(field=field, values=_values(given, method.values if method is not None else None)), _METHOD)
    if field == "source-ip":
        return _source(given)
    if field == "http-header":
        header = given.http_header_config
        name = (header.http_header_name if header is not None else None) or ""
        if not _HEADER.fullmatch(name) or name.lower() == "host":
            invalid(f"The HTTP header name '{name}' is not valid")
        values = _values(given, header.values if header is not None else None)
        return _checked(Condition(field=field, header=name, values=values), _PRINTABLE)
    if field == "query-string":
        return _query(given)
    fields = "path-pattern, host-header, http-header, http-request-method, query-string, source-ip"
    raise ValidationFailed(f"Condition field '{field}' must be one of '[{fields}]'")


def _refuse_what_is_not_here(given: api.RuleCondition) -> None:
    configs = (given.host_header_config, given.path_pattern_config, given.http_header_config)
    if given.regex_values or any(config is not None and config.regex_values for config in configs):
        unsupported("A condition with regular expressions")
    if given.source_ip_config is not None and given.source_ip_config.ip_address_type == "ipv6":
        unsupported("IPv6")


def _values(given: api.RuleCondition, config: list[str] | None) -> tuple[str, ...]:
    if given.values and config:
        invalid("You cannot specify both condition values and a condition config")
    found = tuple(given.values or config or ())
    if not found:
        invalid("A condition value must be specified")
    return found


def _checked(one: Condition, pattern: re.Pattern[str]) -> Condition:
    for value in one.values:
        if not pattern.fullmatch(value):
            invalid(f"The {one.field} condition value '{value}' is not valid")
    return one


def _source(given: api.RuleCondition) -> Condition:
    config = given.source_ip_config
    values = _values(given, config.values if config is not None else None)
    for value in values:
        try:
            ipaddress.ip_network(value)
        except ValueError:
            invalid(f"The source-ip condition value '{value}' must be a CIDR block")
    return Condition(field="source-ip", values=values)


def _query(given: api.RuleCondition) -> Condition:
    config = given.query_string_config
    pairs = tuple((each.key or "", each.value or "") for each in (config.values if config is not None else None) or ())
    if not pairs or given.values:
        invalid("A query string config must be specified for a query-string condition")
    for key, value in pairs:
        if not _PRINTABLE.fullmatch(value) or (key and not _PRINTABLE.fullmatch(key)):
            invalid(f"The query-string condition value '{value}' is not valid")
    return Condition(field="query-string", pairs=pairs)


def describe(one: Condition) -> api.RuleCondition:
    """As AWS tells it: the values of paths and hosts stand beside the config, too."""
    values = list(one.values)
    found = api.RuleCondition(field=one.field)
    if one.field == "path-pattern":
        found.values, found.path_pattern_config = values, api.PathPatternConditionConfig(values=values)
    elif one.field == "host-header":
        found.values, found.host_header_config = values, api.HostHeaderConditionConfig(values=values)
    elif one.field == "http-header":
        found.http_header_config = api.HttpHeaderConditionConfig(http_header_name=one.header, values=values)
    elif one.field == "http-request-method":
        found.http_request_method_config = api.HttpRequestMethodConditionConfig(values=values)
    elif one.field == "source-ip":
        found.source_ip_config = api.SourceIpConditionConfig(values=values)
    else:
        pairs = [api.QueryStringKeyValuePair(key=key or None, value=value) for key, value in one.pairs]
        found.query_string_config = api.QueryStringConditionConfig(values=pairs)
    return found
