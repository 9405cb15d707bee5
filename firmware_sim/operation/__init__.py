"""How a machine is run: its schedule, the weather around it, its wear and its maintenance."""
