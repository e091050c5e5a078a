"""How long a scrape of `/metrics` takes while what the exporter looks at does not answer."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from tests.bench.errors import BenchError
from tests.bench.processes import OtherWork
from tests.bench.report import Check, Section
from tests.bench.simulated import PROMETHEUS, Client, Exporter, Simulation

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.peers import Peers

LIMIT_MS: Final = 10.0
_SETTLE: Final = 8.0
"""Seconds after a fault until every look meets it: more than an interval and a probe's time limit."""
_PAUSE: Final = 0.02


def measure(_peers: Peers, *, quick: bool) -> Section:
    """p50 and p99 in each state."""
    scrapes = 150 if quick else 600
    others = OtherWork()
    rows = []
    checks = []
    with ExitStack() as stack:
        simulation = stack.enter_context(Simulation())
        exporter = stack.enter_context(Exporter(simulation.config()))
        states: dict[str, Callable[[], None]] = {
            "all is well": lambda: None,
            "BBS hangs": lambda: simulation.incident("hung"),
            "BBS and the API server hang": lambda: simulation.faults(mode="frozen"),
            "the API server hangs": lambda: simulation.incident("hung", heal=True),
        }
        for state, begin in states.items():
            begin()
            time.sleep(_SETTLE)
            times, size = _scrape(exporter.port, scrapes)
            p50, p99 = (times[int(len(times) * part)] for part in (0.5, 0.99))
            rows.append((state, str(scrapes), f"{p50:.1f}", f"{p99:.1f}", f"{times[-1]:.1f}", f"{size / 1024:.0f}"))
            if state != "all is well":
                checks.append(
                    Check(f"/metrics p99 while {state}", f"{p99:.1f} ms", f"at most {LIMIT_MS:g} ms", p99 <= LIMIT_MS)
                )
    return Section(
        name="latency",
        title="A scrape while nothing answers",
        how=(
            "`/metrics` with one foundation (simulated, with its log followed), asked as Prometheus asks (one kept "
            "connection, gzip), every 20 ms for longer than two looks. The simulated BBS hangs: it accepts and says "
            "nothing. The simulated API server hangs: it accepts, and its streams fall silent."
        ),
        columns=("", "scrapes", "p50, ms", "p99, ms", "longest, ms", "kB as text"),
        rows=tuple(rows),
        checks=tuple(checks),
        others=others.share(),
        times=True,
    )


def _scrape(port: int, number: int) -> tuple[list[float], int]:
    """Sorted times in milliseconds, and the size of one answer."""
    plain = Client(port)
    size = len(plain.get("/metrics").body)
    plain.close()
    client = Client(port, PROMETHEUS)
    times = []
    for _ in range(number):
        answer = client.get("/metrics")
        if answer.status != 200:
            raise BenchError(f"/metrics answered {answer.status}")
        times.append(answer.seconds * 1e3)
        time.sleep(_PAUSE)
    client.close()
    return sorted(times), size
