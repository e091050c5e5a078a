import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.logs.unwrap import unwrap
from tests.support.cc_lines import LOG_FILE, WRAPPERS, completed, in_kubectl_prefix, in_rfc5424, in_sidecar

LINE = completed(503)


@pytest.mark.parametrize("name", WRAPPERS)
def test_every_wrapper_comes_off(name: str) -> None:
    outer = unwrap(WRAPPERS[name](LINE))
    assert outer.payload == LINE
    assert outer.wrapper == name.strip()
    assert not outer.partial


@pytest.mark.parametrize("inner", WRAPPERS)
@pytest.mark.parametrize("outer", WRAPPERS)
def test_any_wrapper_around_any_other(outer: str, inner: str) -> None:
    taken = unwrap(WRAPPERS[outer](WRAPPERS[inner](LINE)))
    assert taken.payload == LINE
    assert taken.wrapper == f"{outer.strip()}+{inner.strip()}"


def test_the_innermost_wrapper_names_the_pod() -> None:
    assert unwrap(in_rfc5424(in_kubectl_prefix(LINE, "api-7"), "node-1")).pod == "api-7"
    assert unwrap(in_kubectl_prefix(in_sidecar(LINE), "api-1")).pod == "api-1"
    assert unwrap(in_kubectl_prefix(in_sidecar(LINE))).file == LOG_FILE
    assert unwrap(in_rfc5424(LINE, tag="cloud_controller_worker")).file == "cloud_controller_worker"
    assert unwrap(in_rfc5424(LINE, "-")).pod is None


def test_a_bare_line_stays() -> None:
    assert unwrap(LINE + b"\r\n").payload == LINE
    assert unwrap(LINE).wrapper == ""
    assert unwrap(b"").payload == b""


def test_a_wrapped_line_that_ends_with_a_brace() -> None:
    assert unwrap(in_kubectl_prefix(b"what follows is cut: {")).payload == b"what follows is cut: {"


def test_other_forms() -> None:
    assert unwrap(b"1284 <190>1 - h a - - - \xef\xbb\xbfhello").payload == b"hello"
    assert unwrap(b"<190>1 - h a - - -").payload == b""
    assert unwrap(b"2021-06-01T10:00:31+02:00 stderr P hel").partial
    assert unwrap(b'{"log":"half a li').payload == b"half a li"
    assert unwrap(b'{"log":"half a li').partial
    assert unwrap(b'{"log":"16 kB of it","stream":"stdout"}').partial
    assert unwrap(b'{"log":"\\u001b[94m2021/06/01 10:00:31, /a/b.log, x\\u001b[0m\\n"}').payload == b"x"
    assert unwrap(b'{"log":"bad \\q escape\\n"}').wrapper == "docker"
    assert unwrap(b'{"log":"\\ud800 half a pair\\n"}').payload == b"? half a pair"


@pytest.mark.parametrize(
    "line",
    [
        b"<190>0 - h a - - - x",
        b"<190> Feb  2 10:00:31 h a: x",
        b"2021-06-01 10:00:31 x",
        b"[pod/api-0] x",
        b"2021/06/01 10:00:31, not-a-path, x",
        b'{"logs":"x"}',
    ],
)
def test_what_only_looks_like_a_wrapper_stays(line: bytes) -> None:
    assert unwrap(line).payload == line


def test_garbage_costs_no_more_than_a_line() -> None:
    for garbage in (b"\x1b[0m" * 200_000, b"\r" * 1_000_000 + b"x", b"<1>1 " * 200_000, b'{"log":"' + b"\\" * 999_999):
        unwrap(garbage)
    nested = b"2021-06-01T10:00:31Z " * 1000 + b"x"
    assert unwrap(nested).wrapper.count("+") == 5


@given(st.binary(max_size=200))
def test_any_bytes(line: bytes) -> None:
    unwrap(line)
