"""`cloudstead security-data`: what image scanning knows, and taking in more."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import CommandLine

TRACKER = {
    "openssl": {
        "CVE-2023-1": {
            "description": "A flaw.",
            "releases": {
                release: {"status": "resolved", "fixed_version": "3.0.11", "urgency": "high"} for release in ("bookworm", "sid", "bullseye")
            },
        }
    }
}
SECDB = {"distroversion": "v3.20", "reponame": "main", "packages": [{"pkg": {"name": "openssl", "secfixes": {"3.3.1-r0": ["CVE-2024-1"]}}}]}


def listed(cli: CommandLine) -> dict[str, dict[str, object]]:
    done = cli.run("security-data", "--json")
    assert done.returncode == 0, done.stderr
    return {each["release"]: each for each in json.loads(done.stdout)}


def test_what_is_shipped_is_listed_with_its_dates(cli: CommandLine) -> None:
    done = cli.run("security-data")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["RELEASE", "AS", "OF", "PACKAGES", "SOURCE"]
    found = listed(cli)
    assert {"debian bullseye", "debian bookworm", "debian trixie"} <= found.keys()
    assert found["debian bookworm"]["complete"] is False
    assert str(found["debian bookworm"]["dated"]) > "2025-01-01"
    assert not cli.data.exists()


def test_a_copy_of_the_trackers_data_is_taken_in_and_used_instead(cli: CommandLine) -> None:
    copy, secdb = cli.folder / "tracker.json", cli.folder / "main.json"
    copy.write_text(json.dumps(TRACKER))
    secdb.write_text(json.dumps(SECDB))
    os.utime(copy, (1_700_000_000, 1_700_000_000))
    done = cli.run("security-data", "update", "--from", str(copy), "--from", str(secdb))
    assert done.returncode == 0, done.stderr
    found = listed(cli)
    assert found["debian bookworm"] == {
        "release": "debian bookworm",
        "dated": "2023-11-14",
        "packages": "1",
        "source": str(copy),
        "complete": True,
    }
    assert {"debian sid", "debian trixie", "alpine 3.20 main"} <= found.keys()
    assert found["debian trixie"]["complete"] is False
    assert sorted(path.name for path in (cli.data / "security").iterdir()) == [
        "alpine-3.20-main.json.zst",
        "debian-bookworm.json.zst",
        "debian-bullseye.json.zst",
        "debian-sid.json.zst",
    ]


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/tracker/data/json"
            self.send_response(200 if found else 404)
            self.send_header("Last-Modified", "Wed, 01 May 2024 10:00:00 GMT")
            self.end_headers()
            self.wfile.write(json.dumps(TRACKER).encode() if found else b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_the_tracker_is_asked_and_its_date_kept(cli: CommandLine, server: str) -> None:
    done = cli.run("security-data", "update", "--from", f"{server}/tracker/data/json")
    assert done.returncode == 0, done.stderr
    assert listed(cli)["debian bookworm"]["dated"] == "2024-05-01"
    done = cli.run("security-data", "update", "--from", f"{server}/elsewhere")
    assert done.returncode == 1
    assert "cannot be fetched" in done.stderr
    assert listed(cli)["debian bookworm"]["dated"] == "2024-05-01"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("show", "--from", "x"), 2, "--from goes with update"),
        (("update", "--from", "nowhere.json"), 1, "nowhere.json: No such file"),
        (("update", "--from", "text"), 1, "cannot be used: it is neither"),
        (("update", "--from", "ftp://localhost/x"), 2, "name a file, or a URL"),
        (("update", "--from", "http://127.0.0.1:9/x"), 1, "A copy of it can be read from a file"),
    ],
)
def test_what_cannot_be_taken_in_is_told_in_a_sentence(cli: CommandLine, arguments: tuple[str, ...], status: int, words: str) -> None:
    Path(cli.folder / "text").write_text("a letter")
    done = cli.run("security-data", *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    assert words in done.stderr


def test_a_damaged_file_is_told_and_the_others_are_listed(cli: CommandLine) -> None:
    folder = cli.data / "security"
    folder.mkdir(parents=True)
    (folder / "debian-bookworm.json.zst").write_bytes(b"damaged")
    done = cli.run("security-data", "--json")
    assert "debian-bookworm.json.zst cannot be read" in done.stderr
    assert "debian trixie" in done.stdout
