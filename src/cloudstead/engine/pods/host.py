"""The host's side of pods."""
