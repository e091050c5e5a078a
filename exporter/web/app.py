"""The exporter's pages and end points, as a Flask application made from what it is given.

Everything shown is the provider's newest snapshot: no request waits for Kubernetes or BBS, but for `/probe`, of which
only a few run at a time, so that they never take the threads that scrapes need. What machines ask for is answered
before Flask sees it (`exporter.web.front`); TLS and passwords are decided in front of both
(`foundation.serving.web_config`).
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from flask import Blueprint, Flask, Response, jsonify, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from exporter.web import words
from exporter.web.front import BROKEN, HEADERS, TEXT, Front, no_such_foundation
from exporter.web.scrape import Scrape
from foundation.serving import house

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from prometheus_client import CollectorRegistry

    from exporter.web.view import ExporterView, FoundationView, Provider

log = logging.getLogger(__name__)

REFRESH_SECONDS = 10
"""How often an open page loads itself again."""
DETAILS_AT_ONCE = 3
"""Of several foundations, at most so many that need somebody are shown in full below the overview."""
_PAGES = "/ /metrics /probe?foundation=NAME /foundations/NAME /view.json /livez /readyz and POST /-/reload"


class Overview(NamedTuple):
    """A foundation's row where there are several."""

    view: FoundationView
    meaning: words.Meaning
    severity: int


class _Site(Flask):
    """The pages, with the front before them."""

    front: Front

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self.front.answer(environ, start_response)
        return super().wsgi_app(environ, start_response) if answer is None else answer


def create_app(provider: Provider, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> Flask:
    """Make the application.

    `provider` gives what the pages show, `registry` what a scrape shows, `clock` the Unix time against which pages say
    "12 s ago".
    """
    app = _Site(__name__)
    app.front = Front(provider, Scrape(registry))
    app.config.update(MAX_CONTENT_LENGTH=64 * 1024, SEND_FILE_MAX_AGE_DEFAULT=3600)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters.update(duration=words.duration, span=words.span, utc=words.utc, iso=words.iso, ago=words.ago)
    app.jinja_env.globals.update(
        meaning=words.meaning,
        restart_words=words.restart_words,
        label_disagrees=words.label_disagrees,
        refresh=REFRESH_SECONDS,
    )
    app.register_blueprint(Blueprint(house.NAME, house.__name__, static_folder="static", static_url_path="/house"))
    _pages(app, provider, clock)
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
        return page(view, found, []) if found else _text(no_such_foundation(view, name), 404)

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


def _for_operation(app: Flask, provider: Provider) -> None:
    reloading = threading.Lock()

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
        for name, value in HEADERS.items():
            response.headers[name] = value
        if request.endpoint not in house.STATIC:
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
        return _text(BROKEN, 500)

    @app.template_global()
    def page_of(name: str) -> str:
        return url_for("foundation", name=name)


def _text(line: str, status: int = 200) -> Response:
    return Response(f"{line}\n", status=status, content_type=TEXT)
