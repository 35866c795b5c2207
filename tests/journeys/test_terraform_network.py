"""A network with Terraform: made, unchanged, changed, gone."""

from __future__ import annotations

from pathlib import Path

from support import Daemon
from terraform import Terraform, needs_terraform

MODULE = """
data "aws_availability_zones" "all" { state = "available" }

data "aws_vpc" "default" { default = true }

data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
}

resource "aws_vpc" "shop" {
  cidr_block           = "10.20.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = "shop" }
}

resource "aws_vpc_ipv4_cidr_block_association" "more" {
  vpc_id     = aws_vpc.shop.id
  cidr_block = "10.21.0.0/16"
}

resource "aws_subnet" "public" {
  vpc_id                  = aws_vpc.shop.id
  cidr_block              = "10.20.1.0/24"
  availability_zone       = data.aws_availability_zones.all.names[0]
  map_public_ip_on_launch = true
  tags                    = { Name = "public" }
}

resource "aws_subnet" "private" {
  vpc_id            = aws_vpc.shop.id
  cidr_block        = "10.20.2.0/24"
  availability_zone = data.aws_availability_zones.all.names[1]
}

resource "aws_internet_gateway" "way" { vpc_id = aws_vpc.shop.id }

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.shop.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.way.id
  }
}

resource "aws_route_table" "private" { vpc_id = aws_vpc.shop.id }

resource "aws_route" "out" {
  route_table_id         = aws_route_table.private.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.nat.id
}

resource "aws_route_table_association" "public" {
  subnet_id      = aws_subnet.public.id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table_association" "private" {
  subnet_id      = aws_subnet.private.id
  route_table_id = aws_route_table.private.id
}

resource "aws_eip" "nat" {
  domain     = "vpc"
  depends_on = [aws_internet_gateway.way]
}

resource "aws_nat_gateway" "nat" {
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.public.id
}

resource "aws_security_group" "web" {
  name        = "web"
  description = "the web servers"
  vpc_id      = aws_vpc.shop.id
  ingress {
    description = "https"
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
  ingress {
    from_port = 8000
    to_port   = 8100
    protocol  = "tcp"
    self      = true
  }
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "database" {
  name_prefix = "database-"
  vpc_id      = aws_vpc.shop.id
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id            = aws_security_group.database.id
  referenced_security_group_id = aws_security_group.web.id
  ip_protocol                  = "tcp"
  from_port                    = %(port)d
  to_port                      = %(port)d
  tags                         = { Name = "sql" }
}

resource "aws_vpc_security_group_egress_rule" "database" {
  security_group_id = aws_security_group.database.id
  cidr_ipv4         = "10.20.0.0/16"
  ip_protocol       = "-1"
}

resource "aws_network_interface" "web" {
  subnet_id       = aws_subnet.public.id
  private_ips     = ["10.20.1.50"]
  security_groups = [aws_security_group.web.id]
  description     = "the first web server"
}

resource "aws_eip" "web" {
  network_interface = aws_network_interface.web.id
  depends_on        = [aws_internet_gateway.way]
}

resource "aws_network_acl" "private" {
  vpc_id     = aws_vpc.shop.id
  subnet_ids = [aws_subnet.private.id]
  ingress {
    rule_no    = 100
    action     = "allow"
    protocol   = "tcp"
    cidr_block = "10.20.0.0/16"
    from_port  = 0
    to_port    = 65535
  }
}

resource "aws_vpc_dhcp_options" "own" {
  domain_name         = "shop.internal"
  domain_name_servers = ["AmazonProvidedDNS"]
}

resource "aws_vpc_dhcp_options_association" "own" {
  vpc_id          = aws_vpc.shop.id
  dhcp_options_id = aws_vpc_dhcp_options.own.id
}

resource "aws_key_pair" "me" {
  key_name   = "me"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGM2nNZUUnSXVLJKQWQjGeA9CRtVRTMsUAGYBGSFBnbn me@example"
}


data "aws_ec2_instance_type" "small" { instance_type = "t3.small" }

output "zones" { value = data.aws_availability_zones.all.names }
output "default_subnets" { value = length(data.aws_subnets.default.ids) }
output "memory" { value = data.aws_ec2_instance_type.small.memory_size }
output "vpc" { value = aws_vpc.shop.id }
output "database" { value = aws_security_group.database.id }
"""


@needs_terraform
def test_a_module_of_a_network_is_made_unchanged_changed_and_gone(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as cloud, Terraform(tmp_path / "module", cloud.endpoint, MODULE % {"port": 5432}) as terraform:
        made = terraform.apply()
        assert made["zones"] == ["us-east-1a", "us-east-1b", "us-east-1c"]
        assert (made["default_subnets"], made["memory"]) == (3, 2048)
        assert terraform.plan() == []
        ec2 = cloud.client("ec2")
        in_database = [{"Name": "group-id", "Values": [made["database"]]}]
        terraform.write(MODULE % {"port": 3306})
        assert terraform.plan() == ["update aws_vpc_security_group_ingress_rule.database"]
        terraform.apply()
        rules = ec2.describe_security_group_rules(Filters=in_database)["SecurityGroupRules"]
        assert {rule["FromPort"] for rule in rules if not rule["IsEgress"]} == {3306}
        assert terraform.plan() == []
        terraform.destroy()
        assert [vpc["IsDefault"] for vpc in ec2.describe_vpcs()["Vpcs"]] == [True]
        assert ec2.describe_addresses()["Addresses"] == []
        assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []
