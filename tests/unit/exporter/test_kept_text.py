"""What a scrape keeps between two times is what client_python would write anew, in every state on the way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, enable_created_metrics
from prometheus_client.exposition import choose_encoder

from exporter.logs.account import LogAccount
from exporter.logs.metrics import LogMetrics
from exporter.monitor import CollectorState
from exporter.snapshot import SnapshotCollector
from exporter.web.scrape import FAILURES, Scrape
from foundation.probes.result import Cause, Stage
from tests.support.looks import CERTIFICATE, look, pod, probe, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from foundation.observer import Look
    from foundation.probes.result import Certificate

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
ACCEPTED = ("", "text/plain;version=1.0.0;escaping=allow-utf-8", OPENMETRICS, f"{OPENMETRICS};escaping=allow-utf-8")


@pytest.fixture(autouse=True)
def _without_created() -> Iterator[None]:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    yield
    enable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass
class Source:
    """A foundation whose state tests change."""

    name: str
    namespace: str = "cf"
    newest: Look | None = None
    old: bool = False
    counts: Mapping[tuple[str, Cause], int] = field(default_factory=dict)
    states: tuple[CollectorState, ...] = ()
    own: Certificate | None = None
    changes: int = 0
    broken: bool = False

    def version(self) -> int:
        return self.changes

    def latest(self) -> Look | None:
        return self.newest

    def stale(self) -> bool:
        return self.old

    def failures(self) -> Mapping[tuple[str, Cause], int]:
        if self.broken:
            raise RuntimeError("no counts")
        return self.counts

    def collectors(self) -> Sequence[CollectorState]:
        return self.states

    def client_certificate(self) -> Certificate | None:
        return self.own


class Served:
    """A registry as the exporter fills it, and both ways to write it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.log_metrics = LogMetrics(self.registry)
        self.plain = Gauge("plain", 'Has no "labels",\nand two lines.', registry=self.registry)
        self.sources: list[Source] = []
        self.registry.register(SnapshotCollector(lambda: self.sources))
        self.kept = Scrape(self.registry)

    def agree(self) -> None:
        """Compare, once with what is kept, and once more with nothing changed meanwhile."""
        for accept in (*ACCEPTED, ""):
            encode, content_type = choose_encoder(accept)
            assert without_failures(self.kept.render(accept)[0]) == encode(self.registry).decode()
            assert self.kept.render(accept)[1] == content_type

    def text(self) -> str:
        return self.kept.render("")[0].decode()


def without_failures(body: bytes) -> str:
    return "".join(line for line in body.decode().splitlines(keepends=True) if FAILURES not in line)


names = st.sampled_from(["diego-api-0", "diego-api-1", 'odd"\\\n pod', "ä"])
failing = st.sampled_from([(Cause.TIMEOUT, Stage.TLS), (Cause.REFUSED, Stage.TCP), (Cause.OTHER, Stage.PING)])
numbers = st.floats(min_value=0, max_value=1e18).map(abs) | st.sampled_from([0.0, 1.0, 1e6, 1234567.0, 1.7e9, 1e-7])


@st.composite
def looks(draw: st.DrawFn) -> Look:
    pods = [
        pod(
            name,
            draw(st.none() | st.just(probe(name)) | st.builds(lambda why, name=name: probe(name, *why), failing)),
            active=draw(st.none() | st.booleans()),
            role=draw(st.sampled_from(["bbs", "api"])),
        )
        for name in draw(st.sets(names))
    ]
    service = draw(st.lists(st.just(probe("service")) | st.just(refused("service")), max_size=3))
    age = draw(st.none() | st.sampled_from([1.0, 1000.0]))
    return look(*pods, service=tuple(service), at=draw(numbers), pods_age=age)


states = st.builds(CollectorState, names, st.booleans(), numbers, st.none() | numbers)


