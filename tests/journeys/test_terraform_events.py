"""A module of EventBridge with Terraform: made, unchanged, changed, gone."""

from __future__ import annotations

import json
import time
from pathlib import Path

from support import Daemon
from terraform import Terraform, needs_terraform

MODULE = """
resource "aws_cloudwatch_event_bus" "shop" {
  name        = "shop"
  description = "what the shop tells"
  tags        = { Team = "shop" }
}

resource "aws_cloudwatch_event_bus" "audit" { name = "audit" }

resource "aws_cloudwatch_event_permission" "partner" {
  principal      = "111122223333"
  statement_id   = "partner"
  event_bus_name = aws_cloudwatch_event_bus.audit.name
}

data "aws_iam_policy_document" "shop" {
  statement {
    sid       = "put"
    actions   = ["events:PutEvents"]
    resources = [aws_cloudwatch_event_bus.shop.arn]
    principals {
      type        = "AWS"
      identifiers = ["444455556666"]
    }
  }
}

resource "aws_cloudwatch_event_bus_policy" "shop" {
  event_bus_name = aws_cloudwatch_event_bus.shop.name
  policy         = data.aws_iam_policy_document.shop.json
}

resource "aws_cloudwatch_log_group" "orders" { name = "/aws/events/orders" }

resource "aws_sqs_queue" "orders" { name = "orders" }

resource "aws_sqs_queue" "lost" { name = "lost" }

resource "aws_cloudwatch_event_rule" "big" {
  name           = "big-orders"
  description    = "orders above %(limit)d"
  event_bus_name = aws_cloudwatch_event_bus.shop.name
  event_pattern = jsonencode({
    source = ["shop"]
    detail = { total = [{ numeric = [">", %(limit)d] }] }
  })
  tags = { Team = "shop" }
}

resource "aws_cloudwatch_event_target" "log" {
  rule           = aws_cloudwatch_event_rule.big.name
  event_bus_name = aws_cloudwatch_event_bus.shop.name
  target_id      = "log"
  arn            = aws_cloudwatch_log_group.orders.arn
}

resource "aws_cloudwatch_event_target" "queue" {
  rule           = aws_cloudwatch_event_rule.big.name
  event_bus_name = aws_cloudwatch_event_bus.shop.name
  target_id      = "queue"
  arn            = aws_sqs_queue.orders.arn
  input_transformer {
    input_paths    = { order = "$.detail.id", total = "$.detail.total" }
    input_template = "{\\"order\\": <order>, \\"note\\": \\"total is <total>\\"}"
  }
  retry_policy {
    maximum_retry_attempts       = 3
    maximum_event_age_in_seconds = 600
  }
  dead_letter_config { arn = aws_sqs_queue.lost.arn }
}

resource "aws_cloudwatch_event_target" "bus" {
  rule           = aws_cloudwatch_event_rule.big.name
  event_bus_name = aws_cloudwatch_event_bus.shop.name
  target_id      = "audit"
  arn            = aws_cloudwatch_event_bus.audit.arn
}

resource "aws_cloudwatch_event_rule" "nightly" {
  name                = "nightly"
  schedule_expression = "cron(0 3 ? * MON-FRI *)"
}

resource "aws_cloudwatch_event_rule" "often" {
  name                = "often"
  schedule_expression = "rate(5 minutes)"
  state               = "DISABLED"
}

resource "aws_cloudwatch_event_archive" "shop" {
  name             = "shop"
  event_source_arn = aws_cloudwatch_event_bus.shop.arn
  retention_days   = 7
  event_pattern    = jsonencode({ source = ["shop"] })
}

resource "aws_cloudwatch_event_connection" "hook" {
  name               = "hook"
  authorization_type = "API_KEY"
  auth_parameters {
    api_key {
      key   = "x-api-key"
      value = "secret"
    }
    invocation_http_parameters {
      header {
        key             = "x-shop"
        value           = "one"
        is_value_secret = false
      }
    }
  }
}

resource "aws_cloudwatch_event_api_destination" "hook" {
  name                             = "hook"
  invocation_endpoint              = "https://localhost:9/orders/*"
  http_method                      = "POST"
  invocation_rate_limit_per_second = 20
  connection_arn                   = aws_cloudwatch_event_connection.hook.arn
}

output "queue" { value = aws_sqs_queue.orders.url }
"""


@needs_terraform
def test_a_module_of_events_is_made_unchanged_changed_and_gone(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as cloud, Terraform(tmp_path / "module", cloud.endpoint, MODULE % {"limit": 100}) as terraform:
        made = terraform.apply()
        assert terraform.plan() == []
        events, sqs = cloud.client("events"), cloud.client("sqs")
        entry = {"Source": "shop", "DetailType": "Order", "Detail": json.dumps({"id": "o-1", "total": 150}), "EventBusName": "shop"}
        assert events.put_events(Entries=[entry])["FailedEntryCount"] == 0
        assert json.loads(_message(sqs, made["queue"])) == {"order": "o-1", "note": "total is 150"}
        terraform.write(MODULE % {"limit": 200})
        assert terraform.plan() == ["update aws_cloudwatch_event_rule.big"]
        terraform.apply()
        assert terraform.plan() == []
        terraform.destroy()
        assert [bus["Name"] for bus in events.list_event_buses()["EventBuses"]] == ["default"]
        assert events.list_rules()["Rules"] == []
        assert events.list_archives()["Archives"] == []
        assert events.list_connections()["Connections"] == []


def _message(sqs: object, queue: str) -> str:
    deadline = time.monotonic() + 20
    while not (found := sqs.receive_message(QueueUrl=queue).get("Messages")):  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, "the event did not arrive"
        time.sleep(0.2)
    return str(found[0]["Body"])
