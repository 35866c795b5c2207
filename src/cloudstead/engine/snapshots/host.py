"""The host's side of snapshots."""
