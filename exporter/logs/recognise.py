"""Says what a log line is: pure, and the same whichever wrapper brought it.

A failed request is known by the error name in its own place of the message's structure, never by digits and never by
text that a user could have written: app names, URLs, user agents and a broker's words all come inside quotes. A line
that was cut before the name is complete has no error name. Lines that nobody asked about give None.

Sources of the formats: cloud_controller_ng (middleware/request_logs.rb, lib/sinatra/vcap.rb, lib/diego/client.rb,
presenters/v2_error_hasher.rb and v3_error_hasher.rb), capi-release's nginx, gorouter's accesslog, lager, monit, the
cf command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from exporter.logs.causes import Cause, classify
from exporter.logs.prefix import Json, RubyError, read_json, read_ruby_error
from exporter.logs.unwrap import unwrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.logs.unwrap import Unwrapped

SIBLINGS: Final = (
    "StagerUnavailable",
    "RunnerUnavailable",
    "StagerError",
    "TaskWorkersUnavailable",
    "InstancesUnavailable",
    "StatsUnavailable",
)
"""The errors that calls to BBS end in; only their descriptions are read for a cause."""

_BBS_DOWN: Final = frozenset(SIBLINGS) - {"StagerError"}  # with a StagerError BBS was reached, and answered


@dataclass(slots=True)
class Reading:
    """What one line says. None where the line does not say it (or not any more, being cut).

    Not frozen: making a frozen one takes a tenth of all that is done for a line.
    """

    kind: str
    """`cc_request_failed`, `cc_job_failed`, `cc_request_completed`, `cc_stage_request`, `cc_sync_failed`, …"""
    error: str | None = None
    """CC's error name without `CF-`."""
    http_status: int | None = None
    code: int | None = None
    cause: Cause | None = None
    request_id: str | None = None
    """CC's `<router's id>::<uuid>`; behind the router only the part before `::`."""
    pod: str | None = None
    file: str | None = None
    wrapper: str = ""
    truncated: bool = False
    api: str | None = None
    """`v2` or `v3`."""
    description: str | None = None
    timestamp: str | None = None
    """As the line's own program wrote it; only good for telling lines apart."""
    job: bool = False
    """A background job, not a user's request."""
    bbs_down_hint: bool = False
    db_down_hint: bool = False
    recovery_hint: bool = False
    error_id: str | None = None
    error_class: str | None = None
    component: str | None = None
    event: str | None = None
    severity: str | None = None
    reason: str | None = None
    process: str | None = None
    path_class: str | None = None
    duration_s: float | None = None
    backend: str | None = None
    router_error: str | None = None
    repeat: int | None = None

    @property
    def count(self) -> bool:
        """Whether this is one user request that ended in StagerUnavailable (503, 170010)."""
        return self.kind == "cc_request_failed" and self.error == "StagerUnavailable"


def recognise(line: bytes) -> Reading | None:
    """What this line is, or None if it is none of the known ones. Takes any bytes, and never raises."""
    outer = unwrap(line)
    payload = outer.payload.lstrip(b" \t\r\n")
    text = payload.decode("utf-8", "replace")
    if payload.startswith(b"{"):
        # A character cut in half must not look like one that stands there.
        document, complete = read_json(text, keep_cut="message")
        reading = _from_document(document, complete=complete, outer=outer)
        truncated = not complete or outer.partial
    else:
        reading = _from_text(text)
        truncated = outer.partial
    if reading is None or not (outer.wrapper or truncated):
        return reading  # a bare line: there is nothing to add
    # In place, as nobody else has it yet: `replace` costs a fifth of all this.
    reading.pod, reading.file, reading.wrapper, reading.truncated = outer.pod, outer.file, outer.wrapper, truncated
    return reading


# --- documents -------------------------------------------------------------------------------------------------------

_FAILED: Final = re.compile(r"Request failed: ([0-9]{3}): ")
_COMPLETED: Final = re.compile(r"Completed ([0-9]{3}) vcap-request-id: ")
_STARTED: Final = re.compile(r"Started [A-Z]{1,20} \"")
_RETRY: Final = re.compile(r"Request to the diego backend failed with error: ([\w:]{1,100}) - (.*)", re.DOTALL)
_STAGING_FINISHED: Final = re.compile(r"diego\.staging\.[a-z_]{1,40}\.finished\Z")
_ERROR_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_:]{0,99}\Z")


