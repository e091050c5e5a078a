"""Credentials: what the file may say, who a request is from, and how changes of the files are followed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import bcrypt
import pytest
import trustme

from foundation.serving.passwords import CHECKS_WAITING, TooBusy
from foundation.yamlfile import ConfigurationError
from remediator.credentials import Credentials, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TOKEN = "a-token-of-some-length"
OTHER = "another-token-as-long"
HASHED = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
DEARER = bcrypt.hashpw(b"open", bcrypt.gensalt(5)).decode()


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(token: str) -> dict[str, object]:
    return {"HTTP_AUTHORIZATION": f"Bearer {token}"}


def basic(user: str, password: str) -> dict[str, object]:
    return {"HTTP_AUTHORIZATION": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Connection:
    def __init__(self, subject: Mapping[str, object] | Exception | None) -> None:
        self._subject = subject

    def getpeercert(self, binary_form: bool = False) -> object:
        if isinstance(self._subject, Exception):
            raise self._subject
        return self._subject


def subject(name: str) -> dict[str, object]:
    return {"subject": ((("commonName", name),),)}


def entry(name: str, **how: str) -> str:
    ((way, value),) = how.items()
    return f'- {{name: {name}, scopes: [view], {way}: "{value}"}}\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "credentials.yml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Credentials(write(folder, text))
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def who(credentials: Credentials, environ: Mapping[str, object]) -> str | None:
    found = credentials.authenticate(environ)
    return found.name if found else None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "credentials.yml:1:1: expected a list"),
        ("[]", "credentials.yml:1:1: at least one credential is needed"),
        ("{}", "credentials.yml:1:1: expected a list"),
        ("- {name: a, scopes: [view]}", "credentials.yml:1:3: 0: one of token_sha256, token_file"),
        ("- {name: a, scopes: [], token_sha256: x}", "credentials.yml:1:21: 0.scopes:"),
        ("- {name: a, scopes: [root], token_file: t}", "credentials.yml:1:22: 0.scopes.0:"),
        ("- {name: a, scopes: [view], token_sha256: abc}", "64 hexadecimal digits"),
        ("- {name: a, scopes: [view], password_bcrypt: plain}", "expected a bcrypt hash"),
        (f"- {{name: a, scopes: [view], password_bcrypt: '{HASHED.replace('$04$', '$31$')}'}}", "a cost of 4 to 15"),
        ("- {name: 'a:b', scopes: [view], token_file: t}", "without a colon"),
        ("- {name: a, scopes: [view], token: x}", "credentials.yml:1:29: 0.token: there is no such setting"),
        ("- {name: a, name: b, scopes: [view]}", "the key 'name' stands twice"),
        ("- {name: a, scopes: [view], certificate: {}}", "exactly one of common_name and san"),
        ("- {name: a, scopes: [view], certificate: {common_name: b, san: c}}", "exactly one of common_name and san"),
        ("- {name: a, scopes: [view], token_file: absent}", "absent:1:1: cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in problem for problem in problems(tmp_path, text)), problems(tmp_path, text)


def test_equal_names_certificates_and_tokens_are_refused(tmp_path: Path) -> None:
    one = f"- {{name: a, scopes: [view], token_sha256: {digest(TOKEN)}}}\n"
    assert "two credentials are named a" in problems(tmp_path, one + one)[0]
    assert "a second time" in problems(tmp_path, one + one.replace("name: a", "name: b"))[0]
    shown = "- {name: a, scopes: [view], certificate: {san: x}}\n"
    assert "the same certificate" in problems(tmp_path, shown + shown.replace("name: a", "name: b"))[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no token"),
        (b"\n \n", "holds no token"),
        (b"short\n", "shorter than 16 characters"),
        (b"with a space in it, long\n", "without spaces"),
        (b"\xff" * 20, "printable ASCII"),
        (b"x" * 70_000, "is longer than"),
    ],
)
def test_a_token_file_that_protects_nothing_is_refused_and_never_quoted(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "t").write_bytes(content)
    (problem,) = problems(tmp_path, "- {name: a, scopes: [view], token_file: t}")
    assert said in problem
    assert "short\n" not in problem
    assert "with a space" not in problem


def test_each_way_to_show_who_one_is(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN}\n\n{OTHER}\n")
    given = Credentials(
        write(
            tmp_path,
            f"""
