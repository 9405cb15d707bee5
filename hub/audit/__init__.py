"""Who changed what at the hub, in a chain that shows when it was changed afterwards."""
