"""The device: reads sensors, detects, acts and alerts with no network, buffers, and syncs when it can."""
