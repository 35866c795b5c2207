"""What every service stands on: store, events, controllers, clock, identity, policy. Knows no AWS service, no HTTP, no container."""
