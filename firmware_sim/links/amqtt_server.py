"""`python -m firmware_sim.links.amqtt_server HOST PORT`: an amqtt broker until SIGTERM, or until its parent is gone."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session


class LoopbackAuth(BaseAuthPlugin):  # type: ignore[misc]
    """Lets in whoever reaches the loopback address.

    amqtt's own anonymous plugin marks sessions as anonymous, and those lose their queued messages when they disconnect.
    """

    async def authenticate(self, *, session: Session) -> bool:
        session.is_anonymous = False
        return True


async def serve(host: str, port: int) -> None:
    """Run until told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin, lambda: stop.set() if not sys.stdin.buffer.read1(1) else None)  # type: ignore[union-attr]
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
        "plugins": {f"{__spec__.name}.{LoopbackAuth.__name__}": {}},  # as `__main__` it would not be found again
    }
    broker = Broker(config)
    await broker.start()
    await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
