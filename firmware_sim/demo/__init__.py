"""`tocsin demo`: the whole loop on one machine, with real processes, real protocols and simulated machines."""
