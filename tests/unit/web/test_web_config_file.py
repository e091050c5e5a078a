"""`web.yml`: what is taken, what is refused and where, and how a changed file is followed."""

from __future__ import annotations

import base64
import logging
import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import bcrypt
import pytest
import trustme

from foundation.serving import passwords
from foundation.serving.web_config import BasicAuth, TlsSettings, WebConfig, WebConfigError, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIEnvironment

FILE = Path("/etc/stager/web.yml")
# A fixed salt: the hash is part of some tests' names, which each test process must find the same.
SALT = b"$2b$04$abcdefghijklmnopqrstuu"
HASH = bcrypt.hashpw(b"secret", SALT).decode()
OTHER = bcrypt.hashpw(b"other", SALT).decode()


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(WebConfigError) as raised:
        parse(FILE, text)
    return raised.value.problems


def test_an_empty_file_is_open_and_plain() -> None:
    for text in ("", "# nothing\n", "{}", "basic_auth_users:\ntls_server_config: {cert_file: a, key_file: b}\n"):
        settings = parse(FILE, text)
        assert not settings.users
    assert parse(FILE, "").tls is None


def test_everything_supported_is_read_with_paths_beside_the_file() -> None:
    settings = parse(
        FILE,
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: /keys/tls.key\n  client_ca_file: ../ca.crt\n"
        "  client_auth_type: RequireAndVerifyClientCert\n  min_version: TLS13\n"
        f"basic_auth_users:\n  anna: {HASH}\n  bert: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi\n",
    )
    assert settings.tls == TlsSettings(
        Path("/etc/stager/tls.crt"), Path("/keys/tls.key"), Path("/etc/stager/../ca.crt"), True, "TLS13"
    )
    assert sorted(settings.users) == ["anna", "bert"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("basic_auth_usres: {}", "1:1: basic_auth_usres: unknown"),
        ("http_server_config: {http2: true}", "1:1: http_server_config: unknown or not supported"),
        ("tls_server_config: {cert_file: a, key_file: b, cipher_suites: []}", "1:48: tls_server_config.cipher_suites"),
        ("basic_auth_users:\n  a: " + HASH + "\n  a: " + HASH, "3:3: basic_auth_users.a: given twice"),
        ("tls_server_config: {cert_file: a}", "1:20: tls_server_config: key_file is missing"),
        ("tls_server_config: {cert_file: 1, key_file: b}", "1:32: tls_server_config.cert_file: expected a text"),
        ("tls_server_config: {cert_file: '', key_file: b}", "1:32: tls_server_config.cert_file: expected a text"),
        ("tls_server_config: []", "1:20: tls_server_config: expected keys and values"),
        ("- a", "1:1: expected keys and values"),
        (
            "tls_server_config: {cert_file: a, key_file: b, min_version: TLS10}",
            "1:61: tls_server_config.min_version: one of TLS12, TLS13",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequestClientCert}",
            "1:66: tls_server_config.client_auth_type: one of",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
            "1:20: tls_server_config: client_auth_type RequireAndVerifyClientCert needs client_ca_file",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}",
            "1:64: tls_server_config.client_ca_file: would not be used",
        ),
        ("basic_auth_users: {anna: secret}", "1:26: basic_auth_users.anna: expected a bcrypt hash"),
        ("basic_auth_users: {'': " + HASH + "}", "a user's name cannot be empty"),
        ("basic_auth_users: {anna: $2b$31$" + "." * 53 + "}", "a cost of 4 to 15 is taken, this one is 31"),
        ("basic_auth_users: {? [a] : b}", "basic_auth_users: a key is not a text"),
        ("a: [", "not YAML"),
        ("a: \x00", "not YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, expected: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith("/etc/stager/web.yml:")
    assert expected in problem
    assert "\n" not in problem


def test_all_problems_are_told_at_once() -> None:
    assert len(problems("a: 1\nb: 2\nbasic_auth_users: {x: y}\n")) == 3


# Following the files


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    pair = trustme.CA().issue_cert("127.0.0.1")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    pair.private_key_pem.write_to_path(tmp_path / "tls.key")
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n")
    return tmp_path


def test_an_unreadable_file_or_pair_is_refused_at_the_start(directory: Path) -> None:
    with pytest.raises(WebConfigError, match=r"nothing\.yml:1:1: cannot be read: No such file"):
        WebConfig(directory / "nothing.yml")
    (directory / "tls.key").write_text("no key")
    with pytest.raises(WebConfigError, match=r"tls\.key"):
        WebConfig(directory / "web.yml")
    (directory / "tls.key").unlink()
    with pytest.raises(WebConfigError, match="No such file"):
        WebConfig(directory / "web.yml")
    (directory / "web.yml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(WebConfigError, match="not UTF-8"):
        WebConfig(directory / "web.yml")


def test_an_encrypted_key_is_refused_without_asking_for_its_password(directory: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key((directory / "tls.key").read_bytes(), None)
    (directory / "tls.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    )
    with pytest.raises(WebConfigError, match="encrypted"):
        WebConfig(directory / "web.yml")


def test_a_new_pair_gives_a_new_context_and_the_same_files_the_same(directory: Path) -> None:
    followed = WebConfig(directory / "web.yml")
    first = followed.context()
    assert followed.context() is first
    pair = trustme.CA().issue_cert("127.0.0.1")
    pair.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    # Only the certificate is there yet: it does not fit the key, so the old pair stays.
    assert followed.context() is first
    pair.private_key_pem.write_to_path(directory / "tls.key")
    assert followed.context() is not first


def test_a_turned_link_is_seen_as_kubernetes_does_it(tmp_path: Path) -> None:
    for version, text in (("v1", f"basic_auth_users: {{a: {HASH}}}"), ("v2", f"basic_auth_users: {{b: {HASH}}}")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "web.yml").write_text(text)
        os.utime(tmp_path / version / "web.yml", (1, 1))
    (tmp_path / "data").symlink_to("v1")
    followed = WebConfig(tmp_path / "data" / "web.yml")
    assert list(followed.users()) == ["a"]
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(tmp_path / "data")
    assert list(followed.users()) == ["b"]


def test_a_wrong_new_version_keeps_the_old_and_is_logged_once(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    followed = WebConfig(directory / "web.yml")
    before = followed.context()
    with caplog.at_level(logging.INFO, "foundation.serving.web_config"):
        (directory / "web.yml").write_text("tls_server_config: {cert_file: gone.crt, key_file: tls.key}\n")
        assert [followed.context(), followed.context()] == [before, before]
        assert len(caplog.records) == 1
        assert "gone.crt" in caplog.text
        (directory / "tls.crt").rename(directory / "gone.crt")
        assert followed.context() is not before
        assert caplog.records[-1].levelname == "INFO"


@pytest.mark.parametrize("text", ["", "basic_auth_users: {a: " + HASH + "}"])
def test_tls_is_not_turned_off_by_a_new_version(directory: Path, text: str) -> None:
    followed = WebConfig(directory / "web.yml")
    (directory / "web.yml").write_text(text)
    assert followed.tls is not None
    assert not followed.users()


def test_a_plain_file_has_no_context(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("")
    followed = WebConfig(tmp_path / "web.yml")
    assert followed.tls is None
    with pytest.raises(RuntimeError, match="does not configure TLS"):
        followed.context()


# Passwords


class Counted:
    """bcrypt, counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[bytes] = []
        self._real = bcrypt.checkpw
        monkeypatch.setattr(bcrypt, "checkpw", self)

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        self.calls.append(hashed)
        return self._real(password, hashed)


def ask(front: BasicAuth, header: str | None) -> tuple[str, dict[str, str], bytes]:
    seen: list[tuple[str, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        seen.append((status, dict(headers)))

    environ = {} if header is None else {"HTTP_AUTHORIZATION": header}
    body = b"".join(front(environ, start_response))  # type: ignore[arg-type]
    return seen[0][0][:3], seen[0][1], body


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def behind(users: Mapping[str, str]) -> BasicAuth:
    def pages(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [str(environ.get("REMOTE_USER")).encode()]

    return BasicAuth(pages, lambda: users)


def test_without_users_nobody_is_asked() -> None:
    assert ask(behind({}), None)[0] == "200"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Bearer " + base64.b64encode(b"anna:secret").decode(),
        basic("anna", "wrong"),
        basic("nobody", "secret"),
        basic("", "secret"),
        basic("anna", ""),
        basic("anna", "sec\0ret"),
        basic("anna", "x" * 100),
        basic("annas", "ecret"),
        "Basic " + base64.b64encode(b"\xff\xfe:secret").decode(),
    ],
)
def test_what_is_not_a_user_with_its_password_is_refused(header: str | None) -> None:
    front = behind(MappingProxyType({"anna": HASH}))
    for _ in range(2):
        status, headers, _body = ask(front, header)
        assert status == "401"
        assert headers["WWW-Authenticate"].startswith("Basic")


def test_the_right_password_is_checked_once_and_a_wrong_one_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    front = behind({"anna": HASH})
    assert [ask(front, basic("anna", "secret"))[::2] for _ in range(3)] == [("200", b"anna")] * 3
    assert len(counted.calls) == 1
    for _ in range(2):
        assert ask(front, basic("anna", "wrong"))[0] == "401"
    assert len(counted.calls) == 3


def test_an_unknown_user_costs_as_much_as_the_dearest_known(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    dear = bcrypt.hashpw(b"x", bcrypt.gensalt(6)).decode()
    assert ask(behind({"anna": HASH, "bert": dear}), basic("nobody", ""))[0] == "401"
    assert [call[:7] for call in counted.calls] == [b"$2b$06$"]


def test_a_remembered_password_ends_with_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    users = {"anna": HASH}
    front = behind(users)
    assert ask(front, basic("anna", "secret"))[0] == "200"
    users["anna"] = OTHER
    assert ask(front, basic("anna", "secret"))[0] == "401"
    assert ask(front, basic("anna", "other"))[0] == "200"
    del users["anna"]
    users["bert"] = HASH
    assert ask(front, basic("anna", "other"))[0] == "401"


def test_what_is_remembered_is_bounded() -> None:
    users = {f"user{number}": HASH for number in range(passwords.REMEMBERED + 5)}
    front = behind(users)
    for user in users:
        assert ask(front, basic(user, "secret"))[0] == "200"
    assert len(front._passwords._good) == passwords.REMEMBERED


def test_when_too_many_wait_for_a_check_the_next_is_told_so_but_the_known_pass() -> None:
    front = behind({"anna": HASH})
    assert ask(front, basic("anna", "secret"))[0] == "200"
    for _ in range(passwords.CHECKS_WAITING):
        assert front._passwords._waiting.acquire(blocking=False)
    status, headers, _body = ask(front, basic("anna", "guess"))
    assert (status, headers["Retry-After"]) == ("503", "1")
    assert ask(front, basic("anna", "secret"))[0] == "200"


def test_a_long_password_counts_to_72_bytes_as_bcrypt_has_it() -> None:
    front = behind({"anna": bcrypt.hashpw(b"p" * 72, bcrypt.gensalt(4)).decode()})
    assert ask(front, basic("anna", "p" * 90))[0] == "200"
    assert ask(front, basic("anna", "p" * 71))[0] == "401"
