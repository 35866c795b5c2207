"""EC2, the part that stands under everything: VPCs and all that is in them, addresses, key pairs, instances and their types."""

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
        "images",
        "instances",
        "launching",
        "metadata_options",
        "instance_attributes",
        "instance_profiles",
        "tagging",
    ),
    tables="model:TABLES",
    start="controller:start",
    eager=True,  # machines end, and ask for their metadata, also when nobody calls
)
