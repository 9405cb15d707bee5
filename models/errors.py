"""Every error that Tocsin raises on purpose, grouped by what the caller does about it.

    TocsinError
    ├── ConfigError            refuse to start: names file, key and what was expected (exit code 78)
    ├── WireError              the content is wrong: count it or quarantine it, go on
    │   ├── FrameError         a torn, oversized or garbage frame from a sensor
    │   ├── EnvelopeError      an unreadable, oversized, unsigned or wrongly signed envelope
    │   └── ItemError          one unreadable item of a readable envelope
    ├── LinkError              the path failed: retry later, with backoff
    │   └── LinkTimeout        what was to be carried did not get through in time: retry later, with less at once
    ├── BundleError            refuse the bundle and keep the current slot
    │   ├── BundleCorrupt      not the archive it says it is
    │   ├── BundleUntrusted    not what the hub that this device is enrolled with has signed, or not provably
    │   ├── BundleIncompatible this device cannot compute what it needs
    │   └── SelfTestFailed     it loads, but its golden vectors do not score as they should
    ├── TrainingError          the hub makes no bundle, and says why
    ├── RolloutError           the hub changes no assignment, and says why
    ├── SigningError           the hub signs nothing, and says which key it needs
    ├── InstallError           the service is not installed, and says what to do
    └── StorageError           stop safely: state on disk cannot be used as it is

Duplicate, gap, late and warming up are ordinary outcomes: they are returned values, never exceptions.
"""

from __future__ import annotations


class TocsinError(Exception):
    """Base of every error raised on purpose; its text is one line that a person can act on."""


class ConfigError(TocsinError):
    """A configuration that cannot be used: `where` is the file and key, `expected` says what belongs there."""

    exit_code = 78  # EX_CONFIG of sysexits.h: systemd does not restart on it

    def __init__(self, where: str, expected: str) -> None:
        super().__init__(f"{where}: {expected}")
        self.where = where
        self.expected = expected


class WireError(TocsinError):
    """Bytes from elsewhere that do not say what they should."""


class FrameError(WireError):
    """A sensor frame that is torn, too long, or not in its format."""


class EnvelopeError(WireError):
    """A sealed message that cannot be read or is not signed by whom it names."""


class ItemError(WireError):
    """One item whose body does not decode; the rest of its envelope is unaffected."""


class LinkError(TocsinError):
    """A connection that failed or timed out. `retry_after_s` is set where the peer asked for a pause, `status` where it
    answered with one (HTTP)."""

    def __init__(self, message: str, retry_after_s: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.status = status


class LinkTimeout(LinkError):
    """An exchange that was given up at its deadline."""


class BundleError(TocsinError):
    """A bundle that must not serve here; `reason` is a stable word for reports, the text says more."""

    reason = "refused"


class BundleCorrupt(BundleError):
    """The archive is damaged, truncated, oversized, or its parts do not match their digests."""

    reason = "corrupt"


class BundleUntrusted(BundleError):
    """The repository's metadata does not vouch for it: a signature, a version, an expiry, or it is not listed. What is served
    may be in order later, so this alone is tried again, now and then."""

    reason = "untrusted"


class BundleIncompatible(BundleError):
    """Another feature spec, an unsupported format version or operator."""

    reason = "incompatible"


class SelfTestFailed(BundleError):
    """Golden vectors score outside their tolerance on this device's runtime."""

    reason = "self-test"


class TrainingError(TocsinError):
    """Too little or unusable data, or a model that fails its own evaluation."""


class RolloutError(TocsinError):
    """An unknown bundle or rollout, or a step that its present state does not allow."""


class SigningError(TocsinError):
    """A key is not at hand, or there is nothing that it could sign."""


class InstallError(TocsinError):
    """This machine, or this user on it, cannot install the service; an earlier installation stays as it was."""


class StorageError(TocsinError):
    """A database or directory that is locked by another process, from a newer version, or unreadable."""
