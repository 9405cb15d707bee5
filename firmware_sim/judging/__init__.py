"""What a device or a hub said, against what really was wrong."""
