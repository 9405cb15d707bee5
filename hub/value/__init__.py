"""What the fleet's learning brought, in figures with stated definitions (docs/value.md)."""
