"""Write src/cloudstead/services/iam/aws_managed.jsonl: AWS's own managed policies, one on a line, in the order of their names.

    tools/aws_managed_policies.py            from the copy that the pinned moto brings along
    tools/aws_managed_policies.py --live     from IAM itself, with the AWS credentials of the environment (ListPolicies, GetPolicyVersion)

The documents are AWS's, as every account is shown them. A line begins with path and name, so that the reader finds a policy without parsing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "src/cloudstead/services/iam/aws_managed.jsonl"


def from_moto() -> Iterator[dict[str, Any]]:
    from moto.iam.aws_managed_policies import aws_managed_policies_data

    for name, policy in json.loads(aws_managed_policies_data).items():
        yield entry(name, policy["Path"], policy["DefaultVersionId"], policy["CreateDate"], policy["UpdateDate"], policy["Document"])


def from_aws() -> Iterator[dict[str, Any]]:
    import boto3

    iam = boto3.client("iam")
    for page in iam.get_paginator("list_policies").paginate(Scope="AWS"):
        for policy in page["Policies"]:
            version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])["PolicyVersion"]
            dates = policy["CreateDate"].isoformat(), policy["UpdateDate"].isoformat()
            yield entry(policy["PolicyName"], policy["Path"], policy["DefaultVersionId"], *dates, version["Document"])


def entry(name: str, path: str, version: str, created: str, updated: str, document: dict[str, Any]) -> dict[str, Any]:
    return {
        "path": path,
        "name": name,
        "version": version,
        "created": created.replace("+00:00", "Z"),
        "updated": updated.replace("+00:00", "Z"),
        "document": document,
    }


def write(policies: Iterable[dict[str, Any]]) -> int:
    lines = [json.dumps(policy, separators=(",", ":")) for policy in sorted(policies, key=lambda policy: policy["name"])]
    FILE.write_text("\n".join(lines) + "\n")
    return len(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", action="store_true", help="ask AWS")
    count = write(from_aws() if parser.parse_args().live else from_moto())
    print(f"{count} policies, {FILE.stat().st_size:,} bytes: {FILE}")
