"""Tasks: what is refused, what is planned, and their lives on simulated containers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cloudstead.engine.errors import NotFound
from cloudstead.engine.images.api import Descriptor, ExecConfig, Image, ImageConfig
from cloudstead.engine.pods.simulated import Program, SimulatedDriver, SimulatedMachine
from cloudstead.engine.pods.states import LogRecord
from cloudstead.kernel.clock import SystemClock
from cloudstead.kernel.context import Cloud, Context
from cloudstead.services.ec2 import api as ec2_api
from cloudstead.services.ecs import api
from cloudstead.services.ecs.definition import ContainerDefinition, ContainerDependency, ContainerRestartPolicy, Definition
from cloudstead.services.ecs.model import StrategyItem
from cloudstead.services.ecs.task_running import spread
from cloudstead.services.ecs.tasks import plan
from cloudstead.services.ecs.tasks.model import TASKS, Task, TaskContainer
from cloudstead.services.ecs.tasks.output import Lines, of_dates
from cloudstead.services.ecs.tasks.plan import Note, Seen, Start, Wanted, reached
from cloudstead.services.iam import api as iam_api
from cloudstead.services.logs import api as logs_api
from support import context_in, local_cloud

CLOCK = SystemClock()
TRUST = """{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}}"""


class Images:
    """One image by every name but "missing"."""

    async def pull(self, name: str, **_: Any) -> Image:
        if "missing" in name:
            raise NotFound("manifest unknown")
        manifest = Descriptor("application/vnd.oci.image.manifest.v1+json", "sha256:" + "1" * 64, 1)
        config = ImageConfig(config=ExecConfig(cmd=("sleep", "1000")))
        return Image(id="sha256:" + "2" * 64, manifest=manifest, config=config, layers=(), size=1, created=0.0)

    def resolve(self, name: str, **_: Any) -> Image:
        raise NotFound(f"No such image: {name}")

    async def layers_of(self, image: str) -> tuple[str, ...]:
        return ("layer",)

    def is_own(self, domain: str) -> bool:
        return False


class Ground:
    """A cloud whose containers are simulated."""

    def __init__(self, cloud: Cloud, ctx: Context, machine: SimulatedMachine, subnet: str) -> None:
        self.cloud, self.ctx, self.machine, self.subnet = cloud, ctx, machine, subnet

    async def register(self, *containers: api.ContainerDefinition) -> None:
        await self.ctx.call(
            api.RegisterTaskDefinitionRequest(
                family="app", network_mode="awsvpc", requires_compatibilities=["FARGATE"], cpu="256", memory="512",
                execution_role_arn="arn:aws:iam::000000000000:role/tasks", container_definitions=list(containers),
            )
        )  # fmt: skip

    async def launch(self, **more: Any) -> api.Task:
        network = api.NetworkConfiguration(awsvpc_configuration=api.AwsVpcConfiguration(subnets=[self.subnet]))
        request = {"task_definition": "app", "launch_type": "FARGATE", "network_configuration": network, **more}
        answer: api.RunTaskResponse = await self.ctx.call(api.RunTaskRequest(**request))
        assert answer.tasks is not None
        return answer.tasks[0]

    async def until(self, task: api.Task, reached: Callable[[Task], object]) -> Task:
        id = str(task.task_arn).rpartition("/")[2]
        async with asyncio.timeout(20):
            while True:
                row = self.cloud.store.table(TASKS).find("by_id", (id,))
                assert row is not None
                if reached(row):
                    return row
                await CLOCK.sleep(0.01)

    async def status(self, task: api.Task, status: str) -> Task:
        return await self.until(task, lambda row: row.status in (status, "STOPPED"))


@asynccontextmanager
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    async with local_cloud(tmp_path, in_memory=True) as cloud:
        ctx = context_in(cloud)
        engine = await cloud.parts["engine"].ready()
        machine = SimulatedMachine(CLOCK)
        driver = engine.pods = SimulatedDriver(CLOCK, cloud.store, machine)
        await driver.start_driver()
        engine.why_not, engine.images = "", Images()
        engine.networks.listen = listening
        await ctx.call(api.CreateClusterRequest())
        await ctx.call(iam_api.CreateRoleRequest(role_name="tasks", assume_role_policy_document=TRUST))
        subnets = (await ctx.call(ec2_api.DescribeSubnetsRequest())).subnets
        try:
            yield Ground(cloud, ctx, machine, subnets[0].subnet_id)
        finally:
            await cloud.close()
            await driver.stop_driver()


async def listening(*_: object) -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return os.dup(server.fileno())


def container(name: str = "main", *, command: str = "forever", **more: Any) -> api.ContainerDefinition:
    return api.ContainerDefinition(name=name, image=more.pop("image", "app"), command=[command], **more)


# ── lives ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_task_runs_and_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        g.machine.programs["forever"] = Program(stop_code=5)
        await g.register(container())
        task = await g.launch(started_by="me")
        row = await g.status(task, "RUNNING")
        assert (row.status, row.containers[0].status) == ("RUNNING", "RUNNING"), row
        assert row.interface is not None
        shown = await g.ctx.call(ec2_api.DescribeNetworkInterfacesRequest(network_interface_ids=[row.interface.id]))
        assert shown.network_interfaces[0].private_ip_address == row.interface.ip
        await g.ctx.call(api.StopTaskRequest(task=row.id, reason="enough"))
        row = await g.status(task, "STOPPED")
        assert (row.stop_code, row.stopped_reason, row.containers[0].exit_code) == ("UserInitiated", "enough", 5)
        assert (await g.ctx.call(ec2_api.DescribeNetworkInterfacesRequest())).network_interfaces == []


async def test_the_end_of_an_essential_container_ends_the_others(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        g.machine.programs |= {"forever": Program(), "short": Program(seconds=0.05, exit_code=7)}
        await g.register(container(), container("other", command="short"))
        row = await g.status(await g.launch(), "STOPPED")
        assert (row.stop_code, row.stopped_reason) == ("EssentialContainerExited", "Essential container in task exited")
        assert [each.exit_code for each in row.containers][1] == 7


async def test_an_image_that_is_missing_keeps_a_task_from_starting(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        await g.register(container(image="missing"))
        row = await g.status(await g.launch(), "STOPPED")
        assert (row.stop_code, row.stopped_reason) == ("TaskFailedToStart", "CannotPullContainerError: manifest unknown")


async def test_every_change_of_state_is_an_event(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        heard: list[tuple[str, str]] = []
        g.cloud.bus.subscribe("test", lambda event: heard.append((event.detail_type, str(event.detail.get("lastStatus")))))
        g.machine.programs["forever"] = Program(seconds=0.05)
        await g.register(container())
        await g.status(await g.launch(), "STOPPED")
        async with asyncio.timeout(10):
            while ("ECS Task State Change", "STOPPED") not in heard:
                await CLOCK.sleep(0.01)
        told = list(dict.fromkeys(status for kind, status in heard if kind == "ECS Task State Change"))
        before = ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"]
        assert told == [*before, "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"]


async def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        g.machine.programs["forever"] = Program(start_error="no such file")
        await g.register(container())
        row = await g.status(await g.launch(), "STOPPED")
        assert row.stop_code == "TaskFailedToStart"
        assert row.containers[0].reason.startswith("CannotStartContainerError: ")


async def test_output_comes_to_the_log_stream_of_the_task(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        g.machine.programs["forever"] = Program(prints=("hello", "again"), seconds=0.05)
        await g.ctx.call(logs_api.CreateLogGroupRequest(log_group_name="app"))
        options = {"awslogs-group": "app", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}
        await g.register(container(log_configuration=api.LogConfiguration(log_driver="awslogs", options=options)))
        row = await g.status(await g.launch(), "STOPPED")
        told = await g.ctx.call(logs_api.GetLogEventsRequest(log_group_name="app", log_stream_name=f"p/main/{row.id}"))
        assert [event.message for event in told.events] == ["hello", "again"]


async def test_a_log_group_that_is_missing_keeps_a_task_from_starting(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        options = {"awslogs-group": "none", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}
        await g.register(container(log_configuration=api.LogConfiguration(log_driver="awslogs", options=options)))
        row = await g.status(await g.launch(), "STOPPED")
        assert "failed to create Cloudwatch log stream: ResourceNotFoundException" in row.stopped_reason


async def test_a_command_is_run_in_a_task_that_allows_it(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        g.machine.programs["forever"] = Program()
        await g.register(container())
        allowed, other = await g.launch(enable_execute_command=True), await g.launch()
        for task in (allowed, other):
            assert (await g.status(task, "RUNNING")).status == "RUNNING"
        opened = await g.ctx.call(api.ExecuteCommandRequest(task=str(allowed.task_arn), command="sh", interactive=True))
        assert opened.session.stream_url.startswith("ws://")
        assert opened.session.token_value
        with pytest.raises(api.InvalidParameterException, match="execute command was not enabled"):
            await g.ctx.call(api.ExecuteCommandRequest(task=str(other.task_arn), command="sh", interactive=True))
        with pytest.raises(api.InvalidParameterException):
            await g.ctx.call(api.ExecuteCommandRequest(task=str(allowed.task_arn), command="sh 'a", interactive=True))
        await g.cloud.parts["ecs.sessions"].stop()


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"launch_type": "EC2"}, "No Container Instances were found in your cluster."),
        ({"launch_type": None}, "No Container Instances were found in your cluster."),
        ({"count": 11}, "count must be between 1 and 10."),
        ({"task_definition": "none"}, "TaskDefinition not found."),
        ({"network_configuration": None}, "Network Configuration must be provided when networkMode 'awsvpc' is specified."),
        (
            {"overrides": api.TaskOverride(container_overrides=[api.ContainerOverride(name="x")])},
            "Override for container named x is not a container in the TaskDefinition.",
        ),
    ],
)
async def test_a_call_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    async with ground(tmp_path) as g:
        await g.register(container())
        with pytest.raises((api.InvalidParameterException, api.ClientException)) as caught:
            await g.launch(**changes)
        assert str(caught.value) == sentence
        assert len(g.cloud.store.table(TASKS)) == 0


async def test_what_nothing_acts_on_yet_is_refused_when_the_task_is_run(tmp_path: Path) -> None:
    secret = "arn:aws:secretsmanager:us-east-1:000000000000:secret:registry-abcdef"
    async with ground(tmp_path) as g:
        await g.register(container(repository_credentials=api.RepositoryCredentials(credentials_parameter=secret)))
        with pytest.raises(api.ClientException, match="repositoryCredentials"):
            await g.launch()
        assert len(g.cloud.store.table(TASKS)) == 0


async def test_a_task_that_is_stopped_while_it_is_prepared_leaves_no_interface(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        await g.register(container())
        tasks = [await g.launch() for _ in range(5)]
        for number, task in enumerate(tasks):
            for _ in range(number):
                await asyncio.sleep(0)
            await g.ctx.call(api.StopTaskRequest(task=str(task.task_arn)))
        for task in tasks:
            row = await g.status(task, "STOPPED")
            assert row.stop_code in ("UserInitiated", "TaskFailedToStart")
        assert (await g.ctx.call(ec2_api.DescribeNetworkInterfacesRequest())).network_interfaces == []


async def test_a_client_token_runs_a_task_once(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        await g.register(container())
        first, again = await g.launch(client_token="a"), await g.launch(client_token="a")
        assert first.task_arn == again.task_arn
        with pytest.raises(api.ConflictException):
            await g.launch(client_token="a", started_by="another")


async def test_tasks_that_are_not_there_are_failures(tmp_path: Path) -> None:
    async with ground(tmp_path) as g:
        answer = await g.ctx.call(api.DescribeTasksRequest(tasks=["0" * 32]))
        assert [each.reason for each in answer.failures] == ["MISSING"]
        with pytest.raises(api.InvalidParameterException):
            await g.ctx.call(api.StopTaskRequest(task="0" * 32))


# ── decisions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def row(*containers: TaskContainer, **more: Any) -> Task:
    return Task(
        account="0", region="r", cluster="c", id="t", family="f", revision=1, group="g", created=0.0, containers=containers, **more
    )  # fmt: skip


def known(name: str = "main", **more: Any) -> TaskContainer:
    return TaskContainer(name=name, image="app", id="1" * 64, arn_id="a", endpoint_id="e", **more)


@pytest.mark.parametrize(
    ("other", "condition", "answer"),
    [
        (known(), "START", False),
        (known(started=1.0, status="RUNNING"), "START", True),
        (known(started=1.0, status="STOPPED", exit_code=1), "START", True),
        (known(started=1.0, status="RUNNING"), "COMPLETE", False),
        (known(started=1.0, status="STOPPED", exit_code=1), "COMPLETE", True),
        (known(started=1.0, status="STOPPED", exit_code=0), "SUCCESS", True),
        (known(started=1.0, status="STOPPED", exit_code=1), "SUCCESS", None),
        (known(started=1.0, status="RUNNING"), "HEALTHY", False),
        (known(started=1.0, status="RUNNING", health="HEALTHY"), "HEALTHY", True),
        (known(started=1.0, status="STOPPED", health="HEALTHY"), "HEALTHY", None),
    ],
)
def test_how_far_a_dependency_is(other: TaskContainer, condition: str, answer: bool | None) -> None:
    assert reached(other, condition) is answer


def definition(**more: Any) -> Definition:
    return Definition(family="f", container_definitions=(ContainerDefinition(name="main", image="app", **more),))


def test_a_container_is_started_again_when_it_ran_for_the_period_of_its_policy() -> None:
    policy = ContainerRestartPolicy(enabled=True, restart_attempt_period=60, ignored_exit_codes=(3,))
    each = definition(restart_policy=policy).container_definitions[0]
    ended = known(status="STOPPED", started=100.0, finished=160.0, exit_code=1)
    assert plan.restarts(each, ended)
    assert not plan.restarts(each, replace(ended, finished=159.0))
    assert not plan.restarts(each, replace(ended, exit_code=3))


def test_a_dependency_that_takes_longer_than_its_time_to_start_stops_the_task() -> None:
    main = ContainerDefinition(name="main", image="app", depends_on=(ContainerDependency(container_name="db", condition="HEALTHY"),))
    slow = ContainerDefinition(name="db", image="app", start_timeout=10)
    wanted = Wanted(
        row(known(), known("db", status="RUNNING", started=100.0), status="PENDING"),
        Definition(family="f", container_definitions=(main, slow)),
    )
    created: Any = {"main": None}
    seen = Seen(containers=created)
    assert plan._run(seen, wanted, 105.0).requeue_after == 5.0
    (step,) = plan._run(seen, wanted, 110.0).steps
    assert isinstance(step, Note)
    assert step.changes["stop_code"] == "TaskFailedToStart"
    assert Start("main") not in plan._run(seen, wanted, 105.0).steps


def test_a_stopped_task_is_forgotten_after_an_hour() -> None:
    wanted = Wanted(row(status="STOPPED", desired="STOPPED", stopped=100.0), definition())
    assert plan.plan(Seen(), wanted, 200.0).requeue_after == 3500.0
    assert plan.plan(Seen(), wanted, 3700.0).steps == (plan.Forget(),)


def test_capacity_is_shared_out_by_base_and_weight() -> None:
    strategy = (
        StrategyItem(capacity_provider="FARGATE", base=2, weight=1),
        StrategyItem(capacity_provider="FARGATE_SPOT", weight=3),
    )
    found = spread(strategy, 10)
    assert (found[:2], found.count("FARGATE"), found.count("FARGATE_SPOT")) == (["FARGATE", "FARGATE"], 4, 6)


def test_lines_become_events() -> None:
    lines = Lines()
    assert lines.take(LogRecord(1.0, "stdout", b"a")) == []
    assert lines.take(LogRecord(2.0, "stderr", b"x\n")) == [(2.0, "x")]
    assert lines.take(LogRecord(3.0, "stdout", b"b\r\n")) == [(1.0, "ab")]
    assert lines.take(LogRecord(4.0, "stdout", b"rest")) == []
    assert lines.rest() == [(4.0, "rest")]


def test_lines_of_one_event_stay_together() -> None:
    lines = Lines(of_dates("%Y-%m-%d"))
    taken = [
        lines.take(LogRecord(time, "stdout", text))
        for time, text in ((1.0, b"2026-01-02 a\n"), (2.0, b" at b\n"), (3.0, b"2026-01-03 c\n"))
    ]
    assert taken == [[], [], [(1.0, "2026-01-02 a\n at b")]]
    assert lines.rest() == [(3.0, "2026-01-03 c")]
