"""Whether a policy that somebody gives a resource would keep the same caller from giving it another: what services ask before they take it."""

from __future__ import annotations

from cloudstead.kernel.identity import Identity
from cloudstead.kernel.policy.document import parse
from cloudstead.kernel.policy.evaluate import NO_POLICIES, AuthorizationRequest, Source, evaluate
from cloudstead.kernel.policy.principals import Principal


def locks_out(caller: Identity, source_ip: str, action: str, resource: str, account: str, policy: str) -> bool:
    """Whether the policy itself denies its author to set the next.

    Args:
        action: by which a policy is set: "ecr:SetRepositoryPolicy".
        account: whose the resource is.
        policy: the document; one that parses.
    """
    about: dict[str, tuple[str, ...]] = {
        "aws:principalarn": (caller.principal_arn,),
        "aws:principalaccount": (caller.account,),
        "aws:userid": (caller.user_id,),
        "aws:sourceip": (source_ip,),
    }
    request = AuthorizationRequest(
        principal=Principal.of(caller),
        action=action,
        resource=resource,
        context=about,
        resource_account=account,
        resource_policy=Source(parse(policy), "ResourcePolicy", "resource"),
    )
    return evaluate(request, NO_POLICIES).outcome == "explicitDeny"
