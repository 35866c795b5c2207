"""Where moto differs from AWS in ways that its clients trip over. Part of the companion's process; each function changes one backend once, when it is
first used.

CloudFormation. `aws cloudformation deploy`, SAM and CDK work by change sets. When moto carries one out it changes the resources but not what the
stack says of itself: no outputs, no exports, the old parameters. And a change set without changes is an error at its creation; AWS makes one that has FAILED
with a reason that those tools look for, so that deploying twice is no error.
https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeChangeSet.html

SQS. Terraform sees a change in a redrive policy whose JSON has blanks, and AWS's has none; its timestamps are whole seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def amend_cloudformation() -> None:
    from moto.cloudformation.models import ChangeSet, CloudFormationBackend, Stack
    from moto.cloudformation.responses import CloudFormationResponse

    refuse_same: Callable[..., None] = CloudFormationResponse._validate_different_update

    def validate_different_update(self: CloudFormationResponse, *arguments: Any) -> None:
        if self._get_action() != "CreateChangeSet":
            refuse_same(self, *arguments)

    def apply(self: ChangeSet) -> None:
        stack: Stack = self.stack
        stack.template = self.template
        stack._parse_template()
        stack.description = stack.template_dict.get("Description")
        stack.resource_map.update(self.template_dict, self.parameters)
        stack.parameters = self.parameters
        stack.output_map = stack._create_output_map()
        stack.tags = self.tags or stack.tags

    create: Callable[..., tuple[str, str]] = CloudFormationBackend.create_change_set

    def create_change_set(self: CloudFormationBackend, **arguments: Any) -> tuple[str, str]:
        """Parameters that are not given keep the values that the template gives them: they count as given before."""
        if arguments["change_set_type"] == "UPDATE":
            stack = self.get_stack(arguments["stack_name"])
            old, new = stack.parameters, arguments["parameters"]
            if stack.has_template(arguments["template"]) and {**_defaults(stack), **new} == {**_defaults(stack), **old}:
                arguments["parameters"] = old
        change_set, stack_id = create(self, **arguments)
        stack = self.stacks[stack_id]
        stack.cross_stack_resources = stack.resource_map.cross_stack_resources = self.exports
        return change_set, stack_id

    execute: Callable[..., None] = CloudFormationBackend.execute_change_set

    def execute_change_set(self: CloudFormationBackend, **arguments: Any) -> None:
        change_set = self.describe_change_set(arguments["change_set_name"])  # raises what AWS answers when there is none
        assert change_set is not None
        stack = change_set.stack
        execute(self, **arguments)
        for name in [name for name, export in self.exports.items() if export.exporting_stack_id == stack.stack_id]:
            del self.exports[name]
        self.exports.update({export.name: export for export in stack.exports})

    _replace(CloudFormationResponse, _validate_different_update=validate_different_update)
    _replace(ChangeSet, apply=apply)
    _replace(CloudFormationBackend, create_change_set=create_change_set, execute_change_set=execute_change_set)


def _replace(owner: type, **methods: Callable[..., Any]) -> None:
    for name, method in methods.items():
        setattr(owner, name, method)


def _defaults(stack: Any) -> dict[str, str]:
    parameters = stack.template_dict.get("Parameters") or {}
    return {name: str(parameter["Default"]) for name, parameter in parameters.items() if "Default" in parameter}


def amend_sqs() -> None:
    from moto.sqs.models import Queue

    told: Callable[[Queue], dict[str, Any]] = vars(Queue)["attributes"].fget

    def attributes(self: Queue) -> dict[str, Any]:
        found = told(self)
        if "RedrivePolicy" in found:
            found["RedrivePolicy"] = json.dumps(self.redrive_policy, separators=(",", ":"))
        for name in ("CreatedTimestamp", "LastModifiedTimestamp"):
            found[name] = int(found[name])
        return found

    setattr(Queue, "attributes", property(attributes))  # noqa: B010 - mypy does not let one assign it


AMENDMENTS: dict[str, Callable[[], None]] = {"cloudformation": amend_cloudformation, "sqs": amend_sqs}
