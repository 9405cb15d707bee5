"""Where readings come from: serial lines, MQTT topics, this machine. Each fills `source.Source` and nothing more."""
