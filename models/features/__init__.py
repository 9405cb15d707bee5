"""Features: one implementation, used on the device; the hub trains on the vectors that devices computed."""
