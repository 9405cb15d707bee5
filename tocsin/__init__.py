"""The command `tocsin`: it finds the right room and loads nothing else. The rooms are agent, hub, models and firmware_sim."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tocsin")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
