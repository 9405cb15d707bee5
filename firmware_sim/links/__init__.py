"""Real wires: pseudo-terminals, MQTT connections, and a broker for them where none is running."""
