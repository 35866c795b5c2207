"""The host's side of pods: containers through conmon and an OCI runtime. Importing it declares the handlers of `commands`."""

from __future__ import annotations

from cloudstead.engine.pods import (
    host_exec,
    host_facts,
    host_inventory,
    host_lifecycle,
    host_logs,
    host_oom,
    host_processes,
    host_running,
    host_state,
    host_views,
)

__all__ = ["host_exec", "host_facts", "host_inventory", "host_lifecycle", "host_processes", "host_running", "host_views"]

host_state.PARTS += [host_logs.watch_logs, host_oom.watch_oom]
