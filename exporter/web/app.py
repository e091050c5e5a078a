"""The exporter's pages and end points, as a Flask application made from what it is given.

Everything shown is the provider's newest snapshot: no request waits for Kubernetes or BBS, but for `/probe`, of which
only a few run at a time, so that they never take the threads that scrapes need. TLS and passwords are not decided here
but in front of it (`foundation.serving.web_config`).
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from flask import Flask, Response, jsonify, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from exporter.web import words
from exporter.web.scrape import Scrape, compress

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from exporter.web.view import ExporterView, FoundationView, Provider

log = logging.getLogger(__name__)

REFRESH_SECONDS = 10
"""How often an open page loads itself again."""
DETAILS_AT_ONCE = 3
"""Of several foundations, at most so many that need somebody are shown in full below the overview."""
PROBES_AT_ONCE = 4
"""Further requests to /probe are told to come again."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGES = "/ /metrics /probe?foundation=NAME /foundations/NAME /view.json /livez /readyz and POST /-/reload"


class Overview(NamedTuple):
    """A foundation's row where there are several."""

    view: FoundationView
    meaning: words.Meaning
    severity: int


def create_app(provider: Provider, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> Flask:
    """Make the application.

    `provider` gives what the pages show, `registry` what a scrape shows, `clock` the Unix time against which pages say
    "12 s ago".
    """
    app = Flask(__name__)
    app.config.update(MAX_CONTENT_LENGTH=64 * 1024, SEND_FILE_MAX_AGE_DEFAULT=3600)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters.update(duration=words.duration, span=words.span, utc=words.utc, iso=words.iso, ago=words.ago)
    app.jinja_env.globals.update(
        meaning=words.meaning,
        restart_words=words.restart_words,
        label_disagrees=words.label_disagrees,
        refresh=REFRESH_SECONDS,
    )
    _pages(app, provider, clock)
    _for_prometheus(app, provider, Scrape(registry))
    _for_operation(app, provider)
    _edges(app)
    return app


def _pages(app: Flask, provider: Provider, clock: Callable[[], float]) -> None:
    def page(view: ExporterView, shown: list[FoundationView], rows: list[Overview]) -> str:
        now = clock()
        return render_template("index.html", view=view, shown=shown, rows=rows, now=now)

    def one(name: str) -> str | Response:
        view = provider.view()
        found = [foundation for foundation in view.foundations if foundation.name == name]
        return page(view, found, []) if found else _no_such_foundation(view, name)

    @app.get("/")
    def index() -> str | Response:
        name = request.args.get("foundation")
        if name is not None:
            return one(name)
        view = provider.view()
        if len(view.foundations) <= 1:
            return page(view, list(view.foundations), [])
        rows = [Overview(f, words.meaning(f.verdict), words.severity(f.verdict, f.restart)) for f in view.foundations]
        rows.sort(key=lambda row: (row.severity, row.view.name))
        shown = [row.view for row in rows if row.meaning.tone != "good"][:DETAILS_AT_ONCE]
        return page(view, shown, rows)

    @app.get("/foundations/<name>")
    def foundation(name: str) -> str | Response:
        return one(name)

    @app.get("/view.json")
    def view_json() -> Response:
        return jsonify(asdict(provider.view()))


def _for_prometheus(app: Flask, provider: Provider, scrape: Scrape) -> None:
    probing = threading.BoundedSemaphore(PROBES_AT_ONCE)

    @app.get("/metrics")
    def metrics() -> Response:
        body, content_type = scrape.render(request.headers.get("Accept", ""), request.args.getlist("name[]"))
        response = Response(body, content_type=content_type)
        response.headers["Vary"] = "Accept, Accept-Encoding"
        if request.accept_encodings["gzip"] > 0:
            response.set_data(compress(body))
            response.headers["Content-Encoding"] = "gzip"
        return response

    @app.get("/probe")
    def probe() -> Response:
        name = request.args.get("foundation", "")
        if not name:
            return _text("missing parameter: /probe?foundation=NAME, with a name from the configuration", 400)
        if not probing.acquire(blocking=False):
            return _text(f"busy: {PROBES_AT_ONCE} probes are under way; ask again in a moment", 503, retry=1)
        try:
            result = provider.probe_now(name)
        finally:
            probing.release()
        if result is None:
            return _no_such_foundation(provider.view(), name)
        return Response(result, content_type="text/plain; version=0.0.4; charset=utf-8")


def _for_operation(app: Flask, provider: Provider) -> None:
    reloading = threading.Lock()

    @app.get("/livez")
    def livez() -> Response:
        return _text("ok")

    @app.get("/readyz")
    def readyz() -> Response:
        ready, reason = provider.ready()
        return _text("ok" if ready else f"not ready: {reason}", 200 if ready else 503)

    @app.route("/-/reload", methods=["GET", "POST", "PUT"], provide_automatic_options=False)
    def reload() -> Response:
        if request.method not in ("POST", "PUT"):
            response = _text("reloading changes something, so use POST: curl -X POST .../-/reload", 405)
            response.headers["Allow"] = "POST, PUT"
            return response
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return _text("a page of another site may not reload the configuration", 403)
        with reloading:
            problem = provider.reload()
        if problem:
            return _text(f"the configuration was not taken, the old one stays: {problem}", 500)
        return _text("reloaded")


def _edges(app: Flask) -> None:
    @app.after_request
    def secure(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers[name] = value
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        return response

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        if error.code == 404:
            return _text(f"nothing is here; there is {_PAGES}", 404)
        response = _text(f"{error.code} {error.name}", error.code or 500)
        for name, value in error.get_headers():
            if name.lower() in ("allow", "location", "retry-after"):
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def broken(error: Exception) -> Response:
        log.error("%s %s failed: %s", request.method, request.path, error, exc_info=error)
        return _text("this page failed; the log says why. /metrics and /livez do not depend on it", 500)

    @app.template_global()
    def page_of(name: str) -> str:
        return url_for("foundation", name=name)


def _text(line: str, status: int = 200, *, retry: int | None = None) -> Response:
    response = Response(f"{line}\n", status=status, content_type="text/plain; charset=utf-8")
    if retry is not None:
        response.headers["Retry-After"] = str(retry)
    return response


def _no_such_foundation(view: ExporterView, name: str) -> Response:
    names = [foundation.name for foundation in view.foundations]
    listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return _text(f"no foundation {name[:100]!r} is configured; there is {listed or 'none'}", 404)
