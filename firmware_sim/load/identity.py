"""Who a light device is: a key that follows from the claim token's secret, its name and the seed.

So a fleet that is started again with the same token and seed is the same fleet to the hub, and costs the token no further use;
and whoever knows seed and name but not the token cannot speak for it. A real agent makes its key by chance.
"""

from __future__ import annotations

import hashlib
import hmac

from models.contract.checkin import Enrol
from models.contract.claim import ClaimToken, claim_message
from models.contract.envelope import seal
from models.contract.signing import SigningKey
from models.version import VERSION

HARDWARE = "light device (tocsin sim fleet)"


class LightIdentity:
    """`sign` gives 64 bytes (Ed25519)."""

    __slots__ = ("_key", "_token", "device_id")

    def __init__(self, token: ClaimToken, device_id: str, seed: int) -> None:
        self.device_id = device_id
        self._token = token
        self._key = SigningKey.from_seed(hmac.digest(token.seed, f"light {seed} {device_id}".encode(), hashlib.sha256))

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    @property
    def public_key(self) -> bytes:
        return self._key.public_bytes

    def enrolment(self, site: str, profiles: list[str]) -> bytes:
        """The sealed request; where the device stands the token decides."""
        proof = self._token.key.sign(claim_message(self._token.token_id, self.device_id, self.public_key))
        ask = Enrol(
            public_key=self.public_key,
            claim_id=self._token.token_id,
            claim_proof=proof,
            agent_version=VERSION,
            site=site,
            hardware=HARDWARE,
            profiles=profiles,
        )
        return seal(ask, "enrol", self.device_id, self.sign)
