#!/bin/sh
# Writes the two locks from pyproject.toml: requirements-dev.lock (everything) and requirements.lock (what running needs).
# Versions that are locked already stay unless pyproject.toml forbids them; `tools/lock.sh --upgrade` takes the newest.
set -eu
cd "$(dirname "$0")/.."
[ -x .venv/bin/uv ] || .venv/bin/python -m pip install --quiet uv==0.13.9
compile() {
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
        --no-emit-index-url --no-emit-find-links --extra companion "$@"
}
compile --group dev pyproject.toml -o requirements-dev.lock "$@"
compile --constraint requirements-dev.lock pyproject.toml -o requirements.lock
