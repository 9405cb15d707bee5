"""A small page of the agent, for a browser on the device; off unless it is configured, and imported only then."""
