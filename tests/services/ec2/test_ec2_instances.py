"""Instances on simulated machines: states, limits, what ends and what stays."""

from __future__ import annotations

import asyncio
import base64
import gzip
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from instance_site import GIB, WEB, Site, site

from cloudstead.engine.pods.simulated import Process, Program, SimulatedMachine
from cloudstead.kernel.clock import VirtualClock
from cloudstead.kernel.errors import ServiceError
from cloudstead.services.ec2 import api
from cloudstead.services.ec2.controller import part
from cloudstead.services.ec2.instance_progress import plan
from cloudstead.services.ec2.machine_boot import REBOOT, SCRIPT_PATH, script_of
from cloudstead.services.ec2.machines import Seen, container_id
from cloudstead.services.ec2.model import Instance
from cloudstead.services.iam import api as iam
from support import context_in, local_cloud


def tell(folder: Path, story: Callable[[Site], Awaitable[None]], boots: Any = None) -> None:
    clock = VirtualClock()

    async def main() -> None:
        async with site(folder, clock, boots=boots) as here:
            await story(here)

    asyncio.run(main())


async def refused(call: Awaitable[Any]) -> str:
    with pytest.raises(ServiceError) as caught:
        await call
    return caught.value.code


def row(state: str, **more: Any) -> Instance:
    return Instance(
        account="1", region="r", id="i-1", vpc="v", subnet="s", zone="z", image="a", root="x", type="t3.micro", reservation="r", index=0,
        interface="e", ip="10.0.0.9", launched=0.0, state=state, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "seen", "step"),
    [
        (row("pending"), Seen(), "launch"),
        (row("pending"), Seen("created"), "launch"),
        (row("pending"), Seen("running"), "ran"),
        (row("running"), Seen("running"), ""),
        (row("running", reboot=True), Seen("running"), "reboot"),
        (row("running", reboot=True), Seen("exited"), "launch"),
        (row("running"), Seen("exited", REBOOT), "launch"),
        (row("running"), Seen("exited", 0), "ended"),
        (row("running"), Seen(), "ended"),
        (row("stopping"), Seen("running"), "halt"),
        (row("stopping"), Seen("exited"), "stopped"),
        (row("shutting-down"), Seen("running"), "remove"),
        (row("shutting-down"), Seen(), "remove"),
        (row("terminated"), Seen(), ""),
    ],
)
def test_what_is_to_be_done_follows_from_the_row_and_the_machine(wanted: Instance, seen: Seen, step: str) -> None:
    assert plan(wanted, seen) == step


