"""`cloudstead env`: what points AWS's tools here."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from cloudstead import datadir, runfile
from cloudstead.cli import aws_profile
from cloudstead.cli.terminal import Failure, out, out_json, say
from cloudstead.runfile import Run
from cloudstead.settings import Settings

PROFILE = "cloudstead"
REGION = "us-east-1"
CA_FILE = Path("tls") / "ca.pem"  # below the data directory: the certificate authority of --tls


def env(arguments: argparse.Namespace) -> None:
    """Write the profile and print the exports; for the running daemon, or for where `cloudstead up` would start one."""
    run = runfile.read(arguments.data)
    try:
        if not arguments.no_profile:
            write_profile(arguments.data, run)
        values = variables(arguments.data, run)
    except datadir.Unusable as error:
        raise Failure(str(error)) from None
    if arguments.json:
        out_json(values)
        return
    for name, value in values.items():
        out(f"export {name}={shlex.quote(value)}")
    if run is None:
        say("Cloudstead is not running; these are for `cloudstead up` with its usual port.")


def endpoint(run: Run | None) -> str:
    return (run or Settings()).endpoint


def variables(data: Path, run: Run | None) -> dict[str, str]:
    """What a shell exports so that AWS's tools and SDKs speak to Cloudstead as the default account's root user, and Docker's to its engine."""
    key = datadir.root_key(data)
    values = {
        "AWS_ENDPOINT_URL": endpoint(run),
        "AWS_ACCESS_KEY_ID": key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_PROFILE": PROFILE,
        # Some operations (Live Tail, invoking state machines) prefix the endpoint's host, which does not resolve here.
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
    }
    values["DOCKER_HOST"] = f"unix://{datadir.docker_socket(data)}"
    if run is not None and run.tls:
        values["AWS_CA_BUNDLE"] = str(data / CA_FILE)
    return values


def write_profile(data: Path, run: Run | None) -> None:
    """Make or correct the profile `cloudstead` in the AWS tools' own files.

    Raises:
        OSError: they cannot be written.
        datadir.Unusable: there is no root key to write into them.
    """
    key = datadir.root_key(data)
    settings = {"endpoint_url": endpoint(run), "ca_bundle": str(data / CA_FILE) if run is not None and run.tls else None}
    # Path addressing: a bucket's own host name (bucket.localhost) does not resolve everywhere.
    kept = {"region": REGION, "output": "json", "s3": "addressing_style = path\n", "disable_host_prefix_injection": "true"}
    aws_profile.edit(aws_profile.config_path(), f"profile {PROFILE}", settings, kept)
    keys = {"aws_access_key_id": key.access_key_id, "aws_secret_access_key": key.secret_access_key}
    aws_profile.edit(aws_profile.credentials_path(), PROFILE, keys, {})
