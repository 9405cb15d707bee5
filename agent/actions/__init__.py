"""Local actions: what a device does by itself when an alert or a sensor fault opens or closes, with or without a network."""
