"""What listeners and rules do with a request: the wire's form, checked, to ours and back."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.services.elbv2 import api, target_groups
from cloudstead.services.elbv2.failures import invalid, unsupported
from cloudstead.services.elbv2.model import HTTP, Action, FixedResponse, Forward, LoadBalancer, Redirect, WeightedGroup

_CONTENT_TYPES = ("text/plain", "text/css", "text/html", "application/javascript", "application/json")
_PORT = re.compile(r"#\{port\}|[1-9]\d{0,4}")
_PLACEHOLDER = re.compile(r"#\{(\w*)\}")
_KEYWORDS = frozenset(("protocol", "host", "port", "path", "query"))


def parse(ctx: Context, actions: Sequence[api.Action], balancer: LoadBalancer, protocol: str) -> Action:
    """The one action that there is: those that may come before it authenticate, and are refused.

    Raises:
        ServiceError
    """
    if not actions:
        invalid("At least one action must be specified")
    found = [_one(ctx, each, protocol) for each in actions]
    if len(found) > 1:
        raise api.InvalidLoadBalancerActionException(
            "An action list must contain exactly one action of type 'forward', 'redirect' or 'fixed-response'"
        )
    if balancer.kind == "network" and not isinstance(found[0], Forward):
        raise api.InvalidLoadBalancerActionException(
            f"Action type '{actions[0].type}' is not supported with load balancers of type 'network'"
        )
    if isinstance(found[0], Forward):
        _require_groups(ctx, found[0], balancer, protocol)
    return found[0]


def _one(ctx: Context, given: api.Action, protocol: str) -> Action:
    if (
        given.authenticate_oidc_config
        or given.authenticate_cognito_config
        or given.jwt_validation_config
        or given.type
        in (
            "authenticate-oidc",
            "authenticate-cognito",
            "jwt-validation",
        )
    ):
        unsupported(f"An action of type '{given.type}'")
    if given.type == "forward":
        return _forward(ctx, given)
    if given.target_group_arn is not None or given.forward_config is not None:
        raise api.InvalidLoadBalancerActionException(f"A target group cannot be specified for an action of type '{given.type}'")
    return _redirect(given, protocol) if given.type == "redirect" else _fixed(given)


def _forward(ctx: Context, given: api.Action) -> Forward:
    config = given.forward_config
    tuples = (config.target_groups if config is not None else None) or []
    if given.target_group_arn is not None and (len(tuples) > 1 or (tuples and tuples[0].target_group_arn != given.target_group_arn)):
        raise api.InvalidLoadBalancerActionException(
            "You cannot specify both a target group ARN and a different target group in the forward config"
        )
    groups = [WeightedGroup(arn=each.target_group_arn or "", weight=1 if each.weight is None else each.weight) for each in tuples]
    if not groups:
        if given.target_group_arn is None:
            raise api.InvalidLoadBalancerActionException("A target group ARN must be specified for an action of type 'forward'")
        groups = [WeightedGroup(arn=given.target_group_arn)]
    most = quotas.limit(ctx, "elbv2", "target-groups-per-action-on-application-load-balancer")
    if len(groups) > most:
        raise api.InvalidLoadBalancerActionException(f"A forward action cannot have more than '{most}' target groups")
    if any(not 0 <= each.weight <= 999 for each in groups):
        invalid("The weight of a target group must be between '0' and '999'")
    if len({each.arn for each in groups}) < len(groups):
        invalid("A target group cannot be specified more than once in a forward action")
    sticky = config.target_group_stickiness_config if config is not None else None
    enabled = bool(sticky is not None and sticky.enabled)
    seconds = sticky.duration_seconds if sticky is not None else None
    if enabled and seconds is None:
        invalid("A stickiness duration must be specified when target group stickiness is enabled")
    if seconds is not None and not 1 <= seconds <= 604800:
        invalid("The stickiness duration must be between '1' and '604800' seconds")
    return Forward(groups=tuple(groups), sticky=enabled, sticky_seconds=seconds, order=given.order)


def _require_groups(ctx: Context, action: Forward, balancer: LoadBalancer, protocol: str) -> None:
    for each in action.groups:
        group = target_groups.require(ctx, each.arn)
        if group.vpc != balancer.vpc:
            invalid(f"The target group '{group.arn}' is not in the VPC '{balancer.vpc}' of the load balancer")
        if (group.protocol in HTTP) != (balancer.kind == "application"):
            raise api.IncompatibleProtocolsException(
                f"The listener protocol '{protocol}' is not compatible with the target group protocol '{group.protocol}'"
            )
        others = [arn for arn in target_groups.load_balancers(ctx, group.arn) if arn != balancer.arn]
        if others:
            raise api.TargetGroupAssociationLimitException(
                f"The following target groups cannot be associated with more than one load balancer: {group.arn}"
            )


def _redirect(given: api.Action, protocol: str) -> Redirect:
    config = given.redirect_config
    if config is None:
        raise api.InvalidLoadBalancerActionException("A redirect config must be specified for an action of type 'redirect'")
    found = Redirect(
        status=config.status_code,
        protocol=config.protocol or "#{protocol}",
        port=config.port or "#{port}",
        host=config.host or "#{host}",
        path=config.path or "/#{path}",
        query="#{query}" if config.query is None else config.query,
        order=given.order,
    )
    for text in (found.protocol, found.port, found.host, found.path, found.query):
        if any(word not in _KEYWORDS for word in _PLACEHOLDER.findall(text)) or re.search(r"[\x00-\x20\x7f]", text):
            raise api.InvalidLoadBalancerActionException(f"The redirect config has an invalid value '{text}'")
    if not _PORT.fullmatch(found.port) or (found.port.isdigit() and int(found.port) > 65535):
        raise api.InvalidLoadBalancerActionException(f"The redirect config has an invalid port '{found.port}'")
    if not found.path.startswith("/"):
        raise api.InvalidLoadBalancerActionException(f"The redirect config path '{found.path}' must begin with '/'")
    if (found.protocol in ("#{protocol}", protocol), found.port, found.host, found.path, found.query) == (
        True,
        "#{port}",
        "#{host}",
        "/#{path}",
        "#{query}",
    ):
        raise api.InvalidLoadBalancerActionException(
            "The redirect configuration must change at least one of protocol, host, port, path and query"
        )
    return found


def _fixed(given: api.Action) -> FixedResponse:
    config = given.fixed_response_config
    if config is None:
        raise api.InvalidLoadBalancerActionException("A fixed response config must be specified for an action of type 'fixed-response'")
    if config.content_type is not None and config.content_type not in _CONTENT_TYPES:
        invalid(f"The content type '{config.content_type}' must be one of '{', '.join(_CONTENT_TYPES)}'")
    return FixedResponse(status=config.status_code, content_type=config.content_type, body=config.message_body, order=given.order)


def describe(action: Action) -> list[api.Action]:
    """As AWS tells it: the only target group of an action also stands beside the config."""
    if isinstance(action, Forward):
        config = api.ForwardActionConfig(
            target_groups=[api.TargetGroupTuple(target_group_arn=each.arn, weight=each.weight) for each in action.groups],
            target_group_stickiness_config=api.TargetGroupStickinessConfig(enabled=action.sticky, duration_seconds=action.sticky_seconds),
        )
        only = action.groups[0].arn if len(action.groups) == 1 else None
        return [api.Action(type="forward", target_group_arn=only, forward_config=config, order=action.order)]
    if isinstance(action, Redirect):
        redirect = api.RedirectActionConfig(
            protocol=action.protocol,
            port=action.port,
            host=action.host,
            path=action.path,
            query=action.query,
            status_code="HTTP_302" if action.status == "HTTP_302" else "HTTP_301",
        )
        return [api.Action(type="redirect", redirect_config=redirect, order=action.order)]
    fixed = api.FixedResponseActionConfig(status_code=action.status, message_body=action.body, content_type=action.content_type)
    return [api.Action(type="fixed-response", fixed_response_config=fixed, order=action.order)]
