"""How targets do: `states` says what a check's outcome means, `probing` makes checks, `checking` makes them in time."""
