"""EC2, the part that stands under everything: VPCs and all that is in them, addresses, key pairs, instance types. Instances are not here yet."""

from cloudstead.kernel.operations import Service

SERVICE = Service(
    name="ec2",
    modules=(
        "vpcs",
        "vpc_attributes",
        "subnets",
        "route_tables",
        "routes",
        "internet_gateways",
        "nat_gateways",
        "addresses",
        "security_groups",
        "security_group_rules",
        "network_interfaces",
        "interface_attributes",
        "network_acls",
        "dhcp_options",
        "zones",
        "key_pairs",
        "instance_types",
        "tagging",
    ),
    tables="model:TABLES",
    start="controller:start",
)
