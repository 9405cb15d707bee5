"""How often sign-in may be tried: a pace for each account and address, each address, and each account. In memory.

Invariants:
1. An attempt is counted before its password is looked at, so that parallel guesses gain nothing; one that was right is
   given back.
2. What is remembered is bounded, whatever names and addresses strangers make up.
3. Times are the caller's monotonic clock: a step of the system's clock opens nothing.

A stranger with many addresses can slow an account down to one attempt in ten seconds, for everyone; the admin token, API
tokens and open sessions are not affected. After a restart all counts begin anew.

The paces are token buckets in the form of the generic cell rate algorithm (ITU-T I.371): one number a key.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

Key = tuple[str, str]
MAX_KEYS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Pace:
    """`burst` attempts at once, then one in `refill_s`."""

    burst: int
    refill_s: float


ACCOUNT_FROM_ADDRESS: Final = Pace(burst=5, refill_s=30.0)
ADDRESS: Final = Pace(burst=20, refill_s=15.0)
ACCOUNT: Final = Pace(burst=50, refill_s=10.0)


class Buckets:
    """One bucket a key, full at first."""

    def __init__(self, pace: Pace, max_keys: int = MAX_KEYS) -> None:
        self._interval_ns = int(pace.refill_s * 1e9)
        self._slack_ns = (pace.burst - 1) * self._interval_ns
        self._max_keys = max_keys
        self._full_at: dict[Key, int] = {}  # when the bucket will be full again

    def wait_ns(self, key: Key, now_ns: int) -> int:
        """How long until one may be taken; 0 = now."""
        return max(0, self._full_at.get(key, now_ns) - self._slack_ns - now_ns)

    def take(self, key: Key, now_ns: int) -> None:
        if len(self._full_at) >= self._max_keys and key not in self._full_at:
            self._forget(now_ns)
        self._full_at[key] = max(self._full_at.get(key, now_ns), now_ns) + self._interval_ns

    def give_back(self, key: Key) -> None:
        if key in self._full_at:
            self._full_at[key] -= self._interval_ns

    def __len__(self) -> int:
        return len(self._full_at)

    def _forget(self, now_ns: int) -> None:
        """What is full need not be remembered; beyond that, whoever will be full first."""
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now_ns}
        if len(self._full_at) >= self._max_keys:
            by_time = sorted(self._full_at.items(), key=lambda item: item[1])
            self._full_at = dict(by_time[len(by_time) // 2 :])


class Throttle:
    """Judges attempts to sign in; lives on the event loop."""

    def __init__(self) -> None:
        self._buckets = (Buckets(ACCOUNT_FROM_ADDRESS), Buckets(ADDRESS), Buckets(ACCOUNT))

    def take(self, account: str, address: str, now_ns: int) -> float:
        """0: go on, it is counted. Otherwise the seconds to wait, and nothing is counted."""
        keys = _keys(account, address)
        wait_ns = max(bucket.wait_ns(key, now_ns) for bucket, key in zip(self._buckets, keys, strict=True))
        if wait_ns:
            return wait_ns / 1e9
        for bucket, key in zip(self._buckets, keys, strict=True):
            bucket.take(key, now_ns)
        return 0.0

    def give_back(self, account: str, address: str) -> None:
        """The attempt was right."""
        for bucket, key in zip(self._buckets, _keys(account, address), strict=True):
            bucket.give_back(key)


def _keys(account: str, address: str) -> tuple[Key, Key, Key]:
    place = _place(address)
    return (account, place), ("", place), (account, "")


def _place(address: str) -> str:
    """The address, or for IPv6 its /64: one customer has all of that."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