def _from_document(document: dict[str, Json], *, complete: bool, outer: Unwrapped) -> Reading | None:
    message = _string(document, "message")
    if message is None:
        return _http_body(document)
    source = _string(document, "source")
    # `Completed` lines are not asked for the source: nobody else writes them, and `scan` need not look so far.
    if _is_cloud_controller(source, complete=complete) or _COMPLETED.match(message):
        return _from_steno(document, message, source, outer)
    if source is not None and message.startswith(source + "."):
        return _from_lager(document, message, source)
    return None


def _is_cloud_controller(source: str | None, *, complete: bool) -> bool:
    # steno writes the source after the message, lager before it: a cut line without one is steno's.
    if source is None:
        return not complete
    return source == "cc" or source.startswith(("cc.", "cc-"))


def _from_steno(document: dict[str, Json], message: str, source: str | None, outer: Unwrapped) -> Reading | None:
    data = document.get("data")
    data = data if isinstance(data, dict) else {}
    written = document.get("timestamp")
    timestamp = str(written) if isinstance(written, str | int | float) else None
    request_id = _string(data, "request_guid")
    # Each is built at once: `replace` costs more than all that led here.
    if failed := _FAILED.match(message):
        # A cut line has lost its source; the name of the worker's log file still tells.
        job = source == "cc.background" or "job_guid" in data or "worker" in (outer.file or "").rpartition("/")[2]
        kind = "cc_job_failed" if job else "cc_request_failed"
        error = read_ruby_error(message[failed.end() :])
        name = error_name(error.name)
        return Reading(
            kind=kind,
            error=name,
            http_status=int(failed[1]),
            code=error.code,
            cause=_cause(name, error.description),
            request_id=request_id,
            api=error.api,
            description=error.description,
            timestamp=timestamp,
            job=job,
            bbs_down_hint=name in _BBS_DOWN,
        )
    if completed := _COMPLETED.match(message):
        status = int(completed[1])
        return Reading(kind="cc_request_completed", http_status=status, request_id=request_id, timestamp=timestamp)
    kind = "cc_request_started" if _STARTED.match(message) else _EXACT.get(message, "")
    base = Reading(kind=kind, request_id=request_id, timestamp=timestamp)
    return base if kind else _event(base, message, source or "", data)


def _event(base: Reading, message: str, source: str, data: dict[str, Json]) -> Reading | None:
    """The rarer lines that are known by what they say."""
    if message == "sync-failed" and (not source or source.startswith("cc.diego.sync.")):
        return _sync_failed(base, data)
    if _STAGING_FINISHED.match(message):
        return _staging_finished(base, data)
    if retry := _RETRY.match(message):
        cause = classify(f"{retry[1]} - {retry[2]}")
        return replace(base, kind="cc_diego_retry", error_class=retry[1], description=retry[2], cause=cause)
    for start, kind, hint in _MESSAGES:
        if message.startswith(start):
            return replace(base, kind=kind, bbs_down_hint=hint)
    clock_error = source == "cc.clock" and message.endswith("BBSFetchError)")
    return replace(base, kind="cc_clock_error", bbs_down_hint=True) if clock_error else None


def _sync_failed(base: Reading, data: dict[str, Json]) -> Reading:
    text = _string(data, "error_message")
    name = error_name(_string(data, "error"))
    return replace(base, kind="cc_sync_failed", error=name, description=text, cause=classify(text), bbs_down_hint=True)


def _staging_finished(base: Reading, data: dict[str, Json]) -> Reading:
    response = data.get("response")
    error = response.get("error") if isinstance(response, dict) else None
    if not isinstance(error, dict):
        return replace(base, kind="cc_staging_finished")
    error_id, text = _string(error, "id"), _string(error, "message")
    return replace(base, kind="cc_staging_finished", error_id=error_id, description=text)


_EXACT: Final = {"stage.request": "cc_stage_request", "stage.package": "cc_stage_failed"}
_MESSAGES: Final = (
    ("Attempting to connect to the diego backend. ", "cc_diego_retry", False),
    ("Unable to establish a connection to diego backend, ", "cc_diego_gave_up", False),
    ("Cannot communicate with diego - tried to send ", "cc_diego_unreachable", True),
)


