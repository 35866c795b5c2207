"""What rooms are told to make."""

from __future__ import annotations

import msgspec


class Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is wanted. Never changed; operations such as `update` and `connect` replace parts of it. Unknown fields are refused where one is read back."""
