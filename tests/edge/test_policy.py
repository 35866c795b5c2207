"""Enforcement: what a caller may do, in AWS's words when it may not."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cloudstead.edge.policy import PolicyAuthorizer, UnauthorizedOperation
from cloudstead.kernel import identity as identities
from cloudstead.kernel.clock import VirtualClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.kernel.errors import AccessDenied
from cloudstead.kernel.events import Bus
from cloudstead.kernel.identity import Identity
from cloudstead.kernel.operations import Operation, Registry
from cloudstead.kernel.sessions import AUTHORIZATION_MESSAGE, Sessions
from cloudstead.kernel.shapes import Request, Response, Struct
from cloudstead.kernel.store import Store
from cloudstead.services.iam.credentials import IamCredentials
from cloudstead.services.iam.model import GROUPS, POLICIES, ROLES, USERS, Group, ManagedPolicy, PolicyVersion, Role, User

ACCOUNT, OTHER = "111122223333", "444455556666"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:jobs"
JANE = f"arn:aws:iam::{ACCOUNT}:user/jane"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"


class Tag(Struct):
    key: str
    value: str = ""


class SendMessageRequest(Request):
    operation: ClassVar[str] = "sqs:SendMessage"
    queue: str = QUEUE
    tags: list[Tag] | None = None


def allow(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any = "*", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": resource, **more}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


async def nothing(ctx: Context, request: Any) -> Response:
    return Response()


def operation(action: str = "sqs:SendMessage", **about: Any) -> Operation:
    fields: dict[str, Any] = {"resource": lambda ctx, request: request.queue, **about}
    service, _, name = action.partition(":")
    return Operation(service=service, name=name, action=action, request=SendMessageRequest, response=Response, handler=nothing, **fields)


class World:
    """A cloud with IAM's rows and an authorizer, without edge or services."""

    def __init__(self, data: Path) -> None:
        clock = VirtualClock()
        self.store = Store.in_memory(clock=clock)
        self.cloud = Cloud(data=data, store=self.store, clock=clock, bus=Bus(self.store, clock), registry=Registry([]))
        self.authorizer = self.in_mode("enforce")

    def in_mode(self, mode: Any) -> PolicyAuthorizer:
        self.cloud.authorizer = authorizer = PolicyAuthorizer(mode, IamCredentials(self.cloud))
        return authorizer

    def put(self, table: Any, row: Any) -> Any:
        with self.store.transaction() as tx:
            return tx.put(table, row)

    def user(self, *statements: dict[str, Any], **about: Any) -> Identity:
        self.put(USERS, User(account=ACCOUNT, name="jane", user_id="AIDAJANE", arn=JANE, created=0, **inline(statements), **about))
        return Identity(account=ACCOUNT, arn=JANE, user_id="AIDAJANE", kind="user", principal_arn=JANE)

    def role(self, *statements: dict[str, Any], **about: Any) -> Identity:
        session = about.pop("session", {})
        fields = {"role_id": "AROAAPP", "trust_policy": "{}", **inline(statements), **about}
        self.put(ROLES, Role(account=ACCOUNT, name="app", arn=ROLE, created=0, **fields))
        return Identity(
            account=ACCOUNT,
            arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/app/s",
            user_id="AROAAPP:s",
            kind="assumed-role",
            principal_arn=ROLE,
            **session,
        )

    def managed(self, name: str, *statements: dict[str, Any]) -> str:
        arn = f"arn:aws:iam::{ACCOUNT}:policy/{name}"
        version = PolicyVersion(version_id="v1", document=document(*statements), created=0)
        self.put(
            POLICIES,
            ManagedPolicy(
                account=ACCOUNT, name=name, policy_id="ANPA", arn=arn, created=0, updated=0, versions=(version,), default_version="v1"
            ),
        )
        return arn

    def check(self, who: Identity, op: Operation | None = None, request: SendMessageRequest | None = None, **about: Any) -> None:
        ctx = Context(self.cloud, identity=who, account=about.pop("account", who.account or ACCOUNT), region="us-east-1", **about)
        self.authorizer.check(ctx, op or operation(), request or SendMessageRequest())

    def refusal(self, who: Identity, op: Operation | None = None, request: SendMessageRequest | None = None, **about: Any) -> str:
        with pytest.raises(AccessDenied) as refused:
            self.check(who, op, request, **about)
        return refused.value.message