def test_an_instance_goes_through_its_states_and_its_machine_with_it(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        [made] = await here.run()
        id = made.instance_id or ""
        assert made.state == api.InstanceState(code=0, name="pending")
        told = await here.until(id, "running")
        limits = here.container(id).spec.resources
        assert (limits.memory, limits.cpu_quota / limits.cpu_period) == (GIB, 2)
        assert told.private_dns_name == f"ip-{(told.private_ip_address or '').replace('.', '-')}.ec2.internal"
        changed = (await here.ctx.call(api.StopInstancesRequest(instance_ids=[id]))).stopping_instances[0]
        assert (changed.previous_state.name, changed.current_state.name) == ("running", "stopping")
        stopped = await here.until(id, "stopped")
        assert (stopped.state_reason.code if stopped.state_reason else "") == "Client.UserInitiatedShutdown"
        assert stopped.private_ip_address == told.private_ip_address
        assert here.container(id) is not None
        await here.ctx.call(api.StartInstancesRequest(instance_ids=[id]))
        await here.until(id, "running")
        await here.ctx.call(api.TerminateInstancesRequest(instance_ids=[id]))
        gone = await here.until(id, "terminated")
        assert (gone.network_interfaces, gone.vpc_id, here.container(id)) == ([], None, None)
        assert (await here.ctx.call(api.DescribeNetworkInterfacesRequest())).network_interfaces == []
        await here.passes(3700)
        assert await refused(here.told(id)) == "InvalidInstanceID.NotFound"

    tell(tmp_path, story)


def test_a_machine_that_ends_by_itself_is_stopped_or_terminated_as_was_said(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        [stopping] = await here.run()
        [ending] = await here.run(instance_initiated_shutdown_behavior="terminate")
        told = await here.until(stopping.instance_id or "", "stopped")
        assert told.state_reason == api.StateReason(
            code="Client.InstanceInitiatedShutdown", message="Client.InstanceInitiatedShutdown: Instance initiated shutdown"
        )
        await here.until(ending.instance_id or "", "terminated")

    tell(tmp_path, story, Program(seconds=5.0))


def test_a_reboot_from_inside_and_one_by_the_api_start_the_same_machine_again(tmp_path: Path) -> None:
    boots: list[int] = []

    async def system(process: Process) -> int:
        boots.append(process.pid)
        if len(boots) == 1:
            await process.sleep(3.0)
            return REBOOT
        process.on_signal("SIGTERM", lambda: process.exit(0))
        await process.sleep(100_000)
        return 0

    async def story(here: Site) -> None:
        id = await here.one()
        await here.passes(20)
        assert (len(boots), (await here.told(id)).state) == (2, api.InstanceState(code=16, name="running"))
        await here.ctx.call(api.RebootInstancesRequest(instance_ids=[id]))
        await here.passes(40)
        assert (len(boots), (await here.told(id)).state) == (3, api.InstanceState(code=16, name="running"))

    tell(tmp_path, story, system)


def test_one_call_makes_as_many_as_there_is_memory_for_and_none_when_they_are_too_few(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        part(here.ctx).machines.memory = 3 * GIB
        made = await here.run(max_count=5, min_count=2)
        assert len(made) == 3
        assert [one.ami_launch_index for one in made] == [0, 1, 2]
        assert len({one.private_ip_address for one in made}) == 3
        assert await refused(here.run()) == "InsufficientInstanceCapacity"
        await here.ctx.call(api.TerminateInstancesRequest(instance_ids=[made[0].instance_id or ""]))
        await here.run()

    tell(tmp_path, story)


def test_a_call_with_the_same_client_token_makes_nothing_new(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        [first] = await here.run(client_token="once")
        [second] = await here.run(client_token="once")
        assert first.instance_id == second.instance_id
        assert await refused(here.run(client_token="once", instance_type="t3.small")) == "IdempotentParameterMismatch"

    tell(tmp_path, story)


def test_what_is_wrong_is_refused_in_the_words_of_aws(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        for wrong, code in (
            ({"image_id": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
            ({"image_id": "web"}, "InvalidAMIID.Malformed"),
            ({"instance_type": "t9.micro"}, "InvalidParameterValue"),
            ({"instance_type": "t4g.micro"}, "InvalidParameterValue"),
            ({"key_name": "nobody"}, "InvalidKeyPair.NotFound"),
            ({"subnet_id": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
            ({"security_group_ids": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
            ({"user_data": "no base64!"}, "InvalidUserData.Malformed"),
            ({"user_data": base64.b64encode(b"x" * 16385).decode()}, "InvalidParameterValue"),
            ({"min_count": 0}, "InvalidParameterValue"),
            ({"min_count": 3, "max_count": 2}, "InvalidParameterValue"),
            ({"iam_instance_profile": api.IamInstanceProfileSpecification(name="nobody")}, "InvalidParameterValue"),
            ({"block_device_mappings": [api.BlockDeviceMapping(device_name="/dev/sdf")]}, "UnsupportedOperation"),
            ({"placement": api.Placement(host_id="h-1")}, "UnsupportedOperation"),
        ):
            assert (wrong, await refused(here.run(**wrong))) == (wrong, code)
        assert (await here.ctx.call(api.DescribeInstancesRequest())).reservations == []
        assert (await here.ctx.call(api.DescribeNetworkInterfacesRequest())).network_interfaces == []

    tell(tmp_path, story)


def test_an_image_that_is_not_here_is_told_in_the_state_reason(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        images = await here.ctx.call(api.DescribeImagesRequest(owners=["136693071363"]))
        [made] = await here.run(image_id=images.images[0].image_id)
        told = await here.until(made.instance_id or "", "terminated")
        assert told.state_reason is not None
        assert "cloudstead image bootstrap debian" in (told.state_reason.message or "")

    tell(tmp_path, story)


def test_protected_instances_stay(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        id = await here.one(disable_api_termination=True, disable_api_stop=True)
        assert await refused(here.ctx.call(api.TerminateInstancesRequest(instance_ids=[id]))) == "OperationNotPermitted"
        assert await refused(here.ctx.call(api.StopInstancesRequest(instance_ids=[id]))) == "OperationNotPermitted"
        for attribute in ("disable_api_stop", "disable_api_termination"):
            said: dict[str, Any] = {attribute: api.AttributeBooleanValue(value=False)}
            await here.ctx.call(api.ModifyInstanceAttributeRequest(instance_id=id, **said))
        await here.ctx.call(api.TerminateInstancesRequest(instance_ids=[id]))
        await here.until(id, "terminated")

    tell(tmp_path, story)


def test_a_stopped_instance_takes_another_type_and_is_started_with_its_limits(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        id = await here.one()
        bigger = api.ModifyInstanceAttributeRequest(instance_id=id, instance_type=api.AttributeValue(value="t3.small"))
        assert await refused(here.ctx.call(bigger)) == "IncorrectInstanceState"
        await here.ctx.call(api.StopInstancesRequest(instance_ids=[id]))
        await here.until(id, "stopped")
        await here.ctx.call(bigger)
        await here.ctx.call(api.StartInstancesRequest(instance_ids=[id]))
        await here.until(id, "running")
        assert here.container(id).spec.resources.memory == 2 * GIB

    tell(tmp_path, story)


def test_a_role_is_passed_with_its_instance_profile(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        trust = (
            '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}'
        )
        await here.ctx.call(iam.CreateRoleRequest(role_name="web", assume_role_policy_document=trust))
        await here.ctx.call(iam.CreateInstanceProfileRequest(instance_profile_name="web"))
        await here.ctx.call(iam.AddRoleToInstanceProfileRequest(instance_profile_name="web", role_name="web"))
        profile = api.IamInstanceProfileSpecification(name="web")
        id = await here.one()
        made = await here.ctx.call(api.AssociateIamInstanceProfileRequest(instance_id=id, iam_instance_profile=profile))
        association = made.iam_instance_profile_association.association_id
        told = await here.told(id)
        assert (told.iam_instance_profile.arn if told.iam_instance_profile else "") == "arn:aws:iam::000000000000:instance-profile/web"
        found = await here.ctx.call(api.DescribeIamInstanceProfileAssociationsRequest())
        assert [one.association_id for one in found.iam_instance_profile_associations] == [association]
        await here.ctx.call(api.DisassociateIamInstanceProfileRequest(association_id=association))
        assert (await here.told(id)).iam_instance_profile is None

    tell(tmp_path, story)


def test_an_interface_that_was_there_before_stays_afterwards(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        subnets = await here.ctx.call(api.DescribeSubnetsRequest())
        made = await here.ctx.call(api.CreateNetworkInterfaceRequest(subnet_id=subnets.subnets[0].subnet_id))
        interface = made.network_interface.network_interface_id
        named = api.InstanceNetworkInterfaceSpecification(device_index=0, network_interface_id=interface)
        id = await here.one(network_interfaces=[named])
        assert (await here.told(id)).private_ip_address == made.network_interface.private_ip_address
        assert await refused(here.run(network_interfaces=[named])) == "InvalidNetworkInterface.InUse"
        await here.ctx.call(api.TerminateInstancesRequest(instance_ids=[id]))
        await here.until(id, "terminated")
        found = await here.ctx.call(api.DescribeNetworkInterfacesRequest(network_interface_ids=[interface]))
        assert found.network_interfaces[0].status == "available"

    tell(tmp_path, story)


def test_instances_are_found_by_filters_in_pages_and_by_status(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        tags = [api.TagSpecification(resource_type="instance", tags=[api.Tag(key="Name", value="web")])]
        [web] = await here.run(tag_specifications=tags)
        others = await here.run(2, instance_type="t3.small")
        await here.until(web.instance_id or "", "running")

        async def found(**filters: str) -> set[str | None]:
            said = [api.Filter(name=name.replace("_", "-"), values=[value]) for name, value in filters.items()]
            answer = await here.ctx.call(api.DescribeInstancesRequest(filters=said))
            return {one.instance_id for each in answer.reservations for one in each.instances}

        assert await found(instance_type="t3.small") == {one.instance_id for one in others}
        assert await found(private_ip_address=web.private_ip_address or "") == {web.instance_id}
        answer = await here.ctx.call(api.DescribeInstancesRequest(filters=[api.Filter(name="tag:Name", values=["w*"])]))
        assert [one.instance_id for each in answer.reservations for one in each.instances] == [web.instance_id]
        page = await here.ctx.call(api.DescribeInstancesRequest(max_results=2))
        rest = await here.ctx.call(api.DescribeInstancesRequest(max_results=2, next_token=page.next_token))
        assert (sum(len(each.instances) for each in rest.reservations), rest.next_token) == (1, None)
        status = await here.ctx.call(api.DescribeInstanceStatusRequest(instance_ids=[web.instance_id or ""]))
        assert status.instance_statuses[0].instance_status.status == "ok"

    tell(tmp_path, story)


def test_machines_are_found_again_after_a_restart_also_those_that_ended_meanwhile(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def main() -> None:
        machine = SimulatedMachine(clock)
        async with site(tmp_path, clock, machine=machine) as here:
            going, ended = await here.one(), await here.one()
        dying: Any = machine.containers[container_id(ended)].main
        dying.exit(0)
        async with site(tmp_path, clock, machine=machine) as here:
            await here.until(ended, "stopped")
            assert (await here.told(going)).state == api.InstanceState(code=16, name="running")
            await here.ctx.call(api.TerminateInstancesRequest(instance_ids=[going, ended]))
            await here.until(going, "terminated")
            await here.until(ended, "terminated")
            assert machine.containers == {}

    asyncio.run(main())


def test_user_data_is_a_script_a_compressed_one_or_a_part_of_an_archive() -> None:
    script = b"#!/bin/sh\necho hello\n"
    archive = (
        b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="B"\n\n--B\nContent-Type: text/x-shellscript\n\n'
        + script
        + b"\n--B--\n"
    )
    assert script_of(script) == (script, "")
    assert script_of(gzip.compress(script)) == (script, "")
    assert script_of(b"") == (b"", "")
    assert script_of(archive)[0].strip() == script.strip()
    assert script_of(b"#cloud-config\nruncmd: []\n") == (b"", "user data that begins with #cloud-config is not run: only scripts are")
    assert script_of(b"\x1f\x8bnonsense")[0] == b""
    assert script_of(gzip.compress(b"#!" + bytes(2 << 20)))[0] == b""


def test_the_machine_is_given_its_script_and_the_key_that_was_named(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        id = await here.one(user_data=base64.b64encode(b"#!/bin/sh\ntrue\n").decode())
        mounts = {mount.target: mount.content for mount in here.container(id).spec.mounts}
        assert mounts[SCRIPT_PATH] == b"#!/bin/sh\ntrue\n"
        answer = await here.ctx.call(api.DescribeInstanceAttributeRequest(instance_id=id, attribute="userData"))
        assert base64.b64decode(answer.user_data.value) == b"#!/bin/sh\ntrue\n"
        assert (await here.told(id)).image_id == WEB

    tell(tmp_path, story)


def test_each_change_of_state_is_an_event(tmp_path: Path) -> None:
    async def story(here: Site) -> None:
        heard: list[tuple[str, str]] = []
        here.ctx.cloud.bus.subscribe("test", lambda event: heard.append((event.detail_type, event.detail["state"])))
        id = await here.one()
        await here.ctx.call(api.TerminateInstancesRequest(instance_ids=[id]))
        await here.until(id, "terminated")
        await here.passes(1.0)
        assert {kind for kind, _ in heard} == {"EC2 Instance State-change Notification"}
        assert [state for _, state in heard] == ["pending", "running", "shutting-down", "terminated"]

    tell(tmp_path, story)


def test_without_an_engine_an_instance_is_terminated_and_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with local_cloud(tmp_path) as cloud:
            ctx = context_in(cloud)
            images = await ctx.call(api.DescribeImagesRequest(owners=["amazon"]))
            asked = api.RunInstancesRequest(image_id=images.images[0].image_id, instance_type="t3.nano", min_count=1, max_count=1)
            id = (await ctx.call(asked)).instances[0].instance_id
            here = Site(ctx, SimulatedMachine(cloud.clock))
            for _ in range(1000):
                if (told := await here.told(id)).state == api.InstanceState(code=48, name="terminated"):
                    break
                await asyncio.sleep(0.02)
            assert told.state_reason is not None
            assert "--engine off" in (told.state_reason.message or "")

    asyncio.run(main())
