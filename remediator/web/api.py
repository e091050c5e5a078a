"""The webhook and the JSON API. Bodies are limited, read only after the sender is known, and never trusted."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Annotated, TypeVar

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from foundation.durations import PositiveDuration
from remediator import operations, payload
from remediator.credentials import Scope
from remediator.intake import Unavailable
from remediator.operations import Refusal
from remediator.payload import NotUnderstood
from remediator.story import iso
from remediator.web.guard import needs, principal
from remediator.web.parts import STATE_ERRORS, Parts, Problem
from remediator.web.view import remediation_json, state_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from remediator.site import Site

LARGEST_NOTIFICATION = 8 * 1024 * 1024
LARGEST_BODY = 64 * 1024
LARGE = 256 * 1024
"""Bytes: so large notifications are decoded two at a time, as decoding takes several times their size in memory."""
LARGE_AT_ONCE = 2
RETRY_AFTER = 5
"""Seconds after which to come again when the state could not be read or written."""
NOTIFY = "api.notify"
"""The endpoint whose answers are counted."""


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AnswerBody(_Body):
    """For approve and reject."""

    version: Annotated[str, Field(alias="resourceVersion", min_length=1, max_length=200)]


class ReasonBody(_Body):
    """For acknowledge."""

    reason: str


class PauseBody(_Body):
    """For pause."""

    foundation: str | None = None
    reason: str
    seconds: Annotated[PositiveDuration | None, Field(alias="for")] = None


class ResumeBody(_Body):
    """For resume."""

    foundation: str | None = None


_Model = TypeVar("_Model", bound=_Body)


def raw_body(largest: int) -> bytes:
    """The JSON body as sent. Raises Problem 400, 413, 415."""
    if request.mimetype != "application/json":
        raise Problem(415, "send JSON, with Content-Type: application/json")
    if (request.content_length or 0) > largest:
        raise Problem(413, "the body is too long")
    # One more than allowed: of a chunked body werkzeug quietly gives no more than this.
    request.max_content_length = largest + 1
    try:
        raw = request.get_data(cache=False)
    except OSError:  # the client went away or fell silent in the middle
        raise Problem(400, "the body ended before it was whole") from None
    if len(raw) > largest:
        raise Problem(413, "the body is too long")
    return raw


def body_of(model: type[_Model]) -> _Model:
    """The body as this model. Raises Problem 400, 415, 422."""
    raw = raw_body(LARGEST_BODY)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise _fault(raw, error) from None


def _fault(raw: bytes, error: ValidationError) -> Problem:
    if not is_object(raw):
        return Problem(400, "the body is not a JSON object")
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return Problem(422, f"{where}: {first['msg']}")


def is_object(raw: bytes) -> bool:
    """Whether this is JSON, and an object."""
    try:
        return isinstance(json.loads(raw), dict)
    except (ValueError, RecursionError):
        return False


def make_api(parts: Parts) -> Blueprint:
    """The routes below /api/v1."""
    api = Blueprint("api", __name__, url_prefix="/api/v1")
    _webhook(api, parts)
    _reading(api, parts)
    _operating(api, parts)
    return api


def _webhook(api: Blueprint, parts: Parts) -> None:
    large = threading.BoundedSemaphore(LARGE_AT_ONCE)

    def decode(raw: bytes) -> payload.Notification:
        try:
            return payload.parse(raw)
        except NotUnderstood as error:
            if not is_object(raw):
                raise Problem(400, "the body is not a JSON object") from None
            raise Problem(422, f"not an Alertmanager notification of version 4: {error}") from None

    @api.post("/alertmanager")
    @needs(Scope.WEBHOOK)
    def notify() -> Response:
        raw = raw_body(LARGEST_NOTIFICATION)
        if len(raw) > LARGE:
            with large:
                notification = decode(raw)
        else:
            notification = decode(raw)
        del raw
        try:
            answers = parts.intake.notify(notification)
        except Unavailable as error:
            raise Problem(503, str(error), retry_after=RETRY_AFTER) from None
        return jsonify({"alerts": [answer.as_json() for answer in answers]})


def _reading(api: Blueprint, parts: Parts) -> None:
    @api.get("/remediations")
    @needs(Scope.VIEW)
    def remediations() -> Response:
        name = request.args.get("foundation")
        sites = list(parts.sites.values()) if name is None else [parts.site(name)]
        return jsonify({"remediations": [remediation_json(found) for found in parts.remediations(sites)]})

    @api.get("/remediations/<name>")
    @needs(Scope.VIEW)
    def remediation(name: str) -> Response:
        site, found = parts.find(name)
        answer = remediation_json(found)
        if request.args.get("evidence", "") not in ("", "0", "false"):
            answer["evidence"] = parts.evidence(site, found)
        return jsonify(answer)

    @api.get("/status")
    @needs(Scope.VIEW)
    def status() -> Response:
        return jsonify({"foundations": [state_json(parts.state(site)) for site in parts.sites.values()]})


def _operating(api: Blueprint, parts: Parts) -> None:
    def answer(name: str, do: Callable[..., object]) -> Response:
        wanted = body_of(AnswerBody)
        site, _ = parts.find(name)
        do(site, name, principal().name, wanted.version)
        return jsonify(remediation_json(site.remediations.get(name)))

    @api.post("/remediations/<name>/approve")
    @needs(Scope.OPERATE)
    def approve(name: str) -> Response:
        return answer(name, operations.approve)

    @api.post("/remediations/<name>/reject")
    @needs(Scope.OPERATE)
    def reject(name: str) -> Response:
        return answer(name, operations.reject)

    @api.post("/remediations/<name>/acknowledge")
    @needs(Scope.OPERATE)
    def acknowledge(name: str) -> Response:
        wanted = body_of(ReasonBody)
        site = parts.breaker_of(name)
        operations.acknowledge(site, name, principal().name, wanted.reason)
        return jsonify({"foundation": site.name, "acknowledged": name, "by": principal().name})

    @api.post("/pause")
    @needs(Scope.OPERATE)
    def pause() -> Response:
        wanted = body_of(PauseBody)
        until = pause_sites(parts, wanted.foundation, wanted.reason, wanted.seconds)
        return jsonify({"paused": [{"foundation": name, "until": end} for name, end in until]})

    @api.post("/resume")
    @needs(Scope.OPERATE)
    def resume() -> Response:
        return jsonify({"resumed": resume_sites(parts, body_of(ResumeBody).foundation)})


def pause_sites(
    parts: Parts, foundation: str | None, reason: str, seconds: float | None
) -> Sequence[tuple[str, str | None]]:
    """Pause one foundation, or all: those that can be paused are, whatever the others say. With until when."""
    done: list[tuple[str, str | None]] = []

    def one(site: Site) -> None:
        pause = operations.pause(site, principal().name, reason, seconds)
        done.append((site.name, iso(pause.until) if pause.until else None))

    _each(parts, foundation, one, "paused")
    return done


def resume_sites(parts: Parts, foundation: str | None) -> Sequence[str]:
    """Resume one foundation, or all that are paused."""
    done: list[str] = []

    def one(site: Site) -> None:
        try:
            operations.resume(site, principal().name)
        except Refusal:
            if foundation is not None:
                raise
        else:
            done.append(site.name)

    _each(parts, foundation, one, "resumed")
    if not done:
        raise Problem(409, "nothing is paused")
    return done


def _each(parts: Parts, foundation: str | None, do: Callable[[Site], None], done: str) -> None:
    if foundation is not None:
        do(parts.site(foundation))
        return
    problems = []
    for site in parts.sites.values():
        try:
            do(site)
        except STATE_ERRORS as error:
            parts.metrics.state_errors.inc()
            problems.append(f"{site.name} was not {done}: {error}")
    if problems:
        raise Problem(503, f"{'; '.join(problems)} (the others were)", retry_after=RETRY_AFTER)
