"""The host's side of network."""
