"""What the simulated controllers put on the wire: lines of text, checked binary frames, MQTT payloads."""
