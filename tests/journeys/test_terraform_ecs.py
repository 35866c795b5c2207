"""A module of ECS with Terraform: made, unchanged, changed, gone.

The provider waits ten seconds after each change of a cluster's settings or capacity providers, so only what it does not wait for is changed.
"""

from __future__ import annotations

from pathlib import Path

from support import Daemon
from terraform import Terraform, needs_terraform

MODULE = """
resource "aws_ecs_account_setting_default" "insights" {
  name  = "containerInsights"
  value = "%(insights)s"
}

resource "aws_ecs_cluster" "shop" {
  name = "shop"
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
  configuration {
    execute_command_configuration {
      logging = "OVERRIDE"
      log_configuration {
        cloud_watch_log_group_name = aws_cloudwatch_log_group.sessions.name
      }
    }
  }
  tags = { Team = "%(team)s" }
}

resource "aws_cloudwatch_log_group" "sessions" { name = "/ecs/sessions" }

resource "aws_ecs_cluster_capacity_providers" "shop" {
  cluster_name       = aws_ecs_cluster.shop.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
  default_capacity_provider_strategy {
    capacity_provider = "FARGATE"
    base              = 1
    weight            = 1
  }
  default_capacity_provider_strategy {
    capacity_provider = "FARGATE_SPOT"
    weight            = 3
  }
}

resource "aws_ecs_capacity_provider" "machines" {
  name = "machines"
  auto_scaling_group_provider {
    auto_scaling_group_arn         = "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:11111111-2222-3333-4444-555555555555:autoScalingGroupName/machines"
    managed_termination_protection = "DISABLED"
    managed_scaling {
      status                    = "ENABLED"
      target_capacity           = 80
      minimum_scaling_step_size = 1
      maximum_scaling_step_size = 10
    }
  }
}

data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "execution" {
  name               = "execution"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_iam_role" "task" {
  name               = "task"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_ecs_task_definition" "web" {
  family                   = "web"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = "512"
  memory                   = "1024"
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "X86_64"
  }
  ephemeral_storage { size_in_gib = 30 }
  volume { name = "scratch" }
  tags = { Team = "shop" }
  container_definitions = jsonencode([
    {
      name         = "app"
      image        = "nginx:%(version)s"
      portMappings = [{ containerPort = 80, name = "http", appProtocol = "http" }]
      environment  = [{ name = "ZONE", value = "b" }, { name = "COLOR", value = "red" }]
      secrets      = [{ name = "PASSWORD", valueFrom = "/shop/password" }]
      dependsOn    = [{ containerName = "migrate", condition = "SUCCESS" }]
      healthCheck  = { command = ["CMD-SHELL", "true"], startPeriod = 10 }
      mountPoints  = [{ sourceVolume = "scratch", containerPath = "/scratch", readOnly = false }]
      stopTimeout  = 60
      linuxParameters = { initProcessEnabled = true, capabilities = { drop = ["NET_RAW"] } }
      ulimits         = [{ name = "nofile", softLimit = 1024, hardLimit = 2048 }]
      logConfiguration = {
        logDriver = "awslogs"
        options   = { awslogs-group = "/ecs/web", awslogs-region = "us-east-1", awslogs-stream-prefix = "web" }
      }
    },
    {
      name      = "migrate"
      image     = "migrate:1"
      essential = false
      command   = ["migrate", "--all"]
    },
  ])
}

resource "aws_ecs_task_definition" "worker" {
  family                   = "worker"
  requires_compatibilities = ["EC2"]
  network_mode             = "bridge"
  pid_mode                 = "task"
  placement_constraints {
    type       = "memberOf"
    expression = "attribute:ecs.availability-zone in [us-east-1a, us-east-1b]"
  }
  volume {
    name      = "logs"
    host_path = "/var/log/worker"
  }
  volume {
    name = "shared"
    docker_volume_configuration {
      scope         = "shared"
      autoprovision = true
      driver        = "local"
      labels        = { team = "shop" }
    }
  }
  volume {
    name = "files"
    efs_volume_configuration {
      file_system_id          = "fs-12345678"
      transit_encryption      = "ENABLED"
      authorization_config {
        access_point_id = "fsap-12345678"
        iam             = "ENABLED"
      }
    }
  }
  container_definitions = jsonencode([
    {
      name              = "worker"
      image             = "worker:1"
      cpu               = 256
      memory            = 512
      memoryReservation = 256
      essential         = true
      links             = ["cache:redis"]
      entryPoint        = ["/entry"]
      command           = ["work"]
      user              = "1000:1000"
      workingDirectory  = "/work"
      hostname          = "worker"
      privileged        = true
      extraHosts        = [{ hostname = "db", ipAddress = "10.0.0.5" }]
      dockerLabels      = { team = "shop" }
      portMappings      = [{ containerPort = 8080 }, { containerPort = 9090, hostPort = 9090, protocol = "udp" }]
      systemControls    = [{ namespace = "net.core.somaxconn", value = "1024" }]
      restartPolicy     = { enabled = true, ignoredExitCodes = [0], restartAttemptPeriod = 180 }
      linuxParameters = {
        sharedMemorySize = 128
        tmpfs            = [{ containerPath = "/tmp", size = 64, mountOptions = ["noexec"] }]
        devices          = [{ hostPath = "/dev/null", containerPath = "/dev/nothing", permissions = ["read"] }]
      }
      mountPoints = [
        { sourceVolume = "logs", containerPath = "/logs" },
        { sourceVolume = "shared", containerPath = "/shared" },
        { sourceVolume = "files", containerPath = "/files", readOnly = true },
      ]
      logConfiguration = { logDriver = "json-file", options = { max-size = "10m" } }
    },
    {
      name        = "cache"
      image       = "redis:7"
      memory      = 128
      volumesFrom = []
      essential   = true
    },
  ])
}

output "web" { value = aws_ecs_task_definition.web.arn }
"""

FIRST = {"insights": "enabled", "team": "shop", "version": "1"}


@needs_terraform
def test_a_module_of_ecs_is_made_unchanged_changed_and_gone(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data") as cloud, Terraform(tmp_path / "module", cloud.endpoint, MODULE % FIRST) as terraform:
        assert terraform.apply()["web"].endswith(":task-definition/web:1")
        assert terraform.plan() == []
        ecs = cloud.client("ecs")
        cluster = ecs.describe_clusters(clusters=["shop"], include=["SETTINGS", "TAGS"])["clusters"][0]
        assert cluster["settings"] == [{"name": "containerInsights", "value": "enabled"}]
        assert cluster["tags"] == [{"key": "Team", "value": "shop"}]
        terraform.write(MODULE % {"insights": "disabled", "team": "store", "version": "2"})
        assert sorted(terraform.plan()) == [
            "delete+create aws_ecs_task_definition.web",
            "update aws_ecs_account_setting_default.insights",
            "update aws_ecs_cluster.shop",
        ]
        assert terraform.apply()["web"].endswith(":task-definition/web:2")
        assert terraform.plan() == []
        terraform.destroy()
        assert ecs.list_clusters()["clusterArns"] == []
        assert ecs.list_task_definitions()["taskDefinitionArns"] == []
        assert ecs.describe_clusters(clusters=["shop"])["clusters"][0]["status"] == "INACTIVE"
        assert ecs.describe_task_definition(taskDefinition="web:2")["taskDefinition"]["status"] == "INACTIVE"
