"""Whoever is on call, the chat and the dead man's switch, played: they take what Alertmanager sends, and remember it.

Each answers as the service that it stands for, as far as Alertmanager looks: PagerDuty 202, Slack `ok`, a webhook 200.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self

from simulator.monitoring.files import CHAT, DEAD_MAN, PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

_STATUS: Final = {PAGE: 202, CHAT: 200, DEAD_MAN: 200}


@dataclass(frozen=True, slots=True)
class Heard:
    """One notification."""

    at: float
    """Unix time."""
    receiver: str
    """page, chat or dead-man."""
    status: str
    """firing or resolved."""
    text: str
    """What a person reads first: a page's summary, a chat message's title."""
    detail: str
    """The rest of it: what fires, with descriptions and runbooks."""


class Receivers:
    """They listen on 127.0.0.1 between `start` and `stop`."""

    def __init__(self) -> None:
        self._heard: list[Heard] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="receivers", daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End; whoever is being answered is answered."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def heard(self, receiver: str = "", since: int = 0) -> Sequence[Heard]:
        """Give what came to one of them, or to all, after the first `since` of those."""
        with self._lock:
            return [one for one in self._heard if receiver in ("", one.receiver)][since:]

    def take(self, receiver: str, body: dict[str, Any]) -> None:
        """Remember one notification."""
        found = Heard(time.time(), receiver, *_READ[receiver](body))
        with self._lock:
            self._heard.append(found)


def _read_page(body: dict[str, Any]) -> tuple[str, str, str]:
    """Read an event of PagerDuty's API, version 2. A resolved one has a payload too, as Alertmanager sends it."""
    payload = body.get("payload") or {}
    status = "resolved" if body["event_action"] == "resolve" else "firing"
    return status, str(payload.get("summary", "")), str((payload.get("custom_details") or {}).get("firing", ""))


def _read_chat(body: dict[str, Any]) -> tuple[str, str, str]:
    """Read a message for Slack; the title begins with the status, as alertmanager.yml has it."""
    (said,) = body["attachments"]
    return str(said["title"]).partition(":")[0], str(said["title"]), str(said["text"])


def _read_webhook(body: dict[str, Any]) -> tuple[str, str, str]:
    names = [alert["labels"].get("alertname", "") for alert in body["alerts"]]
    return str(body["status"]), " ".join(names), ""


_READ: Final = {PAGE: _read_page, CHAT: _read_chat, DEAD_MAN: _read_webhook}


class _Server(ThreadingHTTPServer):
    # Alertmanager keeps connections open; their threads end with the process, not before `stop` returns.
    daemon_threads = True
    block_on_close = False
    owner: Receivers


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        """Take one notification; HTTP/1.0, so that no connection outlives its answer."""
        receiver = self.path.strip("/")
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if receiver not in _STATUS:
            self.send_error(404)
            return
        try:
            self.server.owner.take(receiver, json.loads(body))
        except (KeyError, ValueError, TypeError, IndexError):
            self.send_error(400, "not a notification of this receiver")
            return
        said = b"ok"
        self.send_response(_STATUS[receiver])
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class' name
        """Write nothing."""
