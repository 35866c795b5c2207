"""ECR: private registries. Their content is `engine.registry`'s; here are AWS's names, rules, policies and what runs by itself."""

from cloudstead.kernel.operations import Service

SERVICE = Service(
    name="ecr",
    modules=(
        "repositories",
        "creation_templates",
        "lifecycle_policies",
        "replication",
        "backfills",
        "pull_through_cache",
        "authorization",
        "pull_times",
        "registries",
        "repository_policies",
        "scans",
        "settings",
        "signing",
        "tagging",
        "images",
        "image_details",
        "layers",
        "storage_classes",
    ),
    tables="model:TABLES",
    start="controller:start",
    eager=True,  # images expire, are scanned and replicated also when nobody calls
)