def _with_error(base: Reading, error: RubyError) -> Reading:
    name = error_name(error.name)
    return replace(
        base,
        api=error.api,
        error=name,
        code=error.code,
        description=error.description,
        cause=_cause(name, error.description),
        bbs_down_hint=name in _BBS_DOWN,
    )


def _cause(name: str | None, description: str | None) -> Cause:
    # Other errors' descriptions are other people's words, and BBS is not their cause.
    return classify(description) if name in SIBLINGS else "other"


def error_name(raw: str | None) -> str | None:
    """The name without `CF-`; None for what cannot be one."""
    if raw is None:
        return None
    name = raw.removeprefix("CF-")
    return name if _ERROR_NAME.match(name) else None


def _http_body(document: dict[str, Json]) -> Reading | None:
    """CC's answer as clients see it: the same fields as in the log, as JSON."""
    errors = document.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        fields, api, name_key, text_key = errors[0], "v3", "title", "detail"
    elif "error_code" in document:
        fields, api, name_key, text_key = document, "v2", "error_code", "description"
    else:
        return None
    code = fields.get("code")
    error = RubyError(
        api=api,
        name=_string(fields, name_key),
        code=code if isinstance(code, int) else None,
        description=_string(fields, text_key),
    )
    return _with_error(Reading(kind="http_body"), error)


_LAGER_LEVELS: Final = {0: "debug", 1: "info", 2: "error", 3: "fatal"}
_DATABASE_EVENTS: Final = frozenset({"failed-starting-transaction", "sql-failed-to-connect", "sql-failed-to-open"})
_DATABASE_DIAL: Final = re.compile(r"dial tcp [^ ]{1,100}:(?:5432|3306): ")


def _from_lager(document: dict[str, Json], message: str, source: str) -> Reading | None:
    """BBS's and Locket's own lines, in lager's old form (numeric log_level) and its new one (level)."""
    number = document.get("log_level")
    severity = _string(document, "level") or (_LAGER_LEVELS.get(number) if isinstance(number, int) else None)
    data = document.get("data")
    error = (_string(data, "error") if isinstance(data, dict) else None) or ""
    event = message.rpartition(".")[2]
    collision = "lock-collision" in error
    if event == "failed-to-acquire-lock" and collision:
        severity = "normal"  # what a passive BBS says once when it starts
    timestamp = _string(document, "timestamp")
    return Reading(
        kind="lager",
        component=source,
        event=event,
        severity=severity,
        reason="lock-collision" if collision else None,
        description=error or None,
        timestamp=timestamp,
        db_down_hint=event in _DATABASE_EVENTS or bool(_DATABASE_DIAL.search(error)),
    )


def _string(document: dict[str, Json], key: str) -> str | None:
    value = document.get(key)
    return value if isinstance(value, str) else None


# --- plain text ------------------------------------------------------------------------------------------------------

_QUOTED: Final = r'"((?:[^"\\]++|\\.)*+)"'
# The client's address list is unquoted and the client's own, so the fields after it are taken from the end of the line.
_NGINX: Final = re.compile(
    r'\S+ - \[\d\d/[A-Z][a-z]{2}/\d{4}:[^\]]+\] "([^"]*)" (\d{3}) \d+ "[^"]*" "[^"]*" .*'
    r" vcap_request_id:(\S+) response_time:(\S+)\s*\Z",
    re.DOTALL,
)
_GOROUTER: Final = re.compile(rf"\S+ - \[\d{{4}}-\d\d-\d\dT[^\]]+\] {_QUOTED} (\d{{3}}) \d+ \d+ {(_QUOTED + ' ') * 4}")
_GOROUTER_FIELD: Final = re.compile(rf"([a-z_]+):(?:{_QUOTED}|(\S+)) ?")
_MONIT: Final = re.compile(r"\[[A-Z]{3,5} [A-Z][a-z]{2} [ \d]\d [\d:]{8}\] (\w+) *: '([^']{1,100})' (.*)", re.DOTALL)
_REPEAT: Final = re.compile(r"last message repeated (\d{1,9}) times\Z")
_APP_LOG: Final = re.compile(r"(?:\S+ )?\[API/\d+\] (?:ERR|OUT) Failed to stage build: (.*)", re.DOTALL)
_NOISE: Final = re.compile(r"Failed 'curl .*' on attempt \d+", re.DOTALL)
_CLI_LEGACY: Final = re.compile(r"Server error, status code: (\d{3}), error code: (\d{1,9}), message: (.*)")
_CLI_TEXT: Final = re.compile(r"^(?:Stager|Runner) is unavailable: .*", re.MULTILINE)
_CLI_REQUEST_ID: Final = re.compile(r"^Request ID: +(\S+)$", re.MULTILINE)
_CLI_STATUS: Final = re.compile(r"^Response code: +(\d{3})$", re.MULTILINE)


