"""Targets of rules: put, remove, list. How events are delivered to them: targets.py."""

from __future__ import annotations

from typing import Any

import msgspec

from cloudstead.kernel import quotas
from cloudstead.kernel.arn import Arn
from cloudstead.kernel.context import Context
from cloudstead.kernel.errors import ValidationFailed
from cloudstead.kernel.operations import operation
from cloudstead.kernel.pagination import page, page_of
from cloudstead.services.events import api, arns, buses, rules
from cloudstead.services.events.buses import PAGE
from cloudstead.services.events.model import TARGETS, Rule, Target, rule_key
from cloudstead.services.events.targets import kind_of
from cloudstead.services.events.transform import InvalidInput, check_path, check_template

# The members of a target that belong to one kind each.
PARAMETERS = {
    "kinesis_parameters": "KinesisParameters",
    "run_command_parameters": "RunCommandParameters",
    "ecs_parameters": "EcsParameters",
    "batch_parameters": "BatchParameters",
    "sqs_parameters": "SqsParameters",
    "http_parameters": "HttpParameters",
    "redshift_data_parameters": "RedshiftDataParameters",
    "sage_maker_pipeline_parameters": "SageMakerPipelineParameters",
    "app_sync_parameters": "AppSyncParameters",
}


@operation(resource=arns.rule, conditions=arns.target_conditions, resource_tags=arns.rule_tags, resource_policy=arns.bus_policy)
async def put_targets(ctx: Context, request: api.PutTargetsRequest) -> api.PutTargetsResponse:
    """Add targets to a rule, or replace those of the same id; all or none."""
    rule = rules.require(ctx, request.event_bus_name, request.rule)
    rows = [_row(ctx, rule, target) for target in request.targets]
    there = {row.id for row in ctx.table(TARGETS).scan(rule_key(rule))}
    quotas.require(ctx, "events", "targets", len(there | {row.id for row in rows}) - 1, buses.limit_exceeded)
    with ctx.transaction() as tx:
        for row in rows:
            tx.put(TARGETS, row)
    return api.PutTargetsResponse(failed_entry_count=0, failed_entries=[])


def _row(ctx: Context, rule: Rule, target: api.Target) -> Target:
    """A target as it is kept.

    Raises:
        ValidationFailed, AccessDenied
    """
    try:
        arn = Arn.parse(target.arn)
    except ValueError:
        raise ValidationFailed(f"Parameter {target.arn} is not valid. Reason: Provided Arn is not in correct format.") from None
    parameters = {name: msgspec.to_builtins(given) for member, name in PARAMETERS.items() if (given := getattr(target, member)) is not None}
    _check_kind(target, arn, rule, parameters)
    _check_input(target)
    buses.pass_role(ctx, target.role_arn)
    transformer, retry = target.input_transformer, target.retry_policy
    return Target(
        account=rule.account,
        region=rule.region,
        bus=rule.bus,
        rule=rule.name,
        id=target.id,
        arn=target.arn,
        role=target.role_arn,
        input=target.input,
        input_path=target.input_path,
        input_paths=None if transformer is None else transformer.input_paths_map,
        input_template=None if transformer is None else transformer.input_template,
        max_attempts=None if retry is None else retry.maximum_retry_attempts,
        max_age=None if retry is None else retry.maximum_event_age_in_seconds,
        retry_policy=retry is not None,
        dead_letter=buses.check_dead_letter(target.dead_letter_config),
        parameters=parameters,
    )


def _check_kind(target: api.Target, arn: Arn, rule: Rule, parameters: dict[str, Any]) -> None:
    kind = kind_of(arn)
    if kind is None:
        service = arn.service if not arn.kind else f"{arn.service}:{arn.kind}"
        buses.refuse(f"The target {target.arn} (of the kind {service})")
    if kind.needs_role and target.role_arn is None:
        raise ValidationFailed(f"RoleArn is required for target {target.arn}.")
    for name in parameters:
        if name != kind.parameters:
            raise ValidationFailed(f"Parameter {name} is not valid for target {target.id}.")
    if arn.service == "sqs" and arn.resource.endswith(".fifo") and not (target.sqs_parameters and target.sqs_parameters.message_group_id):
        raise ValidationFailed(f"Parameter(s) SqsParameters must be specified for target: {target.id}.")
    if kind.whole_event:
        if (arn.account, arn.region, arn.name) == (rule.account, rule.region, rule.bus):
            raise ValidationFailed(f"Parameter {target.arn} is not valid. Reason: A rule cannot send events to its own event bus.")
        if target.input is not None or target.input_path is not None or target.input_transformer is not None:
            raise ValidationFailed(f"Input, InputPath and InputTransformer are not supported for event bus target {target.id}.")
    if target.kinesis_parameters is not None:
        _check_path(target.id, target.kinesis_parameters.partition_key_path)


