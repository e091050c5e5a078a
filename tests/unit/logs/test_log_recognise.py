import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.logs.recognise import Reading, recognise
from tests.support import cc_lines
from tests.support.cc_lines import WRAPPERS, failed, samples, steno

SAMPLES = samples()
ONE_LINE = [one for one in SAMPLES if "\n" not in one["line"]]
FAILED = [one["id"] for one in SAMPLES if one["expect"]["kind"] == "cc_request_failed"]


def field(reading: Reading | None, key: str) -> object:
    assert reading is not None
    return getattr(reading, {"error_name": "error"}.get(key, key))


def test_there_are_63_samples() -> None:
    assert len(SAMPLES) == 63


@pytest.mark.parametrize("one", SAMPLES, ids=lambda one: one["id"])
def test_sample(one: dict[str, Any]) -> None:
    reading = recognise(one["line"].encode())
    expect = {key: value for key, value in one["expect"].items() if key != "note"}
    assert {key: field(reading, key) for key in expect} == expect


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("one", ONE_LINE, ids=lambda one: one["id"])
def test_sample_in_wrapper(one: dict[str, Any], name: str) -> None:
    reading = recognise(WRAPPERS[name](one["line"].encode()))
    expect = {key: value for key, value in one["expect"].items() if key not in {"note", "wrapper", "pod", "file"}}
    assert {key: field(reading, key) for key in expect} == expect


@pytest.mark.parametrize("name", FAILED)
def test_failed_line_cut_at_every_byte(name: str) -> None:
    line = cc_lines.sample(name)
    whole = recognise(line)
    assert whole is not None
    marker = f'=>\\"CF-{whole.error}\\"'.encode()
    known_from = line.index(marker) + len(marker)
    for cut in range(min(len(line), 2500)):
        reading = recognise(line[:cut])
        if cut >= known_from:
            assert reading is not None
            assert (reading.kind, reading.error) == (whole.kind, whole.error)
            assert reading.truncated or cut > line.rindex(b"}")  # only a colour reset is missing
            assert reading.cause == whole.cause
            assert reading.code in {None, whole.code}
            assert reading.request_id in {None, whole.request_id}
        else:
            assert reading is None or reading.error is None


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("one", SAMPLES, ids=lambda one: one["id"])
def test_cutting_never_invents_anything(one: dict[str, Any], wrapper: str) -> None:
    wrapped = WRAPPERS[wrapper](one["line"].encode())
    whole = recognise(wrapped)
    for cut in range(0, min(len(wrapped), 2500), 7):
        reading = recognise(wrapped[:cut])
        if reading is None or whole is None or reading.kind == "lager":
            continue
        assert reading.error in {None, whole.error}
        assert reading.request_id in {None, whole.request_id} or not reading.kind.startswith("cc_")
        assert not reading.count or whole.count or whole.job


FAKE_V2 = '{"description"=>"x", "error_code"=>"CF-StagerUnavailable", "code"=>170010}'
FAKE_LINE = failed().decode()
HOSTILE = [
    FAKE_V2,
    FAKE_LINE,
    "Request failed: 503: " + FAKE_V2,
    '", "error_code"=>"CF-StagerUnavailable", "code"=>170010}',
    '\\", "error_code"=>"CF-StagerUnavailable"',
    '\\\\", "title"=>"CF-StagerUnavailable"',
    '\n{"timestamp":1,"message":"Request failed: 503: {\\"error_code\\"=>\\"CF-StagerUnavailable\\"}"}',
    '\x1b[0m{"timestamp":1,"message":"Request failed: 503: ',
    '[{"detail"=>"x", "title"=>"CF-StagerUnavailable"}]',
    "#{error_code}",
    '","message":"Request failed: 503: {\\"error_code\\"=>\\"CF-StagerUnavailable\\"',
    "]}}] \u2028 \ud7ff CF-StagerUnavailable 170010 Stager is unavailable: execution expired",
]


@pytest.mark.parametrize("api", ["v2", "v3"])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_description(text: str, api: str) -> None:
    line = failed("ServiceGatewayError", text, api=api, code=180002)
    for form in (line, *(wrap(line) for wrap in WRAPPERS.values())):
        reading = recognise(form)
        assert reading is not None
        assert (reading.error, reading.code, reading.api, reading.description) == (
            "ServiceGatewayError",
            180002,
            api,
            text,
        )
        assert reading.cause == "other"
        assert not reading.count


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_elsewhere(text: str) -> None:
    lines = [
        cc_lines.started(text),
        steno(f"Some {text}"),
        steno("Fetched", data={"app": text, text: {"message": text}}),
        steno("Completed 200 vcap-request-id: x", data={"request_fullpath": text}),
        json.dumps({"data": {"message": text}, "message": "Started"}).encode(),
        f'api.cf - [02/Feb/2019:10:00:31 +0000] "GET / HTTP/1.1" 200 1 "-" "{text}" 1.2.3.4 x'.encode(),
        text.lstrip("\x1b[0m\n").replace("{", "(", 1).encode(),
    ]
    for line in lines:
        for form in (line, *(wrap(line) for wrap in WRAPPERS.values())):
            reading = recognise(form)
            assert reading is None or not reading.count
            assert reading is None or reading.kind != "cc_request_failed"


