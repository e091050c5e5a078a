"""The commands' HTTP client: what it sends, and the one line that each kind of failure gives."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from remediator import client as clients
from remediator.client import Access, AccessProblem, Client, Refusal, Unreachable
from tests.support.remediator_web import TOKENS, House, house, unreachable
from tests.support.scripted_api import ScriptedApi, chunks, reply, reset
from tests.support.served_remediator import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.scripted_api import Answer

LIST = "/api/v1/remediations"


@pytest.fixture
def one(tmp_path: Path) -> House:
    return house(tmp_path)


@pytest.fixture
def url(one: House) -> Iterator[str]:
    with served(one.app) as address:
        yield address


def token(folder: Path, scope: str) -> Path:
    file = folder / f"{scope}.token"
    file.write_text(f"{TOKENS[scope]}\nanother-token-that-replaces-it\n")
    return file


def test_it_shows_its_token_and_reads_what_is_there(one: House, url: str, tmp_path: Path) -> None:
    name = one.awaiting()
    with Client(Access(url + "/", token(tmp_path, "all"))) as client:
        assert [item["name"] for item in client.remediations()] == [name]
        assert client.remediations("prod") == client.remediations()
        assert client.status()[0]["foundation"] == "prod"
        assert client.remediation(name)["name"] == name


def test_a_name_may_be_the_end_of_one(tmp_path: Path) -> None:
    both = house(tmp_path, ("prod", "test"))
    name = both.awaiting("prod")
    with served(both.app) as url, Client(Access(url, token(tmp_path, "all"))) as client:
        assert client.remediation("1")["name"] == name
        assert client.remediation("restart-diego-api.1")["name"] == name
        with pytest.raises(Refusal, match=r"there is no Remediation 'diego-api\.1'"):
            client.remediation("diego-api.1")
        both.awaiting("test")
        said = "1 could be (prod|test).restart-diego-api.1 or (prod|test).restart-diego-api.1: give the whole name"
        with pytest.raises(Refusal, match=said):
            client.remediation("1")


@pytest.mark.parametrize(
    ("scope", "deed", "expected"),
    [
        ("", lambda client: client.status(), (401, "give --token-file, or STAGER_REMEDIATOR_TOKEN_FILE")),
        ("nothing", lambda client: client.status(), (401, "nothing.token was shown to http://127.0.0.1")),
        ("webhook", lambda client: client.status(), (403, "webhooker has the scopes webhook; this needs view")),
        ("view", lambda client: client.pause("x", None, None), (403, "this needs operate")),
        ("view", lambda client: client.remediation("none"), (404, "there is no Remediation 'none'")),
        ("view", lambda client: client.remediation("../../metrics"), (404, "nothing is here|there is no Remediation")),
        ("operate", lambda client: client.resume(None), (409, "nothing is paused")),
        (
            "operate",
            lambda client: client.acknowledge("prod", "ok"),
            (409, "nothing waits to be acknowledged for prod"),
        ),
        ("operate", lambda client: client.pause(" ", None, None), (422, "a reason is needed")),
    ],
)
def test_a_no_is_the_servers_own_words(
    url: str, tmp_path: Path, scope: str, deed: Callable[[Client], object], expected: tuple[int, str]
) -> None:
    status, said = expected
    file = token(tmp_path, scope) if scope else None
    with Client(Access(url, file)) as client, pytest.raises(Refusal, match=said) as refused:
        deed(client)
    assert refused.value.status == status
    assert "\n" not in str(refused.value)
    assert "token-that-may" not in str(refused.value)


def test_a_state_that_cannot_be_read_says_to_try_again(one: House, url: str, tmp_path: Path) -> None:
    one.kubes["prod"].broken = unreachable()
    with Client(Access(url, token(tmp_path, "view"))) as client, pytest.raises(Refusal, match="try again soon") as no:
        client.remediations()
    assert no.value.status == 503


def test_what_was_seen_is_what_is_answered(one: House, url: str, tmp_path: Path) -> None:
    name = one.awaiting()
    with Client(Access(url, token(tmp_path, "operate"))) as client:
        with pytest.raises(Refusal, match="has changed since it was shown") as refused:
            client.answer(name, "approve", "1")
        assert refused.value.status == 409
        client.answer(name, "approve", one.version(name))
    assert one.object(name)["spec"]["approval"]["state"] == "approved"  # type: ignore[index]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (reply({"remediations": []}, 302, {"Location": "/elsewhere"}), r"\(HTTP 302, application/json\)"),
        (reply(["x"]), r"\(HTTP 200, application/json\): is it the right address\?"),
        (reply({"message": "not found"}, 404), r"does not answer as a remediator does \(HTTP 404"),
        (chunks(b"<html>"), "does not answer as a remediator does"),
        (chunks(b'{"remediations": ', then="reset"), "the connection broke"),
        (reset, "the connection broke|no connection"),
    ],
)
def test_what_is_no_remediator_is_said_so(answer: Answer, said: str) -> None:
    with ScriptedApi() as api:
        api.on("GET", LIST, answer)
        with Client(Access(api.url)) as client, pytest.raises(Unreachable, match=said) as problem:
            client.remediations()
        assert str(problem.value).startswith(api.url)
        assert len(api.seen) == 1, "neither a redirect nor a second try"


def test_a_change_without_an_answer_may_have_been_made() -> None:
    with ScriptedApi() as api:
        api.on("POST", "/api/v1/pause", reset)
        with Client(Access(api.url)) as client, pytest.raises(Unreachable, match="may have been done all the same"):
            client.pause("x", None, None)


def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(Access(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        with client, pytest.raises(Unreachable, match=r"no answer within 0\.1 s"):
            client.status()


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Client(Access(f"http://127.0.0.1:{port}")) as client, pytest.raises(Unreachable) as problem:
        client.pause("x", None, None)
    assert str(problem.value) == f"http://127.0.0.1:{port}: no connection: Connection refused"


def test_proxies_of_the_environment_are_not_used(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Client(Access(url, token(tmp_path, "view"))) as client:
        assert client.status()


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:9718", "ftp://x", "http://", "http://u:p@h", "http://h?x=1", "http://h:99999", "http://h:0", "",
        "http://[::1", "unix:///x",
    ],
)  # fmt: skip
def test_a_url_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(AccessProblem, match=r"^--url"):
        Client(Access(url))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "holds no token"), (b"\n \n", "holds no token"), (b"\xff", "printable ASCII"), (b"a\x01b", "printable")],
)
def test_a_token_file_that_is_none_is_refused_without_its_content(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(AccessProblem, match=said):
        Client(Access(token_file=file))
    with pytest.raises(AccessProblem, match="cannot be read: No such file or directory"):
        Client(Access(token_file=tmp_path / "none"))


def test_tls_is_verified_and_a_certificate_shown(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    ca, mine = tmp_path / "ca.pem", tmp_path / "mine.pem"
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("alice.example").private_key_and_cert_chain_pem.write_to_path(mine)
    with ScriptedApi(context) as api:
        api.on("GET", "/api/v1/status", reply({"foundations": [{"foundation": "prod"}]}))
        with Client(Access(api.url, None, ca, mine, mine)) as client:
            assert client.status() == [{"foundation": "prod"}]
        stranger = Client(Access(api.url, None, None, mine, mine))
        with stranger, pytest.raises(Unreachable, match=r"TLS failed: .*certificate verify failed"):
            stranger.status()


def test_files_for_tls_are_checked_at_once(tmp_path: Path, url: str) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(AccessProblem, match="holds no PEM certificate"):
        Client(Access("https://h", ca_file=empty))
    with pytest.raises(AccessProblem, match=r"--ca-file .*No such file"):
        Client(Access("https://h", ca_file=tmp_path / "none"))
    with pytest.raises(AccessProblem, match="go together"):
        Client(Access("https://h", cert_file=empty))
    with pytest.raises(AccessProblem, match="no PEM certificate with its unencrypted key"):
        Client(Access("https://h", cert_file=empty, key_file=empty))
    with pytest.raises(AccessProblem, match="No such file"):
        Client(Access("https://h", cert_file=tmp_path / "none", key_file=empty))
    with pytest.raises(AccessProblem, match="give https://"):
        Client(Access("http://h", ca_file=empty))
    client = Client(Access(url.replace("http://", "https://")))
    with client, pytest.raises(Unreachable, match=r"the other side does not speak it: is it http://\?"):
        client.status()
