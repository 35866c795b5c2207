"""Listeners: create, describe, modify, delete."""

from __future__ import annotations

from typing import Any

from cloudstead.kernel import ids, quotas, tags
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.elbv2 import actions, api, arns, certificates, load_balancers, policies, ssl_policies
from cloudstead.services.elbv2.failures import bad_token, invalid, unsupported
from cloudstead.services.elbv2.model import LISTENERS, RULES, Listener, LoadBalancer
from cloudstead.services.elbv2.tagging import RULES as TAG_RULES

PROTOCOLS = {"application": ("HTTP", "HTTPS"), "network": ("TCP", "TLS")}
SECURE = frozenset(("HTTPS", "TLS"))
_ALPN = ("HTTP1Only", "None")  # the others need HTTP/2


def require(ctx: Context, arn: str) -> Listener:
    """
    Raises:
        ListenerNotFoundException, ValidationFailed
    """
    if arns.kind_of(arn) != "listener":
        invalid(f"'{arn}' is not a valid listener ARN")
    row: Listener | None = ctx.table(LISTENERS).get((ctx.account, ctx.region, arn))
    if row is None:
        raise api.ListenerNotFoundException("One or more listeners not found")
    return row


def describe(row: Listener) -> api.Listener:
    return api.Listener(
        listener_arn=row.arn,
        load_balancer_arn=row.load_balancer,
        port=row.port,
        protocol=row.protocol,  # type: ignore[arg-type]  # one of the model's
        certificates=[api.Certificate(certificate_arn=row.certificates[0])] if row.certificates else None,
        ssl_policy=row.ssl_policy,
        default_actions=actions.describe(row.action),
        alpn_policy=list(row.alpn) or None,
        mutual_authentication=api.MutualAuthenticationAttributes(mode="off") if row.protocol == "HTTPS" else None,
    )


def _check_protocol(balancer: LoadBalancer, protocol: str) -> None:
    if balancer.kind == "network" and protocol in ("UDP", "TCP_UDP", "QUIC", "TCP_QUIC"):
        unsupported(f"The listener protocol '{protocol}'")
    allowed = PROTOCOLS[balancer.kind]
    if protocol not in allowed:
        invalid(f"Listener protocol '{protocol}' must be one of '{', '.join(sorted(allowed))}'")


async def _settings(
    ctx: Context, request: api.CreateListenerRequest | api.ModifyListenerRequest, protocol: str, known: Listener | None
) -> dict[str, Any]:
    """What a listener that speaks TLS has; nothing else may have it.

    Raises:
        ServiceError
    """
    mutual = request.mutual_authentication
    if mutual is not None and mutual.mode not in (None, "off"):
        unsupported("Mutual authentication of TLS")
    policy = request.ssl_policy
    if protocol not in SECURE:
        if request.certificates:
            invalid(f"Certificates cannot be specified for listeners with the protocol '{protocol}'")
        if policy is not None:
            invalid(f"An SSL policy cannot be specified for listeners with the protocol '{protocol}'")
        if request.alpn_policy:
            raise api.ALPNPolicyNotSupportedException(f"An ALPN policy is not supported for listeners with the protocol '{protocol}'")
        return {"certificates": (), "ssl_policy": None, "alpn": (), "names": ()}
    if policy is not None:
        ssl_policies.require(policy)
    alpn = tuple(request.alpn_policy or (known.alpn if known is not None else ()))
    if alpn and protocol != "TLS":
        raise api.ALPNPolicyNotSupportedException(f"An ALPN policy is not supported for listeners with the protocol '{protocol}'")
    if alpn and alpn[0] not in _ALPN:
        unsupported(f"The ALPN policy '{alpn[0]}'")
    kept = known.certificates if known is not None else ()
    wanted = [each.certificate_arn or "" for each in request.certificates or ()]
    if len(wanted) > 1:
        raise api.TooManyCertificatesException("Only one certificate can be specified as the default certificate of a listener")
    if wanted:
        kept = (wanted[0], *(each for each in kept[1:] if each != wanted[0]))
    if not kept:
        invalid(f"A certificate must be specified for {protocol} listeners")
    before = known.ssl_policy if known is not None else None
    names = await certificates.names(ctx, kept)
    return {"certificates": kept, "ssl_policy": policy or before or policies.DEFAULT, "alpn": alpn, "names": names}


