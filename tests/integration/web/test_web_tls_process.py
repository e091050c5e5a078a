"""TLS and passwords on the real server: handshakes that stall, client certificates, rotation."""

from __future__ import annotations

import base64
import shutil
import socket
import ssl
import time
from typing import TYPE_CHECKING

import bcrypt
import pytest
import trustme

from tests.support.web_process import ServerProcess, clients, get, server, until

if TYPE_CHECKING:
    from pathlib import Path

# The first bytes of a TLS hello: its record says 512 bytes and they never come.
HALF_HELLO = bytes.fromhex("1603010200010001fc0303")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def write_certificate(authority: trustme.CA, directory: Path, name: str = "127.0.0.1") -> str:
    """A new pair in `directory`; gives the certificate's serial number as Python's ssl shows it."""
    issued = authority.issue_cert(name, "127.0.0.1")
    fresh = directory / "fresh"
    issued.cert_chain_pems[0].write_to_path(fresh)
    certificate = ssl._ssl._test_decode_cert(str(fresh))  # type: ignore[attr-defined]
    issued.private_key_pem.write_to_path(directory / "tls.key")
    shutil.move(fresh, directory / "tls.crt")
    return str(certificate["serialNumber"])


def web_yml(directory: Path, extra: str = "", users: str = "") -> Path:
    path = directory / "web.yml"
    path.write_text(f"tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n{extra}{users}")
    return path


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def answering(started: ServerProcess, context: ssl.SSLContext) -> int:
    port = started.port()
    until(lambda: get(port, "/livez", tls=context)[0] in (200, 401), "the server answers")
    return port


def serial(port: int, context: ssl.SSLContext) -> str:
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
        return str((client.getpeercert() or {}).get("serialNumber"))


@pytest.mark.parametrize(("say", "allowed"), [(b"", 2.0), (HALF_HELLO, 4.0)])
def test_64_stalled_handshakes_do_not_hold_up_a_scrape(
    tmp_path: Path, authority: trustme.CA, say: bytes, allowed: float
) -> None:
    write_certificate(authority, tmp_path)
    context = trusting(authority)
    with server(str(web_yml(tmp_path))) as started:
        port = answering(started, context)
        with clients(port, 64, say):
            began = time.monotonic()
            assert get(port, "/metrics?name[]=made_pid", tls=context)[0] == 200
            took = time.monotonic() - began
        print(f"64 TLS x {say[:4]!r}: {took:.3f} s")
        assert took < allowed


def test_a_renewed_certificate_is_shown_and_a_broken_one_is_not(tmp_path: Path, authority: trustme.CA) -> None:
    first = write_certificate(authority, tmp_path)
    context = trusting(authority)
    with server(str(web_yml(tmp_path))) as started:
        port = answering(started, context)
        assert serial(port, context) == first
        second = write_certificate(authority, tmp_path)
        until(lambda: serial(port, context) == second, "the renewed certificate is shown")
        (tmp_path / "tls.crt").write_text("half a file")
        assert serial(port, context) == second
        until(
            lambda: any("the old one stays" in str(line.get("message")) for line in started.lines),
            "the log tells of the broken certificate",
        )
        third = write_certificate(authority, tmp_path)
        until(lambda: serial(port, context) == third, "the mended certificate is shown")


def test_without_a_client_certificate_nothing_is_served_where_one_is_required(
    tmp_path: Path, authority: trustme.CA
) -> None:
    write_certificate(authority, tmp_path)
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    extra = "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"
    context, stranger = trusting(authority), trusting(authority)
    authority.issue_cert("prometheus").configure_cert(context)
    trustme.CA().issue_cert("prometheus").configure_cert(stranger)
    with server(str(web_yml(tmp_path, extra))) as started:
        port = answering(started, context)
        for refused in (trusting(authority), stranger):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                get(port, "/metrics", tls=refused)
        assert get(port, "/metrics", tls=context)[0] == 200


def test_all_but_livez_and_readyz_is_behind_the_password_and_a_changed_one_counts_at_once(
    tmp_path: Path, authority: trustme.CA
) -> None:
    def users(password: bytes) -> str:
        return f"basic_auth_users:\n  anna: {bcrypt.hashpw(password, bcrypt.gensalt(4)).decode()}\n"

    def header(password: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"anna:{password}".encode()).decode()}

    write_certificate(authority, tmp_path)
    context = trusting(authority)
    with server(str(web_yml(tmp_path, users=users(b"one")))) as started:
        port = answering(started, context)
        for path in ("/livez", "/readyz"):
            assert get(port, path, tls=context)[0] == 200
        for path in (
            "/",
            "/metrics",
            "/view.json",
            "/static/style.css",
            "/nothing",
            "/livez/",
            "//livez",
            "/livez/../metrics",
        ):
            assert get(port, path, tls=context)[0] == 401
            assert get(port, path, tls=context, headers=header("two"))[0] == 401
        assert get(port, "/metrics", tls=context, headers=header("one"))[0] == 200
        web_yml(tmp_path, users=users(b"two"))
        until(lambda: get(port, "/", tls=context, headers=header("two"))[0] == 200, "the new password is taken")
        assert get(port, "/", tls=context, headers=header("one"))[0] == 401
        (tmp_path / "web.yml").write_text("basic_auth_usres: {}\n")
        assert get(port, "/", tls=context, headers=header("two"))[0] == 200
        assert get(port, "/", tls=context)[0] == 401


def test_what_is_not_tls_is_refused_and_the_next_is_served(tmp_path: Path, authority: trustme.CA) -> None:
    write_certificate(authority, tmp_path)
    context = trusting(authority)
    with server(str(web_yml(tmp_path))) as started:
        port = answering(started, context)
        with clients(port, 1, b"GET / HTTP/1.1\r\n\r\n") as (client,):
            while client.recv(1000):
                pass
        old = trusting(authority)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert get(port, "/livez", tls=old)[0] == 200
        assert get(port, "/livez", tls=context)[0] == 200
    assert not [line for line in started.lines if "not_json" in line]
