"""The page of one machine, and those of its alerts: what is, since when, what changed, and the evidence."""
