"""The text of `services/<name>/wire.json`: what the edge assembles codecs from."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]


def document(model: Json, *, classes: dict[str, str], patterns: dict[str, str], left_out: dict[str, str], validation_code: str) -> Json:
    """The cut model with Python's patterns in the place of Java's.

    A shape whose pattern could be translated has both: "pattern", which error messages quote, and "python", which is matched.
    One whose pattern could not has only "pattern"; "leftOut" says why. "class" is a structure's name in api.py where it is not the shape's.
    """
    for name, shape in model["shapes"].items():
        if shape["type"] == "structure" and classes[name] != name:
            shape["class"] = classes[name]
        if "python" not in shape and shape.get("pattern") in patterns:
            shape["python"] = patterns[shape["pattern"]]
    metadata = dict(model["metadata"])
    if validation_code:
        metadata["validationCode"] = validation_code
    return {**model, "metadata": metadata, "leftOut": left_out}


def text(document: Json) -> str:
    """JSON with one operation and one shape a line, so that a change of the model is a readable diff."""
    lines = ["{"]
    for key, value in document.items():
        if key in ("operations", "shapes", "absent"):
            lines.append(f'"{key}":{{')
            lines += [f"{json.dumps(name)}:{compact(item)}," for name, item in value.items()]
            if value:
                lines[-1] = lines[-1][:-1]
            lines.append("},")
        else:
            lines.append(f"{json.dumps(key)}:{compact(value)},")
    lines[-1] = lines[-1][:-1]
    return "\n".join([*lines, "}"]) + "\n"


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)
