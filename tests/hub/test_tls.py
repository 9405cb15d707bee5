"""TLS at the hub: its own CA, what it issues and when, given certificates, and what is shown on a socket."""

from __future__ import annotations

import os
import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from hub.settings import Hub, init_hub, load_hub
from hub.tls.authority import SERVER_DAYS, issue, make_authority, pin_of, why_renew
from hub.tls.files import TlsFiles, is_loopback
from hub.tls.serving import ServerTls
from models.contract.claim import read_claim
from models.errors import ConfigError
from tests.hub.conftest import FAST, running
from tests.waiting import PATIENCE_S, wait_until

NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> tuple[bytes, bytes]:
    return make_authority("plant")


def test_what_the_ca_issues_is_for_this_hub_s_names_and_for_servers(authority: tuple[bytes, bytes]) -> None:
    key, ca = authority
    certificate = x509.load_pem_x509_certificate(issue(key, ca, {"hub.plant", "10.0.0.1", "::1"}, NOW))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hub.plant"]
    assert {str(ip) for ip in names.get_values_for_type(x509.IPAddress)} == {"10.0.0.1", "::1"}
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_after_utc - NOW == timedelta(days=SERVER_DAYS)
    signer = x509.load_pem_x509_certificate(ca)
    certificate.verify_directly_issued_by(signer)
    assert signer.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert signer.not_valid_after_utc.year == 9999


@pytest.mark.parametrize(
    ("days", "names", "why"),
    [(0, {"a"}, None), (59, {"a"}, None), (61, {"a"}, "it ends on 2027-02-25"), (200, {"a"}, "it ends on 2027-02-25"),
     (0, {"a", "10.0.0.2"}, "it lacks 10.0.0.2"), (-400, {"a"}, "it begins later: the clock was set back")],
)  # fmt: skip
def test_when_a_certificate_is_renewed(days: int, names: set[str], why: str | None, authority: tuple[bytes, bytes]) -> None:
    key, ca = authority
    server = issue(key, ca, {"a", "b"}, NOW)
    assert why_renew(server, ca, names, NOW + timedelta(days=days)) == why


