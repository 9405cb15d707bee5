"""The server: ingests what devices send, keeps it, learns from it, and rolls models out on evidence."""
