"""How a device comes to its hub, and how it changes its key there.

    claim token ──> is it for here? ──> the hub's CA, checked by its hash ──> ca.pem ──> Enrol ──> enrolment.json

Everything may be done again: what was left half done is done over, and the hub answers the same device the same.

1. A token that pins a CA is never used in clear, but on loopback, where nobody is in between.
2. The CA is fetched from whoever answers, and believed for its hash alone; only then anything is said that counts.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from agent.uplink.hub_link import HttpHubLink, HubLink
from agent.uplink.identity import Enrolment, Identity
from agent.uplink.tls import believing_anybody
from models.contract.checkin import Enrol, EnrolReply, Rotate, Rotated
from models.contract.claim import ClaimToken, claim_message, is_claim, read_claim, spki_sha256
from models.contract.envelope import seal
from models.contract.signing import join_proof, rotation_message
from models.errors import ConfigError, LinkError

NOT_ENROLLED: Final = "a device that is enrolled: `tocsin agent enrol URL TOKEN`, or claim_token_file"
_MAX_CA_BYTES: Final = 64 * 1024
_TOO_MANY: Final = 429
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Said:
    """What the device says of itself."""

    agent_version: str
    site: str
    hardware: str
    profiles: list[str]


@dataclass(slots=True)
class Introduction:
    """Enrols once, and finishes a change of keys that was begun; for use by several threads.

    `token_file`: None = there is none. `link` believes `identity.ca_file`, from its first use on; `url`: where it leads, for
    what is asked before anybody is believed.
    """

    identity: Identity
    link: HubLink
    url: str
    timeout_s: float
    said: Said
    token_file: Path | None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def settle(self) -> Enrolment:
        """The enrolment, made if need be. Raises LinkError; ConfigError: no token, or none for here; StorageError."""
        with self._lock:
            enrolment = self.identity.enrolment or self._enrol()
            if self.identity.rotating:
                self._rotate()
            return enrolment

    def _rotate(self) -> None:
        try:
            rotate(self.identity, self.link)
        except LinkError as error:
            if error.status != _TOO_MANY:  # somebody else at this address fails; until then the old key will do
                raise

    def _enrol(self) -> Enrolment:
        if self.token_file is None:
            raise ConfigError("hub", NOT_ENROLLED)
        return enrol(self.identity, self.link, self.url, self.timeout_s, self.said, read_token(self.token_file))


def read_token(path: Path) -> str:
    """The token in a file. Raises LinkError: it may still be put there."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LinkError(f"token {path}: {error}") from None


def enrol(identity: Identity, link: HubLink, url: str, timeout_s: float, said: Said, token: str) -> Enrolment:
    """Introduce this device with a claim token, or the hub's join token; what the hub answers is pinned.

    Raises LinkError: unreachable, or refused and why; ConfigError: the token is none, or not to be used here.
    """
    proofs: dict[str, object] = {"join_proof": join_proof(token, identity.device_id, identity.public_key)}
    if is_claim(token):
        claim = read_claim(token)
        check_way(claim, url)
        _pin(identity, claim, url, timeout_s)
        message = claim_message(claim.token_id, identity.device_id, identity.public_key)
        proofs = {"claim_id": claim.token_id, "claim_proof": claim.key.sign(message)}
    ask = Enrol(
        public_key=identity.public_key,
        agent_version=said.agent_version,
        site=said.site,
        hardware=said.hardware[:500],
        profiles=sorted(set(said.profiles)),
        **proofs,  # type: ignore[arg-type]
    )
    try:
        answer = link.post("/v1/enrol", seal(ask, "enrol", identity.device_id, identity.sign))
        reply = msgspec.msgpack.decode(answer, type=EnrolReply)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LinkError(f"the hub's answer is no enrolment: {error}") from None
    enrolment = Enrolment(hub_id=reply.hub_id, hub_public_key=reply.hub_public_key, site=reply.site)
    identity.remember(enrolment)
    return enrolment


def rotate(identity: Identity, link: HubLink) -> None:
    """Change to the next key, now or going on from where it broke off. Raises LinkError, StorageError."""
    new = identity.next_key()
    proof = new.sign(rotation_message(identity.device_id, identity.public_key, new.public_bytes))
    ask = Rotate(new_key=new.public_bytes, proof=proof)
    try:
        answer = link.post("/v1/rotate", seal(ask, "rotate", identity.device_id, identity.sign))
        reply = msgspec.msgpack.decode(answer, type=Rotated)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LinkError(f"the hub's answer to a change of keys is none: {error}") from None
    if reply.public_key != new.public_bytes:
        raise LinkError("the hub has pinned another key than the next one")
    identity.take_next(new)


def check_way(claim: ClaimToken, url: str) -> None:
    """Raises ConfigError where the way to the hub is not the one that the token pins."""
    if claim.ca_sha256 is not None and not _is_safe(url):
        raise ConfigError(
            f"hub address {url}", f"https://…, for the token pins the hub's certificate; it was made for {claim.url}"
        )


def check_no_downgrade(identity: Identity, url: str) -> None:
    """Raises ConfigError where a hub that was pinned is to be spoken to in clear."""
    if identity.ca_file is not None and not _is_safe(url):
        raise ConfigError("hub.url", f"https://…, not {url}: this device has pinned its hub's CA ({identity.ca_file})")


def _is_safe(url: str) -> bool:
    """Whether nobody can be in between: by TLS, or on one machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in _LOOPBACK


def _pin(identity: Identity, claim: ClaimToken, url: str, timeout_s: float) -> None:
    """See to it that `ca.pem` is the CA that the token pins, or is not there if it pins none. Raises LinkError."""
    if claim.ca_sha256 is None or urlsplit(url).scheme != "https":
        identity.unpin_ca()
        return
    if identity.ca_file is not None and _pin_of(identity.ca_file.read_bytes()) == claim.ca_sha256:
        return
    stranger = HttpHubLink(url, timeout_s, believing_anybody)
    try:
        pem = stranger.get("/v1/ca", _MAX_CA_BYTES)
    except LinkError as error:
        hint = f"; the token was made for {claim.url}" if claim.url.rstrip("/") != url.rstrip("/") else ""
        raise LinkError(f"{error}{hint}", error.retry_after_s, error.status) from None
    finally:
        stranger.close()
    shown = _pin_of(pem)
    if shown != claim.ca_sha256:
        raise LinkError(
            f"{url} shows another CA than the token pins (SHA-256 {shown.hex()[:16] if shown else 'none'}…, expected"
            f" {claim.ca_sha256.hex()[:16]}…): the token is another hub's, or somebody is in between. Nothing was told"
        )
    identity.pin_ca(pem)


def _pin_of(pem: bytes) -> bytes | None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_pem_x509_certificate

    try:
        key = load_pem_x509_certificate(pem).public_key()
        return spki_sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    except (ValueError, TypeError):
        return None
