"""The live view of a device in a terminal: `tocsin agent top`."""
