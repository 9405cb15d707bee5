"""The hub's TLS on a socket: versions, files, and their renewal while it serves."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hub.tls.files import TlsFiles
from models.errors import ConfigError

_log = logging.getLogger(__name__)
LOOK_EVERY_S: Final = 3600.0


class ServerTls:
    """An SSL context that shows the newest certificate. What is open goes on with the one it began with."""

    def __init__(self, files: TlsFiles, host: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Raises ConfigError: a file that is missing or does not fit; nothing listens then."""
        self._files = files
        self._own = files.mode(host) == "own"
        self._now = now
        self._loaded: tuple[int, ...] = ()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.num_tickets = 0  # devices keep connections instead; a ticket would lie unread in them
        self.context.set_alpn_protocols(["http/1.1"])
        self.refresh()

    def refresh(self) -> bool:
        """Renew the own certificate if need be, and load what has changed; whether it did."""
        if self._own:
            self._files.renew(self._now())
        certificate, key = (self._files.server, self._files.server) if self._own else self._files.given()
        found = (*_stamp(certificate), *_stamp(key))
        if found == self._loaded:
            return False
        try:
            # First where it does no harm: a certificate whose key does not fit would leave the context without a key.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
            self.context.load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(str(certificate), f"a PEM certificate with its key in {key}: {error}") from None
        self._loaded = found
        return True

    @contextmanager
    def kept_fresh(self, every_s: float = LOOK_EVERY_S) -> Iterator[None]:
        """Looks after the certificate in a thread of its own. What fails is logged, and the old one stays."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(every_s):
                try:
                    if self.refresh():
                        _log.warning("a new certificate is in use")
                except (ConfigError, OSError, ValueError) as error:
                    _log.error("the certificate is not renewed: %s", error)

        thread = threading.Thread(target=look, name="certificate", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_ino
