"""`cloudstead env` and the AWS tools' own files."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudstead import datadir
from cloudstead.cli.aws_profile import edit, edited

from .conftest import CommandLine

OTHERS = """\
# my own settings
[default]
region=eu-central-1
s3 =
    max_concurrent_requests = 20

[profile  work]
sso_session = corp ; a comment
role_arn = arn:aws:iam::123456789012:role/x


[sso-session corp]
sso_region = us-east-1"""


def test_the_profile_works_in_botocore(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    run = cli.up()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(cli.config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(cli.credentials))
    session = botocore.session.Session(profile="cloudstead")
    client = session.create_client("s3")
    assert client.meta.endpoint_url == run.endpoint
    assert client.meta.region_name == "us-east-1"
    assert session.get_credentials().access_key == datadir.root_key(cli.data).access_key_id
    url = client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"})
    assert url.startswith(f"{run.endpoint}/bucket/key?")


def test_the_exports_are_what_a_shell_can_evaluate(cli: CommandLine) -> None:
    run = cli.up()
    said = cli.run("env").stdout
    shell = subprocess.run(
        ["sh", "-c", f"{said}\n{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(shell.stdout)
    key = datadir.root_key(cli.data)
    assert seen["AWS_ENDPOINT_URL"] == run.endpoint
    assert (seen["AWS_ACCESS_KEY_ID"], seen["AWS_SECRET_ACCESS_KEY"]) == (key.access_key_id, key.secret_access_key)
    assert seen["AWS_PROFILE"] == "cloudstead"
    told = json.loads(cli.run("env", "--json").stdout)
    assert told == {name: seen[name] for name in told}


def test_env_without_a_daemon_speaks_of_the_usual_port(cli: CommandLine) -> None:
    done = cli.run("env", "--no-profile")
    assert "AWS_ENDPOINT_URL=http://127.0.0.1:4566" in done.stdout
    assert "not running" in done.stderr
    assert not cli.config.exists()


def test_up_leaves_the_profile_alone_when_told(cli: CommandLine) -> None:
    cli.up("--no-profile")
    assert not cli.config.exists()
    assert not cli.credentials.exists()


def test_all_else_in_the_files_stays_byte_for_byte(cli: CommandLine) -> None:
    cli.config.parent.mkdir()
    cli.config.write_text(OTHERS)
    cli.credentials.write_text("[default]\naws_access_key_id = X\naws_secret_access_key = Y\n")
    cli.credentials.chmod(0o640)
    cli.up()
    assert cli.config.read_text().startswith(OTHERS + "\n\n[profile cloudstead]\n")
    assert cli.credentials.read_text().startswith("[default]\naws_access_key_id = X\naws_secret_access_key = Y\n\n[cloudstead]\n")
    assert cli.credentials.stat().st_mode & 0o777 == 0o640


def test_the_credentials_can_be_read_by_their_owner_only(cli: CommandLine) -> None:
    cli.up()
    assert cli.credentials.stat().st_mode & 0o777 == 0o600
    assert (cli.data / datadir.ROOT_KEY).stat().st_mode & 0o777 == 0o600
    assert cli.data.stat().st_mode & 0o777 == 0o700


def test_the_own_section_is_corrected_in_place_and_keeps_what_a_person_put_there() -> None:
    before = f"{OTHERS}\n\n[profile cloudstead]\nregion = eu-west-1\n# note\nendpoint_url = http://old:1\ncli_pager =\n\n[profile last]\nregion = us-west-2\n"
    after = edited(before, "profile cloudstead", {"endpoint_url": "http://new:2"}, {"region": "us-east-1", "output": "json"})
    assert after == before.replace("http://old:1", "http://new:2").replace("cli_pager =\n", "cli_pager =\noutput = json\n")


def test_a_nested_block_is_replaced_whole_or_left_whole() -> None:
    before = "[profile cloudstead]\ns3 =\n    addressing_style = virtual\n    x = y\nregion = r\n"
    assert edited(before, "profile cloudstead", {}, {"s3": "addressing_style = path\n"}) == before
    assert edited(before, "profile cloudstead", {"s3": "a = b\n"}, {}) == "[profile cloudstead]\ns3 =\n    a = b\nregion = r\n"


def test_what_no_longer_holds_is_taken_away() -> None:
    before = "[profile cloudstead]\nca_bundle = /old\nregion = r\n"
    assert edited(before, "profile cloudstead", {"ca_bundle": None}, {}) == "[profile cloudstead]\nregion = r\n"
    assert edited("", "x", {"a": None, "b": "c"}, {}) == "[x]\nb = c\n"


names = st.sampled_from(["default", "profile a", "profile cloudstead", "profile b"])
lines = st.sampled_from(["region = x", "# c", "", "endpoint_url = y", "s3 =", "    nested = 1", "; z", "k=v"])
files = st.lists(st.tuples(names, st.lists(lines, max_size=5)), max_size=4, unique_by=lambda part: part[0])


@given(files, st.booleans())
def test_editing_twice_changes_nothing_more_and_never_another_section(sections, ends_with_newline: bool) -> None:
    text = "\n".join(line for name, body in sections for line in (f"[{name}]", *body)) + "\n" * ends_with_newline
    once = edited(text, "profile cloudstead", {"endpoint_url": "new"}, {"region": "kept"})
    assert edited(once, "profile cloudstead", {"endpoint_url": "new"}, {"region": "kept"}) == once
    for name, body in sections:
        if name != "profile cloudstead":
            assert "\n".join((f"[{name}]", *body)).rstrip("\n") in once
    assert once.count("endpoint_url = new") == 1


def test_a_linked_file_stays_a_link(tmp_path) -> None:
    real, link = tmp_path / "dotfiles", tmp_path / "config"
    real.write_text("[default]\n")
    link.symlink_to(real)
    assert edit(link, "profile x", {"a": "b"}, {})
    assert link.is_symlink()
    assert "[profile x]" in real.read_text()
    assert not edit(link, "profile x", {"a": "b"}, {})


def test_files_that_cannot_be_written_do_not_stop_the_daemon(cli: CommandLine) -> None:
    cli.environment["AWS_CONFIG_FILE"] = str(cli.folder / "file" / "config")
    (cli.folder / "file").write_text("not a folder")
    done = cli.run("up", "--detach", "--port", "0")
    assert done.returncode == 0, done.stderr
    assert "could not be written" in done.stderr
    assert os.path.exists(cli.data / "run.json")
