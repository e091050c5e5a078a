import sys
import threading
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from exporter.logs.account import OTHER, QUIET_FOR, STATUSES, LogAccount
from exporter.logs.causes import CAUSES
from exporter.logs.metrics import LogMetrics
from exporter.logs.recognise import SIBLINGS, recognise
from exporter.logs.scan import scan
from tests.support import cc_lines
from tests.support.cc_lines import WRAPPERS, completed, failed, in_rfc5424, samples

Totals = dict[tuple[str, ...], float]


class Book:
    """An account, and what its registry shows."""

    def __init__(self, **options: int) -> None:
        self.registry = CollectorRegistry()
        self.now = 1000.0
        self.account = LogAccount(LogMetrics(self.registry), "prod", clock=lambda: self.now, **options)

    def feed(self, *lines: bytes, pod: str = "api-0") -> None:
        self.account.feed("pod", pod, lines)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"foundation": "prod"} | labels)

    def total(self, name: str, **labels: str) -> float:
        return sum(value for key, value in self.samples() if key[0] == name and set(labels.items()) <= set(key[1]))

    def samples(self) -> list[tuple[tuple[str, frozenset[tuple[str, str]]], float]]:
        return [
            ((sample.name, frozenset(sample.labels.items())), sample.value)
            for metric in self.registry.collect()
            for sample in metric.samples
            if not sample.name.endswith("_created")
        ]

    def nonzero(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {key: value for key, value in self.samples() if value}


ERRORS = "cf_cc_errors_total"
STAGER = "cf_cc_stager_unavailable_total"


def test_series_exist_at_zero_before_the_first_event() -> None:
    book = Book()
    book.account.know_pod("api-0")
    for cause in CAUSES:
        assert book.value(STAGER, pod="api-0", cause=cause) == 0
        for error in SIBLINGS:
            assert book.value(ERRORS, pod="api-0", error=error, cause=cause) == 0
    assert book.value("cf_cc_stage_requests_total", pod="api-0") == 0
    assert book.value("cf_cc_diego_sync_failures_total", pod="api-0") == 0
    for status in STATUSES:
        assert book.value("cf_cc_requests_completed_total", pod="api-0", status=status) == 0
    book.account.up("pod", "api-0", True)
    for name in ("lines_total", "bytes_total", "reconnects_total", "last_line_timestamp_seconds"):
        assert book.value(f"stager_log_{name}", source="pod", pod="api-0") == 0
    assert book.value("stager_log_source_up", source="pod", pod="api-0") == 1


def test_every_sample_is_counted_as_expected() -> None:
    book = Book(max_pods=100)
    wanted = 0
    for one in samples():
        book.feed(one["line"].encode(), pod=f"pod-{one['id'].lower()}")
        wanted += bool(one["expect"].get("count"))
    assert book.total(STAGER) == wanted == 11
    assert book.total(ERRORS, error="StagerUnavailable") == wanted
    assert book.total(ERRORS, error="RunnerUnavailable") == 2
    assert book.total(ERRORS, error="ServiceGatewayError") == 1
    assert book.total("cf_cc_stage_requests_total") == 1
    assert book.total("cf_cc_requests_completed_total") == 2
    assert book.total("cf_cc_diego_sync_failures_total") == 1


def test_one_failed_request_is_one_count_however_many_lines_tell_of_it() -> None:
    book = Book()
    for name in ("A01", "A02", "A03", "A04", "A05", "A06", "A16", "A17", "A18", "A29"):
        book.feed(cc_lines.sample(name))
    assert book.total(ERRORS) == book.total(STAGER) == 1
    assert book.value(STAGER, pod="api-0", cause="timeout") == 1


@pytest.mark.parametrize("second", WRAPPERS)
def test_the_same_line_through_two_wrappers_counts_once(second: str) -> None:
    book = Book()
    book.feed(failed())
    line = WRAPPERS[second](failed())
    named = recognise(line)
    assert named is not None
    # What the wrapper calls the pod is the same pod only if it says so.
    book.feed(line, pod="api-0")
    assert book.total(STAGER) == (1 if named.pod in {None, "api-0"} else 2)


def test_a_cut_copy_counts_once_in_either_order() -> None:
    for order in ((failed(), failed()[:400]), (failed()[:400], failed()), (failed()[:400], failed()[:500])):
        book = Book()
        book.feed(*order)
        assert book.total(STAGER) == 1


def test_different_requests_at_the_same_moment_count_each() -> None:
    book = Book()
    book.feed(failed(request_id="a"), failed(request_id="b"), failed(request_id="a", timestamp=1.5))
    assert book.total(STAGER) == 3
    book.feed(failed(request_id="a")[:400])
    assert book.total(STAGER) == 3


def test_the_same_request_at_two_pods_or_with_two_errors_counts_each() -> None:
    book = Book()
    book.feed(failed(), pod="api-0")
    book.feed(failed(), pod="api-1")
    book.feed(failed("RunnerUnavailable", code=170015), pod="api-1")
    assert book.total(STAGER) == 2
    assert book.total(ERRORS) == 3


def test_a_line_without_time_and_id_is_counted_each_time() -> None:
    book = Book()
    line = b'{"message":"Request failed: 503: {\\"error_code\\"=>\\"CF-StagerUnavailable\\"}","source":"cc.api"}'
    book.feed(line, line)
    assert book.total(STAGER) == 2


def test_the_memory_is_bounded() -> None:
    book = Book(remembered=10)
    for number in range(100):
        book.feed(failed(request_id=str(number), timestamp=float(number) + 1))
    assert book.total(STAGER) == 100
    assert len(book.account._seen._seen) == 20
    book.feed(failed(request_id="99", timestamp=100.0))
    assert book.total(STAGER) == 100
    book.feed(failed(request_id="0", timestamp=1.0))  # long forgotten
    assert book.total(STAGER) == 101


def test_a_line_cut_before_the_name_is_not_counted_and_counts_when_it_comes_whole() -> None:
    book = Book()
    book.feed(failed()[:110])
    assert book.total(ERRORS) == 0
    book.feed(failed())
    assert book.total(STAGER) == 1


def test_pods_beyond_the_cap_share_a_label() -> None:
    book = Book(max_pods=3)
    for number in range(50):
        book.feed(in_rfc5424(failed(), f"host-{number}"), pod="")
    pods = {dict(labels)["pod"] for (name, labels), _ in book.samples() if name == STAGER}
    assert len(pods) == 3
    assert OTHER in pods
    assert book.total(STAGER) == 50


def test_pods_that_the_cluster_names_beyond_the_cap_share_a_label() -> None:
    book = Book(max_pods=2)
    for number in range(4):
        book.account.know_pod(f"api-{number}")
        book.feed(failed(), pod=f"api-{number}")
    assert book.value(STAGER, pod="api-2", cause="timeout") is None
    assert book.value(STAGER, pod=OTHER, cause="timeout") == 2
    assert book.total(STAGER) == 4


def test_pods_that_the_cluster_names_take_the_place_of_those_that_lines_name() -> None:
    book = Book(max_pods=3)
    for number in range(3):
        book.feed(in_rfc5424(failed(), f"made-up-{number}"), pod="")
    book.account.know_pod("api-0")
    book.feed(failed(), pod="api-0")
    assert book.value(STAGER, pod="api-0", cause="timeout") == 1
    # The input itself has a place too: its own series.
    assert sorted(book.account.pods()) == ["api-0", "made-up-1"]


def test_a_pod_that_lines_named_makes_room_after_an_hour_of_silence() -> None:
    book = Book(max_pods=3)
    for number in range(4):
        book.feed(in_rfc5424(failed(), f"api-{number}"), pod="")
    assert book.value(STAGER, pod=OTHER, cause="timeout") == 2
    book.now += QUIET_FOR - 1
    book.feed(in_rfc5424(failed(request_id="2"), "api-1"), pod="")
    book.now += 1
    book.feed(in_rfc5424(failed(), "api-4"), in_rfc5424(failed(), "api-5"), pod="")
    assert sorted(book.account.pods()) == ["api-1", "api-4"]
    assert book.value(STAGER, pod=OTHER, cause="timeout") == 3


def test_a_hundred_thousand_names_make_few_series() -> None:
    book = Book()
    done = in_rfc5424(completed(503), "host-NAME") + b"\n"
    for first in range(0, 100_000, 1000):
        chunk = b"".join(done.replace(b"NAME", b"%d" % number) for number in range(first, first + 1000))
        book.account.feed_chunk("syslog", "", chunk)
    broken = in_rfc5424(failed("StrangeNAME", "x", request_id="NAME", frames=0), "host-NAME") + b"\n"
    book.account.feed_chunk("syslog", "", b"".join(broken.replace(b"NAME", b"%d" % number) for number in range(5000)))
    assert book.total("cf_cc_requests_completed_total", status="503") == 100_000
    assert book.total(ERRORS) == 5000
    names = {dict(labels)["error"] for (name, labels), _ in book.samples() if name == ERRORS}
    pods = {dict(labels)["pod"] for _, labels in [key for key, _ in book.samples()]}
    assert len(names) == 31
    assert len(pods) <= 22
    assert OTHER in names & pods
    assert len(book.samples()) < 3000


def test_the_memory_does_not_hold_what_lines_hold() -> None:
    book = Book()
    book.feed(failed(request_id="r" * 500_000, timestamp="t" * 100_000, frames=0))
    assert book.total(STAGER) == 1
    assert sum(sys.getsizeof(key) for key in book.account._seen._seen) < 200
    book.feed(failed(request_id="r" * 500_000, timestamp="t" * 100_000, frames=0))
    assert book.total(STAGER) == 1


def test_a_foundation_that_is_not_watched_any_more_has_no_series() -> None:
    book = Book(max_pods=3)
    for number in range(5):
        book.feed(in_rfc5424(failed(), f"api-{number}"), pod="")
    book.account.up("file", "cc.log", True)
    book.account.close()
    assert book.samples() == []
    book.account.close()
    book.feed(failed(request_id="after"))
    assert book.value(STAGER, pod="api-0", cause="timeout") == 1


def test_names_that_are_no_pods_share_a_label_too() -> None:
    book = Book()
    book.feed(in_rfc5424(failed(), "\u00fc\u202e"), pod="api-0")
    assert book.value(STAGER, pod=OTHER, cause="timeout") == 1
    book.feed(failed(), pod="")
    assert book.value(STAGER, pod="unknown", cause="timeout") == 1


def test_error_names_beyond_the_cap_share_a_label() -> None:
    book = Book(max_errors=10)
    for number in range(40):
        book.feed(failed(f"Strange{number}", "x", request_id=str(number)))
    book.feed(failed())
    names = {dict(labels)["error"] for (name, labels), _ in book.samples() if name == ERRORS}
    assert names == {*SIBLINGS, *(f"Strange{number}" for number in range(4)), OTHER}
    assert book.total(ERRORS, error=OTHER) == 36
    assert book.total(STAGER) == 1


def test_statuses_are_three_digits() -> None:
    book = Book()
    book.feed(*(completed(status) for status in (99, 100, 404, 599, 600, 999, 1000)))
    assert book.value("cf_cc_requests_completed_total", pod="api-0", status="100") == 1
    assert book.value("cf_cc_requests_completed_total", pod="api-0", status="404") == 1
    assert book.value("cf_cc_requests_completed_total", pod="api-0", status="599") == 1
    assert book.value("cf_cc_requests_completed_total", pod="api-0", status=OTHER) == 2
    assert book.total("cf_cc_requests_completed_total") == 5


def test_a_vanished_pod_takes_its_series_along_and_makes_room() -> None:
    book = Book(max_pods=1)
    book.account.know_pod("api-0")
    book.account.up("pod", "api-0", True)
    book.feed(failed(), failed("Strange", "x"), completed(418))
    book.account.forget_pod("api-0")
    assert book.samples() == []
    book.account.forget_pod("api-0")
    book.feed(failed(request_id="new"), pod="api-1")
    assert book.value(STAGER, pod="api-1", cause="timeout") == 1


def test_a_pod_called_other_is_not_the_only_one_under_that_label() -> None:
    book = Book()
    book.account.know_pod(OTHER)
    book.feed(in_rfc5424(failed(), "\u00fc"))
    book.account.forget_pod(OTHER)
    assert book.value(STAGER, pod=OTHER, cause="timeout") == 1


def test_inputs_show_their_life() -> None:
    book = Book()
    book.feed(b"x", b"", b"yy")
    labels = {"source": "pod", "pod": "api-0"}
    assert book.value("stager_log_lines_total", **labels) == 3
    assert book.value("stager_log_bytes_total", **labels) == 6
    assert book.value("stager_log_last_line_timestamp_seconds", **labels) == 1000
    book.account.reconnected("pod", "api-0")
    book.account.alive("pod", "api-0")
    book.account.up("pod", "api-0", False)
    assert book.value("stager_log_reconnects_total", **labels) == 1
    assert book.value("stager_log_last_sign_of_life_timestamp_seconds", **labels) == 1000
    assert book.value("stager_log_source_up", **labels) == 0
    book.account.feed("pod", "api-0", [])
    book.account.feed_chunk("pod", "api-0", b"")
    assert book.value("stager_log_lines_total", **labels) == 3


def test_two_pods_interleaved_in_one_stream() -> None:
    book = Book()
    lines = []
    for number in range(20):
        pod = f"api-{number % 2}"
        lines += [in_rfc5424(completed(200 + number % 2, timestamp=float(number + 1)), pod)]
        lines += [in_rfc5424(failed(request_id=str(number), timestamp=float(number + 1)), pod)]
    book.account.feed_chunk("syslog", "", b"\n".join(lines) + b"\n")
    for number in range(2):
        assert book.value(STAGER, pod=f"api-{number}", cause="timeout") == 10
        status = str(200 + number)
        assert book.value("cf_cc_requests_completed_total", pod=f"api-{number}", status=status) == 10
    assert book.value("stager_log_lines_total", source="syslog", pod="") == 40


def test_a_message_with_newlines_inside_is_one_line() -> None:
    book = Book()
    book.feed(failed() + b"\nmore of the same message", b"x")
    assert book.total("stager_log_lines_total") == 2
    assert book.total(STAGER) == 1


def test_many_threads() -> None:
    book = Book()
    chunk = b"\n".join([completed(200), cc_lines.started()]) + b"\n"

    def work(pod: str) -> None:
        for number in range(50):
            book.account.feed_chunk("pod", pod, chunk + failed(request_id=f"{number}") + b"\n")
            book.account.know_pod(pod)

    threads = [threading.Thread(target=work, args=(f"api-{number % 2}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert book.total("stager_log_lines_total") == 4 * 50 * 3
    assert book.total("cf_cc_requests_completed_total") == 200
    assert book.total(STAGER) == 100  # two threads per pod brought the same fifty


# --- the fast way and the slow one ---

BASES = [
    *(one["line"].encode() for one in samples() if "\n" not in one["line"]),
    *(completed(status, timestamp=stamp) for status in (200, 503, 999) for stamp in (7.25, "2021-06-01T10:00:31.1Z")),
    cc_lines.steno(
        "Completed 200 vcap-request-id: x", data={"request_fullpath": '/?q="message":"Request failed: 503: '}
    ),
    cc_lines.started(
        '/?message=Completed 200 vcap-request-id: Request failed: 503: {"error_code"=>"CF-StagerUnavailable"}'
    ),
    *(
        failed(api=api, request_id=str(n), description=text)
        for api in ("v2", "v3")
        for n, text in enumerate(("x", '"'))
    ),
    cc_lines.stage_request(),
    cc_lines.sync_failed(),
    cc_lines.steno("Completed 2000 vcap-request-id: x"),
    cc_lines.steno("Completed 200 things", source="cc.api"),
    b"message sync-failed Completed 200 vcap-request-id: ",
    b'"message":"',
    b"",
    b"\xff\xfe\x00",
    b'{"log":"',
]

line_strategy = st.builds(
    lambda base, wraps, cut: _wrapped(base, wraps)[: cut or None],
    st.sampled_from(BASES),
    st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=2),
    st.one_of(st.none(), st.integers(1, 900)),
)


def _wrapped(line: bytes, wraps: list[str]) -> bytes:
    for name in wraps:
        line = WRAPPERS[name](line)
    return line


def oracle(lines: list[bytes]) -> Counter[tuple[str, ...]]:
    """The counts by recognise() alone, on every line, with its own bookkeeping."""
    counts: Counter[tuple[str, ...]] = Counter()
    seen: dict[tuple[str, str | None, str | None], set[str | None]] = {}
    for line in lines:
        reading = recognise(line)
        if reading is None:
            continue
        pod = reading.pod or "api-0"
        if reading.kind == "cc_request_completed":
            status = str(reading.http_status) if 100 <= (reading.http_status or 0) <= 599 else OTHER
            counts["cf_cc_requests_completed_total", pod, status] += 1
        elif reading.kind == "cc_stage_request":
            counts["cf_cc_stage_requests_total", pod] += 1
        elif reading.kind == "cc_sync_failed":
            counts["cf_cc_diego_sync_failures_total", pod] += 1
        elif reading.kind == "cc_request_failed" and reading.error:
            ids = seen.setdefault((pod, reading.error, reading.timestamp), set())
            if reading.request_id in ids or (ids and (reading.request_id is None)):
                continue
            cut_before = None in ids
            ids.discard(None)
            ids.add(reading.request_id)
            if not cut_before:
                counts[ERRORS, pod, reading.error] += 1
    return counts


def shown(book: Book) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for (name, labels), value in book.nonzero().items():
        plain = dict(labels)
        if name.startswith("cf_cc") and name != STAGER:
            last = [plain[key] for key in ("status", "error") if key in plain]
            counts[(name, plain["pod"], *last)] += int(value)
    return counts


@settings(max_examples=150, deadline=None)
@given(st.lists(line_strategy, max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_fast_and_slow_way_give_the_same(lines: list[bytes], cuts: list[int]) -> None:
    fast, slow = Book(max_pods=1000), Book(max_pods=1000)
    edges = sorted({0, len(lines), *(min(cut, len(lines)) for cut in cuts)})
    for begin, end in pairwise(edges):
        fast.account.feed_chunk("pod", "api-0", b"".join(line + b"\n" for line in lines[begin:end]))
    for line in lines:
        slow.feed(line)
    assert fast.nonzero() == slow.nonzero()
    assert shown(fast) == oracle(lines)


@pytest.mark.parametrize("wrapper", ["", *WRAPPERS])
def test_every_base_line_goes_both_ways(wrapper: str) -> None:
    for base in BASES:
        line = WRAPPERS[wrapper](base) if wrapper else base
        book = Book(max_pods=1000)
        book.account.feed_chunk("pod", "api-0", line + b"\n")
        assert shown(book) == oracle([line]), line


def test_the_usual_completed_lines_take_the_short_way() -> None:
    line = completed(200)
    usual = ("rfc5424", "kubecf-logs-sidecar", "kubecf-logs-sidecar ", "cri", "kubectl-timestamps")
    for form in (line, *(WRAPPERS[name](line) for name in usual)):
        found = scan(form + b"\n")
        assert not found.candidates
        assert sum(found.completed.values()) == 1


def test_a_chunk_may_end_without_a_newline() -> None:
    assert scan(b"a\nb").lines == 2
    assert scan(b"a\nb\n").lines == 2
    assert scan(b"\n\n").lines == 2
    assert scan(failed()).candidates == [failed()]
    assert scan(b'x"message":"').candidates == []


def test_totals_of_synthetic_lines() -> None:
    lines = list(cc_lines.synthetic(3000, failing=0.01))
    book = Book()
    book.account.feed_chunk("pod", "api-0", b"\n".join(lines) + b"\n")
    assert book.total(STAGER) == sum(b"CF-StagerUnavailable" in line for line in lines) > 0
    assert book.total("stager_log_lines_total") == 3000