def inline(statements: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {"inline": {"own": document(*statements)}} if statements else {}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_user_without_policies_may_nothing(world: World) -> None:
    assert world.refusal(world.user()) == (
        f"User: {JANE} is not authorized to perform: sqs:SendMessage on resource: {QUEUE} "
        "because no identity-based policy allows the sqs:SendMessage action"
    )


def test_an_explicit_deny_is_told_as_one(world: World) -> None:
    assert world.refusal(world.user(allow(), deny("sqs:*"))) == (
        f"User: {JANE} is not authorized to perform: sqs:SendMessage on resource: {QUEUE} with an explicit deny in an identity-based policy"
    )


def test_root_may_everything_in_its_account_and_needs_a_grant_in_another(world: World) -> None:
    world.check(identities.root(ACCOUNT))
    assert world.refusal(identities.root(OTHER)).endswith("because no resource-based policy allows the sqs:SendMessage action")


def test_policies_of_groups_and_managed_ones_count_and_changes_at_once(world: World) -> None:
    jane = world.user(groups=("Devs",))
    world.refusal(jane)
    world.put(
        GROUPS,
        Group(account=ACCOUNT, name="devs", group_id="AGPA", arn="arn", created=0, attached=(world.managed("send", allow("sqs:*")),)),
    )
    world.check(jane)
    world.managed("send", deny("sqs:*"))
    assert "explicit deny" in world.refusal(jane)


def test_the_administrators_policy_of_aws_is_known(world: World) -> None:
    world.check(world.user(attached=("arn:aws:iam::aws:policy/AdministratorAccess",)))


def test_a_boundary_limits_and_a_missing_one_allows_nothing(world: World) -> None:
    limit = world.managed("limit", allow("s3:*"))
    assert world.refusal(world.user(allow(), boundary=limit)).endswith("because no permissions boundary allows the sqs:SendMessage action")
    assert "boundary" in world.refusal(world.user(allow(), boundary=limit + "-gone"))
    world.managed("limit", allow("sqs:*"))
    world.check(world.user(allow(), boundary=limit))


def test_session_policies_limit_whether_inline_or_managed(world: World) -> None:
    limited = world.role(allow(), session={"session_policies": (document(allow("s3:*")),)})
    assert world.refusal(limited).endswith("because no session policy allows the sqs:SendMessage action")
    managed = world.role(allow(), session={"session_policies": (document(allow("s3:*")), world.managed("more", allow("sqs:*")))})
    world.check(managed)


def test_a_session_ends_with_its_role_and_does_not_pass_to_a_new_one_of_the_same_name(world: World) -> None:
    old = world.role(allow())
    world.check(old)
    world.role(allow(), role_id="AROANEW")
    world.refusal(old)
    with world.store.transaction() as tx:
        tx.delete(ROLES, (ACCOUNT, "app"))
    world.refusal(old)


def test_a_resource_policy_is_considered(world: World) -> None:
    def policy(*statements: dict[str, Any]) -> Operation:
        return operation(resource_policy=lambda ctx, request: document(*statements))

    jane = world.user()
    world.check(jane, policy(allow(Principal={"AWS": JANE})))
    denied = world.refusal(jane, policy(deny(Principal="*")))
    assert denied.endswith("with an explicit deny in a resource-based policy")
    assert "explicit deny" in world.refusal(identities.root(ACCOUNT), policy(deny(Principal="*")))


def test_services_act_freely_in_the_account_but_need_a_grant_to_deliver(world: World) -> None:
    events = identities.service("events.amazonaws.com", ACCOUNT)
    world.check(events, operation("ecs:RunTask"))
    assert "resource-based policy" in world.refusal(events)
    granted = operation(resource_policy=lambda ctx, request: document(allow(Principal={"Service": "events.amazonaws.com"})))
    world.check(events, granted)
    world.refusal(identities.service("events.amazonaws.com", OTHER), operation("ecs:RunTask"))


def test_each_resource_of_a_call_must_be_allowed(world: World) -> None:
    both = operation(resource=lambda ctx, request: [QUEUE, QUEUE + "-dead"])
    assert f"{QUEUE}-dead" in world.refusal(world.user(allow("sqs:*", QUEUE)), both)
    world.check(world.user(allow("sqs:*", QUEUE + "*")), both)


@pytest.mark.parametrize(
    ("condition", "about", "holds"),
    [
        ({"StringEquals": {"aws:username": "jane", "aws:PrincipalType": "User", "aws:userid": "AIDAJANE"}}, {}, True),
        ({"StringEquals": {"aws:PrincipalAccount": ACCOUNT, "aws:ResourceAccount": ACCOUNT, "aws:RequestedRegion": "us-east-1"}}, {}, True),
        ({"ArnEquals": {"aws:PrincipalArn": JANE}}, {}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"source_ip": "10.1.1.1"}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"source_ip": "10.1.1.1", "via": ("ecs.amazonaws.com",)}, False),
        ({"ForAnyValue:StringEquals": {"aws:CalledVia": "ecs.amazonaws.com"}}, {"via": ("ecs.amazonaws.com",)}, True),
        ({"StringEquals": {"aws:CalledViaLast": "b.amazonaws.com"}}, {"via": ("a.amazonaws.com", "b.amazonaws.com")}, True),
        ({"Bool": {"aws:ViaAWSService": "false", "aws:PrincipalIsAWSService": "false"}}, {}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, {"secure": True}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, {}, False),
        ({"StringLike": {"aws:UserAgent": "aws-cli/*"}}, {"user_agent": "aws-cli/2.0"}, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}, {}, False),
        (
            {"DateLessThanEquals": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}, "NumericGreaterThan": {"aws:EpochTime": "1767225599"}},
            {},
            True,
        ),
        ({"Null": {"aws:MultiFactorAuthPresent": "true", "aws:TokenIssueTime": "true"}}, {}, True),
        ({"StringEquals": {"aws:PrincipalTag/Team": "red"}}, {}, True),
        ({"StringEquals": {"aws:ResourceTag/stage": "test", "sqs:ResourceTag/stage": "test"}}, {}, True),
        ({"StringEquals": {"sqs:Colour": "blue"}}, {}, True),
        ({"StringEquals": {"aws:RequestTag/owner": "jane"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["owner"]}}, {}, True),
        ({"StringEquals": {"aws:Referer": "x"}}, {}, False),
    ],
)
def test_condition_keys_have_the_values_of_the_call(world: World, condition: dict[str, Any], about: dict[str, Any], holds: bool) -> None:
    op = operation(conditions=lambda ctx, request: {"sqs:Colour": "blue"}, resource_tags=lambda ctx, request: {"stage": "test"})
    jane = world.user(allow(Condition=condition), tags={"team": "red"})
    request = SendMessageRequest(tags=[Tag(key="owner", value="jane")])
    if holds:
        world.check(jane, op, request, **about)
    else:
        world.refusal(jane, op, request, **about)


