"""Terraform against a cloud: the real binary and the real AWS provider.

    with Daemon(tmp_path / "data") as cloud, Terraform(tmp_path / "module", cloud.endpoint, MODULE) as terraform:
        terraform.apply()
        assert terraform.plan() == []          # nothing to change
        terraform.write(OTHER)
        …                                      # what is left is destroyed at the end

The provider is taken from a filesystem mirror, so that no test fetches 160 MB: TERRAFORM_PROVIDER_MIRROR names its directory
(`terraform providers mirror DIR` in any module makes one). Without it, or without `terraform` on the PATH, the tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

MIRROR = "TERRAFORM_PROVIDER_MIRROR"
SECONDS = 300.0

PROVIDER = """
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "%(key)s"
  secret_key                  = "%(secret)s"
  skip_metadata_api_check     = true
  skip_region_validation      = true
  s3_use_path_style           = true
}
"""

needs_terraform = pytest.mark.skipif(
    shutil.which("terraform") is None or not os.environ.get(MIRROR),
    reason=f"needs terraform on the PATH, and {MIRROR} to name a directory that `terraform providers mirror` made",
)


class Failed(AssertionError):
    """Terraform ended with an error; its output is the message."""


class Terraform:
    """One module in a directory of its own. A context manager; what is still there at the end of the block is destroyed."""

    def __init__(self, directory: Path, endpoint: str, module: str, *, key: str = "000000000000", secret: str = "test") -> None:
        self.directory = directory
        directory.mkdir(parents=True)
        settings = directory / "terraformrc"
        settings.write_text(f'provider_installation {{ filesystem_mirror {{ path = "{os.environ[MIRROR]}" }} }}\n')
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environment = kept | {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
            "TF_CLI_CONFIG_FILE": str(settings),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        (directory / "provider.tf").write_text(PROVIDER % {"key": key, "secret": secret})
        self.write(module)

    def __enter__(self) -> Terraform:
        self.run("init", "-input=false")
        return self

    def __exit__(self, *_: object) -> None:
        if (self.directory / "terraform.tfstate").exists() and self.resources():
            self.destroy()

    def write(self, module: str) -> None:
        """Replace the module's text; takes effect with the next apply."""
        (self.directory / "main.tf").write_text(module)

    def run(self, *arguments: str, accepted: tuple[int, ...] = (0,)) -> str:
        """A command of Terraform's; returns what it printed.

        Raises:
            Failed: it ended with another status than those accepted.
        """
        command = ["terraform", f"-chdir={self.directory}", *arguments, "-no-color"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode not in accepted:
            raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
        return done.stdout

    def apply(self) -> dict[str, Any]:
        """Make what is there what the module says; returns the module's outputs."""
        self.run("apply", "-auto-approve", "-input=false")
        return {name: output["value"] for name, output in json.loads(self.run("output", "-json")).items()}

    def plan(self) -> list[str]:
        """What the next apply would change: "update aws_iam_role.one". Empty when there is no difference."""
        said = self.run("plan", "-input=false", "-detailed-exitcode", "-out=plan", accepted=(0, 2))
        if "No changes." in said:
            return []  # without starting the provider once more to read the plan
        changes = json.loads(self.run("show", "-json", "plan")).get("resource_changes", [])
        found = [(change["change"]["actions"], change["address"]) for change in changes]
        return [f"{'+'.join(actions)} {address}" for actions, address in found if actions not in (["no-op"], ["read"])]

    def resources(self) -> list[str]:
        """The addresses of all that the module has made."""
        return self.run("state", "list").split()

    def destroy(self) -> None:
        self.run("destroy", "-auto-approve", "-input=false")
