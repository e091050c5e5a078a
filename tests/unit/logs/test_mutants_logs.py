"""What lines say in full, field by field, and the edges of the forms that are read: what just fits, what does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.logs.account import OTHER, QUIET_FOR, STATUSES, UNKNOWN, LogAccount
from exporter.logs.causes import classify
from exporter.logs.lines import MAX_LINE, LineSplitter
from exporter.logs.metrics import LogMetrics
from exporter.logs.prefix import RubyError, read_json, read_json_part, read_ruby_error
from exporter.logs.recognise import SIBLINGS, Reading, error_name, recognise
from exporter.logs.scan import scan, scan_lines
from exporter.logs.unwrap import Unwrapped, unwrap
from tests.support import cc_lines
from tests.support.cc_lines import completed, failed, in_cri, in_docker, in_rfc5424, steno

ID = "5c7f7a4e::0b7c8f7e"
AT = "1549101631.2255123"


def lager(message: str, source: str = "bbs", **fields: Any) -> bytes:
    return json.dumps({"timestamp": "1.5", "source": source, "message": message} | fields).encode()


def steno_with_id(message: str, **options: Any) -> bytes:
    options["data"] = {"request_guid": ID} | options.get("data", {})
    return steno(message, **options)


def nginx(request: str = "GET /v2/info HTTP/1.1", status: int = 200, request_id: str = ID, took: str = "0.25") -> bytes:
    head = f'api.cf - [02/Feb/2019:10:00:31 +0000] "{request}" {status} 421 "-" "curl/7" 10.0.0.4, 172.30.0.5'
    return f"{head} vcap_request_id:{request_id} response_time:{took}\n".encode()


def gorouter(backend: str = "10.0.0.9:9022", error: str = "-", took: str = "0.25") -> bytes:
    head = 'api.cf - [2021-06-01T10:00:01.004Z] "GET /a\\"b HTTP/1.1" 502 58 361 "-" "cf/7 (x)" "10.4.0.7:53110"'
    tail = f'x_forwarded_for:"10.0.0.7" vcap_request_id:"{ID}" response_time:{took} x_cf_routererror:"{error}"'
    return f'{head} "{backend}" {tail}\n'.encode()


READINGS: list[tuple[bytes, Reading]] = [
    (
        failed(),
        Reading(
            kind="cc_request_failed",
            error="StagerUnavailable",
            http_status=503,
            code=170010,
            cause="timeout",
            request_id=ID,
            api="v2",
            description="Stager is unavailable: execution expired",
            timestamp=AT,
            bbs_down_hint=True,
        ),
    ),
    (
        failed("AppNotFound", "no", status=404, code=100004, api="v3", job=True),
        Reading(
            kind="cc_job_failed",
            error="AppNotFound",
            http_status=404,
            code=100004,
            cause="other",
            request_id=ID,
            api="v3",
            description="no",
            timestamp=AT,
            job=True,
        ),
    ),
    (completed(404), Reading(kind="cc_request_completed", http_status=404, request_id=ID, timestamp="1549101631.5")),
    (cc_lines.started(), Reading(kind="cc_request_started", request_id=ID, timestamp="1549101631.1")),
    (cc_lines.stage_request(), Reading(kind="cc_stage_request", timestamp="1549101601.5")),
    (steno_with_id("stage.package"), Reading(kind="cc_stage_failed", request_id=ID, timestamp=AT)),
    (
        cc_lines.sync_failed(),
        Reading(
            kind="cc_sync_failed",
            error="RunnerUnavailable",
            cause="timeout",
            description="Runner is unavailable: execution expired",
            timestamp="1549101705.5",
            bbs_down_hint=True,
        ),
    ),
    (
        steno_with_id(
            "diego.staging.docker.finished", data={"response": {"error": {"id": "StagingError", "message": "no"}}}
        ),
        Reading(kind="cc_staging_finished", request_id=ID, timestamp=AT, error_id="StagingError", description="no"),
    ),
    (
        steno_with_id("Request to the diego backend failed with error: Errno::ECONNREFUSED - Connection refused"),
        Reading(
            kind="cc_diego_retry",
            request_id=ID,
            timestamp=AT,
            error_class="Errno::ECONNREFUSED",
            description="Connection refused",
            cause="refused",
        ),
    ),
    (
        steno_with_id("Attempting to connect to the diego backend. Total 54.6 seconds remaining."),
        Reading(kind="cc_diego_retry", request_id=ID, timestamp=AT),
    ),
    (
        steno_with_id("Unable to establish a connection to diego backend, no more retries"),
        Reading(kind="cc_diego_gave_up", request_id=ID, timestamp=AT),
    ),
    (
        steno_with_id("Cannot communicate with diego - tried to send stop_app"),
        Reading(kind="cc_diego_unreachable", request_id=ID, timestamp=AT, bbs_down_hint=True),
    ),
    (
        steno("x (VCAP::CloudController::Diego::ProcessesSync::BBSFetchError)", source="cc.clock"),
        Reading(kind="cc_clock_error", timestamp=AT, bbs_down_hint=True),
    ),
    (
        b'{"description":"Stager is unavailable: timed out","error_code":"CF-StagerUnavailable","code":170010}',
        Reading(
            kind="http_body",
            api="v2",
            error="StagerUnavailable",
            code=170010,
            cause="timeout",
            description="Stager is unavailable: timed out",
            bbs_down_hint=True,
        ),
    ),
    (
        b'{"errors":[{"detail":"no","title":"CF-NotFound","code":10000}]}',
        Reading(kind="http_body", api="v3", error="NotFound", code=10000, cause="other", description="no"),
    ),
    (
        lager("bbs.locket-lock.lost-lock", log_level=2, data={"error": "rpc error"}),
        Reading(
            kind="lager", component="bbs", event="lost-lock", severity="error", description="rpc error", timestamp="1.5"
        ),
    ),
    (
        lager("bbs.locket-lock.failed-to-acquire-lock", level="error", data={"error": "x lock-collision"}),
        Reading(
            kind="lager",
            component="bbs",
            event="failed-to-acquire-lock",
            severity="normal",
            reason="lock-collision",
            description="x lock-collision",
            timestamp="1.5",
        ),
    ),
    (
        nginx("PUT /v2/apps/g?async=true HTTP/1.1", 503),
        Reading(kind="nginx_access", http_status=503, path_class="v2_app_update", duration_s=0.25, request_id=ID),
    ),
    (
        nginx("POST /v3/builds HTTP/1.1", 201),
        Reading(
            kind="nginx_access",
            http_status=201,
            path_class="v3_builds",
            duration_s=0.25,
            request_id=ID,
            recovery_hint=True,
        ),
    ),
    (nginx(request_id="-"), Reading(kind="nginx_access", http_status=200, duration_s=0.25)),
    (nginx(took="-"), Reading(kind="nginx_access", http_status=200, request_id=ID)),
    (
        gorouter(),
        Reading(kind="gorouter_access", http_status=502, backend="10.0.0.9:9022", duration_s=0.25, request_id=ID),
    ),
    (
        gorouter("-", "endpoint_failure (dial tcp: x)", "-"),
        Reading(kind="gorouter_access", http_status=502, request_id=ID, router_error="endpoint_failure"),
    ),
    (
        b"[UTC Feb  5 14:50:15] error    : 'bbs' process is not running",
        Reading(kind="monit", process="bbs", event="not_running", severity="error"),
    ),
    (
        b"[CEST Feb 15 14:50:15] error    : 'cc' process is not running any more",
        Reading(kind="monit", process="cc", event="not_running", severity="error"),
    ),
    (
        b"[CEST Feb 15 14:50:15] info     : 'cc' process is running with pid 1",
        Reading(kind="monit", process="cc", event="running", severity="info"),
    ),
    (
        b"[UTC Feb  5 14:50:15] info     : 'bbs' start: /x",
        Reading(kind="monit", process="bbs", event="other", severity="info"),
    ),
    (
        b'Unexpected Response\nResponse code: 503\nRequest ID:    a::b\nDescription:   {"error_code":"CF-X","code":1}',
        Reading(kind="cli", http_status=503, request_id="a::b", api="v2", error="X", code=1, cause="other"),
    ),
    (
        b'Unexpected Response\nResponse code: 503\nDescription:   {"errors":[{"title":"CF-X","code":1}]}',
        Reading(kind="cli", http_status=503, api="v3", error="X", code=1, cause="other"),
    ),
    (b"Unexpected Response\nResponse code: 50", Reading(kind="cli")),
    (b"Unexpected Response\nResponse code: 5033\nRequest ID: a b", Reading(kind="cli")),
    (b"Unexpected Response\nResponse code: \nRequest ID: \nx", Reading(kind="cli")),
    (
        b"FAILED\nServer error, status code: 500, error code: 170011, message: getaddrinfo: no",
        Reading(kind="cli", api="v2", http_status=500, code=170011, description="getaddrinfo: no", cause="dns"),
    ),
    (
        b"Staging...\nRunner is unavailable: Connection refused\nFAILED",
        Reading(kind="cli", api="v3", description="Runner is unavailable: Connection refused", cause="refused"),
    ),
    (b"last message repeated 42 times", Reading(kind="syslog_repeat", repeat=42)),
    (b"panic: it broke", Reading(kind="go_panic", description="it broke")),
    (
        b"2019-02-02T10:00:31.24+0000 [API/0] ERR Failed to stage build: Connection refused",
        Reading(kind="app_log", description="Connection refused", cause="refused"),
    ),
    (
        b"[API/12] OUT Failed to stage build: x\ny",
        Reading(kind="app_log", description="x\ny", cause="other"),
    ),
    (b"Failed 'curl http://x/ping' on attempt 4", Reading(kind="noise")),
    (b"Failed 'curl x\ny' on attempt 12", Reading(kind="noise")),
    (
        steno("Request to the diego backend failed with error: A::B - first\nsecond: timeout"),
        Reading(
            kind="cc_diego_retry",
            timestamp=AT,
            error_class="A::B",
            description="first\nsecond: timeout",
            cause="timeout",
        ),
    ),
]


@pytest.mark.parametrize(("line", "reading"), READINGS, ids=lambda part: part.kind if isinstance(part, Reading) else "")
def test_a_line_says_this_and_nothing_else(line: bytes, reading: Reading) -> None:
    assert recognise(line) == reading


def test_a_reading_says_nothing_by_itself() -> None:
    reading = Reading(kind="x")
    said = {name: getattr(reading, name) for name in Reading.__slots__}
    said.pop("kind")
    assert {name for name, value in said.items() if value is False} == {
        *("truncated", "job", "bbs_down_hint", "db_down_hint", "recovery_hint"),
    }
    assert said.pop("wrapper") == ""
    assert not any(said.values())


def test_only_a_users_request_that_failed_with_stager_unavailable_counts() -> None:
    assert Reading(kind="cc_request_failed", error="StagerUnavailable").count
    assert not Reading(kind="cc_job_failed", error="StagerUnavailable").count
    assert not Reading(kind="cc_request_failed", error="RunnerUnavailable").count


# --- Cloud Controller's documents ---


def test_the_errors_that_calls_to_bbs_end_in() -> None:
    assert (
        *("StagerUnavailable", "RunnerUnavailable", "StagerError"),
        *("TaskWorkersUnavailable", "InstancesUnavailable", "StatsUnavailable"),
    ) == SIBLINGS
    for name in (*SIBLINGS, "ServiceGatewayError"):
        reading = recognise(failed(name, "x: Connection refused"))
        assert reading is not None
        assert reading.cause == ("refused" if name in SIBLINGS else "other")
        # With a StagerError BBS was reached, and answered.
        assert reading.bbs_down_hint == (name in SIBLINGS and name != "StagerError")


@pytest.mark.parametrize("before", [b" ", b"\t", b" \t "])
def test_blanks_before_a_document_do_not_matter(before: bytes) -> None:
    reading = recognise(before + failed())
    assert reading is not None
    assert reading.count


def test_letters_before_a_document_make_it_a_text() -> None:
    assert recognise(b"X" + failed()) is None


def test_a_line_is_cut_where_its_document_or_its_wrapper_ends_early() -> None:
    def truncated(line: bytes) -> bool:
        reading = recognise(line)
        assert reading is not None
        return reading.truncated

    assert not truncated(failed())
    assert truncated(failed()[:-1])
    assert not truncated(in_cri(failed()))
    assert truncated(in_cri(failed()).replace(b" F ", b" P "))
    assert truncated(in_cri(failed()[:-1]))
    assert truncated(in_cri(b"panic: x").replace(b" F ", b" P "))
    assert not truncated(in_cri(b"panic: x"))


@pytest.mark.parametrize("source", ["cc", "cc.api", "cc.bbs.x", "cc-worker"])
def test_sources_that_are_cloud_controllers(source: str) -> None:
    reading = recognise(failed().replace(b'"source":"cc.api"', f'"source":"{source}"'.encode()))
    assert reading is not None
    assert reading.kind == "cc_request_failed"


@pytest.mark.parametrize("source", ["", "c", "ccx", "xcc.api", "routing-api", "CC"])
def test_sources_that_are_not(source: str) -> None:
    assert recognise(failed().replace(b'"source":"cc.api"', f'"source":"{source}"'.encode())) is None
    reading = recognise(completed().replace(b'"source":"cc.api"', f'"source":"{source}"'.encode()))
    assert reading is not None
    assert reading.kind == "cc_request_completed"


def test_a_whole_document_without_a_source_is_nobodys_and_a_cut_one_is_stenos() -> None:
    document = {"timestamp": 1.5, "message": 'Request failed: 503: {"error_code"=>"CF-StagerUnavailable"}'}
    whole = json.dumps(document).encode()
    assert recognise(whole) is None
    assert recognise(whole[:-1] + b',"log_level":"err') is not None


@pytest.mark.parametrize(
    ("file", "job"),
    [
        ("cloud_controller_worker", True),
        ("/var/vcap/sys/log/cloud_controller_ng/cloud_controller_worker.log", True),
        ("/var/vcap/sys/log/cloud_controller_worker/cloud_controller_ng.log", False),
        ("cloud_controller_ng", False),
    ],
)
def test_a_cut_line_is_a_jobs_if_its_file_is_a_workers(file: str, job: bool) -> None:
    cut = failed()[:400]
    line = cc_lines.in_sidecar(cut, file) if file.startswith("/") else in_rfc5424(cut, tag=file)
    reading = recognise(line)
    assert reading is not None
    assert (reading.kind, reading.job) == (("cc_job_failed", True) if job else ("cc_request_failed", False))


@pytest.mark.parametrize("stamp", [7, 7.25, "2021-06-01T10:00:31Z", None, True, [1], {"a": 1}])
def test_the_time_is_kept_as_the_program_wrote_it(stamp: Any) -> None:
    reading = recognise(json.dumps({"timestamp": stamp, "message": "stage.request", "source": "cc.x"}).encode())
    assert reading is not None
    if isinstance(stamp, list | dict | type(None)):
        assert reading.timestamp is None
    else:
        assert reading.timestamp == str(stamp)


def test_data_that_is_no_object_says_nothing() -> None:
    nothing: list[object] = []
    for data in (nothing, "x", 1, None):
        line = steno("Request failed: 503: {}", data={}).replace(b'"data":{}', f'"data":{json.dumps(data)}'.encode())
        reading = recognise(line)
        assert reading is not None
        assert reading.request_id is None
        finished = steno("diego.staging.x.finished").replace(b'"data":{}', f'"data":{json.dumps(data)}'.encode())
        assert recognise(finished) == Reading(kind="cc_staging_finished", timestamp=AT)


def test_a_staging_that_failed_without_details() -> None:
    for response in ({}, {"error": None}, {"error": "text"}, "text"):
        line = steno("diego.staging.x.finished", data={"response": response})
        assert recognise(line) == Reading(kind="cc_staging_finished", timestamp=AT)


@pytest.mark.parametrize(
    "message",
    [
        "diego.staging.finished",
        "diego.staging.X.finished",
        "diego.staging.docker.finished.later",
        "x diego.staging.docker.finished",
        "diegoxstaging.docker.finished",
        "stage.request.later",
        "x Request failed: 503: ",
        "Request failed: 5030: ",
        "x Completed 200 vcap-request-id: ",
        'x Started GET "/"',
        'Started get "/"',
        "x sync-failed",
        "x Cannot communicate with diego - tried to send stop_app",
        "x Request to the diego backend failed with error: A - b",
        "(VCAP::BBSFetchError) x",
    ],
)
def test_messages_that_only_resemble_the_known_ones(message: str) -> None:
    for source in ("cc.api", "cc.clock"):
        assert recognise(steno(message, source=source)) is None


def test_messages_of_other_parts_of_cloud_controller() -> None:
    assert recognise(steno("x BBSFetchError)", source="cc.clockwork")) is None
    assert recognise(steno("x BBSFetchError)", source="cc.diego.sync.processes")) is None
    for source, known in (("cc.diego.sync.tasks", True), ("cc.diego.sync", False), ("cc.api", False)):
        assert (recognise(steno("sync-failed", source=source)) is not None) is known
    # Cut before its source.
    assert recognise(steno("sync-failed")[:90]) is not None


@pytest.mark.parametrize(
    ("form", "letter", "shortest", "longest"),
    [
        ('{"timestamp":1.5,"message":"Started @ \\"/\\"","source":"cc.api"}', "N", 1, 20),
        ('{"message":"Request to the diego backend failed with error: @ - x","source":"cc.api"}', "N", 1, 100),
        ('{"message":"diego.staging.@.finished","source":"cc.api"}', "n", 1, 40),
        ("[UTC Feb  5 14:50:15] info     : '@' start", "n", 1, 100),
        ("[@ Feb  5 14:50:15] info     : 'bbs' start", "N", 3, 5),
        ("last message repeated @ times", "1", 1, 9),
        ("FAILED\nServer error, status code: 503, error code: @, message: x", "1", 1, 9),
    ],
)
def test_names_that_just_fit(form: str, letter: str, shortest: int, longest: int) -> None:
    for size in (shortest - 1, shortest, longest, longest + 1):
        known = shortest <= size <= longest
        assert (recognise(form.replace("@", letter * size).encode()) is not None) is known, size


def test_the_longest_host_of_a_database() -> None:
    for size, hint in ((100, True), (101, False)):
        reading = recognise(lager("bbs.x", data={"error": f"dial tcp {'h' * size}:5432: i/o timeout"}))
        assert reading is not None
        assert reading.db_down_hint is hint


def test_a_failure_that_names_a_job_is_the_jobs() -> None:
    reading = recognise(failed(job=True).replace(b"cc.background", b"cc.api"))
    assert reading is not None
    assert (reading.kind, reading.job) == ("cc_job_failed", True)


def test_other_programs_may_speak_of_completed_requests() -> None:
    reading = recognise(lager("bbs.x Completed 200 vcap-request-id: y"))
    assert reading is not None
    assert reading.kind == "lager"


def test_error_names() -> None:
    assert error_name(None) is None
    assert error_name("CF-A") == "A"
    assert error_name("A") == "A"
    assert error_name("CF-CF-A") is None
    assert error_name("A::B_1") == "A::B_1"
    assert error_name("") is None
    assert error_name("1A") is None
    assert error_name("A b") is None
    assert error_name("A\n") is None
    assert error_name("A" * 100) == "A" * 100
    assert error_name("A" * 101) is None


def test_bodies_that_are_no_answers_of_cloud_controller() -> None:
    for body in (
        b'{"errors":{"a":1}}',
        b'{"errors":1}',
        b'{"errors":"x"}',
        b'{"errors":{}}',
        b'{"errors":["x"]}',
        b'{"errors":null}',
        b'{"code":1}',
        b"{}",
    ):
        assert recognise(body) is None
    odd = recognise(b'{"errors":[{"code":"1","title":2,"detail":null}]}')
    assert odd == Reading(kind="http_body", api="v3", cause="other")
    odd = recognise(b'{"errors":[],"error_code":"CF-A"}')
    assert odd == Reading(kind="http_body", api="v2", error="A", cause="other")


# --- BBS and Locket ---


@pytest.mark.parametrize(
    ("fields", "severity"),
    [
        ({"log_level": 0}, "debug"),
        ({"log_level": 1}, "info"),
        ({"log_level": 2}, "error"),
        ({"log_level": 3}, "fatal"),
        ({"log_level": 4}, None),
        ({"log_level": "2"}, None),
        ({"log_level": [2]}, None),
        ({"log_level": {}}, None),
        ({"level": "info", "log_level": 2}, "info"),
        ({}, None),
    ],
)
def test_how_severe_a_line_is(fields: dict[str, Any], severity: str | None) -> None:
    reading = recognise(lager("bbs.x", **fields))
    assert reading == Reading(kind="lager", component="bbs", event="x", severity=severity, timestamp="1.5")


@pytest.mark.parametrize(
    ("message", "error", "hint"),
    [
        ("bbs.x", "dial tcp 10.0.0.1:5432: i/o timeout", True),
        ("bbs.x", "dial tcp 10.0.0.1:3306: connect: connection refused", True),
        ("bbs.x", "lookup failed: dial tcp mysql.cf:3306: x", True),
        ("bbs.x", "dial tcp 10.0.0.1:8891: i/o timeout", False),
        ("bbs.x", "dial tcp 10.0.0.1:54320: i/o timeout", False),
        ("bbs.sql-failed-to-connect", "", True),
        ("bbs.sql-failed-to-open", "", True),
        ("bbs.failed-starting-transaction", "", True),
        ("bbs.sql-failed-to-connect.later", "", False),
    ],
)
def test_what_speaks_of_a_database_that_is_down(message: str, error: str, hint: bool) -> None:
    reading = recognise(lager(message, data={"error": error} if error else {}))
    assert reading is not None
    assert (reading.db_down_hint, reading.description) == (hint, error or None)


def test_a_collision_is_normal_only_where_a_passive_bbs_asks_for_the_lock() -> None:
    collision = {"error": "rpc error: lock-collision"}
    reading = recognise(lager("bbs.locket-lock.failed-to-acquire-lock", log_level=2, data=collision))
    assert reading is not None
    assert (reading.severity, reading.reason) == ("normal", "lock-collision")
    reading = recognise(lager("bbs.locket-lock.lost-lock", log_level=2, data=collision))
    assert reading is not None
    assert (reading.severity, reading.reason) == ("error", "lock-collision")
    reading = recognise(lager("bbs.locket-lock.failed-to-acquire-lock", log_level=2, data={"error": "other"}))
    assert reading is not None
    assert (reading.severity, reading.reason) == ("error", None)


def test_a_message_that_does_not_begin_with_its_source_is_not_lagers() -> None:
    assert recognise(lager("locket.x", source="bbs")) is None
    assert recognise(lager("bbs", source="bbs")) is None
    assert recognise(lager("bbsx.y", source="bbs")) is None
    assert recognise(lager("bbs.x", data="text")) == Reading(kind="lager", component="bbs", event="x", timestamp="1.5")


# --- access logs ---


@pytest.mark.parametrize(
    ("request_line", "path_class"),
    [
        ("PUT /v2/apps/g HTTP/1.1", "v2_app_update"),
        ("PUT /v2/apps/g/ HTTP/1.1", "v2_app_update"),
        ("PUT /v2/apps/g?a=/b HTTP/1.1", "v2_app_update"),
        ("PUT /v2/apps HTTP/1.1", None),
        ("PUT /v2/apps/g/stats HTTP/1.1", None),
        ("PUT /v2/spaces/g HTTP/1.1", None),
        ("PUT /v3/apps/g HTTP/1.1", None),
        ("GET /v2/apps/g HTTP/1.1", None),
        ("POST /v3/builds HTTP/1.1", "v3_builds"),
        ("POST /v3/builds?x=1 HTTP/1.1", "v3_builds"),
        ("POST /v3/builds/ HTTP/1.1", "v3_builds"),
        ("POST /v3/builds x HTTP/1.1", "v3_builds"),
        ("POST /v3/buildsX HTTP/1.1", None),
        ("POST /v3/builds/g HTTP/1.1", None),
        ("GET /v3/builds HTTP/1.1", None),
        ("POST /v2/builds HTTP/1.1", None),
        ("PUT /v3/builds HTTP/1.1", None),
        ("", None),
    ],
)
def test_the_paths_that_stage(request_line: str, path_class: str | None) -> None:
    reading = recognise(nginx(request_line))
    assert reading is not None
    assert reading.path_class == path_class


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (nginx("POST /v3/builds HTTP/1.1", 201), True),
        (nginx("POST /v3/builds HTTP/1.1", 202), False),
        (nginx("POST /v3/builds HTTP/1.1", 503), False),
        (nginx("PUT /v2/apps/g HTTP/1.1", 201), False),
        (nginx("GET /v2/info HTTP/1.1", 201), False),
    ],
)
def test_only_a_build_that_was_created_speaks_of_recovery(line: bytes, hint: bool) -> None:
    reading = recognise(line)
    assert reading is not None
    assert reading.recovery_hint is hint


def test_a_clients_own_fields_do_not_overrule_nginx() -> None:
    line = nginx().replace(b"10.0.0.4, ", b"vcap_request_id:evil response_time:9 ")
    reading = recognise(line)
    assert reading is not None
    assert (reading.request_id, reading.duration_s) == (ID, 0.25)


@pytest.mark.parametrize("end", [b"", b" more", b"\n x"])
def test_an_access_line_ends_with_its_last_field(end: bytes) -> None:
    assert (recognise(nginx().rstrip() + end) is not None) is (not end)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("api.cf - ", " - "),
        ("api.cf - ", "x api.cf - "),
        ("[02/Feb/2019:10:00:31 +0000]", "[02/Feb/2019:]"),
        ("[02/Feb/2019:10:00:31 +0000]", "[2/Feb/2019:10:00:31 +0000]"),
        ("[02/Feb/2019:10:00:31 +0000]", "[02/Feb/2019:10:00:31 +0000"),
        (" 200 421 ", " 20 421 "),
        (" 200 421 ", " 200  "),
        (" 200 421 ", " 200 - "),
        (f"request_id:{ID}", "request_id:"),
        ("response_time:0.25", "response_time:"),
        (" response_time:0.25", ""),
        (" vcap_request_id:", " other_request_id:"),
    ],
)
def test_lines_that_only_resemble_nginxs(old: str, new: str) -> None:
    assert old in nginx().decode()
    assert recognise(nginx().decode().replace(old, new).encode()) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("api.cf - ", " - "),
        ("api.cf - ", "x api.cf - "),
        ("[2021-06-01T10:00:01.004Z]", "[2021-06-01T]"),
        ("[2021-06-01T10:00:01.004Z]", "[2021-06-01 10:00:01.004Z]"),
        (" 502 58 361 ", " 50 58 361 "),
        (" 502 58 361 ", " 502  361 "),
        (" 502 58 361 ", " 502 58  "),
        (' "-" "cf/7 (x)"', ' "-"'),
        ('HTTP/1.1" ', "HTTP/1.1 "),
    ],
)
def test_lines_that_only_resemble_gorouters(old: str, new: str) -> None:
    assert old in gorouter().decode()
    assert recognise(gorouter().decode().replace(old, new, 1).encode()) is None


def test_a_gorouter_line_without_the_later_fields() -> None:
    line = gorouter().partition(b" x_forwarded_for")[0]
    assert recognise(line + b" ") == Reading(kind="gorouter_access", http_status=502, backend="10.0.0.9:9022")


def test_a_newline_that_a_client_sent_does_not_end_an_access_line() -> None:
    assert recognise(nginx().replace(b"10.0.0.4,", b"10.0.0.4,\n")) is not None


# --- monit, syslog, the command line ---


@pytest.mark.parametrize(
    "line",
    [
        b"x [UTC Feb  5 14:50:15] error    : 'bbs' process is not running",
        b"[UT Feb  5 14:50:15] error    : 'bbs' process is not running",
        b"[utc Feb  5 14:50:15] error    : 'bbs' process is not running",
        b"[UTC Feb  5 14:50:15] error    : '' process is not running",
        b"[UTC Feb  5 14:50:15]     : 'bbs' process is not running",
        b"x last message repeated 3 times",
        b"last message repeated 3 times more",
        b"last message repeated x times",
        b"x panic: y",
        b"[API/0] STDERR Failed to stage build: x",
        b"[API/] ERR Failed to stage build: x",
        b"a b [API/0] ERR Failed to stage build: x",
        b"Failed 'wget x' on attempt 4",
        b"Failed 'curl x' on attempt",
        b"Failed 'curl x' on attempt x",
        b"x Failed 'curl x' on attempt 4",
        b"x Unexpected Response\n",
        b"Unexpected Response",
        b"NOT FAILED\nServer error, status code: 500, error code: 1, message: x",
        b"FAILED\nx Stager is unavailable: x",
        b"FAILED\nServer error, status code: 5000, error code: 1, message: x",
    ],
)
def test_texts_that_only_resemble_the_known_ones(line: bytes) -> None:
    assert recognise(line) is None


def test_the_command_lines_answer_with_a_body_that_was_cut() -> None:
    text = b'Unexpected Response\nResponse code: 503\nDescription:   {"error_code":"CF-StagerUnavailable","cod'
    assert recognise(text) == Reading(
        kind="cli", http_status=503, api="v2", error="StagerUnavailable", cause="other", bbs_down_hint=True
    )
    assert recognise(b"Unexpected Response\nDescription: {{") == Reading(kind="cli")


# --- JSON and Ruby that may be cut ---


@pytest.mark.parametrize(
    ("text", "document", "complete"),
    [
        ("{}", {}, True),
        ('{"a":1} more', {"a": 1}, True),
        ('\t{ "a" : 1 , "b" : [ ] }', {"a": 1, "b": []}, True),
        ('{"a":[1,{"b":null}],"c":{"d":"e"}}', {"a": [1, {"b": None}], "c": {"d": "e"}}, True),
        ('{"a":1,"a":2}', {"a": 1}, True),
        ('{"a":1', {}, False),
        ('{"a":1,', {"a": 1}, False),
        ('{"a":1 ', {"a": 1}, False),
        ('{"a":tru', {}, False),
        ('{"a":true,"b":false,"c":-1.5e3}', {"a": True, "b": False, "c": -1500.0}, True),
        ('{"a":nope}', {}, False),
        ('{"a":1 2}', {"a": 1}, False),
        ('{"a" 1}', {}, False),
        ('{"a":1,}', {"a": 1}, False),
        ('{"a";1}', {}, False),
        ('{"a":1;"b":2}', {"a": 1}, False),
        ('{"a":[1;2]}', {"a": [1]}, False),
        ('{x"a":1}', {}, False),
        ('{"a":;1}', {}, False),
        ('{"a":}', {}, False),
        ('{"a":{},"b":1}', {"a": {}, "b": 1}, True),
        ('{"a":[],"b":1}', {"a": [], "b": 1}, True),
        ('{"k":"a\tb\\n"}', {"k": "a\tb\n"}, True),
        ('{"k":"a\tb\\n', {"k": "a\tb\n"}, False),
        ('{"a":[1,2', {"a": [1]}, False),
        ('{"a":[1 2]}', {"a": [1]}, False),
        ('{"a":{"b":1', {"a": {}}, False),
        ('{"k":"cut', {"k": "cut"}, False),
        ('{"other":"cut', {}, False),
        ('{"a":{"k":"cut', {"a": {}}, False),
        ('{"a":["cut', {"a": []}, False),
        ('{"k":"a\\u00e9\\n\\"\\\\\\/"}', {"k": 'a\u00e9\n"\\/'}, True),
        ('{"k":"cut\\', {"k": "cut"}, False),
        ('{"k":"cut\\u00', {"k": "cut"}, False),
        ('{"k":"bad\\x', {"k": "bad"}, False),
        ('{"k":"half \\ud83d"}', {"k": "half ?"}, True),
        ('{"k', {}, False),
        ("{", {}, False),
        ("", {}, False),
        ("[1]", {}, False),
        ("x{}", {}, False),
        ("{1:2}", {}, False),
    ],
)
def test_json_as_far_as_it_goes(text: str, document: dict[str, Any], complete: bool) -> None:
    for reader in (read_json, read_json_part):
        assert reader(text, keep_cut="k") == (document, complete)


def test_nothing_that_was_cut_is_kept_unless_it_was_asked_for() -> None:
    assert read_json('{"k":"cut') == ({}, False)


def nested(depth: int, *, list_inside: bool) -> str:
    opening, closing = ("[", "]") if list_inside else ('{"a":', "}")
    inner = "[]" if list_inside else "{}"
    return '{"a":' + opening * (depth - 1) + inner + closing * (depth - 1) + "}"


@pytest.mark.parametrize("list_inside", [True, False])
def test_eight_containers_deep_is_read_and_nine_is_not(list_inside: bool) -> None:
    for reader in (read_json, read_json_part):
        assert reader(nested(8, list_inside=list_inside))[1]
        assert not reader(nested(9, list_inside=list_inside))[1]


V2 = '{"description"=>"d", "error_code"=>"CF-A", "code"=>12, "more"=>1}'
V3 = '{"errors"=>[{"detail"=>"d", "title"=>"CF-A", "code"=>12}]}'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (V2, RubyError("v2", "CF-A", 12, "d")),
        (V3, RubyError("v3", "CF-A", 12, "d")),
        (V2.replace("=>", " => "), RubyError("v2", "CF-A", 12, "d")),
        ("", RubyError()),
        ("x" + V2, RubyError()),
        ("{", RubyError()),
        ('{"description"', RubyError()),
        ('{"description"=>', RubyError("v2")),
        ('{"description"=>"d', RubyError("v2")),
        ('{"description"=>"d"', RubyError("v2", None, None, "d")),
        ('{"description"=>"d", "error_code"=>"CF-', RubyError("v2", None, None, "d")),
        ('{"description"=>"d", "error_code"=>"CF-A"', RubyError("v2", "CF-A", None, "d")),
        ('{"description"=>"d","error_code"=>"CF-A"}', RubyError("v2", None, None, "d")),
        ('{"code"=>12, "error_code"=>"CF-A"}', RubyError("v2", "CF-A", 12, None)),
        ('{"code"=>12', RubyError()),
        ('{"code"=>12}', RubyError(None, None, 12, None)),
        ('{"code"=>"12", "error_code"=>"CF-A"}', RubyError("v2", "CF-A", None, None)),
        ('{"error_code"=>12, "code"=>1}', RubyError("v2", None, 1, None)),
        ('{"code"=>1, "code"=>2, "x"=>1}', RubyError(None, None, 1, None)),
        ('{"code"=>999999999}', RubyError(None, None, 999_999_999, None)),
        ('{"code"=>1000000000}', RubyError()),
        ('{"code"=>\u0661}', RubyError()),
        ('{"code"=>-1}', RubyError()),
        ('{"a"=>{"code"=>1, "b"=>[2, {}]}, "code"=>3}', RubyError(None, None, 3, None)),
        ('{"a"=>["]", "}"], "code"=>3}', RubyError(None, None, 3, None)),
        ('{"a"=>[], "b"=>{}, "c"=>nil, "code"=>3}', RubyError(None, None, 3, None)),
        ('{"a"=>[1, "code"=>3}', RubyError()),
        ('{"a"=>[X, {"b"=>Y}], "code"=>3}', RubyError(None, None, 3, None)),
        ('{"a"=>], "code"=>3}', RubyError()),
        ('{"a"=>[X], "code"=>3}', RubyError(None, None, 3, None)),
        ('{"a"=>x y, "b"=>[1], "code"=>3}', RubyError()),
        ('{"code"=>"x", "code"=>3}', RubyError(None, None, 3, None)),
        ('{"description"=>nil, "detail"=>"d", "x"=>1}', RubyError("v2", None, None, "d")),
        ('{"description"=>3, "detail"=>"d", "x"=>1}', RubyError("v2", None, None, "d")),
        ('{"x"=>1, "y"=>nil, ' + V2[1:], RubyError("v2", "CF-A", 12, "d")),
        ('{"x"=>"s", ' + V2[1:], RubyError("v2", "CF-A", 12, "d")),
        ('{"description"=>"d" x, "error_code"=>"CF-A"}', RubyError("v2", None, None, "d")),
        ("x" + V2[1:], RubyError()),
        ('{x"description"=>"d", "code"=>3}', RubyError()),
        ('{"description"x=>"d", "code"=>3}', RubyError()),
        ('{"causes"=>[{"title"=>"CF-A"}], "code"=>3}', RubyError(None, None, 3, None)),
        ('{"title"=>"CF-A", "detail"=>"d", "code"=>3, "error_code"=>"CF-B"}', RubyError(None, "CF-A", 3, "d")),
        ('{"a"=>, "code"=>3}', RubyError()),
        ('{"description"=>"a\\\nb", "x"=>1}', RubyError("v2", None, None, "a\nb")),
        ('{"a"=>["\\\n"], "code"=>3}', RubyError(None, None, 3, None)),
        ('{"a"=>[[1], [2]], "code"=>3}', RubyError(None, None, 3, None)),
        (
            '{"description"=>"a\\nb\\te\\"f\\\\g\\eh\\#{i}", "x"=>1}',
            RubyError("v2", None, None, 'a\nb\te"f\\g\x1bh#{i}'),
        ),
        ('{"description"=>"\\r\\a\\b\\f\\v", "x"=>1}', RubyError("v2", None, None, "\r\a\b\f\v")),
        ('{"errors"=>"x", "error_code"=>"CF-A"}', RubyError("v2", "CF-A")),
        ('{"errors"=>[], "code"=>1}', RubyError(None, None, 1, None)),
        ('{"description"=>"d", "errors"=>[{"title"=>"CF-A"}], "code"=>1}', RubyError("v2", None, 1, "d")),
        ('{"errors"=>[{"errors"=>[{"title"=>"CF-A"}], "title"=>"CF-B"}]}', RubyError("v3", "CF-B")),
        ('{"errors"=>[{"error_code"=>"CF-A"}]}', RubyError("v3", "CF-A")),
        ('{"errors"=>[{', RubyError("v3")),
    ],
)
def test_the_first_error_of_a_ruby_hash(text: str, error: RubyError) -> None:
    assert read_ruby_error(text) == error


# --- wrappers ---


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"2021-06-01T10:00:31Z x", Unwrapped(b"x", wrapper="kubectl-timestamps")),
        (b"2021-06-01T10:00:31.1+02:00 x", Unwrapped(b"x", wrapper="kubectl-timestamps")),
        (b"2021-06-01T10:00:31.123456789-02:00 x", Unwrapped(b"x", wrapper="kubectl-timestamps")),
        (b"2021-06-01T10:00:31.1234567890Z x", Unwrapped(b"2021-06-01T10:00:31.1234567890Z x")),
        (b"2021-06-01T10:00:31 x", Unwrapped(b"2021-06-01T10:00:31 x")),
        (b"2021-06-01T10:00:31Z stdout F x", Unwrapped(b"x", wrapper="cri")),
        (b"2021-06-01T10:00:31Z stderr F:tag x", Unwrapped(b"x", wrapper="cri")),
        (b"2021-06-01T10:00:31Z stderr P x", Unwrapped(b"x", wrapper="cri", partial=True)),
        (b"2021-06-01T10:00:31Z stdlog F x", Unwrapped(b"stdlog F x", wrapper="kubectl-timestamps")),
        (b"[pod/api-0/logs] x", Unwrapped(b"x", pod="api-0", wrapper="kubectl-prefix")),
        (b"[pod/api-0/logs]x", Unwrapped(b"[pod/api-0/logs]x")),
        (b"y [pod/api-0/logs] x", Unwrapped(b"y [pod/api-0/logs] x")),
        (b"<190>1 2019 api-0 vcap.cc - - - x", Unwrapped(b"x", pod="api-0", file="cc", wrapper="rfc5424")),
        (b"99 <190>1 2019 api-0 cc - - - x", Unwrapped(b"x", pod="api-0", wrapper="rfc5424")),
        (b'<190>1 2019 - cc - - [a b="]"][c] x', Unwrapped(b"x", wrapper="rfc5424")),
        (b'<190>1 2019 h cc - - [instance@47450 a="b"] x', Unwrapped(b"x", pod="h", wrapper="rfc5424-bosh")),
        (b"<1900>1 2019 h cc - - - x", Unwrapped(b"<1900>1 2019 h cc - - - x")),
        (b'<190>1 2019 h cc - - [a b="\\\n"] x', Unwrapped(b"x", pod="h", wrapper="rfc5424")),
        (b"<190>1 2019 h cc - - -x", Unwrapped(b"<190>1 2019 h cc - - -x")),
        (b"<190>1 2019 h cc - -  x", Unwrapped(b"<190>1 2019 h cc - -  x")),
        (b"<190>1 2019 h cc - - [open x", Unwrapped(b"<190>1 2019 h cc - - [open x")),
        (b"y <190>1 2019 h cc - - - x", Unwrapped(b"y <190>1 2019 h cc - - - x")),
        (b"2021/06/01 10:00:31, /a/b.log, x", Unwrapped(b"x", file="/a/b.log", wrapper="kubecf-logs-sidecar")),
        (b"2021/06/01 10:00:31, /, x", Unwrapped(b"2021/06/01 10:00:31, /, x")),
        (b"2021/06/01 10:00:31, a/b, x", Unwrapped(b"2021/06/01 10:00:31, a/b, x")),
        (b'{"log":"x\\n","stream":"stdout"}', Unwrapped(b"x", wrapper="docker")),
        (b'{"log":"x"}', Unwrapped(b"x", wrapper="docker", partial=True)),
        (b'{"log":"x\\n', Unwrapped(b"x", wrapper="docker", partial=True)),
        (b'{"log":"a\tb\\n"}', Unwrapped(b"a\tb", wrapper="docker")),
        (b'{"log":"bad \\q\\n"}', Unwrapped(rb"bad \q\n", wrapper="docker", partial=True)),
        (b'y {"log":"x\\n"}', Unwrapped(b'y {"log":"x\\n"}')),
        (b"\x1b[0m\x1b[31mx\x1b[0m", Unwrapped(b"x")),
        (b"x\x1b[0m\r\n\x1b[0m\n", Unwrapped(b"x")),
        (b"x \x1b[0m y", Unwrapped(b"x \x1b[0m y")),
        (b"xX\r\n", Unwrapped(b"xX")),
        (b"x\x1b[0;11;22;33;44m", Unwrapped(b"x")),
        (b"x\x1b[0;11;22;33;444m", Unwrapped(b"x\x1b[0;11;22;33;444m")),
        (b"[pod/\xff/logs] x", Unwrapped(b"x", pod="\ufffd", wrapper="kubectl-prefix")),
        (b'{"a":1}\x1b[0m\n', Unwrapped(b'{"a":1}')),
    ],
)
def test_a_wrapper_is_taken_off_and_says_this(line: bytes, expected: Unwrapped) -> None:
    assert unwrap(line) == expected


@pytest.mark.parametrize(
    ("form", "letter", "longest"),
    [
        ("@ <190>1 2019 h a - - - x", "1", 7),
        ("<@>1 2019 h a - - - x", "1", 3),
        ("<190>1 @ h a - - - x", "1", 64),
        ("<190>1 2019 @ a - - - x", "h", 255),
        ("<190>1 2019 h @ - - - x", "a", 128),
        ("<190>1 2019 h a @ - - x", "p", 128),
        ("<190>1 2019 h a - @ - x", "m", 128),
        ("[pod/@/logs] x", "p", 253),
        ("[pod/api-0/@] x", "c", 253),
        ("2021-06-01T10:00:31Z stdout F@ x", "t", 64),
        ("2021-06-01T10:00:31.@Z x", "1", 9),
        ("2021/06/01 10:00:31, /@, x", "p", 500),
    ],
)
def test_places_of_a_wrapper_that_just_fit(form: str, letter: str, longest: int) -> None:
    for size in (1, longest, longest + 1):
        known = unwrap(form.replace("@", letter * size).encode()).payload == b"x"
        assert known is (size <= longest), size


def test_structured_data_may_hold_quoted_and_escaped_brackets() -> None:
    for data in ('[a b="]"]', '[a b="\\"]"]', "[a\\]b]", "[a][b]", '[a b="c" d="e"]', "-"):
        assert unwrap(f"<190>1 2019 h cc - - {data} x".encode()).payload == b"x", data
    for data in ("[a", '[a b="]', "a", "--"):
        assert unwrap(f"<190>1 2019 h cc - - {data} x".encode()).wrapper == "", data


def test_an_inner_wrapper_that_is_complete_does_not_make_a_partial_one_whole() -> None:
    partial = in_cri(in_docker(b"x")).replace(b" F ", b" P ")
    assert unwrap(partial).partial
    assert unwrap(in_cri(b'{"log":"x"}')).partial
    assert unwrap(b"2021-06-01T10:00:31Z " + in_cri(b"x").replace(b" F ", b" P ")).partial
    assert unwrap(in_cri(b"2021-06-01T10:00:31Z x").replace(b" F ", b" P ")).partial


def test_six_wrappers_come_off_and_a_seventh_stays() -> None:
    stamp = b"2021-06-01T10:00:31Z "
    assert unwrap(stamp * 6 + b"x").payload == b"x"
    assert unwrap(stamp * 7 + b"x").payload == stamp + b"x"


def test_four_colour_resets_at_the_end_come_off() -> None:
    reset = b"\x1b[0m"
    assert unwrap(b"x" + reset * 4).payload == b"x"
    assert unwrap(b"x" + reset * 5).payload == b"x" + reset


# --- counting, lines, scanning, causes ---


def test_the_labels_that_are_there_from_the_start() -> None:
    assert (OTHER, UNKNOWN) == ("other", "unknown")
    assert " ".join(STATUSES) == "200 201 202 204 400 401 403 404 422 500 502 503 504"
    assert QUIET_FOR == 3600


@pytest.mark.parametrize(
    ("host", "label"),
    [
        ("a", "a"),
        ("A-0.b_c:9", "A-0.b_c:9"),
        ("h" * 253, "h" * 253),
        ("h" * 254, OTHER),
        ("-a", OTHER),
        ("a\u00fc", OTHER),
        ("a/b", OTHER),
    ],
)
def test_what_can_be_the_name_of_a_pod(host: str, label: str) -> None:
    registry = CollectorRegistry()
    account = LogAccount(LogMetrics(registry), "prod", clock=lambda: 1000.0)
    account.feed("syslog", "", [in_rfc5424(failed(), host)])
    labels = {"foundation": "prod", "pod": label, "cause": "timeout"}
    assert registry.get_sample_value("cf_cc_stager_unavailable_total", labels) == 1


def test_a_pod_that_the_cluster_named_keeps_its_place() -> None:
    account = LogAccount(LogMetrics(CollectorRegistry()), "prod", max_pods=1, clock=lambda: 1e6)
    account.know_pod("")
    assert account.pods() == frozenset()
    account.know_pod("api-0")
    account.know_pod("api-1")
    account.feed("syslog", "", [in_rfc5424(failed(), "api-2")])
    assert account.pods() == {"api-0"}


def test_a_foundation_that_is_watched_again_counts_again_beyond_the_cap_too() -> None:
    registry = CollectorRegistry()
    account = LogAccount(LogMetrics(registry), "prod")
    labels = {"foundation": "prod", "pod": OTHER, "cause": "timeout"}
    for request_id in ("a", "b"):
        account.feed("syslog", "", [in_rfc5424(failed(request_id=request_id), "-no-pod")])
        assert registry.get_sample_value("cf_cc_stager_unavailable_total", labels) == 1
        account.close()
        assert registry.get_sample_value("cf_cc_stager_unavailable_total", labels) is None


def test_a_place_that_was_made_is_taken_at_once() -> None:
    now = [0.0]
    account = LogAccount(LogMetrics(CollectorRegistry()), "prod", max_pods=1, clock=lambda: now[0])
    for host in ("host-0", "host-1"):
        account.feed("syslog", "", [in_rfc5424(failed(), host)])
        now[0] += QUIET_FOR
    # The input itself has the only place; it named no pod.
    assert account.pods() == frozenset()
    account = LogAccount(LogMetrics(CollectorRegistry()), "prod", max_pods=2, clock=lambda: now[0])
    for host in ("host-0", "host-1"):
        account.feed("syslog", "", [in_rfc5424(failed(), host)])
        assert account.pods() == {host}
        now[0] += QUIET_FOR
    account.know_pod("api-0")
    assert account.pods() == {"api-0"}


def test_an_input_without_a_line_was_not_heard() -> None:
    registry = CollectorRegistry()
    account = LogAccount(LogMetrics(registry), "prod")
    account.feed("pod", "api-0", [])
    account.feed_chunk("pod", "api-0", b"")
    assert not [sample for metric in registry.collect() for sample in metric.samples]


def counted(account_lines: list[bytes], pod: str = "api-0", remembered: int = 10) -> float | None:
    registry = CollectorRegistry()
    LogAccount(LogMetrics(registry), "prod", remembered=remembered).feed("pod", pod, account_lines)
    labels = {"foundation": "prod", "pod": pod, "cause": "timeout"}
    return registry.get_sample_value("cf_cc_stager_unavailable_total", labels)


def test_an_input_may_be_called_what_no_pod_could_be() -> None:
    assert counted([failed()], "api (2).log") == 1


def test_a_time_or_an_id_is_enough_to_know_a_failure_again() -> None:
    timeless = failed().replace(f'"timestamp":{AT},'.encode(), b"")
    assert counted([timeless, timeless]) == 1
    nameless = failed().replace(b"request_guid", b"other")
    assert counted([nameless, nameless]) == 1


def test_what_was_seen_again_is_remembered_longer() -> None:
    one, other, again = failed(request_id="a"), failed(request_id="b", timestamp=2.5), failed(request_id="c")
    assert counted([one, other, again], remembered=2) == 3
    # Cut before its id, at the time of the first and of the third.
    assert counted([one, other, again, one[:400]], remembered=2) == 3


def test_a_status_below_100_shares_a_label() -> None:
    registry = CollectorRegistry()
    account = LogAccount(LogMetrics(registry), "prod")
    account.feed("pod", "api-0", [completed(200).replace(b"Completed 200", b"Completed 099")])
    labels = {"foundation": "prod", "pod": "api-0", "status": OTHER}
    assert registry.get_sample_value("cf_cc_requests_completed_total", labels) == 1


def test_a_line_as_long_as_the_cap_is_whole_and_one_byte_more_is_cut() -> None:
    for push in ("push", "push_whole"):
        for size, overlong in ((4, 0), (5, 1)):
            splitter = LineSplitter(4)
            whole = getattr(splitter, push)(b"x" * size + b"\n")
            assert whole == ([b"xxxx"] if push == "push" else b"xxxx\n")
            assert splitter.overlong == overlong
            assert splitter.flush() == b""


def test_after_a_flush_a_line_may_be_as_long_as_the_cap_again() -> None:
    splitter = LineSplitter(4)
    splitter.push(b"abc")
    assert splitter.flush() == b"abc"
    assert splitter.push(b"wxyz\n") == [b"wxyz"]
    assert splitter.overlong == 0


def test_a_mebibyte_of_a_line_is_kept() -> None:
    assert MAX_LINE == 1_048_576


def test_pieces_without_a_newline_are_held() -> None:
    assert LineSplitter(100).push_whole(b"aXX\nb\n") == b"aXX\nb\n"
    splitter = LineSplitter(100)
    assert splitter.push_whole(b"a") == b""
    assert splitter.push_whole(b"b") == b""
    assert splitter.push_whole(b"c\nd") == b"abc\n"
    assert splitter.push_whole(b"e\nf\n") == b"de\nf\n"
    assert splitter.flush() == b""


def test_scanning_pieces_and_lines_gives_the_same() -> None:
    lines = [
        completed(200),
        in_rfc5424(completed(503), "api-1"),
        failed(),
        in_docker(failed()),
        cc_lines.stage_request(),
        cc_lines.sync_failed(),
        cc_lines.started(),
        steno("Completed later"),
        steno("Requested"),
        b'"message":"',
        b"message",
        b"",
    ]
    in_one, one_by_one = scan(b"\n".join(lines) + b"\n"), scan_lines(lines)
    assert in_one == one_by_one
    assert in_one.lines == len(lines)
    assert in_one.completed == {(None, b"200"): 1, (b"api-1", b"503"): 1}
    assert in_one.candidates == [lines[2], lines[3], lines[4], lines[5], lines[7]]


def test_the_first_message_of_a_line_is_the_one_that_is_looked_at() -> None:
    line = steno("stage.request", data={"message": "x"})
    assert scan(line + b"\n").candidates == scan_lines([line]).candidates == [line]
    line = steno("x", data={"message": "stage.request"})
    assert scan(line + b"\n").candidates == scan_lines([line]).candidates == []


@pytest.mark.parametrize("stamp", ["7", "7.25", '"2021-06-01T10:00:31.1Z"', '"2021-06-01T10:00:31+02:00"', '""'])
def test_the_short_way_takes_every_time_that_is_written(stamp: str) -> None:
    line = completed(200).replace(b"1549101631.5", stamp.encode(), 1)
    found = scan(line + b"\n")
    assert not found.candidates
    assert found.completed == {(None, b"200"): 1}


@pytest.mark.parametrize("fraction", ["", ".1", ".123456789"])
@pytest.mark.parametrize("stream", ["", "stdout F ", "stderr F "])
def test_the_short_way_takes_the_runtimes_and_kubectls_time(fraction: str, stream: str) -> None:
    line = f"2021-06-01T10:00:31{fraction}Z {stream}".encode() + completed(200)
    assert not scan_lines([line]).candidates


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("SocketError: getaddrinfo", "dns"),
        ("Name or service not known", "dns"),
        ("Temporary failure in name resolution", "dns"),
        ("nodename nor servname provided", "dns"),
        ("No address associated with hostname", "dns"),
        ("unable to communicate with diego", "dns"),
        ("ECONNREFUSED", "refused"),
        ("connection refused", "refused"),
        ("connection reset", "reset"),
        ("ECONNRESET", "reset"),
        ("errno=104", "reset"),
        ("Broken pipe", "reset"),
        ("EPIPE", "reset"),
        ("end of file reached", "reset"),
        ("HTTPClient::KeepAliveDisconnected", "reset"),
        ("execution expired", "timeout"),
        ("Timed out", "timeout"),
        ("timeout", "timeout"),
        ("time out", "timeout"),
        ("timedout", "timeout"),
        ("SSL_read", "tls"),
        ("bad certificate", "tls"),
        ("OpenSSL error", "tls"),
        ("tlsv1 alert", "tls"),
        ("handshake failure", "tls"),
        ("SSL_connect: execution expired", "timeout"),
        ("getaddrinfo: execution expired", "dns"),
        ("Connection refused: Connection reset", "refused"),
        ("Connection refused: getaddrinfo", "dns"),
        ("ssl_read: bad Certificate", "tls"),
        ("Broken pipe: timeout", "reset"),
        ("failed with status: 500", "http_status"),
        ("failed with status:500", "http_status"),
        ("Process stager client: failed with status: 500", "http_status"),
        ("x" * 60 + ": failed with status: 500", "http_status"),
        ("x" * 61 + ": failed with status: 500", "other"),
        ("failed with status: x", "other"),
        ("A: B: failed with status: 500", "other"),
    ],
)
def test_causes_by_their_words(text: str, cause: str) -> None:
    assert classify(text) == cause
