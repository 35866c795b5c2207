"""The rows that IAM keeps.

    account
    ├── settings                    alias, password policy                                      AccountSettings
    ├── users/<name>                with its groups, inline and attached policies, boundary     User
    │   ├── access-keys/<id>        also those of the root user, whose `user` is empty          AccessKey
    │   ├── login-profile           the console's password                                      LoginProfile
    │   ├── ssh-keys/<id>                                                                       SshPublicKey
    │   ├── signing-certificates/<id>                                                           SigningCertificate
    │   └── service-credentials/<id>                                                            ServiceCredential
    ├── groups/<name>               with inline and attached policies                           Group
    ├── roles/<name>                with trust policy, inline and attached policies, boundary   Role
    ├── instance-profiles/<name>    with its one role                                           InstanceProfile
    ├── policies/<name>             the account's managed policies, each with its versions      ManagedPolicy
    ├── oidc-providers/<host/path>                                                              OpenIDConnectProvider
    ├── saml-providers/<name>                                                                   SamlProvider
    ├── server-certificates/<name>                                                              ServerCertificate
    ├── mfa-devices/<serial>        virtual ones, perhaps a user's                              MfaDevice
    ├── uses/<subject>/<service>    when a key, user or role was last used for what             Use
    ├── credential-report           the latest                                                  CredentialReport
    └── tasks/<id>                  what was asked for and can be asked about for a while       Task

What belongs to a user, group or role stands in its row: AWS allows a few groups, ten or twenty attached policies and some KB of inline ones, and
so all that decides on a caller's rights is found by a handful of look-ups and without a scan. The other directions (who has this policy, who is in
this group) are indexes.

Temporary credentials have no rows: their tokens hold the session (kernel/sessions.py). AWS's own managed policies are data (aws_managed.py).
Names are compared without case, so the folded name is the key; `name` is as it was given.
Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from cloudstead.kernel.store import Row, Table

Tags: TypeAlias = dict[str, str]
KeyStatus: TypeAlias = Literal["Active", "Inactive"]


def fold(name: str) -> str:
    """How a name is compared: IAM takes `Alice` and `alice` for the same."""
    return name.lower()


class User(Row, frozen=True, kw_only=True):
    account: str
    name: str
    user_id: str  # AIDA…
    arn: str
    created: float
    path: str = "/"
    groups: tuple[str, ...] = ()  # names, in the order of joining
    inline: dict[str, str] = {}  # policy name -> document
    attached: tuple[str, ...] = ()  # ARNs of managed policies
    boundary: str = ""  # ARN of a managed policy
    tags: Tags = {}
    password_last_used: float | None = None


class Group(Row, frozen=True, kw_only=True):
    account: str
    name: str
    group_id: str  # AGPA…
    arn: str
    created: float
    path: str = "/"
    inline: dict[str, str] = {}
    attached: tuple[str, ...] = ()


class Role(Row, frozen=True, kw_only=True):
    account: str
    name: str
    role_id: str  # AROA…
    arn: str
    created: float
    trust_policy: str
    path: str = "/"
    description: str = ""
    max_session_duration: int = 3600  # seconds
    inline: dict[str, str] = {}
    attached: tuple[str, ...] = ()
    boundary: str = ""
    tags: Tags = {}


class InstanceProfile(Row, frozen=True, kw_only=True):
    account: str
    name: str
    instance_profile_id: str  # AIPA…
    arn: str
    created: float
    path: str = "/"
    role: str = ""  # its name
    tags: Tags = {}


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    version_id: str  # "v1"
    document: str
    created: float


class ManagedPolicy(Row, frozen=True, kw_only=True):
    account: str
    name: str
    policy_id: str  # ANPA…
    arn: str
    created: float
    updated: float
    versions: tuple[PolicyVersion, ...]  # at most five, the oldest first
    default_version: str
    next_version: int = 2  # numbers are never used again
    path: str = "/"
    description: str = ""
    tags: Tags = {}

    @property
    def document(self) -> str:
        """The default version's."""
        return next(one.document for one in self.versions if one.version_id == self.default_version)


class AccessKey(Row, frozen=True, kw_only=True):
    account: str
    access_key_id: str  # AKIA…
    secret_access_key: str
    created: float
    user: str = ""  # its user's name; empty for the root user
    status: KeyStatus = "Active"