@st.composite
def steps(draw: st.DrawFn) -> tuple[str, str, str, Any]:
    what = draw(st.sampled_from(["look", "stale", "count", "log", "forget", "drop", "gauge"]))
    values: dict[str, st.SearchStrategy[object]] = {
        "look": st.tuples(
            st.none() | looks(),
            st.dictionaries(st.tuples(names, st.sampled_from(Cause)), st.integers(0, 10**9), max_size=3),
            st.lists(states, max_size=2, unique_by=lambda state: state.name).map(tuple),
            st.none() | st.just(CERTIFICATE),
        ),
        "stale": st.booleans(),
        "gauge": st.floats(allow_nan=True, allow_infinity=True).filter(lambda value: str(value) != "-0.0"),
    }
    return what, draw(st.sampled_from(["a", 'b"\\'])), draw(names), draw(values.get(what, st.none()))


@settings(max_examples=60, deadline=None)
@given(st.lists(steps(), max_size=12))
def test_what_is_kept_is_what_would_be_written_anew(course: list[tuple[str, str, str, Any]]) -> None:
    served = Served()
    accounts = {name: LogAccount(served.log_metrics, name) for name in ("a", 'b"\\')}
    for what, name, pod_name, value in course:
        source = next((source for source in served.sources if source.name == name), None)
        if source is None:
            source = Source(name)
            served.sources.append(source)
        match what:
            case "look":
                source.newest, source.counts, source.states, source.own = value
                source.changes += 1
            case "stale":
                source.old = value
            case "log":
                accounts[name].up("pod", pod_name, True)
                accounts[name].feed("pod", pod_name, [b"a line"])
            case "count":
                accounts[name].know_pod(pod_name)
            case "forget":
                accounts[name].forget_pod(pod_name)
            case "drop":
                served.sources.remove(source)
            case "gauge":
                served.plain.set(value)
        served.agree()


def two_pods() -> Look:
    return look(
        pod("diego-api-0", probe("diego-api-0"), active=True),
        pod("diego-api-1", refused("diego-api-1")),
        service=(probe("service"),),
    )


@pytest.fixture
def served() -> Served:
    made = Served()
    made.sources.append(Source("prod", newest=two_pods()))
    return made


def test_a_vanished_pod_vanishes_from_what_is_kept(served: Served) -> None:
    account = LogAccount(served.log_metrics, "prod")
    account.know_pod("diego-api-1")
    assert served.text().count("diego-api-1") > 50
    served.sources[0].newest = look(pod("diego-api-0", probe("diego-api-0")), service=(probe("service"),))
    served.sources[0].changes += 1
    assert 'pod="diego-api-1"' in served.text()
    account.forget_pod("diego-api-1")
    assert "diego-api-1" not in served.text()
    account.know_pod("diego-api-1")
    assert 'cf_cc_stage_requests_total{foundation="prod",pod="diego-api-1"} 0.0' in served.text()


def test_what_grows_stale_without_a_new_look_is_no_longer_shown(served: Served) -> None:
    assert "diego_verdict" in served.text()
    served.sources[0].old = True
    assert "diego_verdict" not in served.text()
    assert 'collector="snapshot"' in served.text()
    served.sources[0].old = False
    assert "diego_verdict" in served.text()


def test_a_foundation_that_was_made_anew_has_nothing_of_the_old_one(served: Served) -> None:
    assert 'pod="diego-api-1"' in served.text()
    served.sources[:] = [Source("prod")]
    assert "diego-api-1" not in served.text()


def test_a_foundation_that_could_not_be_shown_is_tried_again(served: Served) -> None:
    served.sources[0].broken = True
    assert 'success{collector="snapshot",foundation="prod"} 0.0' in served.text()
    served.sources[0].broken = False
    assert 'success{collector="snapshot",foundation="prod"} 1.0' in served.text()
    assert "diego_verdict" in served.text()


def test_an_unchanged_foundation_is_not_written_anew(served: Served) -> None:
    first = served.text()
    source = served.sources[0]
    source.newest = replace(two_pods(), since=5.0)
    assert served.text() == first
    source.changes += 1
    assert served.text() != first


def test_counters_with_their_time_of_creation_are_left_to_the_library() -> None:
    enable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    Counter("seen", "Seen.", ["pod"], registry=registry).labels("a").inc(2)
    for accept in ACCEPTED:
        assert without_failures(Scrape(registry).render(accept)[0]) == choose_encoder(accept)[0](registry).decode()
