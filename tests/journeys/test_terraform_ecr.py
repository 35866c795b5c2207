"""Modules of ECR with Terraform: made, unchanged, changed, gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import Daemon
from terraform import Terraform, needs_terraform

pytestmark = [needs_terraform, pytest.mark.xdist_group("terraform-ecr")]

MODULE = """
resource "aws_ecr_repository" "app" {
  name                 = "team/app"
  image_tag_mutability = "%(mutability)s"
  image_scanning_configuration { scan_on_push = true }
  encryption_configuration { encryption_type = "AES256" }
  tags = { Team = "app" }
}

resource "aws_ecr_repository" "second" {
  name         = "second"
  force_delete = true
}

data "aws_iam_policy_document" "pull" {
  statement {
    sid     = "pull"
    actions = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    principals {
      type        = "AWS"
      identifiers = ["111122223333"]
    }
  }
}

resource "aws_ecr_repository_policy" "app" {
  repository = aws_ecr_repository.app.name
  policy     = data.aws_iam_policy_document.pull.json
}

data "aws_ecr_lifecycle_policy_document" "app" {
  rule {
    priority    = 1
    description = "no more than %(kept)d releases"
    selection {
      tag_status      = "tagged"
      tag_prefix_list = ["v"]
      count_type      = "imageCountMoreThan"
      count_number    = %(kept)d
    }
  }
  rule {
    priority = 2
    selection {
      tag_status   = "untagged"
      count_type   = "sinceImagePushed"
      count_unit   = "days"
      count_number = 14
    }
    action { type = "expire" }
  }
}

resource "aws_ecr_lifecycle_policy" "app" {
  repository = aws_ecr_repository.app.name
  policy     = data.aws_ecr_lifecycle_policy_document.app.json
}

resource "aws_ecr_lifecycle_policy" "second" {
  repository = aws_ecr_repository.second.name
  policy = jsonencode({
    rules = [{
      rulePriority = 5
      selection    = { tagStatus = "tagged", tagPatternList = ["pr-*"], countType = "imageCountMoreThan", countNumber = 10 }
      action       = { type = "expire" }
    }]
  })
}

data "aws_caller_identity" "me" {}

resource "aws_ecr_registry_policy" "me" {
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "replicate"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::111122223333:root" }
      Action    = ["ecr:ReplicateImage", "ecr:CreateRepository"]
      Resource  = ["arn:aws:ecr:us-east-1:${data.aws_caller_identity.me.account_id}:repository/*"]
    }]
  })
}

resource "aws_ecr_replication_configuration" "me" {
  replication_configuration {
    rule {
      destination {
        region      = "eu-west-1"
        registry_id = data.aws_caller_identity.me.account_id
      }
      destination {
        region      = "us-east-1"
        registry_id = "111122223333"
      }
      repository_filter {
        filter      = "team/"
        filter_type = "PREFIX_MATCH"
      }
    }
  }
}

resource "aws_ecr_registry_scanning_configuration" "me" {
  scan_type = "BASIC"
  rule {
    scan_frequency = "SCAN_ON_PUSH"
    repository_filter {
      filter      = "team/*"
      filter_type = "WILDCARD"
    }
  }
}

resource "aws_secretsmanager_secret" "hub" { name = "ecr-pullthroughcache/hub" }

resource "aws_secretsmanager_secret_version" "hub" {
  secret_id     = aws_secretsmanager_secret.hub.id
  secret_string = jsonencode({ username = "ana", accessToken = "secret" })
}

resource "aws_ecr_pull_through_cache_rule" "hub" {
  ecr_repository_prefix = "docker-hub"
  upstream_registry_url = "registry-1.docker.io"
  credential_arn        = aws_secretsmanager_secret.hub.arn
  depends_on            = [aws_secretsmanager_secret_version.hub]
}

resource "aws_ecr_pull_through_cache_rule" "public" {
  ecr_repository_prefix = "public"
  upstream_registry_url = "public.ecr.aws"
}

