"""An instance with Terraform: made, unchanged, changed in place, gone."""

from __future__ import annotations

from pathlib import Path

from docker_host import DockerHost
from terraform import Terraform, needs_terraform

MODULE = """
data "aws_ami" "busybox" {
  owners      = ["self"]
  most_recent = true
  filter {
    name   = "name"
    values = ["busy*"]
  }
}

resource "aws_iam_role" "web" {
  name = "web"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_instance_profile" "web" {
  name = "web"
  role = aws_iam_role.web.name
}

resource "aws_security_group" "web" { name = "web" }

resource "aws_instance" "web" {
  ami                    = data.aws_ami.busybox.id
  instance_type          = "t3.nano"
  iam_instance_profile   = aws_iam_instance_profile.web.name
  vpc_security_group_ids = [aws_security_group.web.id]
  user_data              = "#!/bin/sh\\necho hello\\n"
  metadata_options {
    http_tokens = "required"
  }
  tags = { Name = "%(name)s" }
}

output "id" { value = aws_instance.web.id }
output "ip" { value = aws_instance.web.private_ip }
"""


@needs_terraform
def test_an_instance_is_made_unchanged_changed_and_gone(tmp_path: Path) -> None:
    with DockerHost(tmp_path / "data") as cloud:
        cloud.make_busybox()
        cloud.docker("tag", "busybox", "ami/busybox")
        with Terraform(tmp_path / "module", cloud.endpoint, MODULE % {"name": "first"}) as terraform:
            made = terraform.apply()
            assert terraform.plan() == []
            ec2 = cloud.client("ec2")
            [told] = ec2.describe_instances(InstanceIds=[made["id"]])["Reservations"][0]["Instances"]
            assert (told["State"]["Name"], told["PrivateIpAddress"]) == ("running", made["ip"])
            terraform.write(MODULE % {"name": "second"})
            assert terraform.plan() == ["update aws_instance.web"]
            terraform.apply()
            assert terraform.plan() == []
            terraform.destroy()
            [gone] = ec2.describe_instances(InstanceIds=[made["id"]])["Reservations"][0]["Instances"]
            assert gone["State"]["Name"] == "terminated"
