"""The hub's account of sequences: what it has, what is missing, what was evicted, what came twice."""