resource "aws_ecr_repository_creation_template" "cache" {
  prefix               = "docker-hub"
  description          = "what comes from the hub"
  image_tag_mutability = "MUTABLE"
  applied_for          = ["PULL_THROUGH_CACHE"]
  encryption_configuration { encryption_type = "AES256" }
  lifecycle_policy = jsonencode({
    rules = [{
      rulePriority = 1
      selection    = { tagStatus = "any", countType = "sinceImagePushed", countUnit = "days", countNumber = 30 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_ecr_account_setting" "scanning" {
  name  = "BASIC_SCAN_TYPE_VERSION"
  value = "AWS_NATIVE"
}

data "aws_ecr_repository" "app" { name = aws_ecr_repository.app.name }

data "aws_ecr_authorization_token" "me" {}

output "url" { value = aws_ecr_repository.app.repository_url }
output "arn" { value = data.aws_ecr_repository.app.arn }
output "user" { value = data.aws_ecr_authorization_token.me.user_name }
output "proxy" { value = data.aws_ecr_authorization_token.me.proxy_endpoint }
"""

PUBLIC = """
resource "aws_ecrpublic_repository" "site" {
  repository_name = "site"
  catalog_data {
    description       = "%(description)s"
    about_text        = "about"
    usage_text        = "usage"
    architectures     = ["x86-64"]
    operating_systems = ["Linux"]
  }
  tags = { Team = "site" }
}

resource "aws_ecrpublic_repository_policy" "site" {
  repository_name = aws_ecrpublic_repository.site.repository_name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "push"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::111122223333:root" }
      Action    = ["ecr-public:PutImage"]
    }]
  })
}

output "uri" { value = aws_ecrpublic_repository.site.repository_uri }
"""


def test_a_module_of_ecr_is_made_unchanged_changed_and_gone(tmp_path: Path) -> None:
    first, second = {"mutability": "MUTABLE", "kept": 5}, {"mutability": "IMMUTABLE", "kept": 3}
    with Daemon(tmp_path / "data") as cloud, Terraform(tmp_path / "module", cloud.endpoint, MODULE % first) as terraform:
        made = terraform.apply()
        assert made["url"].startswith("000000000000.dkr.ecr.us-east-1.localhost:")
        assert made["url"].endswith("/team/app")
        assert made["arn"] == "arn:aws:ecr:us-east-1:000000000000:repository/team/app"
        assert made["user"] == "AWS"
        assert terraform.plan() == []
        ecr = cloud.client("ecr")
        terraform.write(MODULE % second)
        assert terraform.plan() == ["delete+create aws_ecr_lifecycle_policy.app", "update aws_ecr_repository.app"]
        terraform.apply()
        assert terraform.plan() == []
        [repository] = ecr.describe_repositories(repositoryNames=["team/app"])["repositories"]
        assert repository["imageTagMutability"] == "IMMUTABLE"
        policy = json.loads(ecr.get_lifecycle_policy(repositoryName="team/app")["lifecyclePolicyText"])
        assert policy["rules"][0]["selection"]["countNumber"] == 3
        terraform.destroy()
        assert ecr.describe_repositories()["repositories"] == []
        assert ecr.describe_pull_through_cache_rules()["pullThroughCacheRules"] == []
        assert ecr.describe_repository_creation_templates()["repositoryCreationTemplates"] == []
        assert ecr.describe_registry()["replicationConfiguration"]["rules"] == []


def test_a_module_of_ecr_public_is_made_unchanged_changed_and_gone(tmp_path: Path) -> None:
    module = tmp_path / "module"
    with Daemon(tmp_path / "data") as cloud, Terraform(module, cloud.endpoint, PUBLIC % {"description": "one"}) as terraform:
        made = terraform.apply()
        assert made["uri"].startswith("public.ecr.localhost:")
        assert made["uri"].endswith("/site")
        assert terraform.plan() == []
        terraform.write(PUBLIC % {"description": "two"})
        assert terraform.plan() == ["update aws_ecrpublic_repository.site"]
        terraform.apply()
        assert terraform.plan() == []
        terraform.destroy()
        assert cloud.client("ecr-public").describe_repositories()["repositories"] == []
