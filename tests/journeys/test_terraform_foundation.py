"""The module `foundation`: an application's user, roles and policies, its logs and its events, by Terraform, on a daemon that is strict."""

from __future__ import annotations

import json
import time
from pathlib import Path

from cloudstead import datadir
from support import Daemon
from terraform import Terraform, needs_terraform

MODULE = """
variable "retention" { default = 14 }

data "aws_caller_identity" "me" {}
data "aws_region" "here" {}
data "aws_partition" "this" {}

locals { stream = "arn:aws:kinesis:us-east-1:${data.aws_caller_identity.me.account_id}:stream/sink" }

# -- who

data "aws_iam_policy_document" "trust" {
  for_each = toset(["ecs-tasks", "logs", "events"])
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["${each.key}.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.me.account_id]
    }
  }
}

resource "aws_iam_role" "service" {
  for_each           = data.aws_iam_policy_document.trust
  name               = "shop-${each.key}"
  assume_role_policy = each.value.json
  description        = "What ${each.key} may do for the shop"
  tags               = { App = "shop" }
}

data "aws_iam_policy_document" "write" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.app.arn}:*"]
  }
  statement {
    actions   = ["kinesis:PutRecord*"]
    resources = [local.stream]
  }
}

resource "aws_iam_policy" "write" {
  name   = "shop-write"
  path   = "/shop/"
  policy = data.aws_iam_policy_document.write.json
}

resource "aws_iam_role_policy_attachment" "write" {
  for_each   = aws_iam_role.service
  role       = each.value.name
  policy_arn = aws_iam_policy.write.arn
}

resource "aws_iam_role_policy_attachment" "managed" {
  role       = aws_iam_role.service["ecs-tasks"].name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_iam_instance_profile" "host" {
  name = "shop-host"
  role = aws_iam_role.service["ecs-tasks"].name
}

resource "aws_iam_user" "operator" { name = "operator" }

resource "aws_iam_user_policy" "operator" {
  name   = "reads-logs"
  user   = aws_iam_user.operator.name
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = ["logs:Get*", "logs:Describe*", "logs:FilterLogEvents"], Resource = "*" }]
  })
}

resource "aws_iam_access_key" "operator" { user = aws_iam_user.operator.name }

# -- logs

resource "aws_cloudwatch_log_group" "app" {
  name              = "/shop/app"
  retention_in_days = var.retention
  tags              = { App = "shop" }
}

resource "aws_cloudwatch_log_group" "events" { name = "/aws/events/shop" }

resource "aws_cloudwatch_log_stream" "web" {
  name           = "web"
  log_group_name = aws_cloudwatch_log_group.app.name
}

resource "aws_cloudwatch_log_metric_filter" "errors" {
  name           = "errors"
  log_group_name = aws_cloudwatch_log_group.app.name
  pattern        = "[ip, user, time, request, status = 5*, size]"
  metric_transformation {
    name      = "Errors"
    namespace = "Shop"
    value     = "1"
    unit      = "Count"
  }
}

resource "aws_cloudwatch_log_subscription_filter" "ship" {
  name            = "ship"
  log_group_name  = aws_cloudwatch_log_group.app.name
  role_arn        = aws_iam_role.service["logs"].arn
  filter_pattern  = "?ERROR ?WARN"
  destination_arn = local.stream
  distribution    = "Random"
  depends_on      = [aws_iam_role_policy_attachment.write]
}

resource "aws_cloudwatch_log_destination" "others" {
  name       = "others"
  role_arn   = aws_iam_role.service["logs"].arn
  target_arn = local.stream
  tags       = { App = "shop" }
}

resource "aws_cloudwatch_log_destination_policy" "others" {
  destination_name = aws_cloudwatch_log_destination.others.name
  access_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{
      Effect = "Allow", Principal = { AWS = "123456789012" }, Action = "logs:PutSubscriptionFilter", Resource = aws_cloudwatch_log_destination.others.arn
    }]
  })
}

data "aws_iam_policy_document" "events_write" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.events.arn}:*"]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com", "delivery.logs.amazonaws.com"]
    }
  }
}

resource "aws_cloudwatch_log_resource_policy" "events" {
  policy_name     = "events-write"
  policy_document = data.aws_iam_policy_document.events_write.json
}

resource "aws_cloudwatch_query_definition" "slow" {
  name            = "shop/slow"
  log_group_names = [aws_cloudwatch_log_group.app.name]
  query_string    = <<-EOT
    fields @timestamp, @message
    | filter ms > 1000
    | sort @timestamp desc
  EOT
}

data "aws_cloudwatch_log_group" "app" { name = aws_cloudwatch_log_group.app.name }

data "aws_cloudwatch_log_groups" "shop" {
  log_group_name_prefix = "/shop"
  depends_on            = [aws_cloudwatch_log_group.app]
}

# -- events

resource "aws_cloudwatch_event_bus" "shop" {
  name = "shop"
  tags = { App = "shop" }
}

resource "aws_cloudwatch_event_rule" "orders" {
  name           = "orders"
  description    = "Orders that matter"
  event_bus_name = aws_cloudwatch_event_bus.shop.name
  event_pattern  = jsonencode({ source = ["shop"], detail = { total = [{ numeric = [">", 100] }] } })
}

resource "aws_cloudwatch_event_target" "orders" {
  rule           = aws_cloudwatch_event_rule.orders.name
  event_bus_name = aws_cloudwatch_event_bus.shop.name
  target_id      = "logs"
  arn            = aws_cloudwatch_log_group.events.arn
}

resource "aws_cloudwatch_event_rule" "nightly" {
  name                = "nightly"
  schedule_expression = "cron(0 3 * * ? *)"
  state               = "DISABLED"
}

output "app" { value = data.aws_cloudwatch_log_group.app.arn }
output "shop" { value = data.aws_cloudwatch_log_groups.shop.log_group_names }
output "rule" { value = aws_cloudwatch_event_rule.orders.arn }
output "region" { value = data.aws_region.here.name }
output "key" { value = aws_iam_access_key.operator.id }
output "secret" {
  value     = aws_iam_access_key.operator.secret
  sensitive = true
}
"""


