"""Instances that are machines: user data runs, limits hold, the metadata service lends credentials, addresses answer, what was written stays."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from docker_host import DockerHost, why_no_docker
from support import client_of

needs_docker = pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker() or "-")
pytestmark = needs_docker

TRUST = {
    "Version": "2012-10-17",
    "Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
}
USER_DATA = """#!/bin/sh
echo "boot of $(hostname)" >> /root/boots
ask() { printf "$@" | nc -w 5 169.254.169.254 80 | tr -d '\\r'; }
token=$(ask 'PUT /latest/api/token HTTP/1.0\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n' | tail -n 1)
get() { ask "GET /latest/meta-data/$1 HTTP/1.0\\r\\nX-aws-ec2-metadata-token: $token\\r\\n\\r\\n" | sed '1,/^$/d'; }
echo "id=$(get instance-id)"
role=$(get iam/security-credentials/)
echo "credentials=$(get iam/security-credentials/$role | tr -d '\\n')"
echo "without=$(ask 'GET /latest/meta-data/instance-id HTTP/1.0\\r\\n\\r\\n' | head -n 1)"
echo "memory=$(cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null | head -n 1)"
cat /proc/self/cgroup
mkdir -p /www && cp /root/boots /www/index.html
httpd -p 80 -h /www
echo ready
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHost]:
    with DockerHost(tmp_path_factory.mktemp("machines") / "data") as host:
        host.make_busybox()
        host.docker("tag", "busybox", "ami/busybox")
        yield host


def console(ec2: Any, id: str) -> str:
    return str(ec2.get_console_output(InstanceId=id)["Output"])


def heard(ec2: Any, id: str, word: str) -> str:
    """The console, once a word is on it."""
    deadline = time.monotonic() + 30
    while word not in (text := console(ec2, id)):
        assert time.monotonic() < deadline, text
        time.sleep(0.1)
    return text


def image(ec2: Any) -> str:
    [found] = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["busybox"]}])["Images"]
    return str(found["ImageId"])


def test_a_machine_runs_its_user_data_with_the_credentials_of_its_profile_and_within_its_limits(host: DockerHost) -> None:
    ec2, iam = host.client("ec2"), host.client("iam")
    iam.create_role(RoleName="machine", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.create_instance_profile(InstanceProfileName="machine")
    iam.add_role_to_instance_profile(InstanceProfileName="machine", RoleName="machine")
    group = ec2.create_security_group(GroupName="web", Description="web")["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0")
    made = ec2.run_instances(
        ImageId=image(ec2), InstanceType="t3.nano", MinCount=1, MaxCount=1, UserData=USER_DATA, SecurityGroupIds=[group],
        IamInstanceProfile={"Name": "machine"}, MetadataOptions={"HttpTokens": "required"},
    )["Instances"][0]  # fmt: skip
    id, ip = made["InstanceId"], made["PrivateIpAddress"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[id], WaiterConfig={"Delay": 1})
    ec2.get_waiter("instance_status_ok").wait(InstanceIds=[id], WaiterConfig={"Delay": 1})
    said = heard(ec2, id, "ready")
    assert f"id={id}" in text_lines(said)
    assert any(line.startswith("without=HTTP/1") and "401" in line for line in text_lines(said))
    lent = json.loads(re.search(r"credentials=(\{.*\})", said)[1])  # type: ignore[index]
    sts = client_of(host.endpoint, "sts", key=lent["AccessKeyId"], secret=lent["SecretAccessKey"], token=lent["Token"])
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:sts::000000000000:assumed-role/machine/{id}"
    assert f"memory={512 << 20}" in text_lines(said)
    asking = f"#!/bin/sh\nuntil printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {ip} 80; do sleep 0.2; done\necho asked\n"
    other = ec2.run_instances(ImageId=image(ec2), InstanceType="t3.nano", MinCount=1, MaxCount=1, UserData=asking)["Instances"][0][
        "InstanceId"
    ]
    assert f"boot of ip-{ip.replace('.', '-')}" in heard(ec2, other, "asked")
    ec2.terminate_instances(InstanceIds=[id, other])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[id, other], WaiterConfig={"Delay": 1})
    assert [one for one in ec2.describe_network_interfaces()["NetworkInterfaces"] if one.get("Attachment", {}).get("InstanceId")] == []


def text_lines(text: str) -> list[str]:
    return text.splitlines()


def test_a_machine_that_is_stopped_keeps_its_files_and_a_daemon_that_is_killed_finds_it_again(host: DockerHost) -> None:
    ec2 = host.client("ec2")
    script = "#!/bin/sh\necho once >> /root/runs\necho runs=$(wc -l < /root/runs)\n"
    id = ec2.run_instances(ImageId=image(ec2), InstanceType="t3.nano", MinCount=1, MaxCount=1, UserData=script)["Instances"][0][
        "InstanceId"
    ]
    heard(ec2, id, "runs=1")
    host.kill()
    host.start()
    ec2 = host.client("ec2")
    assert ec2.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"
    ec2.stop_instances(InstanceIds=[id])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[id], WaiterConfig={"Delay": 1})
    ec2.start_instances(InstanceIds=[id])
    ec2.get_waiter("instance_running").wait(InstanceIds=[id], WaiterConfig={"Delay": 1})
    assert "runs=1" in console(ec2, id)
    assert "runs=2" not in console(ec2, id)
    ec2.terminate_instances(InstanceIds=[id])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[id], WaiterConfig={"Delay": 1})


def test_a_machine_that_shuts_itself_down_ends_as_was_said(host: DockerHost) -> None:
    ec2 = host.client("ec2")
    asked = {"ImageId": image(ec2), "InstanceType": "t3.nano", "MinCount": 1, "MaxCount": 1}
    id = ec2.run_instances(**asked, UserData="#!/bin/sh\nshutdown -h now\n", InstanceInitiatedShutdownBehavior="terminate")["Instances"][0][
        "InstanceId"
    ]
    deadline = time.monotonic() + 30
    while (told := ec2.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"][0])["State"]["Name"] != "terminated":
        assert time.monotonic() < deadline, console(ec2, id)
        time.sleep(0.1)
    assert told["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
