"""TLS to the hub: whom this device believes.

1. With a pinned CA (`state_dir/ca.pem`) nobody else is believed, and the name in the certificate must be the one that is
   connected to. Without one, the certificate is checked as a browser does.
2. With a pinned CA the times in certificates are not looked at. A device without a clock boots in 1970 and learns the time from
   its hub, so it must believe the hub first; and one in the field must not be lost because a certificate was renewed late.
   What an end would protect from, a server key that was stolen long ago, is here the theft of what lies beside the CA's key.
3. `ssl` contexts are made where an https address is used, and once: they cost a megabyte.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.errors import StorageError

if TYPE_CHECKING:
    import ssl

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's enumeration lacks


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """A context that believes the CA in `ca_file` only; None = whom this system believes. Raises StorageError."""
    import ssl

    if ca_file is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= _NO_CHECK_TIME
    try:
        context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise StorageError(f"{ca_file}: not a CA certificate ({error}); restore it, or enrol again") from None
    return context


def believing_anybody() -> ssl.SSLContext:
    """For one question whose answer is checked by its hash: which CA the hub has."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