def test_a_certificate_of_another_ca_or_none_is_renewed(authority: tuple[bytes, bytes]) -> None:
    key, ca = authority
    _, other = make_authority("plant")
    for server in (issue(key, ca, {"a"}, NOW), b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        assert why_renew(server, other, {"a"}, NOW) == "it is not of this CA"


@pytest.mark.parametrize(
    ("host", "mode"),
    [("127.0.0.1", "off"), ("127.0.0.9", "off"), ("::1", "off"), ("localhost", "off"), ("0.0.0.0", "own"), ("::", "own"),
     ("10.0.0.1", "own"), ("hub.plant", "own"), ("127.0.0.1.evil.example", "own"), ("", "own")],
)  # fmt: skip
def test_nothing_is_listened_to_in_clear_beyond_loopback_unless_told(host: str, mode: str, hub: Hub) -> None:
    assert hub.tls.mode(host) == mode
    assert is_loopback(host) == (mode == "off")


def test_off_is_off_and_own_is_own_wherever_it_listens(tmp_path: Path) -> None:
    for told in ("off", "own", "files"):
        tls = init_hub(tmp_path / told, f'tls = "{told}"').tls
        assert {tls.mode(host) for host in ("127.0.0.1", "0.0.0.0")} == {told}


def test_keys_are_the_owner_s_alone_and_are_kept(hub: Hub) -> None:
    ca = hub.tls.ca.read_bytes()
    assert hub.tls.renew(NOW) == "there was none"
    assert hub.tls.renew(NOW) is None
    for path in (hub.tls.ca_key, hub.tls.server):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert init_hub(hub.paths.root).tls.ca.read_bytes() == ca


@pytest.mark.parametrize("lost", ["ca.key", "ca.pem"])
def test_half_an_authority_is_never_replaced_for_devices_have_pinned_it(lost: str, hub: Hub) -> None:
    (hub.paths.root / "keys" / lost).unlink()
    with pytest.raises(ConfigError, match=f"{lost}: to be there beside"):
        hub.tls.renew(NOW)
    assert not (hub.paths.root / "keys" / lost).exists()


def test_a_hub_of_an_older_version_gets_its_authority_when_it_is_needed(hub: Hub) -> None:
    hub.tls.ca.unlink()
    hub.tls.ca_key.unlink()
    assert load_hub(hub.paths.root).tls.ca_pem() is None
    ServerTls(hub.tls, "0.0.0.0", lambda: NOW)
    assert hub.tls.ca_pem() == hub.tls.ca.read_bytes()


@pytest.mark.parametrize(
    ("config", "says"),
    [('tls = "files"', "tls_cert: a PEM file"),
     ('tls = "files"\ntls_cert = "no.pem"\ntls_key = "no.pem"', "tls_cert: a PEM file"),
     ('tls = "files"\ntls_cert = "hub.toml"\ntls_key = "hub.toml"', "a PEM certificate with its key")],
)  # fmt: skip
def test_given_files_that_are_not_there_or_do_not_fit_stop_it_before_it_listens(config: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        ServerTls(init_hub(tmp_path, config).tls, "127.0.0.1")


def test_a_token_pins_the_ca_that_devices_will_see(tmp_path: Path, authority: tuple[bytes, bytes]) -> None:
    from hub.devices.issue import issue_token
    from hub.state.database import open_state

    (tmp_path / "company.pem").write_bytes(authority[1])
    pins = {}
    for name, config in {
        "auto": "port = 1",
        "files": 'tls = "files"\nurl = "https://hub.example/tocsin/"',
        "company": 'tls = "off"\ntls_ca = "../company.pem"\nurl = "https://hub.example"',
        "off": 'tls = "off"\nhost = "10.0.0.1"',
    }.items():
        hub = init_hub(tmp_path / name, config)
        engine = open_state(hub.state_url)
        with engine.begin() as connection:
            what = {"site": "x", "profiles": (), "max_uses": 1, "ttl_h": 1.0, "actor": "hub", "now_ns": 1}
            token = read_claim(issue_token(connection, hub, **what)["token"])  # type: ignore[arg-type]
        engine.dispose()
        pins[name] = (token.url, token.ca_sha256)
    assert pins == {
        "auto": ("http://127.0.0.1:1", pin_of((tmp_path / "auto" / "keys" / "ca.pem").read_bytes())),
        "files": ("https://hub.example/tocsin", None),
        "company": ("https://hub.example", pin_of(authority[1])),
        "off": ("http://10.0.0.1:8700", None),
    }


# --- on a socket ----------------------------------------------------------------------------------------------------


def shown(port: int, ca: Path, version: ssl.TLSVersion | None = None) -> x509.Certificate:
    """The certificate that a server shows to somebody who believes `ca` only."""
    context = ssl.create_default_context(cafile=ca)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
        der = secure.getpeercert(binary_form=True)
    assert der
    return x509.load_der_x509_certificate(der)


def test_it_serves_by_tls_shows_its_ca_and_renews_while_it_serves(tmp_path: Path) -> None:
    hub = init_hub(tmp_path, FAST + 'tls = "own"')
    now = [datetime.now(UTC) - timedelta(days=SERVER_DAYS - 20)]
    tls = ServerTls(hub.tls, "127.0.0.1", lambda: now[0])
    with running(hub, tls) as client:
        port = client.http.base_url.port
        assert port
        assert client.http.get("/healthz").json() == {"status": "ok"}
        assert client.http.get("/v1/ca").content == hub.tls.ca.read_bytes()
        first = shown(port, hub.tls.ca)
        assert not tls.refresh()
        now[0] = datetime.now(UTC)
        with tls.kept_fresh(every_s=0.01):
            second = wait_until(lambda: (found := shown(port, hub.tls.ca)) != first and found, what="another certificate")
        assert second.not_valid_after_utc > first.not_valid_after_utc
        assert client.http.get("/healthz").status_code == 200
        with pytest.raises(ssl.SSLError):
            shown(port, hub.tls.ca, ssl.TLSVersion.TLSv1_1)
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" not in plain.recv(1000)


def test_given_files_are_read_again_when_they_change(tmp_path: Path, authority: tuple[bytes, bytes]) -> None:
    hub = init_hub(tmp_path, FAST + 'tls = "files"\ntls_cert = "c.pem"\ntls_key = "c.pem"')
    given = tmp_path / "c.pem"
    given.write_bytes(issue(*authority, {"127.0.0.1"}, datetime.now(UTC)))
    tls = ServerTls(hub.tls, "127.0.0.1")
    assert not tls.refresh()
    given.unlink()
    with pytest.raises(ConfigError):
        tls.refresh()
    given.write_bytes(issue(*authority, {"127.0.0.1"}, datetime.now(UTC)))
    os.utime(given, (0, 0))  # whatever the file system's clock can tell apart
    assert tls.refresh()


def test_a_certificate_whose_key_is_not_there_yet_leaves_the_old_one_in_use(
    tmp_path: Path, authority: tuple[bytes, bytes]
) -> None:
    """Whoever renews writes two files, one after the other."""
    hub = init_hub(tmp_path, FAST + 'tls = "files"\ntls_cert = "c.pem"\ntls_key = "k.pem"')
    (tmp_path / "ca.pem").write_bytes(authority[1])
    (tmp_path / "c.pem").write_bytes(issue(*authority, {"127.0.0.1"}, datetime.now(UTC)))
    (tmp_path / "k.pem").write_bytes((tmp_path / "c.pem").read_bytes())
    tls = ServerTls(hub.tls, "127.0.0.1")
    with running(hub, tls) as client:
        port = client.http.base_url.port
        assert port
        first = shown(port, tmp_path / "ca.pem")
        (tmp_path / "c.pem").write_bytes(issue(*authority, {"127.0.0.1"}, datetime.now(UTC)))
        with pytest.raises(ConfigError):
            tls.refresh()
        assert shown(port, tmp_path / "ca.pem") == first
        (tmp_path / "k.pem").write_bytes((tmp_path / "c.pem").read_bytes())
        assert tls.refresh()
        assert shown(port, tmp_path / "ca.pem") != first


def test_names_are_this_machine_s_and_what_is_configured(tmp_path: Path) -> None:
    config = 'host = "10.1.2.3"\nurl = "https://hub.plant:444/x"\ntls_names = ["other.plant", "10.9.9.9"]'
    tls: TlsFiles = init_hub(tmp_path, config).tls
    expected = {"localhost", "127.0.0.1", "::1", socket.gethostname(), "10.1.2.3", "hub.plant", "other.plant", "10.9.9.9"}
    assert expected <= tls.names()
    tls.renew(NOW)
