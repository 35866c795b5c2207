r"""models/<service>.toml: which operations of a service are generated, and where its model is corrected.

botocore = "logs"                        the service's name in botocore; the file is called as its package: kernel/service_names.py
operations = "all"                       or a list of names
validation_code = "InvalidParameterException"
                                         the error that answers a broken constraint, where it is not the protocol's own
[shapes.OrganizationIdType]              corrections of one shape
reason = "the pattern takes time exponential in the length"
drop = ["pattern"]                       constraints to leave out
set = { max = 64 }                       constraints to add or replace
optional = ["Path"]                      members that are not required after all
python = '^[a-z]+\Z'                    the pattern to match in place of the model's, which error messages go on quoting
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from cloudstead.kernel.service_names import package_of


class ShapeOverride(msgspec.Struct, forbid_unknown_fields=True):
    reason: str
    drop: list[str] = []
    set: dict[str, Any] = {}
    optional: list[str] = []
    python: str = ""


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """One file of models/."""

    botocore: str
    operations: str | list[str]
    validation_code: str = ""
    shapes: dict[str, ShapeOverride] = {}
    package: str = ""

    def lists(self, operation: str) -> bool:
        return self.operations == "all" or operation in self.operations


def load(path: Path) -> Config:
    """Raises ValueError: the file is not called as it must be."""
    config = msgspec.convert(tomllib.loads(path.read_text()), Config)
    config.package = package_of(config.botocore)
    if path.stem != config.package:
        raise ValueError(f"{path.name} holds {config.botocore}: it is to be called {config.package}.toml")
    return config
