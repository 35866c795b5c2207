"""How long a session waits for what."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """All in seconds."""

    connect_within: float = 300.0  # a client comes, or nobody does
    token_within: float = 10.0  # from the connection to the token
    token_lasts: float = 300.0
    handshake_within: float = 15.0  # as the agent waits
    idle: float = 1200.0  # without input or output: AWS's twenty minutes
    resume_within: float = 300.0  # after the connection was lost
    acknowledge_within: float = 300.0  # a client that acknowledges nothing for so long is none
    output_after_exit: float = 1.0  # for what others that hold the process's terminal may still write
    goodbye_within: float = 5.0  # for the client to acknowledge what was said last, while it acknowledges nothing
    hang_up_within: float = 2.0  # from SIGHUP to SIGKILL
