"""The pod source against a model of the kubelet's log server: every line once, whatever breaks."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.logs.sources.base import PodSeen
from exporter.logs.sources.pod import MOST_REFUSALS, PodLog
from exporter.logs.sources.position import RAW_BYTES, Position, nanoseconds
from foundation.kube.backoff import Backoff
from foundation.kube.errors import Forbidden, KubeError, NotFound, Target, Unreachable
from tests.support.log_feeds import (
    SECOND,
    START,
    ContainerLog,
    Entry,
    JumpingPace,
    RecordingSink,
    ScriptedStream,
    stamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

TARGET = Target("get", "pods/log", "cf", "api-0")
UNREACHABLE = Unreachable("connection refused", target=TARGET, retry=True)


class Bench:
    """One PodLog in this thread; each connection is one function of the script, and the end of the script stops it."""

    def __init__(self, *, was_there: bool = True, floor: int = START) -> None:
        self.sink = RecordingSink()
        self.pace = JumpingPace()
        self.log = ContainerLog()
        self.stop = threading.Event()
        self.asked: list[tuple[datetime, bool, bool]] = []
        self.streams: list[ScriptedStream] = []
        self.script: list[Callable[[datetime, bool], ScriptedStream]] = []
        self.seen = PodSeen("u1", "c1", 0)
        self.source = PodLog(
            pod="api-0",
            container="logs",
            seen=self.seen,
            was_there=was_there,
            floor=floor,
            open_log=self.open,
            sink=self.sink,
            pace=self.pace,
            backoff=Backoff(cap=10.0, rng=random.Random(1)),
        )

    def open(self, pod: str, container: str, since: datetime, *, previous: bool, follow: bool) -> ScriptedStream:
        assert (pod, container, follow) == ("api-0", "logs", not previous)
        self.asked.append((since, previous, follow))
        if not self.script:
            self.stop.set()
            return ScriptedStream()
        stream = self.script.pop(0)(since, previous)
        self.streams.append(stream)
        return stream

    def all(self, end: str = "eof", *, cut: int | None = None, chunk: int = 0) -> None:
        """One more connection that delivers what there is at that time, up to `cut` bytes."""

        def deliver(since: datetime, previous: bool) -> ScriptedStream:
            data = self.log.answer(since, previous=previous)[:cut]
            size = chunk or max(1, len(data))
            return ScriptedStream([data[i : i + size] for i in range(0, len(data), size)], end=end)

        self.script.append(deliver)

    def do(self, what: Callable[[], object]) -> None:
        """Something that happens between two connections; takes one that is cut at once."""

        def deliver(since: datetime, previous: bool) -> ScriptedStream:
            what()
            return ScriptedStream(error=UNREACHABLE)

        self.script.append(deliver)

    def run(self) -> list[bytes]:
        self.source.run(self.stop)
        assert all(stream.exited for stream in self.streams)
        return self.sink.got("pod", "api-0")


def test_a_line_is_given_once_when_the_same_second_comes_again() -> None:
    bench = Bench()
    moment = START + 5 * SECOND
    bench.log.write(moment, b"a", b"b")
    bench.all("idle")
    bench.do(lambda: bench.log.write(moment, b"c"))
    bench.all("idle")
    bench.all("idle")
    assert bench.run() == [b"a", b"b", b"c"]
    assert bench.sink.reconnects["pod", "api-0"] >= 2


def test_equal_lines_of_one_nanosecond_are_counted_not_merged() -> None:
    bench = Bench()
    moment = START + 5 * SECOND + 7
    bench.log.write(moment, b"same", b"same")
    bench.all()
    bench.do(lambda: bench.log.write(moment, b"same"))
    bench.all()
    bench.all()
    assert bench.run() == [b"same"] * 3


def test_a_piece_that_ends_with_an_older_line_is_known_as_long_as_its_newest() -> None:
    position = Position(START)
    one, before, later = (Entry(START + moment, b"a").raw() for moment in (5 * SECOND, 5 * SECOND - 1, 6 * SECOND))
    assert position.fresh(one + before) == one + before
    assert position.fresh(later) == later
    position.reopened()
    assert position.since().timestamp() * SECOND == START + 5 * SECOND
    assert position.fresh(one + later) == b""


def test_lines_from_before_the_start_are_old() -> None:
    floor = START + SECOND // 2
    bench = Bench(floor=floor)
    bench.log.write(START - 3600 * SECOND, b"very old")
    bench.log.write(floor - 1, b"old, in the second that is asked for")
    bench.log.write(floor, b"new")
    bench.all()
    assert bench.run() == [b"new"]


def test_stop_and_start_count_nothing_again() -> None:
    first = Bench()
    first.log.write(START + SECOND, b"one")
    first.all()
    assert first.run() == [b"one"]
    second = Bench(floor=START + 2 * SECOND)
    second.log = first.log
    second.log.write(START + 2 * SECOND, b"two")
    second.all()
    assert second.run() == [b"two"]


def test_a_line_cut_by_a_lost_connection_is_given_whole_and_once() -> None:
    bench = Bench()
    bench.log.write(START + SECOND, b"first", b"second that is cut")
    bench.all(cut=len(bench.log.current[0].raw()) + 40)
    bench.all()
    assert bench.run() == [b"first", b"second that is cut"]


def test_the_unfinished_line_of_a_pod_that_is_gone_is_given() -> None:
    bench = Bench()
    bench.log.write(START + SECOND, b"first", b"the last words")

    def last(since: datetime, previous: bool) -> ScriptedStream:
        bench.source.see(None)
        return ScriptedStream([bench.log.answer(since)[:-1]])

    bench.script.append(last)
    bench.pace.then = bench.stop.set
    assert bench.run() == [b"first", b"the last words"]


def restarted(bench: Bench, restarts: int = 1) -> None:
    bench.source.see(PodSeen("u1", f"c{restarts + 1}", restarts))


def test_restart_with_lines_in_the_previous_log() -> None:
    bench = Bench()
    bench.log.write(START + SECOND, b"a1", b"a2")
    bench.all(cut=len(bench.log.current[0].raw()))

    def crash() -> None:
        bench.log.write(START + 2 * SECOND, b"a3: the reason for the crash")
        bench.log.restart()
        bench.log.write(START + 4 * SECOND, b"b1")
        restarted(bench)

    bench.do(crash)
    bench.all()
    bench.all()
    assert bench.run() == [b"a1", b"a2", b"a3: the reason for the crash", b"b1"]
    assert [previous for _, previous, _ in bench.asked][:4] == [False, False, True, False]


def test_restart_that_is_noticed_after_the_new_log_was_opened() -> None:
    bench = Bench()
    bench.log.write(START + SECOND, b"a1", b"a2")
    bench.all(cut=len(bench.log.current[0].raw()))

    def crash() -> None:
        bench.log.restart()
        bench.log.write(START + 9 * SECOND, b"b1")

    bench.do(crash)
    bench.all()
    bench.do(lambda: restarted(bench))
    bench.all()
    bench.all()
    assert sorted(bench.run()) == [b"a1", b"a2", b"b1"]


def test_restart_breaks_off_the_stream_of_the_former_run() -> None:
    bench = Bench()
    bench.log.write(START + SECOND, b"a1")

    def silent(since: datetime, previous: bool) -> ScriptedStream:
        return ScriptedStream([bench.log.answer(since), b"", b""], on_chunk=lambda _: restarted(bench))

    bench.script.append(silent)
    bench.all()
    bench.all()
    bench.run()
    assert [previous for _, previous, _ in bench.asked][:3] == [False, True, False]


def test_a_previous_log_cut_in_its_middle_is_read_again() -> None:
    bench = Bench()
    bench.log.write(START + SECOND, b"a1", b"a2", b"a3")
    bench.log.restart()
    bench.log.write(START + 3 * SECOND, b"b1")
    restarted(bench)

    def half(since: datetime, previous: bool) -> ScriptedStream:
        assert previous
        return ScriptedStream([bench.log.answer(since, previous=True)[:50]], error=UNREACHABLE)

    bench.script.append(half)
    bench.all()
    bench.all()
    assert bench.run() == [b"a1", b"a2", b"a3", b"b1"]


@pytest.mark.parametrize("status", [400, 404])
def test_a_previous_log_that_is_gone_does_not_stop_the_source(status: int) -> None:
    bench = Bench()
    kind = NotFound if status == 404 else KubeError
    gone = kind("previous terminated container not found", target=TARGET, status=status)
    restarted(bench)
    bench.script.append(lambda since, previous: ScriptedStream(refused=gone))
    bench.log.write(START + SECOND, b"b1")
    bench.all()
    assert bench.run() == [b"b1"]


def test_a_previous_log_whose_file_is_gone_is_given_up_after_some_tries() -> None:
    """Kubelets answer 500 then, for as long as they are asked."""
    bench = Bench()
    bench.log.write(START + SECOND, b"b1")
    restarted(bench)
    refused = KubeError("failed to open log file: no such file", target=TARGET, status=500, retry=True)
    asked: list[bool] = []

    def refuse(since: datetime, previous: bool) -> ScriptedStream:
        asked.append(previous)
        if previous:
            bench.script.append(refuse)
            return ScriptedStream(refused=refused)
        return ScriptedStream([bench.log.answer(since)])

    bench.script.append(refuse)
    assert bench.run() == [b"b1"]
    assert asked == [True] * MOST_REFUSALS + [False]


@pytest.mark.parametrize("status", [None, 401, 429, 503])
def test_a_previous_log_is_waited_for_while_the_api_server_is_unwell(status: int | None) -> None:
    bench = Bench()
    bench.log.write(START + SECOND, b"a1")
    bench.log.restart()
    restarted(bench)
    unwell = KubeError("not now", target=TARGET, status=status, retry=True)
    for _ in range(3 * MOST_REFUSALS):
        bench.script.append(lambda since, previous: ScriptedStream(refused=unwell))
    bench.all()
    bench.all()
    assert bench.run() == [b"a1"]


def test_connections_that_break_again_and_again_hold_nothing_up() -> None:
    """A proxy that ends every stream after 20 s must not make each one begin where the first did."""
    bench = Bench()

    def short(number: int) -> Callable[[datetime, bool], ScriptedStream]:
        def deliver(since: datetime, previous: bool) -> ScriptedStream:
            bench.log.write(START + number * 20 * SECOND, b"line %d" % number)
            bench.pace.now += 20
            return ScriptedStream([bench.log.answer(since)], error=UNREACHABLE)

        return deliver

    bench.script += [short(number) for number in range(1, 60)]
    assert bench.run() == [b"line %d" % number for number in range(1, 60)]
    last_asked = bench.asked[-1][0].timestamp() * SECOND
    assert START + 59 * 20 * SECOND - last_asked < 90 * SECOND


def test_a_clock_that_is_set_back_makes_nobody_deaf() -> None:
    bench = Bench()
    hour = 3600 * SECOND
    before = [Entry(START + hour + number, b"before %d" % number) for number in range(3)]
    after = [Entry(START + 60 * SECOND + number, b"after %d" % number) for number in range(3)]

    def live(since: datetime, previous: bool) -> ScriptedStream:
        bench.log.current = before + after
        bench.pace.now += 60
        settle = Entry(START + 5 * SECOND, b"settle")
        return ScriptedStream([e.raw() for e in [settle, *before, *after]], error=UNREACHABLE)

    bench.script.append(live)
    bench.do(lambda: bench.log.write(START + 61 * SECOND, b"later"))
    bench.all()
    bench.all()
    assert bench.run() == [b"settle", *(e.text for e in before + after), b"later"]


def test_one_stamp_from_the_future_makes_nobody_deaf() -> None:
    bench = Bench()
    year = 365 * 86400 * SECOND
    lines = [Entry(START + 5 * SECOND, b"a"), Entry(START + year, b"odd"), Entry(START + 6 * SECOND, b"b")]

    def live(since: datetime, previous: bool) -> ScriptedStream:
        bench.log.current = list(lines)
        bench.pace.now += 60
        return ScriptedStream([entry.raw() for entry in lines], error=UNREACHABLE)

    bench.script.append(live)
    bench.do(lambda: bench.log.write(START + 7 * SECOND, b"c"))
    bench.all()
    bench.all()
    bench.do(lambda: bench.log.write(START + 8 * SECOND, b"d"))
    bench.all()
    assert bench.run() == [b"a", b"odd", b"b", b"c", b"d"]


def test_a_missing_permission_is_named() -> None:
    bench = Bench()
    denied = Forbidden('pods "api-0" is forbidden', target=TARGET, status=403)
    bench.script.append(lambda since, previous: ScriptedStream(refused=denied))
    told: list[str] = []
    bench.pace.then = lambda: told.append(bench.source.pulse.problem)
    bench.run()
    assert told[0].startswith("pod api-0/logs: cannot get pods/log api-0 in namespace cf: 403")


def test_a_pod_back_under_its_name_with_a_slower_clock() -> None:
    bench = Bench()
    bench.log.write(START + 100 * SECOND, b"old pod")
    bench.all()

    def replaced() -> None:
        bench.log.current = []
        bench.log.write(START + 70 * SECOND, b"new pod, on a node whose clock is behind")

    bench.do(replaced)
    bench.all()
    bench.do(lambda: bench.source.see(PodSeen("u2", "c9", 0)))
    bench.all()
    bench.all()
    assert bench.run() == [b"old pod", b"new pod, on a node whose clock is behind"]


def test_a_pod_that_came_later_and_was_restarted_before_it_was_seen() -> None:
    bench = Bench(was_there=False)
    bench.log.write(START + SECOND, b"a1")
    bench.log.restart()
    bench.log.write(START + 2 * SECOND, b"b1")
    restarted(bench)
    bench.all()
    bench.all()
    assert bench.run() == [b"a1", b"b1"]


def test_the_api_server_gone_for_a_minute() -> None:
    bench = Bench()
    bench.log.write(START + SECOND, b"before")
    bench.all()
    gone_at = bench.pace.now

    def away(since: datetime, previous: bool) -> ScriptedStream:
        if bench.pace.now < gone_at + 60:
            bench.script.insert(0, away)
        return ScriptedStream(refused=UNREACHABLE)

    bench.script.append(away)
    bench.do(lambda: bench.log.write(START + 30 * SECOND, b"meanwhile"))
    bench.all()
    assert bench.run() == [b"before", b"meanwhile"]
    assert 6 < len(bench.asked) < 40
    assert max(bench.pace.waits) <= 10
    assert min(bench.pace.waits[1:8]) > 0


def test_it_is_down_and_says_why_while_the_api_server_is_away() -> None:
    bench = Bench()
    bench.script.append(lambda since, previous: ScriptedStream(refused=UNREACHABLE))
    seen: list[tuple[bool, str]] = []
    bench.pace.then = lambda: seen.append((bench.source.pulse.is_up, bench.source.pulse.problem))
    bench.run()
    assert seen[0][0] is False
    assert "pod api-0/logs" in seen[0][1]
    assert "connection refused" in seen[0][1]


def test_a_silent_stream_is_opened_anew_at_once_and_gives_what_it_withheld() -> None:
    bench = Bench()
    bench.log.write(START + SECOND, b"before")
    bench.all("idle")

    def withheld(since: datetime, previous: bool) -> ScriptedStream:
        bench.log.write(START + 2 * SECOND, b"withheld")
        return ScriptedStream([bench.log.answer(since)], end="idle")

    bench.script.append(withheld)
    assert bench.run() == [b"before", b"withheld"]
    assert bench.pace.waits[:2] == [0.0, 0.0]


def test_a_stream_that_never_says_anything_is_up_and_deaf() -> None:
    bench = Bench()
    stream = ScriptedStream()
    stream.ended = "idle"
    stream._end = "idle"
    bench.script.append(lambda since, previous: stream)
    ups: list[tuple[bool, float | None]] = []
    bench.pace.then = lambda: ups.append((bench.source.pulse.is_up, bench.source.pulse.deaf_for()))
    bench.run()
    assert ups[0] == (True, None)


def test_a_busy_stream_is_opened_anew_every_five_minutes() -> None:
    bench = Bench()
    entries = [Entry(START + i * 60 * SECOND, b"line %d" % i) for i in range(1, 12)]

    def busy(since: datetime, previous: bool) -> ScriptedStream:
        bench.log.current = entries
        lines = bench.log.answer(since).splitlines(keepends=True)
        return ScriptedStream(lines, on_chunk=lambda _: setattr(bench.pace, "now", bench.pace.now + 60))

    bench.script += [busy, busy, busy, busy]
    assert bench.run() == [e.text for e in entries]
    assert bench.streams[0]._given == 6
    assert len(bench.asked) >= 3


def test_rotation_in_the_middle_of_a_burst() -> None:
    """The kubelet serves only the newest file: what was read before must not be asked for, nor missed afterwards."""
    bench = Bench()
    moment = START + SECOND
    burst = [Entry(moment + i, b"burst %d" % i) for i in range(2000)]
    bench.log.current = burst[:1200]
    cut = 30_000  # somewhere inside a line
    read = b"".join(entry.raw() for entry in burst[:1200])[:cut].count(b"\n")
    bench.all(chunk=777, cut=cut)

    def rotate() -> None:
        bench.log.current = burst[read - 100 :]

    bench.do(rotate)
    bench.all(chunk=4096)
    bench.all(chunk=4096)
    assert bench.run() == [e.text for e in burst]


def test_a_line_without_or_with_a_bad_timestamp_is_given_as_it_is() -> None:
    bench = Bench()
    bad = [b"no time here", b"2026-13-45T99:99:99Z what", b"", b"2026-01-01T00:00:00 x", b"\xff\xfe\x00"]
    data = b"".join(line + b"\n" for line in bad) + stamp(START + SECOND) + b" good\n"
    bench.script.append(lambda since, previous: ScriptedStream([data]))
    got = bench.run()
    assert len(got) == 6
    assert got[-1] == b"good"
    assert got[0] == b"no time here"


def test_a_mebibyte_line_and_binary_garbage() -> None:
    bench = Bench()
    long = b"x" * (1 << 20)
    garbage = bytes(range(256)).replace(b"\n", b"") * 50
    bench.log.write(START + SECOND, long, garbage, b"after")
    bench.all(chunk=65536, cut=700_000)
    bench.all(chunk=65536)
    bench.all(chunk=65536)
    got = bench.run()
    assert len(got) == 3
    assert got[0][:1000] == b"x" * 1000
    assert got[1:] == [garbage, b"after"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1970-01-01T00:00:01Z", SECOND),
        (b"1970-01-01T00:00:01.5Z", SECOND + SECOND // 2),
        (b"1970-01-01T00:00:00.000000001Z", 1),
        (b"1970-01-01T01:00:00.1+01:00", SECOND // 10),
        (b"1970-01-01T00:00:01", None),
        (b"1970-02-30T00:00:01Z", None),
        (b"", None),
        (b"1970-01-01T00:00:01.1234567890Z", None),
    ],
)
def test_timestamps(text: bytes, expected: int | None) -> None:
    assert nanoseconds(text) == expected


def test_the_known_lines_are_few_after_a_long_log() -> None:
    position = Position(START)
    for second in range(2000):
        position.fresh(b"".join(stamp(START + second * SECOND + i) + b" x\n" for i in range(50)))
    assert len(position._known) < 5
    assert position._raw_bytes < 10_000


def test_a_stream_that_stays_open_remembers_little() -> None:
    """The place at which it was opened is kept until it is sure which run of the container that was, no longer."""
    bench = Bench()
    entries = [Entry(START + second * SECOND, b"line %d" % second) for second in range(200)]
    known: list[int] = []

    def passing(_: int) -> None:
        bench.pace.now += 1
        known.append(len(bench.source._position._known))

    bench.script.append(
        lambda _since, _previous: ScriptedStream([entry.raw() for entry in entries], on_chunk=passing, end="idle")
    )
    assert bench.run() == [entry.text for entry in entries]
    assert max(known[:30]) > 20
    assert max(known[40:]) < 10


def test_a_burst_is_remembered_as_hashes() -> None:
    position = Position(START)
    lines = [stamp(START + i) + b" " + b"x" * 400 + b"\n" for i in range(20_000)]
    for i in range(0, len(lines), 100):
        position.fresh(b"".join(lines[i : i + 100]))
    assert position._raw_bytes <= RAW_BYTES < sum(map(len, lines))
    position.reopened()
    assert position.fresh(b"".join(lines)) == b""


TEXTS = st.sampled_from([b"a", b"b", b"", b"Request failed: 503", b"\xff\x00"])


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Lines in the order written: two output streams make their times go back by up to a second."""
    moment, entries = START, []
    for gap, back, text in draw(
        st.lists(
            st.tuples(
                st.sampled_from([0, 0, 1, SECOND // 3, SECOND, 7 * SECOND]),
                st.sampled_from([0, 0, 0, 1, SECOND - 1]),
                TEXTS,
            ),
            max_size=40,
        )
    ):
        moment += gap
        entries.append(Entry(max(START, moment - back), text))
    return entries


class Model:
    """A container with several runs, and a network: every decision is drawn.

    Only the present and the previous run can be had from a kubelet, so a run ends only when its predecessor was read.
    """

    def __init__(self, data: st.DataObject, bench: Bench, runs: list[list[Entry]]) -> None:
        self.data = data
        self.bench = bench
        self.runs = runs
        self.number = 0
        self.unwritten = list(runs[0])
        self.noticed = self.settled = True
        self.unsteady = data.draw(st.integers(0, 15), label="unsteady connections")
        self.steady = 0

    def connect(self, since: datetime, previous: bool) -> ScriptedStream:
        self.unsteady -= 1
        steady = self.unsteady < 0
        if not steady or self.steady < 20:
            self.bench.script.append(self.connect)
        self.steady += steady
        self.go_on(steady)
        answer = self.bench.log.answer(since, previous=previous)
        cut = len(answer) if steady else self.data.draw(st.integers(0, len(answer)), label="cut")
        size = 10_000 if steady else self.data.draw(st.sampled_from([1, 7, 64, 10_000]), label="chunk")
        end = "eof" if steady else self.data.draw(st.sampled_from(["eof", "idle", "error"]), label="end")
        if previous:
            end = "eof" if cut == len(answer) else "error"
            self.settled = self.settled or end == "eof"
        chunks = [answer[:cut][i : i + size] for i in range(0, cut, size)]
        return ScriptedStream(chunks, end=end, error=UNREACHABLE if end == "error" else None)

    def go_on(self, steady: bool) -> None:
        yes = st.just(True) if steady else st.booleans()
        if self.settled and self.number + 1 < len(self.runs) and self.data.draw(yes, label="restarted"):
            self.bench.log.current += self.unwritten
            self.bench.log.restart()
            self.number += 1
            self.unwritten = list(self.runs[self.number])
            self.noticed = self.settled = False
        if not self.noticed and self.data.draw(yes, label="noticed"):
            restarted(self.bench, self.number)
            self.noticed = True
        more = len(self.unwritten) if steady else self.data.draw(st.integers(0, len(self.unwritten)), label="written")
        self.bench.log.current += self.unwritten[:more]
        del self.unwritten[:more]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), drawn=st.lists(logs(), min_size=1, max_size=3))
def test_exactly_the_lines_of_the_log_are_given(data: st.DataObject, drawn: list[list[Entry]]) -> None:
    """Whatever a connection delivers before it breaks, and whenever a restart is noticed."""
    runs, latest = [], START
    for run in drawn:
        runs.append([Entry(entry.moment - START + latest, entry.text) for entry in run])
        latest = max([latest, *(entry.moment for entry in runs[-1])]) + 2 * SECOND
    bench = Bench()
    bench.script.append(Model(data, bench, runs).connect)
    assert Counter(bench.run()) == Counter(entry.text for run in runs for entry in run)
