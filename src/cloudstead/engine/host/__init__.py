"""The process with root's rights, and how the daemon speaks to it."""
