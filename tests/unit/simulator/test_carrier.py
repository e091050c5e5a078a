"""How the demo gets its Prometheus and Alertmanager, and which of their pages it names."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from simulator.alerting import Alerting
from simulator.carrier import StandIn, StoppedError, _Fetch, alerts_page
from simulator.debian import PackageError

if TYPE_CHECKING:
    from pathlib import Path


def test_what_it_fetches_is_said_once_and_its_words_are_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    fetch = _Fetch(tmp_path, lines.append, threading.Event())
    done = fetch(["sh", "-c", "pwd; echo no >&2; exit 3"], tmp_path)
    assert (done.status, done.said) == (3, f"{tmp_path}\nno\n")
    fetch(["true"], tmp_path)
    assert lines == [f"fetching Debian's packages of Prometheus and Alertmanager into {tmp_path} …"]


def test_a_command_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no-such-command: No such file or directory"):
        _Fetch(tmp_path, print, threading.Event())(["no-such-command"], tmp_path)


def test_ctrl_c_ends_what_fetches_with_all_that_it_started(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    begun = time.monotonic()
    with pytest.raises(StoppedError):
        _Fetch(tmp_path, print, stop)(["sh", "-c", "sleep 600 & wait"], tmp_path)
    assert time.monotonic() - begun < 20, "its child would have kept the pipe open"


class Pages(BaseHTTPRequestHandler):
    """Has the pages of its list."""

    there: tuple[str, ...]

    def do_GET(self) -> None:
        self.send_response(200 if self.path in self.there else 404)
        self.end_headers()
        self.wfile.write(b"alerts")

    def log_message(self, *_: object) -> None:
        """Nobody wants to read it."""


@pytest.mark.parametrize(
    ("there", "wanted"),
    [(("/alerts", "/classic/alerts"), "/alerts"), (("/classic/alerts",), "/classic/alerts"), ((), "")],
)
def test_the_page_that_is_named_exists(there: tuple[str, ...], wanted: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Pages,), {"there": there})) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            assert alerts_page(f"http://127.0.0.1:{server.server_port}") == wanted
        finally:
            server.shutdown()
            thread.join()


def test_the_stand_in_says_that_it_is_one_and_why() -> None:
    made = StandIn(Alerting(str, "http://127.0.0.1:1", "token", "demo"), "no apt-get here")
    assert "STAND-IN" in made.lines()[0]
    assert made.lines()[1] == "Why: no apt-get here"
    assert made.summary()["stand_in"] is True
    assert made.summary()["why"] == "no apt-get here"
