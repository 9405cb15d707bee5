"""Simulated firmware, assets, faults, links and fleets; and the demo that tells the whole story with them."""
