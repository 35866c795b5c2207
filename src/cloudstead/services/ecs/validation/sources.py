"""Where values come from: secrets, environment files, the credentials of registries. All need the execution role.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specifying-sensitive-data.html
"""

from __future__ import annotations

import re

from cloudstead.services.ecs.checks import refused
from cloudstead.services.ecs.definition import ContainerDefinition, Definition, Secret

MOST_FILES = 10
_SECRET = re.compile(r"arn:[^:]+:secretsmanager:[a-z0-9-]+:\d{12}:secret:[A-Za-z0-9/_+=.@!-]{1,520}(:[^:]*:[^:]*:[^:]*)?", re.ASCII)
_PARAMETER = re.compile(r"arn:[^:]+:ssm:[a-z0-9-]+:\d{12}:parameter/[A-Za-z0-9/_.,-]{1,2048}(:[^:]{1,100})?", re.ASCII)
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9/_.,-]{1,2048}", re.ASCII)
_OBJECT = re.compile(r"arn:[^:]+:s3:::[A-Za-z0-9._-]{3,63}/.{1,1024}", re.DOTALL)


def check(definition: Definition) -> None:
    for each in definition.container_definitions:
        _secrets(each)
        _files(each)
        if each.repository_credentials is not None and not _SECRET.fullmatch(each.repository_credentials.credentials_parameter):
            refused("The repository credentials parameter must be the ARN of a secret.")
        if _needs_role(each) and not definition.execution_role_arn:
            refused("When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.")
        if each.repository_credentials is not None and not definition.execution_role_arn:
            refused("When you are specifying repository credentials, you must also specify a value for 'executionRoleArn'.")


def _needs_role(each: ContainerDefinition) -> bool:
    return bool(each.secrets or (each.log_configuration is not None and each.log_configuration.secret_options))


def _secrets(each: ContainerDefinition) -> None:
    taken = {pair.name for pair in each.environment or ()}
    for secret in each.secrets or ():
        if not secret.name:
            refused("The secret name should not be null or empty.")
        if secret.name in taken:
            refused(
                "The secret name must be unique and not shared with any new or existing environment variables set on the container, "
                f"such as '{secret.name}'."
            )
        taken.add(secret.name)
        _value_from(secret)
    if each.log_configuration is not None:
        for secret in each.log_configuration.secret_options or ():
            _value_from(secret)


def _value_from(secret: Secret) -> None:
    text = secret.value_from
    if not text.startswith("arn:"):
        if not _PARAMETER_NAME.fullmatch(text):
            refused(
                f"The Systems Manager parameter name specified for secret {secret.name} is invalid. The parameter name can be up to 2048 "
                "characters and include the following letters and symbols: a-zA-Z0-9_.-,"
            )
    elif not (_SECRET.fullmatch(text) or _PARAMETER.fullmatch(text)):
        refused(f"The ARN specified for secret {secret.name} is invalid. Specify the ARN of a secret or a parameter and try again.")


def _files(each: ContainerDefinition) -> None:
    files = each.environment_files or ()
    if len(files) > MOST_FILES:
        refused("The maximum number of environment files was exceeded. Specify ten or less and try again.")
    for file in files:
        if file.type != "s3" or not _OBJECT.fullmatch(file.value):
            refused("Invalid arn syntax.")
        if not file.value.endswith(".env"):
            refused("The environment file must have a .env file extension.")


def is_parameter(secret: Secret) -> bool:
    """Whether it is of Systems Manager; otherwise of Secrets Manager."""
    return ":secretsmanager:" not in secret.value_from
