"""Days of who uses ECR: what is done one after the other, with restarts in between."""

from __future__ import annotations

import json
from pathlib import Path

from support import Daemon

KEEP_ONE = {
    "rulePriority": 1,
    "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
    "action": {"type": "expire"},
}


def test_what_works_by_itself_is_there_when_the_daemon_is_started_again(tmp_path: Path) -> None:
    """Repositories with lifecycle policies are looked through at the start, when not all of the daemon is there."""
    daemon = Daemon(tmp_path / "data")
    with daemon:
        ecr = daemon.client("ecr")
        for number in range(5):
            ecr.create_repository(repositoryName=f"app-{number}")
            ecr.put_lifecycle_policy(repositoryName=f"app-{number}", lifecyclePolicyText=json.dumps({"rules": [KEEP_ONE]}))
    with daemon:
        assert len(daemon.client("ecr").describe_repositories()["repositories"]) == 5
    assert "ERROR" not in daemon.log.read_text()
