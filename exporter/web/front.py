"""What machines ask for, answered in front of the pages: `/metrics`, `/probe`, `/livez` and `/readyz`.

Flask takes about as long for a request as all that a scrape of one foundation costs; these four need none of it. What
holds for the pages holds here: answers are not to be kept by anybody, and each carries the headers that protect a page.
"""

from __future__ import annotations

import logging
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs

from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIEnvironment

    from exporter.web.scrape import Scrape
    from exporter.web.view import ExporterView, Provider

log = logging.getLogger(__name__)

PROBES_AT_ONCE = 4
"""Further requests to /probe are told to come again."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer."""
BROKEN = "this page failed; the log says why. /metrics and /livez do not depend on it"
TEXT = "text/plain; charset=utf-8"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_ALLOW = (("Allow", "GET, HEAD, OPTIONS"),)
_MOST_PARAMETERS = 1000


class _Answer(NamedTuple):
    body: bytes
    status: int = 200
    content_type: str = TEXT
    more: tuple[tuple[str, str], ...] = ()


class Front:
    """Answers the four paths. Any number of threads may call it."""

    def __init__(self, provider: Provider, scrape: Scrape) -> None:
        self._provider = provider
        self._scrape = scrape
        self._probing = threading.BoundedSemaphore(PROBES_AT_ONCE)
        self._paths = {
            "/metrics": self._metrics,
            "/probe": self._probe,
            "/livez": self._livez,
            "/readyz": self._readyz,
        }
        self._always = (*HEADERS.items(), ("Cache-Control", "no-store"))

    def answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes] | None:
        """Answer as WSGI wants it; None, and nothing was begun, where the path is none of the four."""
        make = self._paths.get(environ["PATH_INFO"])
        if make is None:
            return None
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":
            answer = _Answer(b"", more=_ALLOW)
        elif method not in ("GET", "HEAD"):
            answer = _text("405 Method Not Allowed", 405, *_ALLOW)
        else:
            try:
                answer = make(environ)
            except Exception:
                log.exception("%s %s failed", method, environ["PATH_INFO"])
                answer = _text(BROKEN, 500)
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
        status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
        start_response(status, [*headers, *answer.more, *self._always])
        return [] if method == "HEAD" else [answer.body]

    def _metrics(self, environ: WSGIEnvironment) -> _Answer:
        encodings = environ.get("HTTP_ACCEPT_ENCODING", "")
        packed = "gzip" in encodings and parse_accept_header(encodings, Accept)["gzip"] > 0
        names = _asked(environ).get("name[]", [])
        body, content_type = self._scrape.render(environ.get("HTTP_ACCEPT", ""), names, packed=packed)
        more = (("Vary", "Accept, Accept-Encoding"),)
        return _Answer(body, 200, content_type, (*more, ("Content-Encoding", "gzip")) if packed else more)

    def _probe(self, environ: WSGIEnvironment) -> _Answer:
        name = _asked(environ).get("foundation", [""])[0]
        if not name:
            return _text("missing parameter: /probe?foundation=NAME, with a name from the configuration", 400)
        if not self._probing.acquire(blocking=False):
            words = f"busy: {PROBES_AT_ONCE} probes are under way; ask again in a moment"
            return _text(words, 503, ("Retry-After", "1"))
        try:
            result = self._provider.probe_now(name)
        finally:
            self._probing.release()
        if result is None:
            return _text(no_such_foundation(self._provider.view(), name), 404)
        return _Answer(result, content_type=_PROMETHEUS)

    def _livez(self, _environ: WSGIEnvironment) -> _Answer:
        return _text("ok")

    def _readyz(self, _environ: WSGIEnvironment) -> _Answer:
        ready, reason = self._provider.ready()
        return _text("ok") if ready else _text(f"not ready: {reason}", 503)


def no_such_foundation(view: ExporterView, name: str) -> str:
    """What is said where a name was asked for that is not configured."""
    names = [foundation.name for foundation in view.foundations]
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"no foundation {name[:100]!r} is configured; there is {listed or 'none'}"


def _asked(environ: WSGIEnvironment) -> Mapping[str, list[str]]:
    query = environ.get("QUERY_STRING", "")
    if not query:
        return {}
    try:
        return parse_qs(query, keep_blank_values=True, errors="replace", max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return {}


def _text(line: str, status: int = 200, *more: tuple[str, str]) -> _Answer:
    return _Answer(f"{line}\n".encode(errors="replace"), status, more=more)
