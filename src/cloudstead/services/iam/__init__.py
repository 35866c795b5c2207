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
        "login_profiles",
        "account",
        "authorization_details",
        "credential_report",
        "grants",
        "last_accessed",
        "oidc_providers",
        "saml_providers",
        "server_certificates",
        "ssh_public_keys",
        "signing_certificates",
        "service_credentials",
        "mfa_devices",
        "service_linked_roles",
        "tagging",
        "simulate",
    ),
    tables="model:TABLES",
    start="mfa_devices:start",
)
