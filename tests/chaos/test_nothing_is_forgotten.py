"""A daemon in which every table of IAM, Logs and EventBridge has rows is killed. When it is back, every describe and list answers as before."""

from __future__ import annotations

import json
import sqlite3
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from cloudstead.services.events.model import TABLES as EVENTS
from cloudstead.services.iam import totp
from cloudstead.services.iam.model import TABLES as IAM
from cloudstead.services.logs.model import TABLES as LOGS
from support import ACCOUNT, REGION, Daemon

THING = "thing"  # what everything is called
TAG = [{"Key": "team", "Value": "x"}]
LOGS_ARN = f"arn:aws:logs:{REGION}:{ACCOUNT}"
EVENTS_ARN = f"arn:aws:events:{REGION}:{ACCOUNT}"
IAM_ARN = f"arn:aws:iam::{ACCOUNT}"
READ = {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": READ})
TRUST = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}}
)
METADATA = (
    '<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://idp.example.com">'
    '<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"/>' + " " * 1000 + "</EntityDescriptor>"
)

# What is not kept, or says something new each time.
NOT_ASKED = {
    "logs": {
        "DescribeQueries": "queries are forgotten at a restart (coverage.toml)",
        "GetLogRecord": "its pointer comes from a query",
        "GetQueryResults": "queries are forgotten at a restart",
        "ListLogGroupsForQuery": "queries are forgotten at a restart",
    },
}
SAID_ALWAYS = {"EventBusName", "UserName", "logGroupName", "time"}  # although they may be left out


def certificate() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.com")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = builder.not_valid_before(datetime(2025, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2035, 1, 1, tzinfo=UTC))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def ssh_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def fill_iam(daemon: Daemon) -> dict[str, Any]:
    """Make one of everything; what lists of others cannot know, by the names of parameters."""
    iam = daemon.client("iam")
    policy = iam.create_policy(PolicyName=THING, PolicyDocument=POLICY, Description="d", Tags=TAG)["Policy"]["Arn"]
    iam.create_policy_version(
        PolicyArn=policy, PolicyDocument=TRUST.replace('"Principal": {"Service": "ec2.amazonaws.com"}', '"Resource": "*"')
    )
    iam.create_user(UserName=THING, Path="/p/", PermissionsBoundary=policy, Tags=TAG)
    iam.create_group(GroupName=THING)
    iam.create_role(RoleName=THING, AssumeRolePolicyDocument=TRUST, PermissionsBoundary=policy, Tags=TAG, MaxSessionDuration=7200)
    iam.create_instance_profile(InstanceProfileName=THING, Tags=TAG)
    iam.add_role_to_instance_profile(InstanceProfileName=THING, RoleName=THING)
    iam.add_user_to_group(GroupName=THING, UserName=THING)
    for kind in ("user", "group", "role"):
        who = {f"{kind.title()}Name": THING}
        getattr(iam, f"attach_{kind}_policy")(**who, PolicyArn=policy)
        getattr(iam, f"put_{kind}_policy")(**who, PolicyName=THING, PolicyDocument=POLICY)
    iam.create_account_alias(AccountAlias=THING)
    iam.update_account_password_policy(MinimumPasswordLength=9, MaxPasswordAge=90)
    known = fill_credentials(iam)
    key = iam.create_access_key(UserName=THING)["AccessKey"]
    daemon.client("sts", key=key["AccessKeyId"], secret=key["SecretAccessKey"]).get_caller_identity()
    while iam.generate_credential_report()["State"] != "COMPLETE":
        time.sleep(0.05)
    iam.create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
    return known | {
        "UserName": THING,
        "PolicyArn": policy,
        "PolicySourceArn": f"{IAM_ARN}:user/p/{THING}",
        "Arn": f"{IAM_ARN}:role/{THING}",
        "AccessKeyId": key["AccessKeyId"],
        "JobId": iam.generate_service_last_accessed_details(Arn=f"{IAM_ARN}:user/p/{THING}")["JobId"],
        "DeletionTaskId": iam.delete_service_linked_role(RoleName="AWSServiceRoleForECS")["DeletionTaskId"],
        "ServiceNamespace": "sts",
        "ServiceNamespaces": ["s3"],
        "PolicyInputList": [POLICY],
        "VersionId": "v2",
        "Encoding": "PEM",
    }