class LoginProfile(Row, frozen=True, kw_only=True):
    account: str
    user: str
    password_hash: str  # scrypt; "salt$hash", both base64
    created: float
    password_reset_required: bool = False
    previous: tuple[str, ...] = ()  # hashes of earlier passwords, the latest first; as many as any password policy can forbid
    changed: float = 0.0  # when the password was set


class PasswordPolicy(msgspec.Struct, frozen=True, kw_only=True):
    minimum_password_length: int = 6
    require_symbols: bool = False
    require_numbers: bool = False
    require_uppercase_characters: bool = False
    require_lowercase_characters: bool = False
    allow_users_to_change_password: bool = False
    max_password_age: int = 0  # days; 0: passwords do not expire
    password_reuse_prevention: int = 0
    hard_expiry: bool = False


class AccountSettings(Row, frozen=True, kw_only=True):
    account: str
    alias: str = ""
    password_policy: PasswordPolicy | None = None
    token_version: int = 1  # of the tokens that the global endpoint of STS gives


class OpenIDConnectProvider(Row, frozen=True, kw_only=True):
    account: str
    url: str  # without "https://", as AWS tells it
    arn: str
    created: float
    client_ids: tuple[str, ...] = ()
    thumbprints: tuple[str, ...] = ()
    tags: Tags = {}


class SamlPrivateKey(msgspec.Struct, frozen=True, kw_only=True):
    key_id: str
    added: float
    pem: str


class SamlProvider(Row, frozen=True, kw_only=True):
    account: str
    name: str
    arn: str
    created: float
    metadata: str  # the provider's SAML metadata document
    valid_until: float | None = None
    uuid: str = ""
    encryption: Literal["Required", "Allowed"] = "Allowed"
    private_keys: tuple[SamlPrivateKey, ...] = ()
    tags: Tags = {}


class ServerCertificate(Row, frozen=True, kw_only=True):
    account: str
    name: str
    certificate_id: str  # ASCA…
    arn: str
    uploaded: float
    body: str  # PEM
    private_key: str  # PEM; never told again
    expires: float
    chain: str = ""
    path: str = "/"
    tags: Tags = {}


class SshPublicKey(Row, frozen=True, kw_only=True):
    account: str
    user: str
    key_id: str  # APKA…
    body: str  # "ssh-rsa AAAA…"
    fingerprint: str  # MD5, as AWS shows it
    uploaded: float
    status: KeyStatus = "Active"


class SigningCertificate(Row, frozen=True, kw_only=True):
    account: str
    user: str
    certificate_id: str  # 32 letters and digits
    body: str  # PEM
    uploaded: float
    status: KeyStatus = "Active"


class ServiceCredential(Row, frozen=True, kw_only=True):
    account: str
    user: str
    credential_id: str  # ACCA…
    service: str  # "codecommit.amazonaws.com"
    user_name: str  # at the service
    password_hash: str
    created: float
    expires: float | None = None
    status: KeyStatus = "Active"


class MfaDevice(Row, frozen=True, kw_only=True):
    account: str
    serial: str  # its ARN
    seed: str  # base32
    created: float
    user: str = ""  # whose it is, once enabled
    enabled: float | None = None
    last_step: int = 0  # the 30 seconds of the latest code that was taken, which is not taken again
    skew: int = 0  # how many times 30 seconds its clock is ahead of ours
    tags: Tags = {}


class Use(Row, frozen=True, kw_only=True):
    """The last use of a key, user or role for one service. Written now and then; what is newer is in `credentials.Keys`."""

    account: str
    subject: str  # an access key id, or the ARN of a user or role
    service: str  # "s3"
    region: str
    at: float


class CredentialReport(Row, frozen=True, kw_only=True):
    account: str
    generated: float
    content: str  # CSV


class Task(Row, frozen=True, kw_only=True):
    """The deletion of a service-linked role, or a report about when services were last used."""

    account: str
    task_id: str
    created: float
    subject: str  # the ARN that it is about
    granularity: str = ""  # of a report


