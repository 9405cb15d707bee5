"""TLS by the hub itself: its own certificate authority, or certificates that somebody else makes."""
