"""The machines, one a file: simple physics, what goes wrong with them, and the sensors on them."""
