"""The fleet's data as open Delta tables: written once per window, read by training, by SQL, and by other engines."""
