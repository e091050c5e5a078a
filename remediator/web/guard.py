"""Who may call which route, and whether a form was really sent from our own page.

Every route says which scope it needs, or that it is open; one that says neither is closed. The check comes before the
body is read, so that nobody unknown can make this process hold anything.

A form's token is an HMAC over the principal and the hour, under a key made of the credentials: replicas agree on it, a
restart changes nothing, and a change of the credentials ends it. Beside it stands what browsers themselves say of where
a request comes from.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from flask import Flask, current_app, g, request

from foundation.serving import house
from foundation.serving.passwords import TooBusy
from remediator.web.parts import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from remediator.credentials import Credentials, Principal, Scope
    from remediator.trail import Metrics

WINDOW = 3600.0
"""Seconds: a form can be sent for this long at least, and for twice this long at most."""
_OPEN = "open"
_View = TypeVar("_View", bound="Callable[..., object]")


def needs(scope: Scope) -> Callable[[_View], _View]:
    """Mark a view: only for those with this scope."""

    def mark(view: _View) -> _View:
        view.__dict__["_scope"] = scope
        return view

    return mark


def open_to_all(view: _View) -> _View:
    """Mark a view: it answers anybody, and must name no secret."""
    view.__dict__["_scope"] = _OPEN
    return view


def principal() -> Principal:
    """Who sent this request; only in views that need a scope."""
    found: Principal = g.principal
    return found


class Guard:
    """Stands before every route of one application."""

    def __init__(self, credentials: Credentials, metrics: Metrics, wall: Callable[[], float]) -> None:
        self._credentials = credentials
        self._metrics = metrics
        self._wall = wall

    def attach(self, app: Flask) -> None:
        """Put it in front."""
        app.before_request(self._check)

    def known(self) -> Principal | None:
        """Who sent this request, for views that are open but say more to some. Never raises."""
        try:
            return self._credentials.authenticate(request.environ)
        except TooBusy:
            return None

    def challenges(self) -> list[str]:
        """Values of WWW-Authenticate. A page asks browsers for a password; the API names tokens first."""
        api = request.path.startswith("/api/")
        basic = ['Basic realm="stager-remediator", charset="UTF-8"'] if self._credentials.passwords else []
        return [*(['Bearer realm="stager-remediator"'] if api or not basic else []), *basic]

    def token(self, who: Principal) -> str:
        """For a form that this principal is shown."""
        return self._token(who.name, int(self._wall() // WINDOW))

    def check_form(self) -> None:
        """Raises Problem 403 for a form that our page did not give to this principal lately."""
        given = request.form.get("token", "")
        hour = int(self._wall() // WINDOW)
        name = principal().name
        good = [hmac.compare_digest(self._token(name, at).encode(), given.encode()) for at in (hour, hour - 1)]
        if not any(good):
            raise Problem(403, "this form is too old or was not made for you: load the page again, then repeat")

    def _token(self, name: str, hour: int) -> str:
        return hmac.new(self._credentials.secret, f"{hour}|{name}".encode(), hashlib.sha256).hexdigest()

    def _check(self) -> None:
        if request.endpoint is None:
            return  # 404 or 405, which Flask answers
        wanted = getattr(current_app.view_functions[request.endpoint], "_scope", None)
        if wanted == _OPEN or request.endpoint in house.STATIC:
            return
        try:
            who = self._credentials.authenticate(request.environ)
        except TooBusy as error:
            raise Problem(503, str(error), retry_after=1) from None
        if who is None:
            self._metrics.auth_failures.inc()
            raise Problem(401, "credentials are needed, and these are none that are known here")
        if wanted not in who.scopes:
            self._metrics.auth_failures.inc()
            raise Problem(403, f"{who.name} has the scopes {', '.join(sorted(who.scopes))}; this needs {wanted}")
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            _refuse_other_sites()
        g.principal = who


def _refuse_other_sites() -> None:
    """Browsers say where a request comes from; others say nothing, and have no credentials that come by themselves."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise Problem(403, "a page of another site may not do this")
        return
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.host.lower():
        raise Problem(403, "a page of another site may not do this")
