"""Light devices: thousands of them in a few processes, which speak the hub's real protocol."""
