"""Render a registry for a scrape: cheaply, and so that one broken collector does not take the others' series with it.

client_python ends the whole exposition with the first collector that raises, and with the first value that is not a
number; the scrape then loses even the series that would tell of it. Here each collector stands for itself, and failures
are counted. It does not guard against a collector that hangs: those only hand out snapshots.
"""

from __future__ import annotations

import gzip
import logging
import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from exporter.web.exposition import Family, KeptLines, Written, keeps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

FAILURES = "stager_exporter_scrape_failures"
"""Collectors that raised and metrics that could not be written, since the start; `_total` is added to it."""
_END = b"# EOF\n"


class _Given(Protocol):
    def collect(self) -> Iterable[Metric]: ...


class _One:
    """A registry of one metric that was collected already."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return (self._metric,)


class _Wanted(NamedTuple):
    """What a request asks for. Two that ask for the same can have the same bytes."""

    content_type: str
    packed: bool
    names: tuple[str, ...]


class Scrape:
    """Renders one registry; remembers how often a part of it failed. Any number of threads may ask."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._failures = 0
        self._failing = threading.Lock()
        self._rendering = threading.Lock()
        self._kept: dict[int, KeptLines] = {}
        self._begun = 0
        self._last: tuple[_Wanted, bytes] | None = None

    def render(self, accept: str, names: Sequence[str] = (), *, packed: bool = False) -> tuple[bytes, str]:
        """Give body and content type.

        `accept` is the request's header; OpenMetrics where it asks for that. `names` keeps only these series (or all
        series of these metrics); empty: everything. `packed` compresses. Never raises because of a collector. One
        renders at a time; who waited for its turn takes what was begun meanwhile, if it is what it asked for.
        """
        encode, content_type = choose_encoder(accept)
        wanted = _Wanted(content_type, packed, tuple(names))
        begun = self._begun
        with self._rendering:
            if self._begun > begun and self._last is not None and self._last[0] == wanted:
                return self._last[1], content_type
            self._begun += 1
            body = self._body(encode, wanted)
            body = compress(body) if packed else body
            self._last = (wanted, body)
            return body, content_type

    def _body(self, encode: Callable[[_Given], bytes], wanted: _Wanted) -> bytes:
        openmetrics = wanted.content_type.startswith("application/openmetrics-text")
        pieces: list[str] = []
        found = self._collect()
        with self._failing:
            failures = self._failures
        text = "Collectors and metrics that a scrape had to leave out."
        found.append(Family(FAILURES, "counter", text, [f"{FAILURES}_total {float(failures)}\n"]))
        for item in found:
            kept = _only(item, wanted.names) if wanted.names else item
            if isinstance(kept, Family):
                pieces.append(kept.head(openmetrics=openmetrics))
                pieces += kept.lines
            elif kept is not None:
                pieces.append(self._encoded(encode, kept))
        if openmetrics:
            pieces.append(_END.decode())
        return "".join(pieces).encode()

    def _collect(self) -> list[Metric | Family]:
        with self._registry._lock:  # noqa: SLF001  client_python lists a registry's collectors nowhere public
            collectors: list[Collector] = list(self._registry._collector_to_names)  # noqa: SLF001
        found: list[Metric | Family] = []
        for collector in collectors:
            try:
                if isinstance(collector, Written):
                    found.extend(collector.families())
                elif family := self._lines(collector):
                    found.append(family)
                else:
                    found.extend(collector.collect())
            except Exception as error:  # noqa: BLE001  whatever a collector raises, the others are served
                self._failed(f"collector {type(collector).__name__}", error)
        return found

    def _lines(self, collector: Collector) -> Family | None:
        kept = self._kept.get(id(collector))
        if kept is None:
            if not keeps(collector):
                return None
            kept = self._kept[id(collector)] = KeptLines(collector)  # type: ignore[arg-type]  # as `keeps` says
        return kept.family()

    def _encoded(self, encode: Callable[[_Given], bytes], metric: Metric) -> str:
        try:
            return encode(_One(metric)).removesuffix(_END).decode()
        except Exception as error:  # noqa: BLE001  a value that is no number, a label that is no text
            self._failed(f"metric {metric.name}", error)
            return ""

    def _failed(self, what: str, error: Exception) -> None:
        with self._failing:
            self._failures += 1
            first = self._failures == 1
        # The traceback once; scrapes come every few seconds.
        log.error("%s is left out of the scrape: %s", what, error, exc_info=error if first else None)


def _only(metric: Metric | Family, names: Sequence[str]) -> Metric | Family | None:
    if metric.name in names or f"{metric.name}_total" in names:
        return metric
    if isinstance(metric, Family):
        return None
    samples = [sample for sample in metric.samples if sample.name in names]
    if not samples:
        return None
    kept = Metric(metric.name, metric.documentation, metric.type)
    kept.samples = samples
    return kept


def compress(body: bytes) -> bytes:
    """Gzip a body fast; the same input gives the same bytes."""
    return gzip.compress(body, compresslevel=1, mtime=0)
