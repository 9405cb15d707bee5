"""How often an address may fail to enrol. Pure: time is given.

Only failures count, so that a site whose hundred devices come by one address on one day is not held up, and whoever tries
tokens is. A success is worth a token that somebody made; a failure costs the hub two signatures and writes nothing.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

from models.errors import LinkError

BURST: Final = 20.0
EVERY_S: Final = 6.0  # after a burst: one failure in this time
_MAX_ADDRESSES: Final = 4096  # the one not heard for longest is forgotten first


class TooManyFailures(LinkError):
    """This address has failed too often; `retry_after_s` says when to try again."""


class EnrolFailures:
    """A bucket of failures for each address; of IPv6 for each /64, of which a host can use any part."""

    def __init__(self) -> None:
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # by network: failures not yet forgiven, and when

    def check(self, address: str, now_s: float) -> None:
        """Raises TooManyFailures."""
        spent = self._now(_network(address), now_s)
        if spent > BURST - 1:
            raise TooManyFailures("too many failed enrolments from this address", (spent - BURST + 1) * EVERY_S)

    def failed(self, address: str, now_s: float) -> None:
        network = _network(address)
        self._spent[network] = (self._now(network, now_s) + 1, now_s)
        self._spent.move_to_end(network)
        while len(self._spent) > _MAX_ADDRESSES:
            self._spent.popitem(last=False)

    def _now(self, network: str, now_s: float) -> float:
        spent, then_s = self._spent.get(network, (0.0, now_s))
        return max(0.0, spent - (now_s - then_s) / EVERY_S)


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)
