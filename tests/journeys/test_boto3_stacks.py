"""CloudFormation by change sets, as `aws cloudformation deploy`, SAM and CDK use it."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from support import CloudThread

TEMPLATE = """
Description: %s
Parameters:
  Name: {Type: String}
  Stage: {Type: String, Default: test}
Resources:
  Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub "${Name}-queue", VisibilityTimeout: %d}}
  Bucket: {Type: AWS::S3::Bucket, Properties: {BucketName: !Sub "${Name}-bucket"}}
Outputs:
  Url: {Value: !Ref Queue, Export: {Name: !Sub "${Name}-url"}}
  Arn: {Value: !GetAtt Queue.Arn}
"""


def change_set(client: Any, kind: str, template: str, *, number: int, stack: str = "shop", **parameters: str) -> str:
    """Make a change set; returns the reason why there is none, or nothing."""
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    named = {"StackName": stack, "ChangeSetName": f"change-{number}"}
    client.create_change_set(**named, ChangeSetType=kind, TemplateBody=template, Parameters=given)
    try:
        client.get_waiter("change_set_create_complete").wait(**named, WaiterConfig={"Delay": 0, "MaxAttempts": 20})
    except WaiterError as failed:
        return str(failed.last_response["StatusReason"])
    client.execute_change_set(**named)
    client.get_waiter(f"stack_{kind.lower()}_complete").wait(StackName=stack, WaiterConfig={"Delay": 0, "MaxAttempts": 20})
    return ""


def stack_of(client: Any) -> dict[str, Any]:
    (stack,) = client.describe_stacks(StackName="shop")["Stacks"]
    return {
        "description": stack["Description"],
        "parameters": {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack["Parameters"]},
        "outputs": {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]},
    }


def test_a_stack_is_deployed_twice_changed_and_deleted(cloud: CloudThread) -> None:
    client, sqs, s3 = (cloud.client(service) for service in ("cloudformation", "sqs", "s3"))
    assert change_set(client, "CREATE", TEMPLATE % ("one", 0), number=1, Name="shop") == ""
    url = "https://sqs.us-east-1.amazonaws.com/000000000000/shop-queue"  # moto does not know by which name we are called
    arn = "arn:aws:sqs:us-east-1:000000000000:shop-queue"
    assert stack_of(client) == {"description": "one", "parameters": {"Name": "shop", "Stage": "test"}, "outputs": {"Url": url, "Arn": arn}}
    assert [export["Name"] for export in client.list_exports()["Exports"]] == ["shop-url"]
    sqs.send_message(QueueUrl=url, MessageBody="hello")

    for number, parameters in ((2, {"Name": "shop"}), (3, {"Name": "shop", "Stage": "test"})):
        assert "didn't contain changes" in change_set(client, "UPDATE", TEMPLATE % ("one", 0), number=number, **parameters)

    assert change_set(client, "UPDATE", TEMPLATE % ("two", 5), number=4, Name="shop", Stage="live") == ""
    assert stack_of(client) == {"description": "two", "parameters": {"Name": "shop", "Stage": "live"}, "outputs": {"Url": url, "Arn": arn}}
    assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]["VisibilityTimeout"] == "5"

    with pytest.raises(ClientError, match="No updates are to be performed"):
        client.update_stack(
            StackName="shop",
            TemplateBody=TEMPLATE % ("two", 5),
            Parameters=[{"ParameterKey": "Name", "ParameterValue": "shop"}, {"ParameterKey": "Stage", "ParameterValue": "live"}],
        )
    importing = "Resources: {Parameter: {Type: AWS::SSM::Parameter, Properties: {Name: url, Type: String, Value: !ImportValue shop-url}}}"
    assert change_set(client, "CREATE", importing, number=5, stack="importing") == ""
    assert cloud.client("ssm").get_parameter(Name="url")["Parameter"]["Value"] == url
    for name in ("importing", "shop"):
        client.delete_stack(StackName=name)
        client.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 20})
    assert client.list_exports()["Exports"] == []
    assert (sqs.list_queues().get("QueueUrls", []), s3.list_buckets()["Buckets"]) == ([], [])


def test_attributes_of_a_queue_are_written_as_sqs_writes_them(cloud: CloudThread) -> None:
    """Terraform compares the policy's text."""
    sqs = cloud.client("sqs")
    dead = "arn:aws:sqs:us-east-1:000000000000:dead"
    sqs.create_queue(QueueName="dead")
    policy = f'{{"deadLetterTargetArn":"{dead}","maxReceiveCount":3}}'
    url = sqs.create_queue(QueueName="alive", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["RedrivePolicy"] == policy
    assert attributes["CreatedTimestamp"].isdigit()
    assert sqs.create_queue(QueueName="alive", Attributes={"RedrivePolicy": policy})["QueueUrl"] == url


def test_what_moto_trips_over_is_told_as_not_available(cloud: CloudThread) -> None:
    with pytest.raises(ClientError) as refusal:
        cloud.client("rds").describe_option_groups()  # moto 5.2 raises KeyError when no name is given
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert refusal.value.response["Error"]["Code"] == "NotImplemented"
