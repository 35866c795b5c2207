"""A module of CloudWatch Logs with Terraform: made, unchanged, changed, gone."""

from __future__ import annotations

from pathlib import Path

from support import CloudThread
from terraform import Terraform, needs_terraform

MODULE = """
resource "aws_cloudwatch_log_group" "app" {
  name              = "/terraform/app"
  retention_in_days = 14
  tags              = { Team = "platform", "cost centre" = "a+b=c @ 7" }
}

resource "aws_cloudwatch_log_group" "rare" {
  name            = "/terraform/rare"
  log_group_class = "INFREQUENT_ACCESS"
}

resource "aws_cloudwatch_log_group" "named" { name_prefix = "/terraform/named-" }

resource "aws_cloudwatch_log_stream" "web" {
  name           = "web"
  log_group_name = aws_cloudwatch_log_group.app.name
}

resource "aws_cloudwatch_log_metric_filter" "slow" {
  name           = "slow"
  pattern        = "{ $.ms > 1000 }"
  log_group_name = aws_cloudwatch_log_group.app.name
  metric_transformation {
    name       = "Slow"
    namespace  = "App"
    value      = "$.ms"
    unit       = "Milliseconds"
    dimensions = { Path = "$.path" }
  }
}

resource "aws_cloudwatch_log_metric_filter" "errors" {
  name           = "errors"
  pattern        = ""
  log_group_name = aws_cloudwatch_log_group.app.name
  metric_transformation {
    name          = "Errors"
    namespace     = "App"
    value         = "1"
    default_value = "0"
  }
}

data "aws_iam_policy_document" "events" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.app.arn}:*"]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }
}

resource "aws_cloudwatch_log_resource_policy" "events" {
  policy_name     = "events"
  policy_document = data.aws_iam_policy_document.events.json
}

resource "aws_cloudwatch_query_definition" "slow" {
  name            = "team/slow"
  log_group_names = [aws_cloudwatch_log_group.app.name]
  query_string    = "filter ms > 1000 | stats count(*) by path"
}

resource "aws_kinesis_stream" "ship" {
  name        = "terraform-ship"
  shard_count = 1
}

resource "aws_cloudwatch_log_subscription_filter" "ship" {
  name            = "ship"
  log_group_name  = aws_cloudwatch_log_group.app.name
  filter_pattern  = "[level, ...]"
  destination_arn = aws_kinesis_stream.ship.arn
  role_arn        = "arn:aws:iam::000000000000:role/logs"
}

data "aws_cloudwatch_log_groups" "all" {
  log_group_name_prefix = "/terraform/"
  depends_on            = [aws_cloudwatch_log_group.app, aws_cloudwatch_log_group.rare, aws_cloudwatch_log_group.named]
}

output "arn" { value = aws_cloudwatch_log_group.app.arn }
output "groups" { value = length(data.aws_cloudwatch_log_groups.all.log_group_names) }
"""


@needs_terraform
def test_a_module_is_made_unchanged_changed_and_gone(cloud: CloudThread, tmp_path: Path) -> None:
    logs = cloud.client("logs")
    with Terraform(tmp_path / "module", cloud.endpoint, MODULE) as terraform:
        made = terraform.apply()
        assert made["arn"] == "arn:aws:logs:us-east-1:000000000000:log-group:/terraform/app"
        assert made["groups"] == 3
        assert terraform.plan() == []
        terraform.write(MODULE.replace("retention_in_days = 14", "retention_in_days = 30").replace('Team = "platform", ', ""))
        terraform.apply()
        assert terraform.plan() == []
        (group,) = logs.describe_log_groups(logGroupNamePrefix="/terraform/app")["logGroups"]
        assert group["retentionInDays"] == 30
        assert logs.list_tags_for_resource(resourceArn=group["logGroupArn"])["tags"] == {"cost centre": "a+b=c @ 7"}
    assert logs.describe_log_groups(logGroupNamePrefix="/terraform/")["logGroups"] == []
    assert logs.describe_resource_policies()["resourcePolicies"] == []
