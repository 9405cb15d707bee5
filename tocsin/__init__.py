"""The command `tocsin`: it finds the right room and loads nothing else. The rooms are agent, hub, models and firmware_sim."""
