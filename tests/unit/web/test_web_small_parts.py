"""History, words, JSON logs and listening addresses."""

from __future__ import annotations

import io
import json
import logging
import socket
import threading
import warnings
from typing import TYPE_CHECKING

import pytest

from exporter.web import words
from exporter.web.history import ProbeHistory
from exporter.web.view import ProbeLine
from foundation.serving import jsonlog
from foundation.serving.address import ListenError
from foundation.serving.server import bind

if TYPE_CHECKING:
    from collections.abc import Iterator

# History


def line(number: int, *, ok: bool = True) -> ProbeLine:
    return ProbeLine(float(number), "service", "ping", ok=ok)


def test_failures_outlive_the_good_that_came_after() -> None:
    history = ProbeHistory(recent=3, failures=2)
    for number in range(10):
        history.add(line(number, ok=number not in (1, 2, 3, 8)))
    assert [result.at for result in history.recent()] == [9, 8, 7]
    # The failure among the recent is not told twice; of the older ones the newest two are left.
    assert [result.at for result in history.failures()] == [3, 2]


@pytest.mark.parametrize(("recent", "failures"), [(0, 1), (1, 0), (-1, 1)])
def test_a_history_without_room_is_refused(recent: int, failures: int) -> None:
    with pytest.raises(ValueError, match="room"):
        ProbeHistory(recent, failures)


def test_threads_lose_no_failure() -> None:
    history = ProbeHistory(recent=1, failures=4000)

    def add() -> None:
        for number in range(1000):
            history.add(line(number, ok=False))
            history.recent()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(history.failures()) + len(history.recent()) == 4000


# Words


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0.0 ms"),
        (0.0004, "0.4 ms"),
        (0.0124, "12 ms"),
        (0.9994, "999 ms"),
        (0.9999, "1.00 s"),
        (2.9996, "3.00 s"),
    ],
)
def test_a_measured_time_reads_shortly(seconds: float, expected: str) -> None:
    assert words.duration(seconds) == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (None, "never"),
        (1000.0, "0 s ago"),
        (1000.5, "0 s ago"),
        (1060.0, "in 60 s"),
        (881.0, "119 s ago"),
        (880.0, "2 min ago"),
        (-6200.0, "2 h ago"),
        (-171800.0, "2 d ago"),
    ],
)
def test_how_long_ago_reads_in_one_unit(at: float | None, expected: str) -> None:
    assert words.ago(at, 1000.0) == expected


def test_the_date_is_told_only_where_it_is_another() -> None:
    assert words.utc(86400 * 10 + 3600, 86400 * 11 - 1) == "01:00:00 UTC"
    assert words.utc(86400 * 10 - 1, 86400 * 10) == "1970-01-10 23:59:59 UTC"
    assert (words.utc(None, 0), words.iso(None), words.iso(1e300), words.utc(1e300, 0)) == ("-", "", "", "-")
    assert words.iso(0) == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("label", "probe", "odd"),
    [
        ("yes", "serves", False),
        ("yes", "passive", True),
        ("yes", "hangs", True),
        ("yes", "unreached", False),
        ("yes", "", False),
        ("no", "serves", True),
        ("no", "passive", False),
        ("", "serves", False),
    ],
)
def test_a_label_disagrees_only_with_what_is_known(label: str, probe: str, odd: bool) -> None:
    assert words.label_disagrees(label, probe) is odd


def test_every_restart_has_its_own_words_and_a_new_verdict_its_name() -> None:
    assert len({words.restart_words("crashing", restart)[0] for restart in ("yes", "ask", "wait", "no")}) == 4
    assert words.restart_words("healthy", "no")[0] == "No restart needed"
    assert words.meaning("brand_new") == words.Meaning("brand new", "", "unsure")
    ordered = [("hung", "yes"), ("split", "no"), ("unknown", "no"), ("electing", "wait"), ("healthy", "no")]
    assert [words.severity(*pair) for pair in ordered] == [0, 1, 2, 3, 4]


# Logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    chatty = {name: logging.getLogger(name).level for name in ("urllib3", "websocket", "kubernetes")}
    written = io.StringIO()
    try:
        yield written
    finally:
        logging.captureWarnings(capture=False)
        for handler in list(root.handlers):
            root.removeHandler(handler)
        for handler in handlers:
            root.addHandler(handler)
        root.setLevel(level)
        for name, old in chatty.items():
            logging.getLogger(name).setLevel(old)


def read(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(written) for written in stream.getvalue().splitlines()]


def test_a_record_is_one_line_with_its_extra_fields(stream: io.StringIO) -> None:
    jsonlog.configure("info", stream)
    log = logging.getLogger("exporter.test")
    log.debug("not this")
    log.info("two\nlines of %s \u2028 \ud800", "prod", extra={"foundation": "prod", "what": {1}, "level": "mine"})
    (told,) = read(stream)
    assert stream.getvalue().count("\n") == 1
    assert told["message"] == "two\nlines of prod \u2028 \ud800"
    assert (told["level"], told["logger"], told["foundation"], told["what"]) == ("info", "exporter.test", "prod", "{1}")
    assert str(told["ts"]).endswith("Z")
    assert len(str(told["ts"])) == len("2026-01-01T00:00:00.000Z")


def test_an_exception_is_within_the_line(stream: io.StringIO) -> None:
    jsonlog.configure("debug", stream)
    try:
        int("broken")
    except ValueError:
        logging.getLogger("x").exception("it failed", stack_info=True)
    (told,) = read(stream)
    assert "ValueError: invalid literal" in str(told["error"])
    assert "Stack" in str(told["stack"])


def test_what_cannot_be_written_is_written_as_text(stream: io.StringIO) -> None:
    jsonlog.configure("info", stream)
    knot: list[object] = []
    knot.append(knot)
    logging.getLogger("x").info("too %d", "few", extra={"knot": knot})
    (told,) = read(stream)
    assert told["message"] == "too %d ('few',)"
    assert told["knot"] == "[[...]]"


def test_warnings_are_lines_too_and_levels_are_checked(stream: io.StringIO) -> None:
    jsonlog.configure("warning", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old", UserWarning, stacklevel=1)
    assert "old" in str(read(stream)[0]["message"])
    jsonlog.configure("error", stream)
    logging.getLogger("x").warning("not this")
    assert len(read(stream)) == 1
    with pytest.raises(ValueError, match="one of debug, info"):
        jsonlog.configure("loud", stream)


# Listening


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", ":0", "[::]:0", "[::1]:0"])
def test_an_address_is_listened_on(listen: str) -> None:
    try:
        opened = bind(listen)
    except ListenError:
        if listen.startswith("[") and not ipv6():
            pytest.skip("this machine has no IPv6")
        raise
    with opened:
        family = socket.AF_INET6 if listen == "[::1]:0" else socket.AF_INET
        host = "::1" if listen == "[::1]:0" else "127.0.0.1"
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            client.connect((host, opened.getsockname()[1]))


def ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "listen", ["", "9717", "127.0.0.1", "127.0.0.1:", "x:99999", "::1:80", ":-1", ":+1", ":٣", "a:b:1"]
)
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ListenError, match="expected HOST:PORT"):
        bind(listen)


def test_a_taken_port_and_a_foreign_address_are_told() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ListenError, match="in use; is another one running"),
    ):
        bind(f"127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(ListenError, match="Cannot assign"):
        bind("192.0.2.1:0")