def _check_input(target: api.Target) -> None:
    given = (target.input, target.input_path, target.input_transformer)
    if sum(one is not None for one in given) > 1:
        raise ValidationFailed(f"Only one of Input, InputPath, or InputTransformer must be provided for target {target.id}.")
    if target.input is not None:
        try:
            msgspec.json.decode(target.input)
        except (ValueError, RecursionError):
            raise ValidationFailed(f"JSON syntax error in input for target {target.id} : {target.input}") from None
    if target.input_path is not None:
        _check_path(target.id, target.input_path)
    if target.input_transformer is not None:
        try:
            check_template(target.id, target.input_transformer.input_paths_map or {}, target.input_transformer.input_template)
        except InvalidInput as error:
            raise ValidationFailed(str(error)) from None


def _check_path(target_id: str, text: str) -> None:
    try:
        check_path(target_id, text)
    except InvalidInput as error:
        raise ValidationFailed(str(error)) from None


@operation(resource=arns.rule, conditions=arns.creator, resource_tags=arns.rule_tags, resource_policy=arns.bus_policy)
async def remove_targets(ctx: Context, request: api.RemoveTargetsRequest) -> api.RemoveTargetsResponse:
    """Remove targets; an unknown id is told, the others are removed all the same. `Force` is for rules of services, of which there are none."""
    rule = rules.require(ctx, request.event_bus_name, request.rule)
    failed = []
    with ctx.transaction() as tx:
        for one in dict.fromkeys(request.ids):
            if tx.delete(TARGETS, (*rule_key(rule), one)) is None:
                message = f"Rule {rule.name} does not have target with Id {one}."
                failed.append(api.RemoveTargetsResultEntry(target_id=one, error_code="ResourceNotFoundException", error_message=message))
    return api.RemoveTargetsResponse(failed_entry_count=len(failed), failed_entries=failed)


@operation(resource=arns.rule, conditions=arns.creator, resource_tags=arns.rule_tags, resource_policy=arns.bus_policy)
async def list_targets_by_rule(ctx: Context, request: api.ListTargetsByRuleRequest) -> api.ListTargetsByRuleResponse:
    rule = rules.require(ctx, request.event_bus_name, request.rule)
    rows, token = page(
        ctx,
        TARGETS,
        rule_key(rule),
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=buses.invalid_token,
    )
    return api.ListTargetsByRuleResponse(targets=[_describe(row) for row in rows], next_token=token)


def _describe(row: Target) -> api.Target:
    transformer = None
    if row.input_template is not None:
        transformer = api.InputTransformer(input_paths_map=row.input_paths, input_template=row.input_template)
    told: dict[str, Any] = {member: row.parameters[name] for member, name in PARAMETERS.items() if name in row.parameters}
    retry = api.RetryPolicy(maximum_retry_attempts=row.max_attempts, maximum_event_age_in_seconds=row.max_age) if row.retry_policy else None
    target = api.Target(
        id=row.id,
        arn=row.arn,
        role_arn=row.role,
        input=row.input,
        input_path=row.input_path,
        input_transformer=transformer,
        dead_letter_config=None if row.dead_letter is None else api.DeadLetterConfig(arn=row.dead_letter),
        retry_policy=retry,
    )
    for member, given in told.items():
        setattr(target, member, msgspec.convert(given, _TYPES[member]))
    return target


_TYPES: dict[str, Any] = {
    "kinesis_parameters": api.KinesisParameters,
    "sqs_parameters": api.SqsParameters,
    "http_parameters": api.HttpParameters,
}


@operation(resource=arns.listed_rules, resource_policy=arns.bus_policy)
async def list_rule_names_by_target(ctx: Context, request: api.ListRuleNamesByTargetRequest) -> api.ListRuleNamesByTargetResponse:
    bus = buses.named(ctx, request.event_bus_name)
    rows = ctx.table(TARGETS).scan((bus.account, bus.region, bus.name, request.target_arn), index="by_arn")
    names, token = page_of(
        ctx,
        {row.rule for row in rows},
        key=lambda name: name,
        request=request,
        token=request.next_token,
        limit=request.limit or PAGE,
        invalid=buses.invalid_token,
    )
    return api.ListRuleNamesByTargetResponse(rule_names=names, next_token=token)
