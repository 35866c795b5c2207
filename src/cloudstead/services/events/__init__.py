"""EventBridge: buses, rules and targets, the public face of the kernel's event bus."""

from cloudstead.kernel.operations import Service

SERVICE = Service(
    name="events",
    modules=(
        "buses",
        "permissions",
        "rules",
        "rule_targets",
        "put_events",
        "tagging",
        "archives",
        "replays",
        "connections",
        "api_destinations",
    ),
    tables="model:TABLES",
    start="controller:start",
    eager=True,  # rules act without being called
)
