"""What is asked for and is not there: refused by the name that the client used."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cloudstead.engine.dockerapi.bodies import is_empty
from cloudstead.engine.errors import Unsupported


def refuse(wanted: msgspec.Struct, unsupported: Mapping[str, str]) -> None:
    """Raises Unsupported for the first of these fields that is set."""
    names = dict(zip(wanted.__struct_fields__, wanted.__struct_encode_fields__, strict=True))
    for field, why in unsupported.items():
        value = getattr(wanted, field)
        if not is_empty(msgspec.to_builtins(value)):
            raise Unsupported(f"{names[field]} is not supported: {why}")
