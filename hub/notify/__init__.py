"""Telling people elsewhere of incidents: by webhook, e-mail and MQTT."""