- {{name: alertmanager, scopes: [webhook], token_file: tokens}}
- {{name: ci, scopes: [view], token_sha256: {digest("token-of-the-pipeline")}}}
- {{name: alice, scopes: [view, operate], password_bcrypt: "{HASHED}"}}
- {{name: bob, scopes: [operate], certificate: {{common_name: bob}}}}
- {{name: carol, scopes: [view], certificate: {{san: carol@example.com}}}}
""",
        )
    )
    assert who(given, bearer(TOKEN)) == "alertmanager"
    assert who(given, bearer(OTHER)) == "alertmanager"
    assert who(given, bearer("token-of-the-pipeline")) == "ci"
    assert who(given, basic("alice", "sesame")) == "alice"
    assert given.passwords
    alice = given.authenticate(basic("alice", "sesame"))
    assert alice is not None
    assert alice.scopes == {Scope.VIEW, Scope.OPERATE}
    bob = given.authenticate({"gunicorn.socket": Connection({"subject": ((("commonName", "bob"),),)})})
    assert bob is not None
    assert bob.scopes == {Scope.OPERATE}, "operate does not bring view along"
    carol = {"subject": ((("commonName", "x"),),), "subjectAltName": (("email", "carol@example.com"),)}
    assert who(given, {"gunicorn.socket": Connection(carol)}) == "carol"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        bearer(""),
        bearer("wrong-token-of-some-length"),
        bearer(digest(TOKEN)),
        bearer(f"{TOKEN}x"),
        bearer("\udcff"),
        basic("alice", "wrong"),
        basic("nobody", "sesame"),
        basic("bob", ""),
        basic("", ""),
        {"HTTP_AUTHORIZATION": "Basic !!!"},
        {"HTTP_AUTHORIZATION": "Basic YWxpY2U="},
        {"HTTP_AUTHORIZATION": "Digest whatever"},
        {"HTTP_AUTHORIZATION": TOKEN},
        {"HTTP_AUTHORIZATION": ""},
        {"HTTP_X_SSL_CLIENT_S_DN": "CN=bob", "HTTP_X_FORWARDED_CLIENT_CERT": "Subject=CN=bob", "REMOTE_USER": "bob"},
        {"gunicorn.socket": object()},
        {"gunicorn.socket": Connection(None)},
        {"gunicorn.socket": Connection({})},
        {"gunicorn.socket": Connection(ValueError("handshake not done yet"))},
        {"gunicorn.socket": Connection({**subject("bobby"), "subjectAltName": (("DNS", "bob"),)})},
        {**bearer("wrong-token-of-some-length"), "gunicorn.socket": Connection(subject("bob"))},
    ],
)
def test_nobody(tmp_path: Path, environ: dict[str, object]) -> None:
    given = Credentials(
        write(
            tmp_path,
            f"""
