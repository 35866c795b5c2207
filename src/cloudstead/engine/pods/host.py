"""The host's side of pods: containers through conmon and an OCI runtime. Importing it declares the handlers of `commands`."""

from __future__ import annotations

from cloudstead.engine.pods import host_lifecycle

__all__ = ["host_lifecycle"]
