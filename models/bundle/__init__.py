"""Bundles: a model with all it needs to serve and to be judged, as one deterministic, signed archive."""