USERS = Table(
    "iam.users",
    User,
    key=lambda user: (user.account, fold(user.name)),
    indexes={
        "by_id": lambda user: (user.account, user.user_id),
        "by_group": lambda user: [(user.account, fold(group)) for group in user.groups],
        "by_policy": lambda user: [(user.account, arn) for arn in user.attached],
        "by_boundary": lambda user: (user.account, user.boundary) if user.boundary else None,
    },
)
GROUPS = Table(
    "iam.groups",
    Group,
    key=lambda group: (group.account, fold(group.name)),
    indexes={"by_policy": lambda group: [(group.account, arn) for arn in group.attached]},
)
ROLES = Table(
    "iam.roles",
    Role,
    key=lambda role: (role.account, fold(role.name)),
    indexes={
        "by_id": lambda role: (role.account, role.role_id),
        "by_policy": lambda role: [(role.account, arn) for arn in role.attached],
        "by_boundary": lambda role: (role.account, role.boundary) if role.boundary else None,
    },
)
INSTANCE_PROFILES = Table(
    "iam.instance_profiles",
    InstanceProfile,
    key=lambda profile: (profile.account, fold(profile.name)),
    indexes={"by_role": lambda profile: (profile.account, fold(profile.role)) if profile.role else None},
)
POLICIES = Table(
    "iam.policies",
    ManagedPolicy,
    key=lambda policy: (policy.account, fold(policy.name)),
    indexes={"by_arn": lambda policy: (policy.account, policy.arn)},
    unique=("by_arn",),
)
ACCESS_KEYS = Table(
    "iam.access_keys",
    AccessKey,
    key=lambda key: (key.account, key.access_key_id),
    indexes={"by_id": lambda key: (key.access_key_id,), "by_user": lambda key: (key.account, fold(key.user))},
    unique=("by_id",),
)
LOGIN_PROFILES = Table("iam.login_profiles", LoginProfile, key=lambda profile: (profile.account, fold(profile.user)))
SETTINGS = Table(
    "iam.settings",
    AccountSettings,
    key=lambda settings: (settings.account,),
    indexes={"by_alias": lambda settings: (settings.alias,) if settings.alias else None},
)
OIDC_PROVIDERS = Table("iam.oidc_providers", OpenIDConnectProvider, key=lambda provider: (provider.account, provider.url))
SAML_PROVIDERS = Table("iam.saml_providers", SamlProvider, key=lambda provider: (provider.account, fold(provider.name)))
SERVER_CERTIFICATES = Table("iam.server_certificates", ServerCertificate, key=lambda one: (one.account, fold(one.name)))
SSH_PUBLIC_KEYS = Table("iam.ssh_public_keys", SshPublicKey, key=lambda one: (one.account, fold(one.user), one.key_id))
SIGNING_CERTIFICATES = Table(
    "iam.signing_certificates", SigningCertificate, key=lambda one: (one.account, fold(one.user), one.certificate_id)
)
SERVICE_CREDENTIALS = Table("iam.service_credentials", ServiceCredential, key=lambda one: (one.account, fold(one.user), one.credential_id))
MFA_DEVICES = Table(
    "iam.mfa_devices",
    MfaDevice,
    key=lambda device: (device.account, device.serial),
    indexes={"by_user": lambda device: (device.account, fold(device.user)) if device.enabled is not None else None},
)
CREDENTIAL_REPORTS = Table("iam.credential_reports", CredentialReport, key=lambda report: (report.account,))
TASKS = Table(
    "iam.tasks",
    Task,
    key=lambda task: (task.account, task.task_id),
    indexes={"by_age": lambda task: (task.account, task.created)},
)
USES = Table("iam.uses", Use, key=lambda use: (use.account, use.subject, use.service))

TABLES = (
    USERS,
    GROUPS,
    ROLES,
    INSTANCE_PROFILES,
    POLICIES,
    ACCESS_KEYS,
    LOGIN_PROFILES,
    SETTINGS,
    OIDC_PROVIDERS,
    SAML_PROVIDERS,
    SERVER_CERTIFICATES,
    SSH_PUBLIC_KEYS,
    SIGNING_CERTIFICATES,
    SERVICE_CREDENTIALS,
    MFA_DEVICES,
    USES,
    CREDENTIAL_REPORTS,
    TASKS,
)
