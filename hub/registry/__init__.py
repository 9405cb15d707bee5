"""The hub's bundles: stored once by content, signed, never overwritten."""
