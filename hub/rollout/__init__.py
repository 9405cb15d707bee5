"""Bringing a new model to a profile's devices by stages, each passed on evidence from the devices themselves."""
