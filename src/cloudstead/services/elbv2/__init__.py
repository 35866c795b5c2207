"""Elastic Load Balancing v2: application and network load balancers whose listeners really listen."""

from cloudstead.kernel.operations import Service

SERVICE = Service(
    name="elbv2",
    modules=(
        "load_balancers",
        "load_balancer_settings",
        "listeners",
        "listener_settings",
        "rules",
        "target_groups",
        "target_group_settings",
        "targets",
        "tagging",
        "limits",
        "ssl_policies",
    ),
    tables="model:TABLES",
    start="controller:start",
    eager=True,  # listeners listen without being called
)
