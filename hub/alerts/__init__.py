"""What people do about alerts, and which alerts belong together."""
