"""CloudWatch Logs: groups, streams and events on durable segment files."""

from cloudstead.kernel.operations import Service

SERVICE = Service(
    name="logs",
    modules=("groups", "streams", "log_events", "tagging", "filters", "policies", "live_tail", "queries"),
    tables="model:TABLES",
    start="controller:start",
    eager=True,  # events expire, and subscriptions have a backlog, also when nobody calls
)