def fill_credentials(iam: Any) -> dict[str, Any]:
    """What proves who somebody is."""
    iam.create_login_profile(UserName=THING, Password="a Long passw0rd")
    body, private = certificate()
    iam.upload_server_certificate(ServerCertificateName=THING, CertificateBody=body, PrivateKey=private, Tags=TAG)
    iam.upload_signing_certificate(UserName=THING, CertificateBody=body)
    iam.create_service_specific_credential(UserName=THING, ServiceName="codecommit.amazonaws.com")
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName=THING, Tags=TAG)["VirtualMFADevice"]
    seed, step = device["Base32StringSeed"].decode(), totp.step_of(time.time())
    codes = {"AuthenticationCode1": totp.code(seed, step - 1), "AuthenticationCode2": totp.code(seed, step)}
    iam.enable_mfa_device(UserName=THING, SerialNumber=device["SerialNumber"], **codes)
    oidc = iam.create_open_id_connect_provider(Url=f"https://{THING}.example.com", ClientIDList=["a"], ThumbprintList=["a" * 40], Tags=TAG)
    return {
        "SerialNumber": device["SerialNumber"],
        "OpenIDConnectProviderArn": oidc["OpenIDConnectProviderArn"],
        "SAMLProviderArn": iam.create_saml_provider(Name=THING, SAMLMetadataDocument=METADATA, Tags=TAG)["SAMLProviderArn"],
        "SSHPublicKeyId": iam.upload_ssh_public_key(UserName=THING, SSHPublicKeyBody=ssh_key())["SSHPublicKey"]["SSHPublicKeyId"],
    }


