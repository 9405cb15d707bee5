"""What the fleet's learning brought."""
