"""A module of IAM with Terraform: made, unchanged, changed, gone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support import Daemon
from terraform import Terraform, needs_terraform

MODULE = """
data "aws_caller_identity" "me" {}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "read" {
  statement {
    sid       = "Read"
    actions   = ["s3:Get*", "s3:List*"]
    resources = ["arn:aws:s3:::data-${data.aws_caller_identity.me.account_id}", "arn:aws:s3:::data/*"]
    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["home/$${aws:username}/*"]
    }
  }
}

resource "aws_iam_account_alias" "alias" { account_alias = "terraform-journey" }

resource "aws_iam_account_password_policy" "strict" {
  minimum_password_length        = 12
  require_lowercase_characters   = true
  require_numbers                = true
  require_uppercase_characters   = true
  require_symbols                = true
  allow_users_to_change_password = true
  max_password_age               = 90
  password_reuse_prevention      = 3
}

resource "aws_iam_user" "dev" {
  name                 = "Developer.One"
  path                 = "/staff/"
  permissions_boundary = aws_iam_policy.read.arn
  force_destroy        = true
  tags                 = { Team = "platform", "cost centre" = "a+b=c @ 7" }
}

resource "aws_iam_access_key" "dev" { user = aws_iam_user.dev.name }

resource "aws_iam_user_login_profile" "dev" {
  user            = aws_iam_user.dev.name
  password_length = 20
}

resource "aws_iam_user_policy" "dev" {
  name   = "inline"
  user   = aws_iam_user.dev.name
  policy = data.aws_iam_policy_document.read.json
}

resource "aws_iam_user_policy_attachment" "dev" {
  user       = aws_iam_user.dev.name
  policy_arn = "arn:aws:iam::aws:policy/ReadOnlyAccess"
}

resource "aws_iam_group" "devs" { name = "developers" }

resource "aws_iam_group_membership" "devs" {
  name  = "developers"
  users = [aws_iam_user.dev.name]
  group = aws_iam_group.devs.name
}

resource "aws_iam_group_policy" "devs" {
  name   = "inline"
  group  = aws_iam_group.devs.name
  policy = data.aws_iam_policy_document.read.json
}

resource "aws_iam_group_policy_attachment" "devs" {
  group      = aws_iam_group.devs.name
  policy_arn = aws_iam_policy.read.arn
}

resource "aws_iam_policy" "read" {
  name        = "read"
  path        = "/journey/"
  description = "%(description)s"
  policy      = data.aws_iam_policy_document.read.json
  tags        = { Stage = "test" }
}

resource "aws_iam_role" "machine" {
  name                 = "machine"
  description          = "%(description)s"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = %(duration)d
  tags                 = { Team = "%(team)s" }
}

resource "aws_iam_role_policy" "machine" {
  name   = "inline"
  role   = aws_iam_role.machine.id
  policy = data.aws_iam_policy_document.read.json
}

resource "aws_iam_role_policy_attachment" "machine" {
  for_each   = toset(["service-role/AmazonECSTaskExecutionRolePolicy", "AmazonSSMManagedInstanceCore"])
  role       = aws_iam_role.machine.name
  policy_arn = "arn:aws:iam::aws:policy/${each.value}"
}

resource "aws_iam_instance_profile" "machine" {
  name = "machine"
  role = aws_iam_role.machine.name
  tags = { Team = "platform" }
}

resource "aws_iam_openid_connect_provider" "github" {
  url             = "https://token.actions.githubusercontent.com"
  client_id_list  = ["sts.amazonaws.com"]
  thumbprint_list = ["6938fd4d98bab03faadb97b34396831e3780aea1"]
}

resource "aws_iam_role" "deploy" {
  name = "deploy"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "sts:AssumeRoleWithWebIdentity", Principal = { Federated = aws_iam_openid_connect_provider.github.arn } },
      { Effect = "Allow", Action = "sts:AssumeRole", Principal = { AWS = [aws_iam_role.machine.arn, data.aws_caller_identity.me.account_id] } },
    ]
  })
}

resource "aws_iam_service_linked_role" "ecs" {
  aws_service_name = "ecs.amazonaws.com"
  description      = "%(description)s"
}

resource "aws_iam_virtual_mfa_device" "phone" { virtual_mfa_device_name = "phone" }

data "aws_iam_policy" "admin" { name = "AdministratorAccess" }

output "account" { value = data.aws_caller_identity.me.account_id }
output "admin" { value = data.aws_iam_policy.admin.arn }
output "key" { value = aws_iam_access_key.dev.id }
output "profile_role" { value = aws_iam_instance_profile.machine.role }
"""

FIRST = {"description": "made by Terraform", "duration": 3600, "team": "platform"}
SECOND = FIRST | {"duration": 7200, "team": "data"}


CREDENTIALS = """
resource "aws_iam_user" "one" { name = "one" }

resource "aws_iam_group" "all" {
  for_each = toset(["a", "b"])
  name     = each.value
  path     = "/groups/"
}

resource "aws_iam_user_group_membership" "one" {
  user   = aws_iam_user.one.name
  groups = [for group in aws_iam_group.all : group.name]
}

resource "aws_iam_policy" "shared" {
  name_prefix = "shared-"
  policy      = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "sqs:*", Resource = "*" }] })
}