@needs_terraform
def test_the_foundation_is_made_used_changed_and_gone(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", "--strict") as daemon:
        root = datadir.root_key(daemon.data)
        key = {"key": root.access_key_id, "secret": root.secret_access_key}
        logs, events = daemon.client("logs", **key), daemon.client("events", **key)
        daemon.client("kinesis", **key).create_stream(StreamName="sink", ShardCount=1)  # Terraform would wait ten seconds for it
        with Terraform(tmp_path / "module", daemon.endpoint, MODULE, **key) as terraform:
            made = terraform.apply()
            assert made["app"] == "arn:aws:logs:us-east-1:000000000000:log-group:/shop/app"
            assert made["rule"] == "arn:aws:events:us-east-1:000000000000:rule/shop/orders"
            assert (made["shop"], made["region"]) == (["/shop/app"], "us-east-1")

            operator = daemon.client("logs", key=made["key"], secret=made["secret"])
            order = {"EventBusName": "shop", "Source": "shop", "DetailType": "Order", "Detail": json.dumps({"total": 150})}
            assert events.put_events(Entries=[order])["FailedEntryCount"] == 0
            deadline = time.monotonic() + 20
            while not (found := operator.filter_log_events(logGroupName="/aws/events/shop")["events"]):
                assert time.monotonic() < deadline, "the event did not come to the log group"
                time.sleep(0.1)
            assert json.loads(found[0]["message"])["detail"] == {"total": 150}

            daemon.kill()
            daemon.start()
            terraform.environment["AWS_ENDPOINT_URL"] = daemon.endpoint
            daemon.client("kinesis", **key).create_stream(StreamName="sink", ShardCount=1)  # what the companion holds does not last
            assert terraform.plan() == []

            terraform.write(
                MODULE.replace('"retention" { default = 14 }', '"retention" { default = 30 }')
                .replace(
                    'App = "shop" }\n}\n\ndata "aws_iam_policy_document" "write"',
                    'App = "store" }\n}\n\ndata "aws_iam_policy_document" "write"',
                )
                .replace('"DISABLED"', '"ENABLED"')
                .replace('[">", 100]', '[">", 200]')
                .replace("ms > 1000", "ms > 2000")
            )
            assert sorted(terraform.plan()) == sorted(
                [
                    "update aws_cloudwatch_event_rule.nightly",
                    "update aws_cloudwatch_event_rule.orders",
                    "update aws_cloudwatch_log_group.app",
                    "update aws_cloudwatch_query_definition.slow",
                    "update aws_iam_policy.write",  # its document is read anew, for it names a group that changes
                    *(f'update aws_iam_role.service["{name}"]' for name in ("ecs-tasks", "events", "logs")),
                ]
            )
            terraform.apply()
            assert terraform.plan() == []
        logs, events, iam = (daemon.client(service, **key) for service in ("logs", "events", "iam"))
        assert logs.describe_log_groups()["logGroups"] == logs.describe_destinations()["destinations"] == []
        assert logs.describe_query_definitions()["queryDefinitions"] == logs.describe_resource_policies()["resourcePolicies"] == []
        assert [bus["Name"] for bus in events.list_event_buses()["EventBuses"]] == ["default"]
        assert (
            iam.list_users()["Users"]
            == iam.list_policies(Scope="Local")["Policies"]
            == iam.list_instance_profiles()["InstanceProfiles"]
            == []
        )
        assert [role["RoleName"] for role in iam.list_roles()["Roles"] if "/aws-service-role/" not in role["Path"]] == []
