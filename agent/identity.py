"""Who this device is: its key, and the hub that it is enrolled with.

DIR/device.key        Ed25519, made on the device, never leaves it
DIR/enrolment.json    the hub's name and public key, pinned at enrolment
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.hub_link import HubLink
from models.contract.checkin import Enrol, EnrolReply
from models.contract.envelope import seal
from models.contract.signing import SigningKey, join_proof
from models.errors import ConfigError, LinkError, StorageError
from models.files import write_durably


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of enrolment."""

    hub_id: str
    hub_public_key: bytes


class Identity:
    """Raises StorageError where the stored key or enrolment is damaged: an identity is never silently replaced."""

    def __init__(self, directory: Path, device_id: str) -> None:
        self.device_id = device_id
        self._key = SigningKey.load_or_create(directory / "device.key")
        self._path = directory / "enrolment.json"
        self.enrolment = self._read()

    def _read(self) -> Enrolment | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Enrolment)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StorageError(f"{self._path}: {error}; remove it to enrol again") from None

    @property
    def hub_public_key(self) -> bytes | None:
        """Of the hub that this device is enrolled with; None before that."""
        return self.enrolment.hub_public_key if self.enrolment is not None else None

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def enrol(self, link: HubLink, token_file: Path | None, agent_version: str, site: str, hardware: str) -> Enrolment:
        """Introduce this device to the hub, once; the reply is pinned. Raises LinkError, or ConfigError without a token."""
        if self.enrolment is not None:
            return self.enrolment
        if token_file is None:
            raise ConfigError("hub.join_token_file", "the hub's join token, to enrol with it")
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LinkError(f"join token {token_file}: {error}") from None
        enrol = Enrol(
            public_key=self._key.public_bytes,
            join_proof=join_proof(token, self.device_id, self._key.public_bytes),
            agent_version=agent_version,
            site=site,
            hardware=hardware[:500],
        )
        try:
            answer = link.post("/v1/enrol", seal(enrol, "enrol", self.device_id, self.sign))
            reply = msgspec.msgpack.decode(answer, type=EnrolReply)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise LinkError(f"the hub's answer is no enrolment: {error}") from None
        self.enrolment = Enrolment(hub_id=reply.hub_id, hub_public_key=reply.hub_public_key)
        write_durably(self._path, msgspec.json.encode(self.enrolment))
        return self.enrolment
