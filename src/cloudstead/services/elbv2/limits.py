"""What an account may have of everything."""

from __future__ import annotations

from cloudstead.kernel import quotas
from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.elbv2 import api
from cloudstead.services.elbv2.failures import bad_token

_SAME = {  # names that AWS tells, and whose quota it is
    "application-load-balancers": "application-load-balancers",
    "certificates-per-application-load-balancer": "certificates",
    "certificates-per-network-load-balancer": "certificates",
    "condition-values-per-alb-rule": "condition-values-per-alb-rule",
    "condition-wildcards-per-alb-rule": "condition-wildcards-per-alb-rule",
    "listeners-per-application-load-balancer": "listeners-per-application-load-balancer",
    "listeners-per-network-load-balancer": "listeners-per-network-load-balancer",
    "network-load-balancers": "network-load-balancers",
    "rules-per-application-load-balancer": "rules-per-application-load-balancer",
    "target-groups": "target-groups",
    "target-groups-per-action-on-application-load-balancer": "target-groups-per-action-on-application-load-balancer",
    "targets-per-application-load-balancer": "targets-per-target-group",
    "targets-per-network-load-balancer": "targets-per-target-group",
}


@operation(resource="*")
async def describe_account_limits(ctx: Context, request: api.DescribeAccountLimitsRequest) -> api.DescribeAccountLimitsResponse:
    """The quotas by the names that they have here."""
    found, marker = page_of(
        ctx,
        _SAME.items(),
        key=lambda item: item[0],
        request=request,
        token=request.marker,
        limit=request.page_size or 400,
        invalid=bad_token,
    )
    limits = [api.Limit(name=name, max=str(quotas.limit(ctx, "elbv2", code))) for name, code in found]
    return api.DescribeAccountLimitsResponse(limits=limits, next_marker=marker)
