"""The host's side of volumes."""
