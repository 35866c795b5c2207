"""IAM: users, roles, policies and the keys that sign calls."""

from cloudstead.kernel.operations import Service

SERVICE = Service(
    name="iam",
    modules=(
        "users",
        "groups",
        "roles",
        "access_keys",
        "instance_profiles",
        "managed_policies",
        "policy_versions",
        "policy_usage",
        "inline_policies",
        "attachments",
        "boundaries",
    ),
    tables="model:TABLES",
)
