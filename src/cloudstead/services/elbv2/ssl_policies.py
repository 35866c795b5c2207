"""Telling the security policies."""

from __future__ import annotations

from cloudstead.kernel.context import Context
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page_of
from cloudstead.services.elbv2 import api
from cloudstead.services.elbv2.failures import bad_token
from cloudstead.services.elbv2.policies import POLICIES, Policy


def require(name: str) -> Policy:
    """
    Raises:
        SSLPolicyNotFoundException
    """
    found = POLICIES.get(name)
    if found is None:
        raise api.SSLPolicyNotFoundException(f"SSL policy '{name}' not found")
    return found


@operation(resource="*")
async def describe_ssl_policies(ctx: Context, request: api.DescribeSSLPoliciesRequest) -> api.DescribeSSLPoliciesResponse:
    """Those of some names, or all; both kinds of load balancers have the same."""
    names = request.names or list(POLICIES)
    found, marker = page_of(
        ctx,
        [(name, require(name)) for name in dict.fromkeys(names)] if request.load_balancer_type != "gateway" else [],
        key=lambda item: item[0],
        request=request,
        token=request.marker,
        limit=request.page_size or 400,
        invalid=bad_token,
    )
    described = [
        api.SslPolicy(
            name=name,
            ssl_protocols=list(policy.protocols),
            ciphers=[api.Cipher(name=cipher, priority=at) for at, cipher in enumerate(policy.ciphers, 1)],
            supported_load_balancer_types=["application", "network"],
        )
        for name, policy in found
    ]
    return api.DescribeSSLPoliciesResponse(ssl_policies=described, next_marker=marker)
