"""ECS: clusters, task definitions and account settings. What runs containers comes on top of these rows."""

from cloudstead.kernel.operations import Service

SERVICE = Service(
    name="ecs",
    modules=(
        "clusters",
        "cluster_changes",
        "cluster_capacity",
        "capacity_providers",
        "task_definitions",
        "task_definition_deletion",
        "task_definition_lists",
        "account_settings",
        "tagging",
        "task_running",
        "task_listing",
        "task_stopping",
        "command_execution",
    ),
    tables="tables:TABLES",
    start="controller:start",
    eager=True,  # tasks end, and their output comes, also when nobody calls
)
