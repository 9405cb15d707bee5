"""How the device stands, for its hub and for whoever asks on the spot."""
