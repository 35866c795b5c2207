"""How the socket is to be served; apart from the API itself, which is loaded when somebody calls."""

from __future__ import annotations

from cloudstead.http.limits import Limits

LIMITS = Limits(
    body_timeout=3600.0,  # `docker cp -`, load and build send what somebody else makes at leisure
    write_timeout=86400.0,  # a pager may hold `docker logs` for a day
    bodies=256 << 20,
)
"""For the server of the socket: its clients are people at terminals and pipes, not the network."""
