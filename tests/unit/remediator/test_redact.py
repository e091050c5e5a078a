"""Planted secrets never survive, other text stays, and hostile text costs little time."""

from __future__ import annotations

import base64
import json
import re
import string
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remediator.redact import PEM_DROPPED, PEM_LINES, REDACTED, clean, redact, redact_lines

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = Path(__file__).parents[2] / "data" / "log-samples.jsonl"

NAMES = st.sampled_from(
    [
        "password",
        "DB_PASSWORD",
        "bbsPassword",
        "passwd",
        "passphrase",
        "db_pass",
        "pwd",
        "token",
        "access_token",
        "accessToken",
        "X-Auth-Token",
        "secret",
        "client_secret",
        "clientSecretValue",
        "api_key",
        "apiKey",
        "ENCRYPTION_KEY",
        "encryption-key-1",
        "key",
        "keys",
        "AccessKeyId",
        "credentials",
        "session_id",
        "X-Amz-Signature",
        "authorization",
        "Proxy-Authorization",
        "cookie",
        "Set-Cookie",
    ]
)
SECRETS = st.text(string.ascii_letters + string.digits + "!#$%^*_+./~?|-", min_size=6, max_size=40).map(
    lambda body: f"Z9{body}q"  # never a lock's plain name
)
AROUND = st.text(string.ascii_letters + string.digits + ' .,;:=/-_[](){}"\\@&<>\t', max_size=40)


def _json(name: str, secret: str) -> str:
    return json.dumps({"a": 1, name: secret, "z": "end"})


def _compact(name: str, secret: str) -> str:
    return json.dumps({"a": 1, "b": {name: secret}, "z": "end"}, separators=(",", ":"))


FORMS: dict[str, Callable[[str, str], str]] = {
    "json": _json,
    "compact": _compact,
    "json in json": lambda name, secret: json.dumps({"message": _compact(name, secret)}),
    "json in json in json": lambda name, secret: json.dumps({"m": json.dumps({"m": _compact(name, secret)})}),
    "list": lambda name, secret: json.dumps({"headers": {name: ["first", secret]}}),
    "header": lambda name, secret: f"{name}: {secret}",
    "header in json": lambda name, secret: json.dumps({"message": f"> {name}: {secret}"}),
    "pair": lambda name, secret: f"('{name}', '{secret}')",
    "key=value": lambda name, secret: f"user=x {name}={secret} host=db",
    "quoted": lambda name, secret: f'{name} = "{secret}"',
    "ruby": lambda name, secret: f'{{:user=>"x", :{name}=>"{secret}"}}',
    "go map": lambda name, secret: f"map[{name}:[{secret}] Accept:[x]]",
    "option": lambda name, secret: f"run --{name} {secret} --next",
    "query": lambda name, secret: f"GET https://uaa/x?a=b&{name}={secret} HTTP/1.1",
    "xml": lambda name, secret: f"<{name}>{secret}</{name}>",
    "scheme": lambda name, secret: f"{name}: bearer {secret}",
    "colours": lambda name, secret: f"\x1b[31m{name}\x1b[0m=\x1b[1m{secret}\x1b[0m",
}
ALONE: dict[str, Callable[[str], str]] = {
    "url": lambda secret: f"dial postgres://diego:{re.sub('[/?#]', 'x', secret)}@10.0.0.1:5432/diego failed",
    "go dsn": lambda secret: f"open diego:{secret}@tcp(mysql:3306)/diego?timeout=1s",
    "bearer": lambda secret: f"sent Bearer {re.sub('[^A-Za-z0-9]', 'x', secret)}abc1 to uaa",
    "basic": lambda secret: f"basic {base64.b64encode(b'u:' + secret.encode()).decode()}",
    "jwt": lambda secret: "eyJhbGciOiJIUzI1NiJ9." + base64.urlsafe_b64encode(secret.encode()).decode() + ".sig",
    "aws": lambda secret: "AKIA" + re.sub("[^A-Z0-9]", "Q", secret.upper()).ljust(16, "Q") + " used",
}


@settings(max_examples=300)
@given(form=st.sampled_from(sorted(FORMS)), name=NAMES, secret=SECRETS, before=AROUND, after=AROUND)
def test_a_named_secret_never_survives(form: str, name: str, secret: str, before: str, after: str) -> None:
    # The text around it may hold quotes and brackets that never close.
    text = f"{before} {FORMS[form](name, secret)} {after}"
    found = redact(text)
    assert secret not in found
    assert json.dumps(secret)[1:-1] not in found
    assert REDACTED in found


@given(form=st.sampled_from(sorted(ALONE)), secret=SECRETS, before=AROUND.filter(lambda text: "@" not in text))
def test_a_secret_without_a_name_never_survives(form: str, secret: str, before: str) -> None:
    planted = ALONE[form](secret)
    found = redact(f"{before} {planted}")
    assert REDACTED in found
    for piece in re.findall(r"[A-Za-z0-9]{8,}", planted):
        if piece not in ("postgres", "timeout", "eyJhbGciOiJIUzI1NiJ9"):
            assert piece not in found.removeprefix(clean(before))


@given(st.text())
def test_it_never_raises_and_keeps_lines(text: str) -> None:
    found = redact(text)
    assert len(found.split("\n")) <= len(text.split("\n"))
    assert all(line.isprintable() for line in found.split("\n"))