def test_temporary_credentials_have_their_own_keys(world: World) -> None:
    session = {"issued_at": 1767225000.0, "mfa": True, "session_tags": (("team", "blue"),), "source_identity": "jane"}
    condition = {
        "Bool": {"aws:MultiFactorAuthPresent": "true"},
        "NumericEquals": {"aws:MultiFactorAuthAge": "600"},
        "DateEquals": {"aws:TokenIssueTime": "2025-12-31T23:50:00Z"},
        "StringEquals": {"aws:PrincipalTag/team": "blue", "aws:SourceIdentity": "jane", "aws:PrincipalArn": ROLE},
    }
    world.check(world.role(allow(Condition=condition), tags={"team": "red"}, session=session))


def test_passing_a_role_is_judged_with_its_conditions(world: World) -> None:
    condition = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    jane = world.user(allow("iam:PassRole", ROLE, Condition=condition))
    ctx = world.cloud.context(identity=jane, region="us-east-1")
    ctx.require("iam:PassRole", ROLE, {"iam:PassedToService": "ecs-tasks.amazonaws.com"})
    with pytest.raises(AccessDenied, match="iam:PassRole"):
        ctx.require("iam:PassRole", ROLE, {"iam:PassedToService": "lambda.amazonaws.com"})


def test_a_trust_policy_must_let_the_caller_in(world: World) -> None:
    trust = document({"Effect": "Allow", "Principal": {"AWS": JANE}, "Action": "sts:AssumeRole"})
    ctx = world.cloud.context(identity=world.user(allow()), region="us-east-1")
    ctx.admit("sts:AssumeRole", ROLE, trust)
    for unwelcoming in (document({"Effect": "Allow", "Principal": {"AWS": OTHER}, "Action": "sts:AssumeRole"}), None):
        with pytest.raises(AccessDenied, match="because no role trust policy allows the sts:AssumeRole action"):
            ctx.admit("sts:AssumeRole", ROLE, unwelcoming)
    with pytest.raises(AccessDenied, match="Roles may not be assumed by root accounts"):
        world.cloud.context(identity=identities.root(ACCOUNT), region="us-east-1").admit("sts:AssumeRole", ROLE, trust)


def test_public_operations_are_for_everyone_with_a_key(world: World) -> None:
    world.check(world.user(deny()), operation(public=True))


def test_ec2_tells_the_details_in_a_sealed_message(world: World) -> None:
    jane = world.user()
    with pytest.raises(UnauthorizedOperation) as refused:
        world.check(jane, operation("ec2:RunInstances"))
    encoded = refused.value.message.rpartition(": ")[2]
    opened = Sessions.of(world.cloud).unseal(AUTHORIZATION_MESSAGE, encoded)
    assert opened is not None
    assert json.loads(opened)["context"]["action"] == "ec2:RunInstances"


def test_off_asks_nothing_and_warn_tells_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    jane = world.user()
    world.authorizer = world.in_mode("off")
    world.check(jane)
    world.authorizer = world.in_mode("warn")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            world.check(jane)
    assert sum("would be denied" in record.message for record in caplog.records) == 1


def test_a_gathered_identity_is_judged_quickly(world: World) -> None:

    statements = [allow(f"s{n}:*", f"arn:aws:s{n}:::x") for n in range(29)] + [allow("sqs:Send*", QUEUE)]
    jane = world.user(*statements, attached=tuple(world.managed(f"p{n}", *statements) for n in range(4)))
    world.check(jane)
    began = time.process_time()
    for _ in range(200):
        world.check(jane)
    assert (time.process_time() - began) / 200 < 0.001  # some 15 µs; the limit only catches a lost cache