resource "aws_iam_policy_attachment" "shared" {
  name       = "everybody"
  users      = [aws_iam_user.one.name]
  groups     = [aws_iam_group.all["a"].name]
  roles      = [aws_iam_role.named.name]
  policy_arn = aws_iam_policy.shared.arn
}

resource "aws_iam_role" "named" {
  name_prefix           = "named-"
  path                  = "/roles/"
  force_detach_policies = true
  permissions_boundary  = "arn:aws:iam::aws:policy/PowerUserAccess"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { AWS = aws_iam_user.one.arn } }]
  })
}

resource "aws_iam_role_policies_exclusive" "named" {
  role_name    = aws_iam_role.named.name
  policy_names = []
}

resource "aws_iam_role_policy_attachments_exclusive" "named" {
  role_name   = aws_iam_role.named.name
  policy_arns = [aws_iam_policy.shared.arn]
  depends_on  = [aws_iam_policy_attachment.shared]
}

resource "aws_iam_server_certificate" "web" {
  name             = "web"
  certificate_body = file("certificate.pem")
  private_key      = file("key.pem")
  tags             = { Name = "web" }
}

resource "aws_iam_signing_certificate" "one" {
  user_name        = aws_iam_user.one.name
  certificate_body = file("certificate.pem")
  status           = "Inactive"
}

resource "aws_iam_user_ssh_key" "one" {
  username   = aws_iam_user.one.name
  encoding   = "SSH"
  public_key = file("ssh.pub")
}

resource "aws_iam_service_specific_credential" "one" {
  service_name = "codecommit.amazonaws.com"
  user_name    = aws_iam_user.one.name
}

resource "aws_iam_saml_provider" "idp" {
  name                   = "idp"
  saml_metadata_document = file("metadata.xml")
  tags                   = { Name = "idp" }
}

resource "aws_iam_security_token_service_preferences" "new" { global_endpoint_token_version = "v2Token" }

data "aws_iam_roles" "named" {
  path_prefix = "/roles/"
  depends_on  = [aws_iam_role.named]
}

data "aws_iam_user" "one" { user_name = aws_iam_user.one.name }
data "aws_iam_group" "a" {
  group_name = aws_iam_group.all["a"].name
  depends_on = [aws_iam_user_group_membership.one]
}
data "aws_iam_server_certificate" "web" { name = aws_iam_server_certificate.web.name }
data "aws_iam_saml_provider" "idp" { arn = aws_iam_saml_provider.idp.arn }

data "aws_iam_principal_policy_simulation" "one" {
  action_names      = ["sqs:SendMessage"]
  policy_source_arn = aws_iam_user.one.arn
  depends_on        = [aws_iam_policy_attachment.shared]
}

output "roles" { value = length(data.aws_iam_roles.named.names) }
output "members" { value = [for user in data.aws_iam_group.a.users : user.user_name] }
output "allowed" { value = data.aws_iam_principal_policy_simulation.one.all_allowed }
"""


def write_files(directory: Path) -> None:
    """The keys, certificates and metadata that the module reads."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "example.com")])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(datetime(2025, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2035, 1, 1, tzinfo=UTC))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    metadata = (
        '<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://idp.example.com">'
        f'<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"/>{" " * 1000}</EntityDescriptor>'
    )
    for name, content in (("certificate.pem", certificate), ("key.pem", private), ("ssh.pub", public), ("metadata.xml", metadata.encode())):
        (directory / name).write_bytes(content)


@needs_terraform
def test_credentials_and_providers_are_applied_unchanged_by_a_second_plan_and_destroyed(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as cloud, Terraform(tmp_path / "module", cloud.endpoint, CREDENTIALS) as terraform:
        write_files(terraform.directory)
        assert terraform.apply() == {"roles": 1, "members": ["one"], "allowed": True}
        assert terraform.plan() == []
        terraform.destroy()
        assert cloud.client("iam").list_users()["Users"] == []


@needs_terraform
def test_a_module_of_iam_is_applied_unchanged_by_a_second_plan_changed_and_destroyed(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as cloud, Terraform(tmp_path / "module", cloud.endpoint, MODULE % FIRST) as terraform:
        outputs = terraform.apply()
        assert outputs["account"] == "000000000000"
        assert outputs["admin"] == "arn:aws:iam::aws:policy/AdministratorAccess"
        assert outputs["profile_role"] == "machine"
        assert terraform.plan() == []

        iam = cloud.client("iam")
        assert iam.get_role(RoleName="machine")["Role"]["MaxSessionDuration"] == 3600
        terraform.write(MODULE % SECOND)
        assert terraform.plan() == ["update aws_iam_role.machine"]
        terraform.apply()
        role = iam.get_role(RoleName="machine")["Role"]
        assert (role["MaxSessionDuration"], role["Tags"]) == (7200, [{"Key": "Team", "Value": "data"}])
        assert terraform.plan() == []

        # What a module did not make must not keep its user: force_destroy takes it along.
        iam.create_access_key(UserName="Developer.One")
        terraform.destroy()
        assert iam.list_users()["Users"] == []
        assert iam.list_roles()["Roles"] == []
        assert iam.list_policies(Scope="Local")["Policies"] == []
        assert iam.list_account_aliases()["AccountAliases"] == []
        assert iam.list_virtual_mfa_devices()["VirtualMFADevices"] == []
