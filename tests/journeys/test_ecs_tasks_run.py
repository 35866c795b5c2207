"""Tasks of ECS that really run: an image out of ECR, its output in CloudWatch Logs, what it is told of itself, and how it ends."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from docker_host import DockerHost, why_no_docker

pytestmark = [pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker()), pytest.mark.xdist_group("ecs-tasks")]

WITHIN = 30.0
TRUST = {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
ROLE = "arn:aws:iam::000000000000:role/tasks"


class Ground(DockerHost):
    """A cluster, an image in ECR, a log group, a role."""

    def prepare(self) -> None:
        self.ecs, self.ec2, self.logs = (self.client(name) for name in ("ecs", "ec2", "logs"))
        self.make_busybox()
        ecr = self.client("ecr")
        self.image = ecr.create_repository(repositoryName="app")["repository"]["repositoryUri"] + ":1"
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        self.run("login", "--username", "AWS", "--password-stdin", self.image.partition("/")[0], stdin=base64.b64decode(token)[4:])
        self.docker("tag", "busybox", self.image)
        self.docker("push", self.image)
        self.docker("rmi", "busybox", self.image)
        self.client("iam").create_role(
            RoleName="tasks", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
        )
        self.ecs.create_cluster()
        self.logs.create_log_group(logGroupName="/ecs/app")
        self.subnet = self.ec2.describe_subnets()["Subnets"][0]["SubnetId"]

    def container(self, script: str, name: str = "main", **more: Any) -> dict[str, Any]:
        options = {"awslogs-group": "/ecs/app", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}
        log = {"logDriver": "awslogs", "options": options}
        return {"name": name, "image": self.image, "command": ["sh", "-c", script], "logConfiguration": log, **more}

    def register(self, *containers: dict[str, Any], **more: Any) -> str:
        made = self.ecs.register_task_definition(
            family="app", networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512", executionRoleArn=ROLE,
            containerDefinitions=list(containers), **more,
        )  # fmt: skip
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def launch(self, definition: str, **more: Any) -> str:
        network = {"awsvpcConfiguration": {"subnets": [self.subnet]}}
        made = self.ecs.run_task(taskDefinition=definition, launchType="FARGATE", networkConfiguration=network, **more)
        assert made["failures"] == []
        return str(made["tasks"][0]["taskArn"])

    def task(self, arn: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ecs.describe_tasks(tasks=[arn])["tasks"][0]
        return found

    def until(self, arn: str, reached: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        end = time.monotonic() + WITHIN
        while not reached(task := self.task(arn)):
            assert time.monotonic() < end, task
            time.sleep(0.02)
        return task

    def ended(self, arn: str) -> dict[str, Any]:
        return self.until(arn, lambda task: task["lastStatus"] == "STOPPED")

    def runs(self, arn: str) -> dict[str, Any]:
        return self.until(arn, lambda task: task["lastStatus"] in ("RUNNING", "STOPPED"))

    def output(self, arn: str, container: str = "main") -> list[str]:
        stream = f"p/{container}/{arn.rpartition('/')[2]}"
        events = self.logs.get_log_events(logGroupName="/ecs/app", logStreamName=stream, startFromHead=True)["events"]
        return [event["message"] for event in events]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground(tmp_path_factory.mktemp("ecs-tasks")) as ground:
        ground.prepare()
        yield ground


FOREVER = "trap 'echo bye; exit 3' TERM; while true; do sleep 0.1; done"


def test_a_task_runs_is_told_and_stops_when_it_is_asked_to(ground: Ground) -> None:
    arn = ground.launch(ground.register(ground.container(f"echo hello; {FOREVER}")), startedBy="me", tags=[{"key": "a", "value": "b"}])
    task = ground.runs(arn)
    assert task["lastStatus"] == "RUNNING", task
    assert task["containers"][0]["lastStatus"] == "RUNNING"
    details = {each["name"]: each["value"] for each in task["attachments"][0]["details"]}
    interface = ground.ec2.describe_network_interfaces(NetworkInterfaceIds=[details["networkInterfaceId"]])["NetworkInterfaces"][0]
    assert interface["PrivateIpAddress"] == details["privateIPv4Address"]
    assert interface["Status"] == "in-use"
    assert ground.ecs.list_tasks(startedBy="me")["taskArns"] == [arn]
    ground.ecs.stop_task(task=arn, reason="enough")
    task = ground.ended(arn)
    assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "enough")
    assert task["containers"][0]["exitCode"] == 3
    times = [task[name] for name in ("createdAt", "pullStartedAt", "startedAt", "stoppingAt", "executionStoppedAt", "stoppedAt")]
    assert times == sorted(times)
    assert ground.output(arn) == ["hello", "bye"]
    assert ground.ecs.list_tasks(desiredStatus="STOPPED", startedBy="me")["taskArns"] == [arn]


def test_an_essential_container_takes_the_task_with_it(ground: Ground) -> None:
    arn = ground.launch(ground.register(ground.container("exit 7"), ground.container(FOREVER, "side")))
    task = ground.ended(arn)
    assert (task["stopCode"], task["stoppedReason"]) == ("EssentialContainerExited", "Essential container in task exited")
    assert {each["name"]: each["exitCode"] for each in task["containers"]} == {"main": 7, "side": 3}


def test_an_image_that_is_not_there_is_told(ground: Ground) -> None:
    arn = ground.launch(ground.register({"name": "main", "image": ground.image.replace(":1", ":none")}))
    task = ground.ended(arn)
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].startswith("CannotPullContainerError: ")


def test_too_much_memory_is_told(ground: Ground) -> None:
    arn = ground.launch(ground.register(ground.container("head -c 200m /dev/zero | tail", memory=32)))
    container = ground.ended(arn)["containers"][0]
    assert container["reason"] == "OutOfMemoryError: Container killed due to memory usage"


def test_containers_start_in_the_order_of_their_dependencies_and_share_localhost(ground: Ground) -> None:
    first = ground.container("echo prepared; sleep 0.2", "first", essential=False)
    checked = ground.container(
        f"touch /tmp/fine; nc -l -p 9000 < /etc/hostname; {FOREVER}", "server", essential=False,
        healthCheck={"command": ["CMD-SHELL", "test -e /tmp/fine"], "interval": 5, "retries": 3},
        dependsOn=[{"containerName": "first", "condition": "SUCCESS"}],
    )  # fmt: skip
    main = ground.container("nc -w 3 127.0.0.1 9000 && echo heard", dependsOn=[{"containerName": "server", "condition": "HEALTHY"}])
    arn = ground.launch(ground.register(main, checked, first))
    task = ground.ended(arn)
    assert task["stopCode"] == "EssentialContainerExited", task
    assert ground.output(arn)[-1] == "heard"


def test_a_dependency_that_fails_keeps_the_task_from_starting(ground: Ground) -> None:
    first = ground.container("exit 1", "first", essential=False)
    main = ground.container("echo never", dependsOn=[{"containerName": "first", "condition": "SUCCESS"}])
    assert ground.ended(ground.launch(ground.register(main, first)))["stopCode"] == "TaskFailedToStart"


def test_a_task_reads_its_metadata_and_the_credentials_of_its_role(ground: Ground) -> None:
    ask = 'printf "GET $1 HTTP/1.0\\r\\n\\r\\n" | nc -w 3 169.254.170.2 80 | tail -n 1'
    script = f"set -- ${{ECS_CONTAINER_METADATA_URI_V4#http://169.254.170.2}}; {ask}; echo; set -- $AWS_CONTAINER_CREDENTIALS_RELATIVE_URI; {ask}; echo"
    arn = ground.launch(ground.register(ground.container(script), taskRoleArn=ROLE))
    task = ground.ended(arn)
    said, lent = [json.loads(line) for line in ground.output(arn) if line.startswith("{")]
    assert said["DockerId"] == task["containers"][0]["runtimeId"]
    who = ground.client("sts", key=lent["AccessKeyId"], secret=lent["SecretAccessKey"], token=lent["Token"]).get_caller_identity()
    assert who["Arn"] == f"arn:aws:sts::000000000000:assumed-role/tasks/{arn.rpartition('/')[2]}"


def test_values_come_from_parameters_secrets_and_files(ground: Ground) -> None:
    ssm, secrets, s3 = (ground.client(name) for name in ("ssm", "secretsmanager", "s3"))
    ssm.put_parameter(Name="/app/colour", Value="green", Type="SecureString")
    secret = secrets.create_secret(Name="app", SecretString=json.dumps({"word": "open"}))["ARN"]
    s3.create_bucket(Bucket="settings")
    s3.put_object(Bucket="settings", Key="app.env", Body=b"# said\nSIZE=large\nCOLOUR=red\n")
    named = [("COLOUR", "/app/colour"), ("WORD", f"{secret}:word::")]
    main = ground.container(
        "echo $COLOUR $WORD $SIZE",
        secrets=[{"name": name, "valueFrom": value} for name, value in named],
        environmentFiles=[{"type": "s3", "value": "arn:aws:s3:::settings/app.env"}],
    )
    arn = ground.launch(ground.register(main))
    assert ground.ended(arn)["stopCode"] == "EssentialContainerExited", ground.task(arn)
    assert ground.output(arn) == ["green open large"]


def test_running_tasks_outlive_a_daemon_that_is_killed(ground: Ground) -> None:
    arn = ground.launch(ground.register(ground.container(f"echo before; {FOREVER}")))
    runtime = ground.runs(arn)["containers"][0]["runtimeId"]
    ground.kill()
    ground.start()
    ground.ecs, ground.ec2, ground.logs = (ground.client(name) for name in ("ecs", "ec2", "logs"))
    task = ground.task(arn)
    assert (task["lastStatus"], task["containers"][0]["runtimeId"]) == ("RUNNING", runtime)
    ground.ecs.stop_task(task=arn)
    assert ground.ended(arn)["containers"][0]["exitCode"] == 3
    assert "bye" in ground.output(arn)
