"""Sample lines in Prometheus' text format, kept as text from one scrape to the next.

client_python writes each series anew at each scrape, some 20 µs of CPU each, and most of ours are zeros that never
change. Here a line is written when its value has changed and kept otherwise. Lines of gauges and counters are the same
in the text format 0.0.4, in 1.0.0 and in OpenMetrics; only what heads a family differs. Everything else (histograms,
exemplars, timestamps, names that need escaping) is left to client_python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from prometheus_client import Counter, Gauge
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Kind = Literal["gauge", "counter"]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its samples, written already."""

    name: str
    """Without `_total`."""
    kind: Kind
    text: str
    lines: Sequence[str]
    """One or more whole lines each, with their newlines."""

    @property
    def series(self) -> str:
        """The name of every sample."""
        return series_name(self.name, self.kind)

    def head(self, *, openmetrics: bool) -> str:
        """HELP and TYPE."""
        name = self.name if openmetrics else self.series
        text = self.text.replace("\\", r"\\").replace("\n", r"\n")
        if openmetrics:
            text = text.replace('"', r"\"")
        return f"# HELP {name} {text}\n# TYPE {name} {self.kind}\n"


@runtime_checkable
class Written(Protocol):
    """A collector that has its families as text."""

    def families(self) -> Iterable[Family]:
        """What `collect` would give; every sample of one metric is in one family."""
        ...


def series_name(name: str, kind: Kind) -> str:
    """The name of a metric's samples."""
    return f"{name}_total" if kind == "counter" else name


def labels_of(names: Sequence[str]) -> Callable[[Sequence[str]], str]:
    """How values for these label names are written, in braces, sorted by name as client_python does it."""
    order = sorted(range(len(names)), key=names.__getitem__)

    def write(values: Sequence[str]) -> str:
        return "{" + ",".join([f'{names[place]}="{escaped(values[place])}"' for place in order]) + "}"

    return write if names else lambda _values: ""


def escaped(value: str) -> str:
    """A label's value as it stands between quotes."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value


def number(value: float) -> str:
    """A value in Go's words, as client_python writes it."""
    # Most are these two. Minus zero equals zero, and is no value of ours.
    return "0.0" if value == 0 else "1.0" if value == 1 else floatToGoString(value)  # type: ignore[no-untyped-call]


class KeptLines:
    """The lines of one labelled Counter or Gauge. Call `family` from one thread at a time."""

    def __init__(self, metric: Counter | Gauge) -> None:
        self._metric = metric
        (described,) = metric.describe()
        self._name = described.name
        self._kind: Kind = "counter" if isinstance(metric, Counter) else "gauge"
        self._text = described.documentation
        self._labels = labels_of(metric._labelnames)  # noqa: SLF001  nowhere public
        self._kept: dict[Sequence[str], tuple[float, str]] = {}

    def family(self) -> Family | None:
        """Every series as it is now; None where client_python has more to say of it than one number each."""
        metric = self._metric
        with metric._lock:  # noqa: SLF001  its children are listed nowhere public but as samples, which cost most
            children = list(metric._metrics.items())  # noqa: SLF001
        if children and len(tuple(children[0][1]._child_samples())) != 1:  # noqa: SLF001  with `_created`
            return None
        kept, lines = self._kept, []
        for labels, child in children:
            value = child._value.get()  # type: ignore[attr-defined]  # noqa: SLF001
            old = kept.get(labels)
            if old is None or old[0] != value:
                series = series_name(self._name, self._kind)
                old = kept[labels] = (value, f"{series}{self._labels(labels)} {number(value)}\n")
            lines.append(old[1])
        if len(kept) > len(children):  # some were removed
            self._kept = {labels: kept[labels] for labels, _ in children}
        return Family(self._name, self._kind, self._text, lines)


def keeps(collector: object) -> bool:
    """Whether KeptLines can write it."""
    return type(collector) in (Counter, Gauge) and bool(getattr(collector, "_labelnames", ()))