STAYING = """
bbs locket lock diego-api-0 failed request-lost 8889 10.0.0.1:8891 http://bbs.service.cf.internal:8889/v1/ping
connection refused dial tcp: monkey keyboard compass tokyo /var/vcap/sys/log
{"timestamp":"1549101600.98","source":"bbs","data":{"session":"3","lock":{"key":"bbs","owner":"diego-api-0"}}}
docker-pullable://registry:5000/cf/diego@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
docker-pullable://diego@sha256:00aa mailto:x@y.z ops@example.com -----
"""
WORDS = st.sampled_from(STAYING.split())


@given(st.lists(WORDS, max_size=12))
def test_other_text_stays(words: list[str]) -> None:
    text = " ".join(words)
    assert redact(text) == text


def test_real_log_lines_stay() -> None:
    lines = [json.loads(line)["line"] for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    changed = [line for line in lines if all(map(str.isprintable, line)) and redact(line) != line]
    assert len(lines) > 50
    assert changed == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"password":"x\\"y","host":"db"}', '{"password":"[redacted]","host":"db"}'),
        (r'{"password":"x\\","host":"db"}', '{"password":"[redacted]","host":"db"}'),
        (r'{"m":"{\"token\":\"a\\\"1\",\"b\":2}","z":3}', r'{"m":"{\"token\":\"[redacted]\",\"b\":2}","z":3}'),
        ('{"password":"","a":1}', '{"password":"","a":1}'),
        ('{"token":null,"verdict":"hung"}', '{"token":[redacted],"verdict":"hung"}'),
        ('{"m":"token=abc","z":3}', '{"m":"token=[redacted]","z":3}'),
        ("map[Authorization:[Bearer x1] Accept:[y]]", "map[Authorization:[redacted] Accept:[y]]"),
        ("postgres://u:p/w@db:5432/x", "postgres://[redacted]@db:5432/x"),
        ("https://u:p@h/a token", "https://[redacted]@h/a token"),
        ("--password x --host db", "--password [redacted] --host db"),
        ('Cookie: a="b"; c=d', "Cookie: [redacted]"),
        ('{"key":"bbs"}', '{"key":"bbs"}'),
        ("Basic authentication failed, bearer token-less", "Basic authentication failed, bearer token-less"),
        ('{"key":"Bbs1Secret"}', '{"key":"[redacted]"}'),
        ("unterminated password='ab cd", "unterminated password='[redacted]"),
    ],
)
def test_only_the_value_goes(line: str, expected: str) -> None:
    assert redact(line) == expected


BODY = st.binary(min_size=30, max_size=300).map(lambda raw: base64.b64encode(raw).decode())
STAMP = "2026-11-23T12:00:00.123456789Z "


def _folded(body: str) -> list[str]:
    return [body[at : at + 64] for at in range(0, len(body), 64)]


@given(
    body=BODY,
    kind=st.sampled_from(["RSA PRIVATE KEY", "CERTIFICATE", "PGP MESSAGE"]),
    stamp=st.sampled_from(["", STAMP]),
)
def test_a_pem_block_over_lines_leaves_one_line(body: str, kind: str, stamp: str) -> None:
    block = [f"-----BEGIN {kind}-----", *_folded(body), f"-----END {kind}-----"]
    lines = [f"{stamp}{line}" for line in ["one", *block, "two", *block, "three"]]
    found = redact_lines(lines)
    dropped = f"{stamp}{PEM_DROPPED}"
    assert found == [f"{stamp}one", dropped, f"{stamp}two", dropped, f"{stamp}three"]


@given(body=BODY, stamp=st.sampled_from(["", STAMP]))
def test_a_pem_block_whose_beginning_was_cut_off_is_dropped(body: str, stamp: str) -> None:
    found = redact_lines([*(f"{stamp}{line}" for line in _folded(body)), f"{stamp}-----END KEY-----", f"{stamp}two"])
    assert found == [PEM_DROPPED, f"{stamp}two"]


@given(body=BODY)
def test_a_pem_block_within_one_line_is_dropped(body: str) -> None:
    pem = "\n".join(["-----BEGIN KEY-----", *_folded(body), "-----END KEY-----", ""])
    line = json.dumps({"config": {"tls": pem}, "next": "stays"})
    assert redact_lines([line, "two"]) == [line.replace(json.dumps(pem)[1:-3], PEM_DROPPED), "two"]


def test_lines_of_others_within_a_pem_block_stay_and_a_block_without_end_is_bounded() -> None:
    found = redact_lines(["-----BEGIN KEY-----", "QUJD", "from another thread", "REVG", *[""] * PEM_LINES, "word"])
    assert found[:2] == [PEM_DROPPED, "from another thread"]
    assert found[-1] == "word"
    assert "REVG" not in found


HOSTILE = [
    "token" * 50_000,
    "-" * 250_000,
    '"' * 250_000,
    'token="' * 36_000,
    "\\" * 250_000,
    "token" + "\\" * 250_000,
    "x://@" * 50_000,
    "-----BEGIN " * 23_000,
    " " * 250_000 + "!",
    "eyJ" * 80_000,
    "A1a" * 80_000,
    "token:[" * 36_000,
    "bearer " * 36_000,
    'key="\\' * 40_000,
    "\x1b[" * 125_000,
    "--a" * 80_000,
]


def test_hostile_text_costs_time_in_proportion() -> None:
    began = time.process_time()
    for text in HOSTILE:
        redact(text)
    # About 2 s; a rule that is quadratic takes minutes for one of them.
    assert time.process_time() - began < 30