@operation(resource=arns.load_balancer, resource_tags=arns.load_balancer_tags)
async def create_listener(ctx: Context, request: api.CreateListenerRequest) -> api.CreateListenerResponse:
    """Listen on one more port."""
    balancer = load_balancers.require(ctx, request.load_balancer_arn)
    if request.port is None:
        invalid("A port must be specified")
    if request.protocol is None:
        invalid("A protocol must be specified")
    _check_protocol(balancer, request.protocol)
    settings = await _settings(ctx, request, request.protocol, None)
    balancer = load_balancers.require(ctx, request.load_balancer_arn)  # time has passed
    action = actions.parse(ctx, request.default_actions, balancer, request.protocol)
    place = (ctx.account, ctx.region, balancer.arn)
    if ctx.table(LISTENERS).count((*place, request.port), index="by_port"):
        raise api.DuplicateListenerException(f"A listener already exists on this port for this load balancer '{balancer.arn}'")
    quotas.require(
        ctx,
        "elbv2",
        f"listeners-per-{balancer.kind}-load-balancer",
        ctx.table(LISTENERS).count(place, index="by_port"),
        lambda limit: api.TooManyListenersException(f"The maximum number of listeners ('{limit}') has been reached"),
    )
    number = ids.hex_digits(16)
    row = Listener(
        account=ctx.account,
        region=ctx.region,
        arn=arns.arn(ctx, f"listener/{balancer.path}/{number}"),
        load_balancer=balancer.arn,
        port=request.port,
        protocol=request.protocol,
        action=action,
        default_rule=arns.arn(ctx, f"listener-rule/{balancer.path}/{number}/{ids.hex_digits(16)}"),
        tags=tags.merge({}, tags.from_list(request.tags, TAG_RULES), TAG_RULES),
        **settings,
    )
    with ctx.transaction() as tx:
        row = tx.insert(LISTENERS, row)
    return api.CreateListenerResponse(listeners=[describe(row)])


@operation(resource="*")
async def describe_listeners(ctx: Context, request: api.DescribeListenersRequest) -> api.DescribeListenersResponse:
    """Those of a load balancer, or of some ARNs."""
    if request.load_balancer_arn and request.listener_arns:
        invalid("A load balancer ARN and listener ARNs cannot be specified at the same time")
    if request.load_balancer_arn:
        balancer = load_balancers.require(ctx, request.load_balancer_arn)
        found = list(ctx.table(LISTENERS).scan((ctx.account, ctx.region, balancer.arn), index="by_port"))
    elif request.listener_arns:
        found = [require(ctx, each) for each in dict.fromkeys(request.listener_arns)]
    else:
        invalid("You must specify either listener ARNs or a load balancer ARN")
    rows, marker = page_of(
        ctx,
        found,
        key=lambda row: row.arn,
        request=request,
        token=request.marker,
        limit=request.page_size or 400,
        invalid=bad_token,
    )
    return api.DescribeListenersResponse(listeners=[describe(row) for row in rows], next_marker=marker)


@operation(resource=arns.listener, resource_tags=arns.listener_tags)
async def modify_listener(ctx: Context, request: api.ModifyListenerRequest) -> api.ModifyListenerResponse:
    """Change what is given; connections that are open go on."""
    row = require(ctx, request.listener_arn)
    balancer = load_balancers.require(ctx, row.load_balancer)
    protocol = request.protocol or row.protocol
    _check_protocol(balancer, protocol)
    settings = await _settings(ctx, request, protocol, row)
    row = require(ctx, request.listener_arn)  # time has passed
    action = row.action
    if request.default_actions is not None:
        action = actions.parse(ctx, request.default_actions, balancer, protocol)
    port = request.port or row.port
    if port != row.port and ctx.table(LISTENERS).count((ctx.account, ctx.region, balancer.arn, port), index="by_port"):
        raise api.DuplicateListenerException(f"A listener already exists on this port for this load balancer '{balancer.arn}'")
    with ctx.transaction() as tx:
        row = tx.update(LISTENERS, row, port=port, protocol=protocol, action=action, **settings)
    return api.ModifyListenerResponse(listeners=[describe(row)])


@operation(resource=arns.listener, resource_tags=arns.listener_tags)
async def delete_listener(ctx: Context, request: api.DeleteListenerRequest) -> api.DeleteListenerResponse:
    """Listen no more; its rules go with it."""
    row = require(ctx, request.listener_arn)
    with ctx.transaction() as tx:
        for rule in ctx.table(RULES).scan((ctx.account, ctx.region, row.arn), index="by_priority"):
            tx.delete(RULES, rule.key)
        tx.delete(LISTENERS, row.key)
    return api.DeleteListenerResponse()
