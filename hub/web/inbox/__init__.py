"""Alerts by incident: what waits for somebody, what was said of it, and who was told."""
