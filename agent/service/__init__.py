"""The agent under systemd: the unit it runs as, how it is installed, and what it tells the service manager."""