def _from_text(text: str) -> Reading | None:
    for reader in _TEXT_READERS:
        if reading := reader(text):
            return reading
    return None


def _nginx(text: str) -> Reading | None:
    found = _NGINX.match(text)
    if not found:
        return None
    status, path_class = int(found[2]), _path_class(found[1])
    return Reading(
        kind="nginx_access",
        http_status=status,
        path_class=path_class,
        duration_s=_seconds(found[4]),
        request_id=None if found[3] == "-" else found[3],
        recovery_hint=path_class == "v3_builds" and status == 201,  # CC answers so only after BBS took the task
    )


def _path_class(request: str) -> str | None:
    method, _, rest = request.partition(" ")
    path = rest.partition(" ")[0].partition("?")[0].strip("/").split("/")
    if method == "PUT" and len(path) == 3 and path[:2] == ["v2", "apps"]:
        return "v2_app_update"
    if method == "POST" and path == ["v3", "builds"]:
        return "v3_builds"
    return None


def _gorouter(text: str) -> Reading | None:
    found = _GOROUTER.match(text)
    if not found:
        return None
    fields = {key: quoted or plain for key, quoted, plain in _GOROUTER_FIELD.findall(text, found.end())}
    error = fields.get("x_cf_routererror", "-")
    return Reading(
        kind="gorouter_access",
        http_status=int(found[2]),
        backend=None if found[6] == "-" else found[6],
        duration_s=_seconds(fields.get("response_time", "")),
        request_id=fields.get("vcap_request_id"),
        router_error=None if error == "-" else error.partition(" ")[0],
    )


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _monit(text: str) -> Reading | None:
    found = _MONIT.match(text)
    if not found:
        return None
    said = found[3]
    event = "other"
    if said.startswith("process is not running"):
        event = "not_running"
    elif said.startswith("process is running"):
        event = "running"
    return Reading(kind="monit", process=found[2], event=event, severity=found[1])


def _cli(text: str) -> Reading | None:
    """What the cf command printed: v6 with the raw body, older ones with numbers, v7 and v8 with the detail only."""
    if text.startswith("Unexpected Response\n"):
        body, _ = read_json(text[text.find("{") :] if "{" in text else "")
        reading = _http_body(body) or Reading(kind="cli")
        status, request_id = _CLI_STATUS.search(text), _CLI_REQUEST_ID.search(text)
        return replace(
            reading,
            kind="cli",
            http_status=int(status[1]) if status else None,
            request_id=request_id[1] if request_id else None,
        )
    lines = text.splitlines()
    if "FAILED" not in lines:
        return None
    if legacy := _CLI_LEGACY.search(text):
        return Reading(
            kind="cli",
            api="v2",
            http_status=int(legacy[1]),
            code=int(legacy[2]),
            description=legacy[3],
            cause=classify(legacy[3]),
        )
    if detail := _CLI_TEXT.search(text):
        return Reading(kind="cli", api="v3", description=detail[0], cause=classify(detail[0]))
    return None


def _other_text(text: str) -> Reading | None:
    if repeat := _REPEAT.match(text):
        return Reading(kind="syslog_repeat", repeat=int(repeat[1]))
    if text.startswith("panic: "):
        return Reading(kind="go_panic", description=text[7:])
    if app_log := _APP_LOG.match(text):
        return Reading(kind="app_log", description=app_log[1], cause=classify(app_log[1]))
    if _NOISE.match(text):
        return Reading(kind="noise")
    return None


_TEXT_READERS: Final[tuple[Callable[[str], Reading | None], ...]] = (_nginx, _gorouter, _monit, _cli, _other_text)
