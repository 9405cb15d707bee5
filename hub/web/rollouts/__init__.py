"""Rollouts: how far each has come, its gates and its cohorts, and the steering of them."""
