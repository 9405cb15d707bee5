"""When things really happened: what devices told of their clocks, and times corrected by it."""