def fill_logs(daemon: Daemon) -> dict[str, Any]:
    logs = daemon.client("logs")
    daemon.client("kinesis").create_stream(StreamName=THING, ShardCount=1)  # of the companion, which forgets it
    logs.create_log_group(logGroupName=THING, tags={"team": "x"})
    logs.put_retention_policy(logGroupName=THING, retentionInDays=7)
    logs.create_log_stream(logGroupName=THING, logStreamName=THING)
    stream, role = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{THING}", f"{IAM_ARN}:role/{THING}"
    logs.put_destination(destinationName=THING, targetArn=stream, roleArn=role, tags={"team": "x"})
    logs.put_destination_policy(
        destinationName=THING, accessPolicy=document("logs:PutSubscriptionFilter", f"{LOGS_ARN}:destination:{THING}")
    )
    logs.put_resource_policy(policyName=THING, policyDocument=document("logs:PutLogEvents", f"{LOGS_ARN}:log-group:*"))
    logs.put_subscription_filter(logGroupName=THING, filterName=THING, filterPattern="none such", destinationArn=stream, roleArn=role)
    transformation = {"metricName": "m", "metricNamespace": "n", "metricValue": "1", "defaultValue": 0.0, "unit": "Count"}
    logs.put_metric_filter(logGroupName=THING, filterName=THING, filterPattern="none such", metricTransformations=[transformation])
    logs.put_query_definition(name=THING, queryString="limit 1", logGroupNames=[THING])
    now = int(time.time() * 1000)
    logs.put_log_events(
        logGroupName=THING,
        logStreamName=THING,
        logEvents=[{"timestamp": now + number, "message": f"event {number}"} for number in range(3)],
    )
    # GetLogGroupFields looks at the last quarter of an hour else, which moves.
    return {"logGroupName": THING, "logStreamName": THING, "resourceArn": f"{LOGS_ARN}:log-group:{THING}", "time": now // 1000}


def document(action: str, resource: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": statement})


def fill_events(daemon: Daemon) -> dict[str, Any]:
    events = daemon.client("events")
    bus = events.create_event_bus(Name=THING, Description="d", Tags=TAG)["EventBusArn"]
    events.put_permission(EventBusName=THING, Action="events:PutEvents", Principal="123456789012", StatementId="s")
    basic = {"ApiKeyAuthParameters": {"ApiKeyName": "key", "ApiKeyValue": "secret"}}
    connection = events.create_connection(Name=THING, AuthorizationType="API_KEY", AuthParameters=basic)["ConnectionArn"]
    destination = events.create_api_destination(
        Name=THING,
        ConnectionArn=connection,
        InvocationEndpoint="http://127.0.0.1:1/",  # where nobody answers: deliveries wait
        HttpMethod="POST",
    )["ApiDestinationArn"]
    events.put_rule(Name=THING, EventBusName=THING, EventPattern='{"source": ["s"]}', Tags=TAG)
    target = {"Id": THING, "Arn": destination, "RoleArn": f"{IAM_ARN}:role/{THING}", "Input": "{}"}
    events.put_targets(Rule=THING, EventBusName=THING, Targets=[target])
    events.put_rule(Name="scheduled", ScheduleExpression="rate(1 day)")
    archive = events.create_archive(ArchiveName=THING, EventSourceArn=bus, RetentionDays=3)["ArchiveArn"]
    events.put_events(Entries=[{"Source": "s", "DetailType": "t", "Detail": '{"a": 1}', "EventBusName": THING}])
    now = time.time()
    events.start_replay(
        ReplayName=THING, EventSourceArn=archive, EventStartTime=now - 60, EventEndTime=now + 60, Destination={"Arn": bus, "FilterArns": []}
    )
    deadline = time.monotonic() + 20
    while events.describe_replay(ReplayName=THING)["State"] != "COMPLETED":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return {"EventBusName": THING, "Rule": THING, "TargetArn": destination, "ResourceARN": f"{EVENTS_ARN}:rule/{THING}/{THING}"}


FILL: dict[str, Callable[[Daemon], dict[str, Any]]] = {"iam": fill_iam, "logs": fill_logs, "events": fill_events}


def questions(client: Any, known: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation that only tells something and is there, with the parameters that it needs and those that are known."""
    model = client.meta.service_model
    covered = tomllib.loads((Path(totp.__file__).parents[1] / model.service_name / "coverage.toml").read_text())["operations"]
    for name in model.operation_names:
        if not name.startswith(("Describe", "List", "Get", "Filter")) or covered[name] == "absent":
            continue
        if name in NOT_ASKED.get(model.service_name, ()):
            continue
        shape = model.operation_model(name).input_shape
        if shape is None:
            yield name, {}
            continue
        asked = [member for member in shape.members if member in shape.required_members or member in SAID_ALWAYS]
        yield name, {member: known.get(member, THING) for member in asked}


def answers(client: Any, known: dict[str, Any]) -> dict[str, Any]:
    methods = {name: method for method, name in client.meta.method_to_api_mapping.items()}
    return {
        name: {key: value for key, value in getattr(client, methods[name])(**asked).items() if key != "ResponseMetadata"}
        for name, asked in questions(client, known)
    }


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("kept") / "data") as running:
        yield running


def test_nothing_is_forgotten_when_the_daemon_is_killed(daemon: Daemon) -> None:
    known = {service: fill(daemon) for service, fill in FILL.items()}
    before = {service: answers(daemon.client(service), known[service]) for service in FILL}
    daemon.kill()
    daemon.start()
    for service in FILL:
        after = answers(daemon.client(service), known[service])
        for name, answer in before[service].items():
            assert after[name] == answer, name
        assert {name for name, answer in after.items() if not any(answer.values())} == set()  # else it was not asked for what is there
    daemon.stop()
    assert empty(daemon.data / "state.db") == set()


def empty(database: Path) -> set[str]:
    """The tables in which the test has made nothing."""
    with sqlite3.connect(database) as connection:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        kept = {name.partition(" ")[0] for name in there if connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()}
    return {table.name for table in (*IAM, *LOGS, *EVENTS)} - kept
