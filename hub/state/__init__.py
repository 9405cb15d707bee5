"""The hub's state, as opposed to its data: who is out there, what was decided, how far each consumer has read."""
