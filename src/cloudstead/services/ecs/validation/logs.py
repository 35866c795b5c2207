"""Log drivers, their options, and FireLens.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LogConfiguration.html
"""

from __future__ import annotations

import re

from cloudstead.services.ecs.checks import refused
from cloudstead.services.ecs.definition import ContainerDefinition, Definition, FirelensConfiguration, LogConfiguration

# Options that a driver must have, and those that it may have besides; a driver that is not here takes any.
REQUIRED = {"awslogs": ("awslogs-region", "awslogs-group"), "splunk": ("splunk-url", "splunk-token")}
_DELIVERY = ("mode", "max-buffer-size")
ALLOWED = {
    "awslogs": (
        *REQUIRED["awslogs"],
        *_DELIVERY,
        "awslogs-stream-prefix",
        "awslogs-create-group",
        "awslogs-datetime-format",
        "awslogs-multiline-pattern",
        "awslogs-endpoint",
    ),
    "json-file": (*_DELIVERY, "max-size", "max-file", "labels", "labels-regex", "env", "env-regex", "compress", "tag"),
}
_SIZE = re.compile(r"[1-9][0-9]{0,9}[bkmgBKMG]?", re.ASCII)


def check(definition: Definition) -> None:
    for each in definition.container_definitions:
        if each.log_configuration is not None:
            _log(each.log_configuration)
    _routers(definition.container_definitions)


def _log(log: LogConfiguration) -> None:
    options = log.options or {}
    given = {*options, *(secret.name for secret in log.secret_options or ())}
    missing = [name for name in REQUIRED.get(log.log_driver, ()) if name not in given]
    if missing:
        refused(f"Log driver {log.log_driver} requires options: {', '.join(missing)}")
    unknown = [name for name in options if log.log_driver in ALLOWED and name not in ALLOWED[log.log_driver]]
    if unknown:
        refused(f"Log driver {log.log_driver} disallows options: {', '.join(unknown)}")
    if options.get("mode", "blocking") not in ("blocking", "non-blocking"):
        refused("The log option 'mode' must be blocking or non-blocking.")
    if log.log_driver != "awsfirelens" and not _SIZE.fullmatch(options.get("max-buffer-size", "1m")):
        refused(f"Invalid value for the log option 'max-buffer-size': {options['max-buffer-size']}")
    if log.log_driver == "awslogs":
        _awslogs(options)


def _awslogs(options: dict[str, str]) -> None:
    if "awslogs-datetime-format" in options and "awslogs-multiline-pattern" in options:
        refused("You cannot configure both the awslogs-datetime-format and awslogs-multiline-pattern options.")
    if options.get("awslogs-create-group", "false").lower() not in ("true", "false"):
        refused("The log option 'awslogs-create-group' must be true or false.")
    for name in ("awslogs-group", "awslogs-region"):
        if name in options and not options[name]:
            refused(f"The log option '{name}' should not be empty.")


def _routers(containers: tuple[ContainerDefinition, ...]) -> None:
    routers = [each for each in containers if each.firelens_configuration is not None]
    through = any(each.log_configuration is not None and each.log_configuration.log_driver == "awsfirelens" for each in containers)
    if len(routers) > 1:
        refused("At most one container can have a firelens configuration object.")
    if through and not routers:
        refused("When awsfirelens log driver is specified in log configuration, a firelens configuration object must be specified.")
    for router in routers:
        if not through:
            refused(
                "When a firelensConfiguration object is specified, at least one container has to be configured with the awsfirelens log driver."
            )
        assert router.firelens_configuration is not None
        _firelens(router.firelens_configuration)


def _firelens(firelens: FirelensConfiguration) -> None:
    options = firelens.options or {}
    for name in options:
        if name not in ("enable-ecs-log-metadata", "config-file-type", "config-file-value"):
            refused(f"{name} is not a valid firelens option.")
    if options.get("enable-ecs-log-metadata", "true") not in ("true", "false"):
        refused("The firelens option enable-ecs-log-metadata must be true or false.")
    if options.get("config-file-type", "file") not in ("file", "s3"):
        refused("The firelens option config-file-type must be file or s3.")
    if ("config-file-type" in options) != ("config-file-value" in options):
        refused("The firelens options config-file-type and config-file-value must be specified together.")
