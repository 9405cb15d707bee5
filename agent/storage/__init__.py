"""The device's disk: what is produced is durable before anything is told, acted on or acknowledged."""
