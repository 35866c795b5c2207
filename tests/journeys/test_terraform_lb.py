"""A module of load balancers with Terraform: made, unchanged, changed, gone; and requests go through it."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support import Daemon
from terraform import Terraform, needs_terraform

MODULE = """
data "aws_vpc" "default" { default = true }

data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
}

resource "aws_security_group" "web" {
  name   = "web"
  vpc_id = data.aws_vpc.default.id
}

resource "aws_lb" "web" {
  name               = "web"
  load_balancer_type = "application"
  subnets            = slice(sort(data.aws_subnets.default.ids), 0, 2)
  security_groups    = [aws_security_group.web.id]
  idle_timeout       = %(idle)d
  tags               = { Team = "shop" }
}

resource "aws_lb" "relay" {
  name               = "relay"
  load_balancer_type = "network"
  internal           = true
  subnets            = slice(sort(data.aws_subnets.default.ids), 0, 2)
}

resource "aws_lb_target_group" "one" {
  name                 = "one"
  port                 = 80
  protocol             = "HTTP"
  target_type          = "ip"
  vpc_id               = data.aws_vpc.default.id
  deregistration_delay = 5
  health_check {
    path                = "/health"
    interval            = 10
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
    matcher             = "200-299"
  }
  stickiness {
    type    = "lb_cookie"
    enabled = false
  }
}

resource "aws_lb_target_group" "two" {
  name        = "two"
  port        = 80
  protocol    = "HTTP"
  target_type = "ip"
  vpc_id      = data.aws_vpc.default.id
}

resource "aws_lb_target_group" "tcp" {
  name        = "tcp"
  port        = 5432
  protocol    = "TCP"
  target_type = "ip"
  vpc_id      = data.aws_vpc.default.id
}

resource "aws_lb_target_group_attachment" "one" {
  target_group_arn = aws_lb_target_group.one.arn
  target_id        = "127.0.0.1"
  port             = %(port)d
}

resource "aws_lb_listener" "web" {
  load_balancer_arn = aws_lb.web.arn
  port              = 18080
  protocol          = "HTTP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.one.arn
  }
}

resource "aws_lb_listener" "relay" {
  load_balancer_arn = aws_lb.relay.arn
  port              = 15432
  protocol          = "TCP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.tcp.arn
  }
}

resource "aws_lb_listener_rule" "weighted" {
  listener_arn = aws_lb_listener.web.arn
  priority     = 10
  action {
    type = "forward"
    forward {
      target_group {
        arn    = aws_lb_target_group.one.arn
        weight = 80
      }
      target_group {
        arn    = aws_lb_target_group.two.arn
        weight = 20
      }
      stickiness {
        enabled  = true
        duration = 600
      }
    }
  }
  condition {
    path_pattern { values = ["/weighted/*"] }
  }
  condition {
    host_header { values = ["*.example.com"] }
  }
  tags = { Team = "shop" }
}

resource "aws_lb_listener_rule" "redirect" {
  listener_arn = aws_lb_listener.web.arn
  priority     = 20
  action {
    type = "redirect"
    redirect {
      protocol    = "HTTPS"
      port        = "443"
      status_code = "HTTP_301"
    }
  }
  condition {
    http_header {
      http_header_name = "X-Forwarded-Proto"
      values           = ["http"]
    }
  }
  condition {
    http_request_method { values = ["GET"] }
  }
}

resource "aws_lb_listener_rule" "fixed" {
  listener_arn = aws_lb_listener.web.arn
  priority     = 30
  action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "%(text)s"
      status_code  = "200"
    }
  }
  condition {
    query_string {
      key   = "health"
      value = "check"
    }
    query_string { value = "bar" }
  }
  condition {
    source_ip { values = ["127.0.0.0/8"] }
  }
}

data "aws_lb" "web" { arn = aws_lb.web.arn }

output "name" { value = data.aws_lb.web.dns_name }
output "group" { value = aws_lb_target_group.one.arn }
"""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from the target")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def server() -> Iterator[int]:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    try:
        yield found.server_address[1]
    finally:
        found.shutdown()
        found.server_close()


@pytest.mark.slow  # Terraform looks at a load balancer every half minute
@needs_terraform
def test_a_module_of_load_balancers_is_made_unchanged_changed_and_gone(tmp_path: Path) -> None:
    with server() as port, Daemon(tmp_path / "data") as cloud:
        settings = {"idle": 30, "port": port, "text": "well"}
        with Terraform(tmp_path / "module", cloud.endpoint, MODULE % settings) as terraform:
            made = terraform.apply()
            assert terraform.plan() == []
            elb = cloud.client("elbv2")
            elb.get_waiter("target_in_service").wait(TargetGroupArn=made["group"], WaiterConfig={"Delay": 1})
            assert _get(cloud.endpoint, made["name"], "/") == "from the target"
            assert _get(cloud.endpoint, made["name"], "/?x=bar") == "well"
            terraform.write(MODULE % (settings | {"idle": 31, "text": "still well"}))
            assert sorted(terraform.plan()) == ["update aws_lb.web", "update aws_lb_listener_rule.fixed"]
            terraform.apply()
            assert terraform.plan() == []
            assert _get(cloud.endpoint, made["name"], "/?x=bar") == "still well"
            terraform.destroy()
            assert elb.describe_load_balancers()["LoadBalancers"] == []
            assert elb.describe_target_groups()["TargetGroups"] == []


def _get(endpoint: str, host: str, path: str) -> str:
    request = urllib.request.Request(endpoint + path, headers={"Host": host})
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
