"""The command `tocsin`: it finds the right room and loads nothing else. The rooms are agent, hub, models and firmware_sim."""

from models.version import VERSION as __version__

__all__ = ["__version__"]
