"""What somebody does in the first five minutes, with the AWS command line against a real daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import Daemon

AWS = Path(sys.executable).with_name("aws")


def second_version() -> str | None:
    """The AWS CLI of version 2, which alone has `aws logs tail`: not on PyPI, but Debian has it."""
    for folder in os.environ["PATH"].split(":"):
        program = Path(folder) / "aws"
        if program.is_file() and program != AWS:
            said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
            if said.stdout.startswith("aws-cli/2"):
                return str(program)
    return None


AWS_2 = second_version()


class Aws:
    """`aws` with the profile that `cloudstead env` wrote, and nothing of this machine's own configuration."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_CONFIG_FILE": str(folder / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
            "AWS_PAGER": "",
        }
        command = [sys.executable, "-m", "cloudstead", "env", "--data", str(daemon.data)]
        shell = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        assert f"AWS_ENDPOINT_URL={daemon.endpoint}" in shell.stdout.replace("'", "").replace('"', "")
        self.environment["AWS_PROFILE"] = "cloudstead"
        self.endpoint = daemon.endpoint

    def as_(self, key: dict[str, str]) -> Aws:
        """The same with another key, by the environment."""
        other = Aws.__new__(Aws)
        other.endpoint = self.endpoint
        other.environment = {name: value for name, value in self.environment.items() if name != "AWS_PROFILE"}
        other.environment |= {"AWS_ENDPOINT_URL": self.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
        other.environment |= {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        if "SessionToken" in key:
            other.environment["AWS_SESSION_TOKEN"] = key["SessionToken"]
        return other

    def tail(self, *arguments: str) -> str:
        """`aws logs tail`; Debian's version 2 is too old to know `endpoint_url` in a profile."""
        if AWS_2 is None:
            pytest.skip("needs version 2 of the AWS CLI (apt-get install awscli)")
        return self.run("--endpoint-url", self.endpoint, "logs", "tail", *arguments, program=AWS_2)

    def run(self, *arguments: str, program: str = str(AWS)) -> str:
        done = subprocess.run([program, *arguments], env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"aws {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        text = self.run(*arguments, "--output", "json")
        return json.loads(text) if text.strip() else None


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("journey") / "data", "--strict") as running:
        yield running


@pytest.fixture(scope="module")
def aws(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Aws:
    return Aws(daemon, tmp_path_factory.mktemp("home"))


def test_the_profile_of_cloudstead_env_is_the_root_user_of_the_default_account(aws: Aws) -> None:
    assert aws.json("sts", "get-caller-identity") == {
        "UserId": "000000000000",
        "Account": "000000000000",
        "Arn": "arn:aws:iam::000000000000:root",
    }


def test_a_role_is_made_and_assumed(aws: Aws) -> None:
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}]}
    role = aws.json("iam", "create-role", "--role-name", "builder", "--assume-role-policy-document", json.dumps(trust))["Role"]
    assert role["AssumeRolePolicyDocument"] == trust
    aws.run("iam", "create-user", "--user-name", "ann")
    assert [user["UserName"] for user in aws.json("iam", "list-users")["Users"]] == ["ann"]
    key = aws.json("iam", "create-access-key", "--user-name", "ann")["AccessKey"]
    may = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role["Arn"]}]}
    aws.run("iam", "put-user-policy", "--user-name", "ann", "--policy-name", "may", "--policy-document", json.dumps(may))
    ann = aws.as_(key)
    keys = ann.json("sts", "assume-role", "--role-arn", role["Arn"], "--role-session-name", "s1")["Credentials"]
    assert aws.as_(keys).json("sts", "get-caller-identity")["Arn"] == "arn:aws:sts::000000000000:assumed-role/builder/s1"


def test_logs_are_written_and_tailed(aws: Aws) -> None:
    aws.run("logs", "create-log-group", "--log-group-name", "/app/web")
    aws.run("logs", "create-log-stream", "--log-group-name", "/app/web", "--log-stream-name", "one")
    now = int(time.time() * 1000)
    events = [{"timestamp": now - 2, "message": "GET / 200"}, {"timestamp": now - 1, "message": "GET /x 500 ERROR"}]
    aws.run("logs", "put-log-events", "--log-group-name", "/app/web", "--log-stream-name", "one", "--log-events", json.dumps(events))
    tail = aws.tail("/app/web", "--format", "short")
    assert "GET / 200" in tail
    assert "GET /x 500 ERROR" in tail
    assert "GET / 200" not in aws.tail("/app/web", "--filter-pattern", "ERROR")
    aws.run("logs", "put-retention-policy", "--log-group-name", "/app/web", "--retention-in-days", "7")
    assert aws.json("logs", "describe-log-groups")["logGroups"][0]["retentionInDays"] == 7


def test_an_event_finds_its_way_through_a_rule_into_a_log_group(aws: Aws) -> None:
    aws.run("logs", "create-log-group", "--log-group-name", "/aws/events/orders")
    pattern = json.dumps({"source": ["shop"], "detail": {"total": [{"numeric": [">", 100]}]}})
    aws.run("events", "put-rule", "--name", "big-orders", "--event-pattern", pattern)
    group = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/events/orders"
    aws.run("events", "put-targets", "--rule", "big-orders", "--targets", json.dumps([{"Id": "log", "Arn": group}]))
    entries = [{"Source": "shop", "DetailType": "Order", "Detail": json.dumps({"total": total})} for total in (50, 150)]
    assert aws.json("events", "put-events", "--entries", json.dumps(entries))["FailedEntryCount"] == 0
    deadline = time.monotonic() + 20
    while '"total":150' not in (tail := aws.tail("/aws/events/orders").replace(" ", "")):
        assert time.monotonic() < deadline, "the event did not arrive"
        time.sleep(0.2)
    assert '"total":50' not in tail


def test_other_services_answer_from_the_companion(aws: Aws) -> None:
    assert aws.run("s3", "ls") == ""
    aws.run("s3", "mb", "s3://some-bucket")
    assert "some-bucket" in aws.run("s3", "ls")
    aws.run("ssm", "put-parameter", "--name", "/app/mode", "--value", "dark", "--type", "String")
    assert aws.json("ssm", "get-parameter", "--name", "/app/mode")["Parameter"]["Value"] == "dark"
