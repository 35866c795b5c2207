"""The AWS command line, versions 1 and 2, on the services that the companion answers, on a daemon that is strict."""

from __future__ import annotations

import base64
import hashlib
import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_aws_cli import AWS, AWS_2, Aws

from support import Daemon

TEMPLATE = """
Resources:
  Bucket: {Type: AWS::S3::Bucket, Properties: {BucketName: !Sub "${Name}-bucket"}}
  Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub "${Name}-queue"}}
Parameters:
  Name: {Type: String}
Outputs:
  Bucket: {Value: !Ref Bucket}
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("services") / "data", "--strict") as running:
        yield running


@pytest.fixture(scope="module", params=[AWS, AWS_2], ids=["version 1", "version 2"])
def program(request: pytest.FixtureRequest) -> str:
    if request.param is None:
        pytest.skip("needs version 2 of the AWS CLI (apt-get install awscli)")
    return str(request.param)


class Shell:
    """`aws` of one version, by the profile that `cloudstead env` wrote."""

    def __init__(self, aws: Aws, program: str) -> None:
        self.aws = aws
        self.program = program
        # Debian's version 2 is too old to know endpoint_url in a profile.
        self.before = ("--endpoint-url", aws.endpoint)

    def __call__(self, *arguments: str) -> str:
        return self.aws.run(*self.before, *arguments, program=self.program)

    def text(self, *arguments: str) -> str:
        return self(*arguments, "--output", "text").strip()

    def start(self, output: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Go on without waiting for the end; what is printed goes to a file."""
        environment = self.aws.environment | {"PYTHONUNBUFFERED": "1"}
        with output.open("wb") as file:
            return subprocess.Popen([self.program, *self.before, *arguments], env=environment, stdout=file, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def aws(daemon: Daemon, program: str, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(Aws(daemon, tmp_path_factory.mktemp("home")), program)


def name_of(aws: Shell, name: str) -> str:
    return f"{name}-{'one' if aws.program == str(AWS) else 'two'}"


def test_files_small_and_big_go_to_s3_and_back(aws: Shell, tmp_path: Path) -> None:
    bucket = f"s3://{name_of(aws, 'files')}"
    aws("s3", "mb", bucket)
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "small").write_text("hello\n")
    (tmp_path / "folder" / "sub" / "ä + b.txt").write_text("more")
    big = hashlib.shake_128(b"seed").digest(20_000_001)
    (tmp_path / "folder" / "big").write_bytes(big)
    aws("s3", "sync", "--no-progress", str(tmp_path / "folder"), f"{bucket}/there")
    listed = aws("s3", "ls", "--recursive", bucket).splitlines()
    assert [line.split(maxsplit=2)[2] for line in listed] == ["20000001 there/big", "6 there/small", "4 there/sub/ä + b.txt"]
    aws("s3", "sync", "--no-progress", f"{bucket}/there", str(tmp_path / "back"))
    assert (tmp_path / "back" / "big").read_bytes() == big
    assert (tmp_path / "back" / "sub" / "ä + b.txt").read_text() == "more"
    url = aws("s3", "presign", f"{bucket}/there/small", "--expires-in", "60").strip()
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.read() == b"hello\n"
    assert aws("s3", "cp", f"{bucket}/there/small", "-") == "hello\n"
    aws("s3", "rb", "--force", bucket)
    assert bucket[5:] not in aws("s3", "ls")


def test_a_template_is_deployed_twice(aws: Shell, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(TEMPLATE)
    stack = name_of(aws, "stack")
    deploy = ("cloudformation", "deploy", "--stack-name", stack, "--template-file", str(template), "--parameter-overrides", f"Name={stack}")
    assert "Successfully created/updated stack" in aws(*deploy)
    assert "No changes to deploy" in aws(*deploy, "--no-fail-on-empty-changeset")
    query = ("--query", "Stacks[0].Outputs[0].OutputValue")
    assert aws.text("cloudformation", "describe-stacks", "--stack-name", stack, *query) == f"{stack}-bucket"
    aws("cloudformation", "delete-stack", "--stack-name", stack)


def test_secrets_parameters_and_keys(aws: Shell, tmp_path: Path) -> None:
    name = name_of(aws, "/app/secret")
    aws("ssm", "put-parameter", "--name", name, "--type", "SecureString", "--value", "hidden")
    assert aws.text("ssm", "get-parameter", "--name", name, "--with-decryption", "--query", "Parameter.Value") == "hidden"
    aws("secretsmanager", "create-secret", "--name", name, "--secret-string", "s3cret")
    assert aws.text("secretsmanager", "get-secret-value", "--secret-id", name, "--query", "SecretString") == "s3cret"
    key = aws.text("kms", "create-key", "--query", "KeyMetadata.KeyId")
    (tmp_path / "plain").write_text("kept")
    sealed = aws.text("kms", "encrypt", "--key-id", key, "--plaintext", f"fileb://{tmp_path / 'plain'}", "--query", "CiphertextBlob")
    (tmp_path / "sealed").write_bytes(base64.b64decode(sealed))
    assert aws.text("kms", "decrypt", "--ciphertext-blob", f"fileb://{tmp_path / 'sealed'}", "--query", "Plaintext") == "a2VwdA=="


def test_tables_queues_and_zones(aws: Shell) -> None:
    table = name_of(aws, "table")
    attribute = ("--attribute-definitions", "AttributeName=k,AttributeType=S", "--key-schema", "AttributeName=k,KeyType=HASH")
    aws("dynamodb", "create-table", "--table-name", table, *attribute, "--billing-mode", "PAY_PER_REQUEST")
    aws("dynamodb", "wait", "table-exists", "--table-name", table)
    aws("dynamodb", "put-item", "--table-name", table, "--item", '{"k": {"S": "1"}, "v": {"N": "5"}}')
    assert aws.text("dynamodb", "get-item", "--table-name", table, "--key", '{"k": {"S": "1"}}', "--query", "Item.v.N") == "5"
    queue = aws.text("sqs", "create-queue", "--queue-name", table)
    aws("sqs", "send-message", "--queue-url", queue, "--message-body", "hi")
    assert aws.text("sqs", "receive-message", "--queue-url", queue, "--query", "Messages[0].Body") == "hi"
    zone = f"{table}.example."
    aws("route53", "create-hosted-zone", "--name", zone, "--caller-reference", table)
    assert zone in aws.text("route53", "list-hosted-zones", "--query", "HostedZones[].Name").split()


def test_what_is_queried_and_paged_and_refused(aws: Shell, tmp_path: Path) -> None:
    path = f"/{name_of(aws, 'people')}/"
    for name in ("ann", "bob", "cat"):
        aws("iam", "create-user", "--user-name", name_of(aws, name), "--path", path, "--tags", "Key=a,Value=b")
    names = ("iam", "list-users", "--path-prefix", path, "--query", "Users[].UserName")
    assert aws.text(*names, "--page-size", "1").split() == [name_of(aws, name) for name in ("ann", "bob", "cat")]
    some = json.loads(aws("iam", "list-users", "--path-prefix", path, "--max-items", "2", "--output", "json"))
    assert len(some["Users"]) == 2
    rest = json.loads(aws("iam", "list-users", "--path-prefix", path, "--starting-token", some["NextToken"], "--output", "json"))
    assert [user["UserName"] for user in rest["Users"]] == [name_of(aws, "cat")]
    refused = aws.start(tmp_path / "said", "iam", "get-user", "--user-name", "nobody")
    assert refused.wait(60) in (254, 255)
    sentence = "An error occurred (NoSuchEntity) when calling the GetUser operation: The user with name nobody cannot be found."
    assert sentence in (tmp_path / "said").read_text()


def test_a_tail_follows_what_comes(aws: Shell, tmp_path: Path) -> None:
    """Version 2 has `logs tail --follow`, version 1 `logs start-live-tail`."""
    group = name_of(aws, "/followed")
    aws("logs", "create-log-group", "--log-group-name", group)
    aws("logs", "create-log-stream", "--log-group-name", group, "--log-stream-name", "s")
    output = tmp_path / "tail"
    if aws.program == str(AWS):
        arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{group}"
        tail = aws.start(output, "logs", "start-live-tail", "--log-group-identifiers", arn)
    else:
        tail = aws.start(output, "logs", "tail", group, "--follow", "--format", "short")
    try:
        number, deadline = 0, time.monotonic() + 40
        while "line" not in output.read_text():
            assert tail.poll() is None, output.read_text()
            assert time.monotonic() < deadline, f"nothing came: {output.read_text()}"
            event = json.dumps([{"timestamp": int(time.time() * 1000), "message": f"line {number}"}])
            aws("logs", "put-log-events", "--log-group-name", group, "--log-stream-name", "s", "--log-events", event)
            number += 1
    finally:
        tail.send_signal(signal.SIGINT)
        tail.wait(20)