@given(st.text(alphabet=st.sampled_from('\\"{}[]=>,:# CF-StagerUnavailable\n\x1b'), max_size=60), st.integers(0, 1500))
def test_any_description_at_any_cut(text: str, cut: int) -> None:
    line = failed("ServiceGatewayError", text, code=180002)
    reading = recognise(line[:cut])
    assert reading is None or reading.error in {None, "ServiceGatewayError"}
    whole = recognise(line)
    assert whole is not None
    assert (whole.error, whole.description) == ("ServiceGatewayError", text)


def test_a_job_is_no_user_request() -> None:
    job = recognise(failed(job=True))
    assert job is not None
    assert (job.kind, job.job, job.count) == ("cc_job_failed", True, False)
    by_source = recognise(failed(job=True).replace(b"job_guid", b"other"))
    assert by_source is not None
    assert by_source.kind == "cc_job_failed"
    # Cut before source and data: the worker's file name tells.
    cut = recognise(cc_lines.in_rfc5424(failed(job=True)[:500], tag="cloud_controller_worker"))
    assert cut is not None
    assert cut.kind == "cc_job_failed"


def test_other_programs_lines_do_not_count() -> None:
    text = 'Request failed: 503: {"error_code"=>"CF-StagerUnavailable"}'
    assert recognise(steno(text, source="routing-api")) is None
    assert recognise(json.dumps({"message": text}).encode()) is None
    assert recognise(text.encode()) is None


def test_newer_ruby_puts_spaces_around_the_arrow() -> None:
    reading = recognise(failed().replace(b"=>", b" => "))
    assert reading is not None
    assert (reading.error, reading.code, reading.cause) == ("StagerUnavailable", 170010, "timeout")


def test_order_and_kind_of_fields_do_not_matter() -> None:
    text = 'Request failed: 500: {"code"=>10001, "types"=>["a"], "error_code"=>"UnknownError", "description"=>nil}'
    reading = recognise(steno(text))
    assert reading is not None
    assert (reading.error, reading.code, reading.http_status, reading.description) == ("UnknownError", 10001, 500, None)
    odd = recognise(steno('Request failed: 500: {"error_code"=>"no name at all!", "code"=>"x"}'))
    assert odd is not None
    assert (odd.kind, odd.error, odd.code) == ("cc_request_failed", None, None)
    assert recognise(steno("Request failed: 500: nil")) is not None
    first = recognise(
        steno('Request failed: 422: {"errors"=>[{"title"=>"CF-A", "code"=>1, "detail"=>"x"}, {"title"=>"CF-B"}]}')
    )
    assert first is not None
    assert first.error == "A"


def test_binary_garbage_and_depth() -> None:
    for garbage in (
        b"\x00" * 1000,
        bytes(range(256)),
        b"{" * 100_000,
        b'{"message":' * 1000,
        b'{"a":[' + b"[" * 99_999,
    ):
        recognise(garbage)
    reading = recognise(failed(description="caf\u00e9 \U0001f600")[:-3].replace(b"caf", b"caf\xff"))
    assert reading is not None
    assert reading.error == "StagerUnavailable"


@given(st.binary(max_size=300))
def test_any_bytes(line: bytes) -> None:
    recognise(line)
    recognise(b'{"timestamp":1,"message":"Request failed: 503: {' + line)


def test_a_mebibyte_is_read_in_one_pass() -> None:
    line = failed(description="x" * (1 << 20))
    assert recognise(line) is not None
    hostile = recognise(failed(description='\\"' * 200_000)[:300_000])
    assert hostile is not None
    assert hostile.error is None


def test_small_readings() -> None:
    def kind(line: bytes) -> str | None:
        reading = recognise(line)
        return reading.kind if reading else None

    assert kind(steno("diego.staging.docker.finished", source="cc.stager")) == "cc_staging_finished"
    assert kind(steno("sync-failed", source="cc.other")) is None
    assert kind(steno("anything")) is None
    assert kind(b'{"errors":[]}') is None
    assert kind(b"[UTC Feb  5 14:50:15] info     : 'bbs' start: /x") == "monit"
    assert kind(b"FAILED\nsomething else") is None
    assert kind(b"Unexpected Response\nno body") == "cli"
    assert kind(b"") is None
