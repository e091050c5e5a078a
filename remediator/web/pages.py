"""The page for people: what is in force, the Remediations, and the few things that a person may do. No JavaScript.

Whatever changes something is a form that carries a token of ours (`guard`), and ends in 303 to the page that shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, redirect, render_template, request, url_for

from foundation.durations import parse_duration
from foundation.kube.errors import KubeError
from remediator import operations
from remediator.credentials import Scope
from remediator.evidence_text import as_text
from remediator.web.api import LARGEST_BODY, pause_sites, resume_sites
from remediator.web.guard import Guard, needs, principal
from remediator.web.parts import Parts, Problem, newest_first
from remediator.web.view import standing, story_of

if TYPE_CHECKING:
    from werkzeug import Response as Found

    from remediator.store import Remediation

SHOWN = 30
"""Remediations in the table, unless all are asked for."""
MOST_EVIDENCE = 200_000
"""Characters of evidence on a Remediation's page; the whole has an address of its own."""
REFRESH = 15
"""Seconds after which a page without forms loads itself again; one with forms would lose what is being typed."""


def make_pages(parts: Parts, guard: Guard) -> Blueprint:
    """The pages and their forms."""
    pages = Blueprint("pages", __name__)
    _shown(pages, parts, guard)
    _forms(pages, parts, guard)
    return pages


def _shown(pages: Blueprint, parts: Parts, guard: Guard) -> None:
    def render(template: str, **values: object) -> str:
        who = principal()
        operates = Scope.OPERATE in who.scopes
        return render_template(
            template,
            who=who,
            operates=operates,
            token=guard.token(who) if operates else "",
            refresh=None if operates else REFRESH,
            now=parts.wall(),
            **values,
        )

    @pages.get("/")
    @needs(Scope.VIEW)
    def index() -> str:
        states = [parts.state(site) for site in parts.sites.values()]
        found: list[Remediation] = []
        problems = []
        for site in parts.sites.values():
            try:
                found += parts.remediations([site])
            except KubeError as error:
                parts.metrics.state_errors.inc()
                problems.append(f"{site.name}: {error}")
        stories = [story_of(item) for item in newest_first(found)]
        shown = stories if request.args.get("all") else stories[:SHOWN]
        return render(
            "index.html",
            states=[(state, *standing(state)) for state in states],
            stories=shown,
            hidden=len(stories) - len(shown),
            problems=problems,
        )

    @pages.get("/remediations/<name>")
    @needs(Scope.VIEW)
    def remediation(name: str) -> str:
        site, found = parts.find(name)
        state = parts.state(site)
        evidence, problem = "", ""
        try:
            document = parts.evidence(site, found)
        except (KubeError, Problem) as error:
            problem = str(error)
        else:
            evidence = as_text(document) if document is not None else ""
        breaker = state.ledger.breaker if state.ledger else None
        return render(
            "remediation.html",
            story=story_of(found),
            verdict=state.verdict,
            evidence=evidence[:MOST_EVIDENCE],
            evidence_cut=len(evidence) > MOST_EVIDENCE,
            evidence_problem=problem,
            breaker=breaker if breaker and breaker.remediation == name else None,
        )

    @pages.get("/remediations/<name>/evidence")
    @needs(Scope.VIEW)
    def evidence(name: str) -> Response:
        document = parts.evidence(*parts.find(name))
        if document is None:
            raise Problem(404, f"no evidence of {name} is kept")
        return Response(as_text(document), content_type="text/plain; charset=utf-8")


def _forms(pages: Blueprint, parts: Parts, guard: Guard) -> None:
    def form(*fields: str) -> list[str]:
        request.max_content_length = LARGEST_BODY
        try:
            guard.check_form()
            return [request.form.get(field, "") for field in fields]
        except OSError:
            raise Problem(400, "the body ended before it was whole") from None

    def home() -> Found:
        return redirect(url_for("pages.index"), 303)

    @pages.post("/remediations/<name>/approve")
    @needs(Scope.OPERATE)
    def approve(name: str) -> Found:
        (version,) = form("resourceVersion")
        operations.approve(parts.find(name)[0], name, principal().name, version)
        return redirect(url_for("pages.remediation", name=name), 303)

    @pages.post("/remediations/<name>/reject")
    @needs(Scope.OPERATE)
    def reject(name: str) -> Found:
        (version,) = form("resourceVersion")
        operations.reject(parts.find(name)[0], name, principal().name, version)
        return redirect(url_for("pages.remediation", name=name), 303)

    @pages.post("/acknowledge/<name>")
    @needs(Scope.OPERATE)
    def acknowledge(name: str) -> Found:
        (reason,) = form("reason")
        operations.acknowledge(parts.breaker_of(name), name, principal().name, reason)
        return home()

    @pages.post("/pause")
    @needs(Scope.OPERATE)
    def pause() -> Found:
        foundation, reason, span = form("foundation", "reason", "for")
        try:
            seconds = parse_duration(span.strip()) if span.strip() else None
        except ValueError as error:
            raise Problem(422, str(error)) from None
        pause_sites(parts, foundation or None, reason, seconds)
        return home()

    @pages.post("/resume")
    @needs(Scope.OPERATE)
    def resume() -> Found:
        (foundation,) = form("foundation")
        resume_sites(parts, foundation or None)
        return home()