- {{name: ci, scopes: [view], token_sha256: {digest(TOKEN)}}}
- {{name: alice, scopes: [view], password_bcrypt: "{HASHED}"}}
- {{name: bob, scopes: [view], certificate: {{common_name: bob}}}}
""",
        )
    )
    assert given.authenticate(environ) is None


def test_every_known_token_is_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = "".join(
        f"- {{name: n{i}, scopes: [view], token_sha256: {digest(f'token-number-{i:08}')}}}\n" for i in range(5)
    )
    given = Credentials(write(tmp_path, entries))
    compared: list[bytes] = []

    def counted(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", counted)
    assert who(given, bearer("token-number-00000000")) == "n0"
    assert len(compared) == 5


def test_an_unknown_user_costs_as_much_as_the_dearest_known_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Credentials(write(tmp_path, entry("a", password_bcrypt=HASHED) + entry("b", password_bcrypt=DEARER)))
    checked: list[bytes] = []
    plain = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        checked.append(hashed[:7])
        return plain(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    assert who(given, basic("nobody", "x")) is None
    assert who(given, {"HTTP_AUTHORIZATION": "Basic !!!"}) is None
    assert checked == [b"$2b$05$", b"$2b$05$"]
    for _ in range(3):
        assert who(given, basic("a", "sesame")) == "a"
    assert len(checked) == 3, "a right password is remembered"


def test_guessing_cannot_take_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = entry("a", password_bcrypt=HASHED) + entry("t", token_sha256=digest(TOKEN))
    given = Credentials(write(tmp_path, text))
    assert who(given, basic("a", "sesame")) == "a"
    go, entered = threading.Event(), threading.Semaphore(0)

    def slow(password: bytes, hashed: bytes) -> bool:
        entered.release()
        assert go.wait(20)
        return False

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    outcomes: list[str] = []

    def guess() -> None:
        try:
            given.authenticate(basic("a", "wrong"))
            outcomes.append("no")
        except TooBusy:
            outcomes.append("busy")

    guessers = [threading.Thread(target=guess) for _ in range(CHECKS_WAITING + 4)]
    for thread in guessers:
        thread.start()
    assert entered.acquire(timeout=10)
    try:
        assert who(given, bearer(TOKEN)) == "t", "a token does not wait"
        assert who(given, basic("a", "sesame")) == "a", "nor does a remembered password"
    finally:
        go.set()
        for thread in guessers:
            thread.join(20)
    assert "no" in outcomes
    assert len(outcomes) == CHECKS_WAITING + 4


def test_a_rotation_needs_no_restart_and_a_turned_link_is_seen(tmp_path: Path) -> None:
    for version, token in (("1", TOKEN), ("2", OTHER)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "token").write_text(token)
    link = tmp_path / "..data"
    link.symlink_to("1")
    (tmp_path / "token").symlink_to("..data/token")
    given = Credentials(write(tmp_path, "- {name: a, scopes: [view], token_file: token}"))
    before = given.secret
    assert who(given, bearer(TOKEN)) == "a"
    turned = tmp_path / "..new"
    turned.symlink_to("2")
    turned.replace(link)
    assert who(given, bearer(OTHER)) == "a"
    assert who(given, bearer(TOKEN)) is None
    assert given.secret != before


def test_a_bad_new_version_leaves_the_old_and_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "remediator.credentials")
    good = f"- {{name: a, scopes: [view], token_sha256: {digest(TOKEN)}}}"
    given = Credentials(write(tmp_path, good))
    assert who(given, bearer(TOKEN)) == "a"
    assert caplog.messages == []
    write(tmp_path, "- {name: a, scopes: []}\n")
    for _ in range(3):
        assert who(given, bearer(TOKEN)) == "a"
    (told,) = caplog.messages
    assert "the old ones stay" in told
    assert "credentials.yml:1:" in told
    (tmp_path / "credentials.yml").unlink()
    assert who(given, bearer(TOKEN)) == "a"
    write(tmp_path, good.replace(digest(TOKEN), digest(OTHER)))
    assert who(given, bearer(OTHER)) == "a"
    assert caplog.messages[-1] == "the credentials were taken anew"


def test_a_token_file_that_was_not_there_before_is_followed_too(tmp_path: Path) -> None:
    given = Credentials(write(tmp_path, f"- {{name: a, scopes: [view], token_sha256: {digest(TOKEN)}}}"))
    (tmp_path / "t").write_text(OTHER)
    write(tmp_path, "- {name: a, scopes: [view], token_file: t}")
    assert who(given, bearer(OTHER)) == "a"
    (tmp_path / "t").write_text("a-third-token-of-length")
    assert who(given, bearer("a-third-token-of-length")) == "a"
    assert who(given, bearer(OTHER)) is None


def test_replicas_with_the_same_credentials_have_the_same_secret(tmp_path: Path) -> None:
    one = f"- {{name: a, scopes: [view], token_sha256: {digest(TOKEN)}}}\n"
    two = f'- {{name: b, scopes: [view], password_bcrypt: "{HASHED}"}}\n'
    path = write(tmp_path, one + two)
    first = Credentials(path).secret
    assert Credentials(path).secret == first
    assert Credentials(write(tmp_path, two + one)).secret == first
    assert Credentials(write(tmp_path, one)).secret != first
    only = write(tmp_path, "- {name: a, scopes: [view], certificate: {san: x}}")
    assert Credentials(only).secret != Credentials(only).secret, "nothing secret to make it of: a random one"


def shake(context: ssl.SSLContext, end: socket.socket) -> None:
    with context.wrap_socket(end, server_hostname="localhost") as connection:
        connection.recv(1)  # until the other side has gone


def test_the_certificate_of_a_real_connection(tmp_path: Path) -> None:
    given = Credentials(write(tmp_path, "- {name: bob, scopes: [view], certificate: {san: bob@example.com}}"))
    ca, stranger = trustme.CA(), trustme.CA()
    for issuer, name in ((ca, "bob"), (stranger, None)):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.verify_mode = ssl.CERT_OPTIONAL if issuer is ca else ssl.CERT_NONE
        ca.issue_cert("localhost").configure_cert(server)
        ca.configure_trust(server)
        client = ssl.create_default_context()
        ca.configure_trust(client)
        issuer.issue_cert("bob@example.com").configure_cert(client)
        near, far = socket.socketpair()
        thread = threading.Thread(target=shake, args=(client, near))
        thread.start()
        with server.wrap_socket(far, server_side=True) as connection:
            assert who(given, {"gunicorn.socket": connection}) == name, "one that was not verified is none"
        thread.join()
