"""How well the shipped pipeline detects, on recordings that nobody here made. Data stay where they are: `--data DIR`."""
