"""Decisions as AWS documents them: each case names the page that it is taken from.

UG is https://docs.aws.amazon.com/IAM/latest/UserGuide/
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudstead.kernel.policy import AuthorizationRequest, Layer, PolicySet, Principal, Source, evaluate, parse

OPERATORS = "UG reference_policies_elements_condition_operators.html"
MULTI = "UG reference_policies_multi-value-conditions.html"
MULTI_EXAMPLES = "UG reference_policies_condition_examples-multi-valued-context-keys.html"
SINGLE_EXAMPLES = "UG reference_policies_condition_examples-single-valued-context-keys.html"
VARIABLES = "UG reference_policies_variables.html"
LOGIC = "UG reference_policies_evaluation-logic_policy-eval-denyallow.html"
SAME_ACCOUNT = "UG reference_policies_evaluation-logic_policy-eval-basics.html"
CROSS_ACCOUNT = "UG reference_policies_evaluation-logic-cross-account.html"
BOUNDARIES = "UG access_policies_boundaries.html"
SESSIONS = "UG access_policies.html#policies_session"
PRINCIPAL = "UG reference_policies_elements_principal.html"
NOT_PRINCIPAL = "UG reference_policies_elements_notprincipal.html"
NOT_ACTION = "UG reference_policies_elements_notaction.html"
NOT_RESOURCE = "UG reference_policies_elements_notresource.html"
ACTION = "UG reference_policies_elements_action.html"
RESOURCE = "UG reference_policies_elements_resource.html"
GLOBAL_KEYS = "UG reference_policies_condition-keys.html"
MFA = "UG reference_policies_examples_aws_mfa-selfmanage.html"
IP = "UG reference_policies_examples_aws_deny-ip.html"
REGION = "UG reference_policies_examples_aws_deny-requested-region.html"
DATES = "UG reference_policies_examples_aws-dates.html"
TAGS = "UG access_tags.html"
EXTERNAL_ID = "UG id_roles_common-scenarios_third-party.html"
S3_HOME = "UG reference_policies_examples_s3_home-directory-console.html"
EC2_OWNER = "UG reference_policies_examples_ec2_tag-owner.html"
OIDC = "UG id_roles_providers_create_oidc.html"
DEPUTY = "UG confused-deputy.html"

US = "111122223333"
THEM = "444455556666"
JANE = f"arn:aws:iam::{US}:user/JaneDoe"
ROLE = f"arn:aws:iam::{US}:role/App"
SESSION = f"arn:aws:sts::{US}:assumed-role/App/now"

USER = Principal(kind="user", account=US, arn=JANE, entity=JANE, user_id="AIDACKCEVSQ6C2EXAMPLE")
STRANGER = Principal(
    kind="user", account=THEM, arn=f"arn:aws:iam::{THEM}:user/Bob", entity=f"arn:aws:iam::{THEM}:user/Bob", user_id="AIDABOB"
)
ROOT = Principal(kind="root", account=US, arn=f"arn:aws:iam::{US}:root", entity=f"arn:aws:iam::{US}:root", user_id=US)
APP = Principal(kind="assumed-role", account=US, arn=SESSION, entity=ROLE, user_id="AROAEXAMPLE:now")
FEDERATED_USER = Principal(kind="federated-user", account=US, arn=f"arn:aws:sts::{US}:federated-user/Sue", entity=JANE, user_id=f"{US}:Sue")
SERVICE = Principal(kind="service", account=US, arn="logs.amazonaws.com")
GOOGLE = Principal.federated("accounts.google.com")
ANYONE = Principal(kind="anonymous", account="", arn="*")

Statement = dict[str, Any]


def allow(action: Any = "*", resource: Any = "*", **more: Any) -> Statement:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any = "*", resource: Any = "*", **more: Any) -> Statement:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


def when(**blocks: Any) -> Statement:
    """An Allow of everything under conditions."""
    return allow(Condition={name.replace("__", ":"): block for name, block in blocks.items()})


def deny_when(**blocks: Any) -> Statement:
    return deny(Condition={name.replace("__", ":"): block for name, block in blocks.items()})


def layer(statements: list[Statement] | None, version: str = "2012-10-17") -> Layer | None:
    if statements is None:
        return None
    return Layer([Source(parse(json.dumps({"Version": version, "Statement": statements})), "p")] if statements else [])


def decide(
    identity: list[Statement] | Statement = (),  # type: ignore[assignment]
    *,
    who: Principal = USER,
    action: str = "s3:GetObject",
    on: str = "arn:aws:s3:::amzn-s3-demo-bucket/file",
    account: str = US,
    keys: dict[str, Any] | None = None,
    resource: list[Statement] | None = None,
    boundary: list[Statement] | None = None,
    session: list[Statement] | None = None,
    trust: bool = False,
    version: str = "2012-10-17",
) -> str:
    statements = [identity] if isinstance(identity, dict) else list(identity)
    context = {key.lower(): (value,) if isinstance(value, str) else tuple(value) for key, value in (keys or {}).items()}
    own = layer(statements, version)
    assert own is not None
    policy = layer(resource)
    return evaluate(
        AuthorizationRequest(
            principal=who,
            action=action,
            resource=on,
            context=context,
            resource_account=account,
            resource_policy=policy.sources[0] if policy else None,
            resource_policy_decides=trust,
        ),
        PolicySet(identity=own, boundary=layer(boundary), session=layer(session)),
    ).outcome


YES, NO, NEVER = "allowed", "implicitDeny", "explicitDeny"
HOME = when(StringLike={"s3:prefix": ["", "home/", "home/${aws:username}/*"]})
JOB = {"aws:PrincipalTag/job-category": "iamuser-admin"}
REQUEST_TAGS = {"aws:TagKeys": ["environment", "costcenter"]}
TRUST_OTHER_ACCOUNT = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{THEM}:root"}, "Action": "sts:AssumeRole"}
EXTERNAL = {**TRUST_OTHER_ACCOUNT, "Condition": {"StringEquals": {"sts:ExternalId": "Unique ID Assigned by Example Corp"}}}
ASSUME = {"action": "sts:AssumeRole", "on": ROLE, "trust": True}
BUCKET = "arn:aws:s3:::amzn-s3-demo-bucket/*"


def grant(principal: Any, **more: Any) -> list[Statement]:
    """A resource policy that allows this principal everything."""
    return [{"Effect": "Allow", "Principal": principal, "Action": "*", "Resource": "*", **more}]


def forbid(principal: Any, **more: Any) -> list[Statement]:
    return [{"Effect": "Deny", "Principal": principal, "Action": "*", "Resource": "*", **more}]


CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    # ── condition operators
    (YES, OPERATORS, "StringEquals matches exactly", {"identity": when(StringEquals=JOB), "keys": JOB}),
    (NO, OPERATORS, "StringEquals is case-sensitive", {"identity": when(StringEquals=JOB), "keys": {"aws:PrincipalTag/job-category": "IAMuser-admin"}}),
    (NO, OPERATORS, "StringEquals without the key is false", {"identity": when(StringEquals=JOB)}),
    (YES, OPERATORS, "keys are compared without case", {"identity": when(StringEquals=JOB), "keys": {"AWS:principaltag/JOB-CATEGORY": "iamuser-admin"}}),
    (YES, OPERATORS, "StringNotEquals without the key is true", {"identity": when(StringNotEquals=JOB)}),
    (NEVER, OPERATORS, "StringNotEquals denies another value", {"identity": [allow(), deny_when(StringNotEquals=JOB)], "keys": {"aws:PrincipalTag/job-category": "dev"}}),
    (YES, OPERATORS, "StringEqualsIgnoreCase ignores case", {"identity": when(StringEqualsIgnoreCase=JOB), "keys": {"aws:PrincipalTag/job-category": "IAMUSER-ADMIN"}}),
    (NO, OPERATORS, "StringNotEqualsIgnoreCase", {"identity": when(StringNotEqualsIgnoreCase=JOB), "keys": {"aws:PrincipalTag/job-category": "IAMUSER-ADMIN"}}),
    (YES, OPERATORS, "StringLike has multi-character wildcards", {"identity": when(StringLike={"aws:PrincipalTag/department": "finance-*"}), "keys": {"aws:PrincipalTag/department": "finance-eu"}}),
    (YES, OPERATORS, "StringLike has single-character wildcards", {"identity": when(StringLike={"s3:prefix": "r?d"}), "keys": {"s3:prefix": "red"}}),
    (NO, OPERATORS, "? is exactly one character", {"identity": when(StringLike={"s3:prefix": "r?d"}), "keys": {"s3:prefix": "rd"}}),
    (NO, OPERATORS, "StringEquals takes * literally", {"identity": when(StringEquals={"s3:prefix": "r*"}), "keys": {"s3:prefix": "red"}}),
    (YES, OPERATORS, "NumericLessThanEquals", {"identity": when(NumericLessThanEquals={"s3:max-keys": "10"}), "keys": {"s3:max-keys": "10"}}),
    (NO, OPERATORS, "NumericLessThanEquals is exceeded", {"identity": when(NumericLessThanEquals={"s3:max-keys": "10"}), "keys": {"s3:max-keys": "11"}}),
    (YES, OPERATORS, "NumericEquals compares numbers, not text", {"identity": when(NumericEquals={"s3:max-keys": "10"}), "keys": {"s3:max-keys": "10.0"}}),
    (NO, OPERATORS, "NumericGreaterThan", {"identity": when(NumericGreaterThan={"s3:max-keys": "10"}), "keys": {"s3:max-keys": "10"}}),
    (YES, OPERATORS, "DateGreaterThan on the token's age", {"identity": when(DateGreaterThan={"aws:TokenIssueTime": "2020-01-01T00:00:01Z"}), "keys": {"aws:TokenIssueTime": "2020-01-01T00:00:02Z"}}),
    (NO, OPERATORS, "DateGreaterThan before it", {"identity": when(DateGreaterThan={"aws:TokenIssueTime": "2020-01-01T00:00:01Z"}), "keys": {"aws:TokenIssueTime": "2019-12-31T23:59:59Z"}}),
    (YES, OPERATORS, "dates may be epoch seconds", {"identity": when(DateLessThan={"aws:EpochTime": "1577836801"}), "keys": {"aws:EpochTime": "1577836800"}}),
    (YES, OPERATORS, "a date may be a day or have an offset", {"identity": when(DateEquals={"aws:CurrentTime": "2020-07-01"}), "keys": {"aws:CurrentTime": "2020-07-01T02:00:00+02:00"}}),
    (NEVER, OPERATORS, "Bool on SecureTransport", {"identity": [allow(), deny_when(Bool={"aws:SecureTransport": "false"})], "keys": {"aws:SecureTransport": "false"}}),
    (YES, OPERATORS, "Bool does not match what is absent", {"identity": [allow(), deny_when(Bool={"aws:MultiFactorAuthPresent": "false"})]}),
    (NEVER, OPERATORS, "BoolIfExists matches what is absent", {"identity": [allow(), deny_when(BoolIfExists={"aws:MultiFactorAuthPresent": "false"})]}),
    (YES, OPERATORS, "BinaryEquals compares bytes", {"identity": when(BinaryEquals={"key": "QmluYXJ5VmFsdWVJbkJhc2U2NA=="}), "keys": {"key": "QmluYXJ5VmFsdWVJbkJhc2U2NA=="}}),
    (YES, OPERATORS, "IpAddress takes CIDR ranges", {"identity": when(IpAddress={"aws:SourceIp": "203.0.113.0/24"}), "keys": {"aws:SourceIp": "203.0.113.77"}}),
    (NO, OPERATORS, "IpAddress outside the range", {"identity": when(IpAddress={"aws:SourceIp": "203.0.113.0/24"}), "keys": {"aws:SourceIp": "203.0.114.1"}}),
    (YES, OPERATORS, "IpAddress mixes IPv4 and IPv6", {"identity": when(IpAddress={"aws:SourceIp": ["203.0.113.0/24", "2001:DB8:1234:5678::/64"]}), "keys": {"aws:SourceIp": "2001:db8:1234:5678::1"}}),
    (YES, OPERATORS, "ArnLike has wildcards in each part", {"identity": when(ArnLike={"aws:SourceArn": "arn:aws:cloudtrail:*:111122223333:trail/*"}), "keys": {"aws:SourceArn": "arn:aws:cloudtrail:us-east-1:111122223333:trail/t"}}),
    (NO, OPERATORS, "a wildcard of ArnLike stays in its part", {"identity": when(ArnLike={"aws:SourceArn": "arn:aws:sns:*:topic"}), "keys": {"aws:SourceArn": "arn:aws:sns:eu-west-1:111122223333:topic"}}),
    (YES, OPERATORS, "ArnEquals behaves like ArnLike", {"identity": when(ArnEquals={"aws:SourceArn": "arn:aws:sns:*:*:topic"}), "keys": {"aws:SourceArn": "arn:aws:sns:eu-west-1:111122223333:topic"}}),
    (NEVER, OPERATORS, "ArnNotEquals", {"identity": [allow(), deny_when(ArnNotEquals={"aws:PrincipalArn": ROLE})], "keys": {"aws:PrincipalArn": JANE}}),
    (YES, OPERATORS, "IfExists lets requests without the key pass", {"identity": when(StringLikeIfExists={"ec2:InstanceType": ["t1.*", "t2.*"]})}),
    (NO, OPERATORS, "IfExists still compares when the key is there", {"identity": when(StringLikeIfExists={"ec2:InstanceType": ["t1.*", "t2.*"]}), "keys": {"ec2:InstanceType": "m3.large"}}),
    (YES, OPERATORS, "Null true: the key must be absent", {"identity": when(Null={"aws:TokenIssueTime": "true"})}),
    (NO, OPERATORS, "Null true with the key there", {"identity": when(Null={"aws:TokenIssueTime": "true"}), "keys": {"aws:TokenIssueTime": "2020-01-01T00:00:01Z"}}),
    (NO, OPERATORS, "Null false: the key must be there", {"identity": when(Null={"aws:TokenIssueTime": "false"})}),
    # ── several keys and values
    (NO, MULTI, "operators are joined by AND", {"identity": when(StringEquals={"aws:PrincipalTag/role": "audit"}, IpAddress={"aws:SourceIp": "203.0.113.0/24"}), "keys": {"aws:PrincipalTag/role": "audit", "aws:SourceIp": "10.0.0.1"}}),
    (NO, MULTI, "keys of one operator are joined by AND", {"identity": when(StringEquals={"aws:PrincipalTag/department": "finance", "aws:PrincipalTag/role": "audit"}), "keys": {"aws:PrincipalTag/role": "audit"}}),
    (YES, MULTI, "values of one key are joined by OR", {"identity": when(StringEquals={"aws:PrincipalTag/role": ["audit", "admin"]}), "keys": {"aws:PrincipalTag/role": "admin"}}),
    (NO, MULTI, "values of a negated key are joined by NOR", {"identity": when(StringNotEquals={"aws:PrincipalTag/role": ["audit", "admin"]}), "keys": {"aws:PrincipalTag/role": "admin"}}),
    (YES, MULTI, "ForAllValues: each tag key is one of the policy's", {"identity": when(ForAllValues__StringEquals=REQUEST_TAGS), "keys": {"aws:TagKeys": ["environment"]}}),
    (NO, MULTI, "ForAllValues: one tag key is not", {"identity": when(ForAllValues__StringEquals=REQUEST_TAGS), "keys": {"aws:TagKeys": ["environment", "owner"]}}),
    (YES, MULTI, "ForAllValues is true without the key", {"identity": when(ForAllValues__StringEquals=REQUEST_TAGS)}),
    (YES, MULTI, "ForAnyValue: one is enough", {"identity": when(ForAnyValue__StringEquals=REQUEST_TAGS), "keys": {"aws:TagKeys": ["owner", "environment"]}}),
    (NO, MULTI, "ForAnyValue is false without the key", {"identity": when(ForAnyValue__StringEquals=REQUEST_TAGS)}),
    (NEVER, MULTI_EXAMPLES, "deny when any tag key is webserver", {"identity": [allow(), deny_when(ForAnyValue__StringEquals={"aws:TagKeys": "webserver"})], "keys": {"aws:TagKeys": ["environment", "webserver"]}}),
    (NEVER, MULTI_EXAMPLES, "ForAllValues with Null denies only requests with tags", {"identity": [allow(), deny_when(ForAllValues__StringLike={"aws:TagKeys": ["key1*"]}, Null={"aws:TagKeys": "false"})], "keys": {"aws:TagKeys": ["key1:legal", "key1:hr"]}}),
    (YES, MULTI_EXAMPLES, "the same, without tags", {"identity": [allow(), deny_when(ForAllValues__StringLike={"aws:TagKeys": ["key1*"]}, Null={"aws:TagKeys": "false"})]}),
    (YES, SINGLE_EXAMPLES, "two single-valued keys", {"identity": when(StringEquals={"aws:PrincipalTag/department": "finance", "aws:ResourceTag/department": "finance"}), "keys": {"aws:PrincipalTag/department": "finance", "aws:ResourceTag/department": "finance"}}),
    # ── variables
    (YES, VARIABLES, "a user's own prefix", {"identity": HOME, "keys": {"aws:username": "David", "s3:prefix": "home/David/x"}}),
    (NO, VARIABLES, "another user's prefix", {"identity": HOME, "keys": {"aws:username": "David", "s3:prefix": "home/Eve/x"}}),
    (YES, VARIABLES, "a variable in Resource", {"identity": allow("s3:*", "arn:aws:s3:::amzn-s3-demo-bucket/${aws:PrincipalTag/department}/*"), "keys": {"aws:PrincipalTag/department": "eng"}, "on": "arn:aws:s3:::amzn-s3-demo-bucket/eng/x"}),
    (NO, VARIABLES, "a variable without value matches nothing", {"identity": allow("s3:*", "arn:aws:s3:::amzn-s3-demo-bucket/${aws:PrincipalTag/department}*"), "on": "arn:aws:s3:::amzn-s3-demo-bucket/x"}),
    (YES, VARIABLES, "its default is taken instead", {"identity": allow("s3:*", "arn:aws:s3:::amzn-s3-demo-bucket-${aws:PrincipalTag/team, 'company-wide'}/*"), "on": "arn:aws:s3:::amzn-s3-demo-bucket-company-wide/x"}),
    (YES, VARIABLES, "not like null: a negated condition holds", {"identity": when(StringNotLike={"s3:prefix": "${aws:username}/*"}), "keys": {"s3:prefix": "x/y"}}),
    (YES, VARIABLES, "${*} is an asterisk", {"identity": allow("s3:*", "arn:aws:s3:::amzn-s3-demo-bucket/${*}"), "on": "arn:aws:s3:::amzn-s3-demo-bucket/*"}),
    (NO, VARIABLES, "${*} is only an asterisk", {"identity": allow("s3:*", "arn:aws:s3:::amzn-s3-demo-bucket/${*}"), "on": "arn:aws:s3:::amzn-s3-demo-bucket/x"}),
    (NO, VARIABLES, "no variables before version 2012-10-17", {"identity": allow("s3:*", "arn:aws:s3:::b/${aws:username}"), "keys": {"aws:username": "David"}, "on": "arn:aws:s3:::b/David", "version": "2008-10-17"}),
    (YES, VARIABLES, "where it is literal text", {"identity": allow("s3:*", "arn:aws:s3:::b/${aws:username}"), "keys": {"aws:username": "David"}, "on": "arn:aws:s3:::b/${aws:username}", "version": "2008-10-17"}),
    # ── elements
    (YES, ACTION, "actions are compared without case", {"identity": allow("S3:getobject")}),
    (YES, ACTION, "wildcards in actions", {"identity": allow("iam:*AccessKey*"), "action": "iam:CreateAccessKey"}),
    (NO, ACTION, "of another service", {"identity": allow("iam:*AccessKey*"), "action": "sqs:CreateAccessKey"}),
    (YES, NOT_ACTION, "Allow with NotAction", {"identity": {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}}),
    (NO, NOT_ACTION, "but not what it lists", {"identity": {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, "action": "iam:CreateUser"}),
    (NEVER, NOT_RESOURCE, "Deny with NotResource", {"identity": [allow(), {"Effect": "Deny", "Action": "s3:*", "NotResource": ["arn:aws:s3:::HRBucket/Payroll", "arn:aws:s3:::HRBucket/Payroll/*"]}]}),
    (YES, NOT_RESOURCE, "but not what it lists", {"identity": [allow(), {"Effect": "Deny", "Action": "s3:*", "NotResource": ["arn:aws:s3:::HRBucket/Payroll", "arn:aws:s3:::HRBucket/Payroll/*"]}], "on": "arn:aws:s3:::HRBucket/Payroll/x"}),
    (NO, RESOURCE, "a wildcard does not span the parts of an ARN", {"identity": allow("sqs:*", "arn:aws:sqs:*:queue"), "action": "sqs:SendMessage", "on": f"arn:aws:sqs:eu-west-1:{US}:queue"}),
    (YES, RESOURCE, "wildcards anywhere in the last part", {"identity": allow("s3:*", "arn:aws:s3:::amzn-s3-demo-bucket/*/test/*"), "on": "arn:aws:s3:::amzn-s3-demo-bucket/1/2/test/3/object.jpg"}),
    # ── evaluation logic, one account
    (NO, LOGIC, "everything is denied by default", {"identity": []}),
    (NEVER, LOGIC, "an explicit deny overrides an allow", {"identity": [allow(), deny("s3:*")]}),
    (YES, LOGIC, "the root user has full access", {"identity": [], "who": ROOT}),
    (YES, SAME_ACCOUNT, "a resource policy that names the user is enough", {"identity": [], "resource": grant({"AWS": JANE})}),
    (YES, SAME_ACCOUNT, "an identity policy is enough", {"identity": allow(), "resource": grant({"AWS": f"arn:aws:iam::{US}:user/other"})}),
    (NEVER, SAME_ACCOUNT, "a deny in the resource policy overrides", {"identity": allow(), "resource": forbid({"AWS": JANE})}),
    (NO, PRINCIPAL, "naming the account lets its own policies decide", {"identity": [], "resource": grant({"AWS": US})}),
    (YES, BOUNDARIES, "a boundary does not limit what a resource policy gives a user", {"identity": [], "boundary": [allow("sqs:*")], "resource": grant({"AWS": JANE})}),
    (NO, BOUNDARIES, "it limits what identity policies give", {"identity": allow(), "boundary": [allow("sqs:*")]}),
    (NO, BOUNDARIES, "a boundary gives nothing itself", {"identity": [], "boundary": [allow()]}),
    (NEVER, BOUNDARIES, "a deny in a boundary overrides", {"identity": allow(), "boundary": [allow(), deny("s3:*")], "resource": grant({"AWS": JANE})}),
    (NO, BOUNDARIES, "it limits what a resource policy gives a role", {"identity": [], "who": APP, "boundary": [allow("sqs:*")], "resource": grant({"AWS": ROLE})}),
    (YES, BOUNDARIES, "but not what it gives the role's session", {"identity": [], "who": APP, "boundary": [allow("sqs:*")], "resource": grant({"AWS": SESSION})}),
    (NO, SESSIONS, "a session policy limits the role's policies", {"identity": allow(), "who": APP, "session": [allow("sqs:*")]}),
    (NO, SESSIONS, "and what a resource policy gives the role", {"identity": allow(), "who": APP, "session": [allow("sqs:*")], "resource": grant({"AWS": ROLE})}),
    (YES, SESSIONS, "but not what it gives the session", {"identity": [], "who": APP, "session": [allow("sqs:*")], "resource": grant({"AWS": SESSION})}),
    (NO, SESSIONS, "a session policy gives nothing itself", {"identity": [], "who": APP, "session": [allow()]}),
    (YES, LOGIC, "a resource policy may name a federated user's session", {"identity": [], "who": FEDERATED_USER, "session": [allow("sqs:*")], "resource": grant({"AWS": FEDERATED_USER.arn})}),
    (NO, LOGIC, "naming its user leaves it limited by the session policy", {"identity": [], "who": FEDERATED_USER, "session": [allow("sqs:*")], "resource": grant({"AWS": JANE})}),
    # ── across accounts
    (YES, CROSS_ACCOUNT, "both sides allow", {"identity": allow(), "who": STRANGER, "resource": grant({"AWS": STRANGER.arn})}),
    (YES, CROSS_ACCOUNT, "the resource's side may name the account", {"identity": allow(), "who": STRANGER, "resource": grant({"AWS": THEM})}),
    (NO, CROSS_ACCOUNT, "only the resource's side allows", {"identity": [], "who": STRANGER, "resource": grant({"AWS": STRANGER.arn})}),
    (NO, CROSS_ACCOUNT, "only the caller's side allows", {"identity": allow(), "who": STRANGER}),
    (NO, CROSS_ACCOUNT, "the caller's boundary counts", {"identity": allow(), "who": STRANGER, "boundary": [allow("sqs:*")], "resource": grant({"AWS": STRANGER.arn})}),
    (NEVER, CROSS_ACCOUNT, "a deny on either side overrides", {"identity": allow(), "who": STRANGER, "resource": [*grant("*"), *forbid({"AWS": THEM})]}),
    # ── principals
    (YES, PRINCIPAL, "everyone, also anonymous", {"who": ANYONE, "resource": grant("*")}),
    (YES, PRINCIPAL, "{AWS: *} is everyone, too", {"who": ANYONE, "resource": grant({"AWS": "*"})}),
    (NO, PRINCIPAL, "a wildcard does not match part of an ARN", {"identity": [], "resource": grant({"AWS": f"arn:aws:iam::{US}:user/*"})}),
    (YES, PRINCIPAL, "a service", {"who": SERVICE, "account": THEM, "resource": grant({"Service": ["events.amazonaws.com", "logs.amazonaws.com"]})}),
    (NO, PRINCIPAL, "another service", {"who": SERVICE, "account": THEM, "resource": grant({"Service": "events.amazonaws.com"})}),
    (YES, PRINCIPAL, "several kinds in one statement", {"identity": [], "resource": grant({"AWS": [THEM, JANE], "Service": "ecs.amazonaws.com"})}),
    (NEVER, NOT_PRINCIPAL, "everyone but Bob is denied", {"identity": allow(), "resource": [{"Effect": "Deny", "NotPrincipal": {"AWS": [STRANGER.arn, f"arn:aws:iam::{THEM}:root"]}, "Action": "*", "Resource": "*"}]}),
    (YES, NOT_PRINCIPAL, "Bob is spared, as his account is listed too", {"identity": allow(), "who": STRANGER, "resource": [*grant({"AWS": THEM}), {"Effect": "Deny", "NotPrincipal": {"AWS": [STRANGER.arn, f"arn:aws:iam::{THEM}:root"]}, "Action": "*", "Resource": "*"}]}),
    (NEVER, NOT_PRINCIPAL, "a session must be listed with its role and account", {"identity": allow(), "who": APP, "resource": [{"Effect": "Deny", "NotPrincipal": {"AWS": [ROLE, US]}, "Action": "*", "Resource": "*"}]}),
    (YES, NOT_PRINCIPAL, "and then it is spared", {"identity": allow(), "who": APP, "resource": [{"Effect": "Deny", "NotPrincipal": {"AWS": [SESSION, ROLE, US]}, "Action": "*", "Resource": "*"}]}),
    # ── trust policies
    (YES, EXTERNAL_ID, "the right external id", {"identity": allow("sts:AssumeRole"), "who": STRANGER, "resource": [EXTERNAL], "keys": {"sts:ExternalId": "Unique ID Assigned by Example Corp"}, **ASSUME}),
    (NO, EXTERNAL_ID, "none", {"identity": allow("sts:AssumeRole"), "who": STRANGER, "resource": [EXTERNAL], **ASSUME}),
    (NO, CROSS_ACCOUNT, "the caller needs sts:AssumeRole as well", {"identity": [], "who": STRANGER, "resource": [TRUST_OTHER_ACCOUNT], **ASSUME}),
    (YES, SAME_ACCOUNT, "a trust policy that names the user is enough", {"identity": [], "resource": [{**TRUST_OTHER_ACCOUNT, "Principal": {"AWS": JANE}}], **ASSUME}),
    (NO, SAME_ACCOUNT, "one that names nobody refuses even those who may assume", {"identity": allow("sts:AssumeRole"), "resource": [TRUST_OTHER_ACCOUNT], **ASSUME}),
    (YES, SAME_ACCOUNT, "one that names the account and an identity policy", {"identity": allow("sts:AssumeRole"), "resource": [{**TRUST_OTHER_ACCOUNT, "Principal": {"AWS": US}}], **ASSUME}),
    (YES, OIDC, "a web identity of the right application", {"who": GOOGLE, "action": "sts:AssumeRoleWithWebIdentity", "on": ROLE, "trust": True, "keys": {"accounts.google.com:aud": "66677788899900pro0"}, "resource": [{"Effect": "Allow", "Principal": {"Federated": "accounts.google.com"}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {"StringEquals": {"accounts.google.com:aud": "66677788899900pro0"}}}]}),
    (NO, OIDC, "of another application", {"who": GOOGLE, "action": "sts:AssumeRoleWithWebIdentity", "on": ROLE, "trust": True, "keys": {"accounts.google.com:aud": "other"}, "resource": [{"Effect": "Allow", "Principal": {"Federated": "accounts.google.com"}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {"StringEquals": {"accounts.google.com:aud": "66677788899900pro0"}}}]}),
    # ── example policies
    (NEVER, IP, "calls from elsewhere are denied", {"identity": [allow(), deny_when(NotIpAddress={"aws:SourceIp": ["192.0.2.0/24", "203.0.113.0/24"]}, Bool={"aws:ViaAWSService": "false"})], "keys": {"aws:SourceIp": "198.51.100.1", "aws:ViaAWSService": "false"}}),
    (YES, IP, "not when a service calls on one's behalf", {"identity": [allow(), deny_when(NotIpAddress={"aws:SourceIp": ["192.0.2.0/24", "203.0.113.0/24"]}, Bool={"aws:ViaAWSService": "false"})], "keys": {"aws:SourceIp": "198.51.100.1", "aws:ViaAWSService": "true"}}),
    (NEVER, REGION, "other regions are denied", {"identity": [allow(), {"Effect": "Deny", "NotAction": ["cloudfront:*", "iam:*", "route53:*", "support:*"], "Resource": "*", "Condition": {"StringNotEquals": {"aws:RequestedRegion": ["eu-central-1", "eu-west-1"]}}}], "keys": {"aws:RequestedRegion": "us-east-1"}}),
    (YES, REGION, "global services are not", {"identity": [allow(), {"Effect": "Deny", "NotAction": ["cloudfront:*", "iam:*", "route53:*", "support:*"], "Resource": "*", "Condition": {"StringNotEquals": {"aws:RequestedRegion": ["eu-central-1", "eu-west-1"]}}}], "keys": {"aws:RequestedRegion": "us-east-1"}, "action": "iam:ListUsers"}),
    (YES, DATES, "within a range of dates", {"identity": when(DateGreaterThan={"aws:CurrentTime": "2020-04-01T00:00:00Z"}, DateLessThan={"aws:CurrentTime": "2020-06-30T23:59:59Z"}), "keys": {"aws:CurrentTime": "2020-05-01T12:00:00Z"}}),
    (NO, DATES, "after it", {"identity": when(DateGreaterThan={"aws:CurrentTime": "2020-04-01T00:00:00Z"}, DateLessThan={"aws:CurrentTime": "2020-06-30T23:59:59Z"}), "keys": {"aws:CurrentTime": "2020-07-01T00:00:00Z"}}),
    (NEVER, MFA, "without MFA nearly everything is denied", {"identity": [allow(), {"Effect": "Deny", "NotAction": ["iam:ListMFADevices", "sts:GetSessionToken"], "Resource": "*", "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}}]}),
    (YES, MFA, "with MFA it is not", {"identity": [allow(), {"Effect": "Deny", "NotAction": ["iam:ListMFADevices", "sts:GetSessionToken"], "Resource": "*", "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}}], "keys": {"aws:MultiFactorAuthPresent": "true"}}),
    (YES, EC2_OWNER, "owners may stop their instances", {"identity": allow("ec2:StopInstances", "arn:aws:ec2:*:*:instance/*", Condition={"StringEquals": {"aws:ResourceTag/Owner": "${aws:username}"}}), "action": "ec2:StopInstances", "on": f"arn:aws:ec2:us-east-1:{US}:instance/i-1", "keys": {"aws:ResourceTag/Owner": "JaneDoe", "aws:username": "JaneDoe"}}),
    (NO, EC2_OWNER, "others may not", {"identity": allow("ec2:StopInstances", "arn:aws:ec2:*:*:instance/*", Condition={"StringEquals": {"aws:ResourceTag/Owner": "${aws:username}"}}), "action": "ec2:StopInstances", "on": f"arn:aws:ec2:us-east-1:{US}:instance/i-1", "keys": {"aws:ResourceTag/Owner": "richard", "aws:username": "JaneDoe"}}),
    (YES, S3_HOME, "a home directory", {"identity": allow("s3:*", ["arn:aws:s3:::amzn-s3-demo-bucket/home/${aws:username}", "arn:aws:s3:::amzn-s3-demo-bucket/home/${aws:username}/*"]), "on": "arn:aws:s3:::amzn-s3-demo-bucket/home/JaneDoe/x", "keys": {"aws:username": "JaneDoe"}}),
    (NO, TAGS, "a tag in the request must have the allowed value", {"identity": when(StringEquals={"aws:RequestTag/environment": ["preprod", "production"]}), "keys": {"aws:RequestTag/environment": "test"}}),
    (YES, DEPUTY, "the service acts for the right account", {"who": SERVICE, "account": THEM, "keys": {"aws:SourceAccount": US}, "resource": grant({"Service": "logs.amazonaws.com"}, Condition={"StringEquals": {"aws:SourceAccount": US}})}),
    (NO, DEPUTY, "it acts for another", {"who": SERVICE, "account": THEM, "keys": {"aws:SourceAccount": THEM}, "resource": grant({"Service": "logs.amazonaws.com"}, Condition={"StringEquals": {"aws:SourceAccount": US}})}),
    (YES, GLOBAL_KEYS, "CalledVia is multivalued", {"identity": when(ForAnyValue__StringEquals={"aws:CalledVia": ["dynamodb.amazonaws.com"]}), "keys": {"aws:CalledVia": ["cloudformation.amazonaws.com", "dynamodb.amazonaws.com"]}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "page", "title", "case"), CASES, ids=[f"{page.split()[1].removesuffix('.html')}: {title}" for _, page, title, _ in CASES]
)
def test_a_documented_decision(expected: str, page: str, title: str, case: dict[str, Any]) -> None:
    assert decide(**case) == expected, f"{title} ({page})"
