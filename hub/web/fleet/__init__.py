"""The fleet, as a map or a list, and each device."""
