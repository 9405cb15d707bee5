"""The hub's own CA and the server certificates that it issues (X.509 v3, RFC 5280; ECDSA on P-256). Pure: times are given.

Devices pin the CA's key and trust nothing else, so:
1. The CA has no well-defined end (RFC 5280, 4.1.2.5): nothing else than a new pin could replace it.
2. It signs servers of this hub and nothing below them (path length 0).
3. A server certificate is good for 90 days and is renewed when a third of that is left, or when a name is missing on it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from models.contract.claim import spki_sha256

SERVER_DAYS: Final = 90
_RENEW_DAYS: Final = 30
_EARLY: Final = timedelta(days=1)  # clocks of those who check differ
_NO_END: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_BEGIN: Final = datetime(2020, 1, 1, tzinfo=UTC)


def make_authority(hub_id: str) -> tuple[bytes, bytes]:
    """A new CA: its private key and its certificate, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Tocsin hub {hub_id}"[:64])])
    usage = _usage(digital_signature=False, key_cert_sign=True)
    certificate = (
        _builder(name, name, key.public_key(), _BEGIN, _NO_END)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return _key_pem(key), certificate.public_bytes(Encoding.PEM)


def issue(ca_key: bytes, ca_certificate: bytes, names: Collection[str], now: datetime) -> bytes:
    """A server's new private key, its certificate for `names` (DNS names and addresses), and the CA's: one PEM file."""
    authority = x509.load_pem_x509_certificate(ca_certificate)
    signer = load_pem_private_key(ca_key, password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ValueError("not an EC key")  # noqa: TRY004  # of a file, not of an argument
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tocsin hub")])
    signer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    certificate = (
        _builder(subject, authority.subject, key.public_key(), now - _EARLY, now + timedelta(days=SERVER_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_cert_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in sorted(names)]), critical=False)
        .add_extension(signer_id, critical=False)
        .sign(signer, hashes.SHA256())
    )
    return _key_pem(key) + certificate.public_bytes(Encoding.PEM) + ca_certificate


def why_renew(server: bytes, ca_certificate: bytes, names: Collection[str], now: datetime) -> str | None:
    """Why the certificate in `server` (PEM, of `issue`) will not do any longer; None where it will."""
    try:
        certificate = x509.load_pem_x509_certificate(server)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca_certificate))
        told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return "it is not of this CA"
    missing = {_general_name(name) for name in names} - set(told)
    if missing:
        return f"it lacks {', '.join(sorted(str(name.value) for name in missing))}"
    left = certificate.not_valid_after_utc - now
    if left < timedelta(days=_RENEW_DAYS):
        return f"it ends on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return None if certificate.not_valid_before_utc <= now else "it begins later: the clock was set back"


def pin_of(ca_certificate: bytes) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo of a PEM certificate. Raises ValueError where it is none."""
    key = x509.load_pem_x509_certificate(ca_certificate).public_key()
    return spki_sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, digital_signature: bool, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=key_cert_sign, crl_sign=key_cert_sign, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
