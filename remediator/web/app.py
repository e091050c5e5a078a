"""The remediator's Flask application, made from what it is given: no globals, no threads, no connections of its own.

What is open to anybody: /livez and /readyz (a kubelet has no credentials; /readyz gives its reason only to those with
`view`), /metrics (as Prometheus's own exporters: it names foundations and counts, and nothing secret), /openapi.json
and the style sheet. Everything else needs a scope. TLS, time limits for slow clients and the number of threads are the
server's affair, not this module's.

Every error is one line: JSON below /api, a small page elsewhere. A fault of ours is 503 too, so that Alertmanager comes
again, and its traceback goes to the log only.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, jsonify, render_template, request
from gunicorn.http.errors import ParseException
from prometheus_client.exposition import choose_encoder
from werkzeug.exceptions import HTTPException

from foundation.kube.errors import one_line
from foundation.serving import house
from remediator.credentials import Scope
from remediator.openapi import document
from remediator.operations import Refusal
from remediator.web import text
from remediator.web.api import LARGEST_BODY, NOTIFY, RETRY_AFTER, make_api
from remediator.web.guard import Guard, open_to_all
from remediator.web.pages import make_pages
from remediator.web.parts import STATE_ERRORS, Parts, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prometheus_client import CollectorRegistry

    from foundation.kube.client import Json
    from remediator.credentials import Credentials
    from remediator.executor import Executor
    from remediator.intake import Intake
    from remediator.site import Site

logger = logging.getLogger(__name__)

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with it browsers send `Origin: null` from our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(
    sites: Mapping[str, Site],
    intake: Intake,
    credentials: Credentials,
    registry: CollectorRegistry,
    executors: Mapping[str, Executor],
    *,
    ready: Callable[[], str],
    wall: Callable[[], float],
    version: str = "",
) -> Flask:
    """Make the application. `ready` says why a notification would be answered 503 now, or gives an empty text."""
    if not sites:
        raise ValueError("at least one foundation is needed")
    app = Flask(__name__)
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_BODY, MAX_FORM_MEMORY_SIZE=LARGEST_BODY, MAX_FORM_PARTS=20)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.filters.update(utc=text.utc, machine=text.machine, ago=text.ago)
    app.jinja_env.globals.update(took=text.took, version=version)
    parts = Parts(
        sites=sites,
        intake=intake,
        credentials=credentials,
        executors=executors,
        metrics=next(iter(sites.values())).trail.metrics,
        ready=ready,
        wall=wall,
        read_evidence=_read_evidence,
    )
    guard = Guard(credentials, parts.metrics, wall)
    guard.attach(app)
    app.register_blueprint(Blueprint(house.NAME, house.__name__, static_folder="static", static_url_path="/house"))
    app.register_blueprint(make_api(parts))
    app.register_blueprint(make_pages(parts, guard))
    _open_routes(app, parts, guard, registry)
    _edges(app, parts)
    _errors(app, parts, guard)
    return app


def _read_evidence(saved: Json) -> Json:
    # Imported only when asked for: unpacking logs is nothing that the webhook needs.
    from remediator.evidence import read_evidence

    return read_evidence(saved)


def _open_routes(app: Flask, parts: Parts, guard: Guard, registry: CollectorRegistry) -> None:
    @app.get("/metrics")
    @open_to_all
    def metrics() -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        response = Response(encode(registry), content_type=content_type)
        response.headers["Vary"] = "Accept"
        return response

    @app.get("/livez")
    @open_to_all
    def livez() -> Response:
        return _plain("ok", 200)

    @app.get("/readyz")
    @open_to_all
    def readyz() -> Response:
        problem = parts.ready()
        if not problem:
            return _plain("ok", 200)
        who = guard.known() if "Authorization" in request.headers else None
        told = who is not None and Scope.VIEW in who.scopes
        return _plain(
            f"not ready: {one_line(problem)}" if told else "not ready; the log and /api/v1/status say why", 503
        )

    @app.get("/openapi.json")
    @open_to_all
    def openapi() -> Response:
        return jsonify(document())


def _edges(app: Flask, parts: Parts) -> None:
    @app.after_request
    def finish(response: Response) -> Response:
        response.headers.update(_HEADERS)
        if request.endpoint not in house.STATIC:
            response.headers["Cache-Control"] = "no-store"
        if request.endpoint == NOTIFY:
            parts.metrics.notifications.labels(str(response.status_code)).inc()
        return response


def _errors(app: Flask, parts: Parts, guard: Guard) -> None:
    @app.errorhandler(Problem)
    def told(problem: Problem) -> Response:
        response = _refusal(problem.status, str(problem))
        if problem.retry_after is not None:
            response.headers["Retry-After"] = str(problem.retry_after)
        if problem.status == 401:
            for challenge in guard.challenges():
                response.headers.add("WWW-Authenticate", challenge)
        return response

    @app.errorhandler(Refusal)
    def cannot(refusal: Refusal) -> Response:
        return _refusal(refusal.status, str(refusal))

    def unavailable(error: Exception) -> Response:
        parts.metrics.state_errors.inc()
        logger.warning("%s %s: %s", request.method, request.path, error)
        return told(Problem(503, str(error), retry_after=RETRY_AFTER))

    for kind in STATE_ERRORS:
        app.register_error_handler(kind, unavailable)

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        status = error.code or 503
        words = {404: "nothing is here", 413: "the body is too long"}.get(status, error.name.lower())
        response = _refusal(503 if status >= 500 else status, words)
        for name, value in error.get_headers():
            if name.lower() in ("allow", "location"):
                response.headers[name] = value
        return response

    app.register_error_handler(ParseException, _garbled)

    @app.errorhandler(Exception)
    def broken(error: Exception) -> Response:
        logger.error("%s %s failed: %s", request.method, request.path, error, exc_info=error)
        return told(Problem(503, "this failed for a reason of our own; the log says why", retry_after=RETRY_AFTER))


def _garbled(error: ParseException) -> Response:
    # Only a body is read that late: the header was understood before.
    return _refusal(400, f"the body is not as HTTP has it: {error}")


def _refusal(status: int, message: str) -> Response:
    """One line, in the form that whoever asked can read."""
    line = one_line(message)
    if request.path.startswith("/api/"):
        return Response(json.dumps({"error": line}) + "\n", status=status, content_type="application/json")
    page = render_template("error.html", status=status, message=line)
    return Response(page, status=status, content_type="text/html; charset=utf-8")


def _plain(line: str, status: int) -> Response:
    return Response(f"{line}\n", status=status, content_type="text/plain; charset=utf-8")
