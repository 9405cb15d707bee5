"""Looking devices' keys up for many at once: a fleet that comes back asks within one second.

Each lookup by itself is a hop to a thread and a query, and forty of them at a time hold up all else. Those that come while one
is under way wait for it, and then go together. The thread is its own: those that operators' questions share may all be busy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from hub.devices.keys import DeviceKeys


class KeyAsking:
    """Lives on one event loop."""

    def __init__(self, keys: DeviceKeys) -> None:
        self._keys = keys
        self._asked: dict[str, asyncio.Future[bytes]] = {}
        self._task: asyncio.Task[None] | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="device-keys")

    async def key_of(self, device_id: str) -> bytes:
        """32 bytes. Raises UnknownDevice, DeviceSuspended, DeviceRevoked, or the storage's own error."""
        remembered = self._keys.remembered(device_id)
        if remembered is not None:
            return remembered
        future = self._asked.get(device_id)
        if future is None:
            future = self._asked[device_id] = asyncio.get_running_loop().create_future()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._ask())
        return await asyncio.shield(future)  # others may wait for the same

    async def _ask(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            found: Mapping[str, bytes | Exception]
            try:
                found = await asyncio.get_running_loop().run_in_executor(self._worker, self._keys.find_all, list(asked))
            except Exception as error:  # whatever the storage raised goes to those who wait
                found = dict.fromkeys(asked, error)
            for device_id, future in asked.items():
                _settle(future, found[device_id])


def _settle(future: asyncio.Future[bytes], found: bytes | Exception) -> None:
    if isinstance(found, Exception):
        future.set_exception(found)
        future.exception()  # seen, even where whoever asked went away
    else:
        future.set_result(found)
