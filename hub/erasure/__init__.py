"""Erasing what a device sent, on request, and proving it."""
