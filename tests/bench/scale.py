"""One, fifty, two hundred foundations in one exporter: processor, memory, scrapes, and whether probes come in time."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Final

from tests.bench.errors import BenchError
from tests.bench.processes import OtherWork, memory
from tests.bench.report import Check, Section
from tests.bench.simulated import PROMETHEUS, Client, Exporter, Simulation

if TYPE_CHECKING:
    from tests.bench.peers import Peers

INTERVAL: Final = 5.0
_SCRAPE_EVERY: Final = 15.0


@dataclass
class _Watched:
    """What one number of foundations came to."""

    foundations: int
    cpu: float = 0.0
    """Part of one processor."""
    simulation: float = 0.0
    """The same, of the simulation."""
    rss: int = 0
    """kB, of the serving process."""
    scrapes: list[float] = field(default_factory=list)
    """Milliseconds."""
    size: int = 0
    looks: int = 0
    late: float = 0.0
    """Seconds by which the latest probe came after its interval."""
    p99: float = 0.0
    """The same, of 99 in 100."""


def measure(_peers: Peers, *, quick: bool) -> Section:
    """Each number of foundations for a minute."""
    seconds, warm_up = (12.0, INTERVAL) if quick else (60.0, 3 * INTERVAL)
    others = OtherWork()
    found = [_watch(number, seconds, warm_up) for number in ((1, 10, 20) if quick else (1, 50, 200))]
    few, _, many = found
    more = many.foundations - few.foundations
    cpu = (many.cpu - few.cpu) / more
    rss = (many.rss - few.rss) / more
    scrape = (median(many.scrapes) - median(few.scrapes)) / more
    return Section(
        name="scale",
        title="Many foundations",
        how=(
            "Simulated foundations (in a process of their own, at the speed of real life) under one exporter without "
            "extras, with the defaults: a look every 5 s at each (three connections to the Service, one to each of two "
            "BBS and two Lockets), its log followed by `exec` in two api pods, a scrape every 15 s, for "
            f"{seconds:.0f} s. A probe's lateness is the time since the one before, less the interval, from the pages' "
            "history of probes."
        ),
        columns=(
            "foundations",
            "CPU of one processor",
            "RSS, MB",
            "scrape, ms",
            "kB as text",
            "probes late, p99 and most, s",
            "simulation's CPU",
        ),
        rows=tuple(
            (
                str(one.foundations),
                f"{one.cpu:.1%}",
                f"{one.rss / 1024:.0f}",
                f"{median(one.scrapes):.0f}",
                f"{one.size / 1024:.0f}",
                f"{one.p99:.2f}, {one.late:.2f} ({one.looks} gaps)",
                f"{one.simulation:.0%}",
            )
            for one in found
        ),
        checks=(
            Check(
                f"the latest probe with {many.foundations} foundations",
                f"{many.late:.2f} s late",
                f"at most one interval ({INTERVAL:g} s)",
                many.late <= INTERVAL,
            ),
            *(
                Check(f"linear in foundations: {what} at {middle}", f"{ratio:.2f} of the line", "0.75 to 1.25", good)
                for what, middle, ratio, good in _bends(found)
            ),
        ),
        notes=(f"Per further foundation: {cpu:.2%} of a processor, {rss / 1024:.2f} MB, {scrape:.2f} ms of a scrape.",),
        others=others.share(),
        times=True,
    )


def _bends(found: list[_Watched]) -> list[tuple[str, int, float, bool]]:
    """How far the middle size lies from the straight line between the smallest and the largest."""
    few, middle, many = found
    part = (middle.foundations - few.foundations) / (many.foundations - few.foundations)
    bends = []
    for what, values in {
        "CPU": [one.cpu for one in found],
        "memory": [float(one.rss) for one in found],
        "scrape": [median(one.scrapes) for one in found],
    }.items():
        ratio = values[1] / (values[0] + part * (values[2] - values[0]))
        bends.append((what, middle.foundations, ratio, 0.75 <= ratio <= 1.25))
    return bends


def _watch(foundations: int, seconds: float, warm_up: float) -> _Watched:
    found = _Watched(foundations)
    with ExitStack() as stack:
        simulation = stack.enter_context(Simulation(foundations))
        exporter = stack.enter_context(Exporter(simulation.config(), without="grpc"))
        scraper = Client(exporter.port, PROMETHEUS)
        stack.callback(scraper.close)
        time.sleep(warm_up)
        began = time.monotonic()
        gaps: dict[tuple[str, float], float] = {}
        cpu, simulated = exporter.cpu(), simulation.cpu()
        watched = used = 0.0
        while (passed := time.monotonic() - began) < seconds:
            time.sleep(min(_SCRAPE_EVERY, seconds - passed))
            answer = scraper.get("/metrics")
            if answer.status != 200:
                raise BenchError(f"/metrics answered {answer.status}")
            found.scrapes.append(answer.seconds * 1e3)
            # The history holds half a minute of a foundation's probes. What reading it costs is not counted.
            watched, used = watched + (time.monotonic() - began - passed), used + exporter.cpu() - cpu
            gaps |= _gaps(exporter)
            cpu = exporter.cpu()
        found.cpu = used / watched
        found.simulation = (simulation.cpu() - simulated) / (time.monotonic() - began)
        found.rss = memory(exporter.pids[1])["VmRSS"]
        found.size = len(exporter.client.get("/metrics").body)
    late = sorted(max(0.0, gap - INTERVAL) for gap in gaps.values())
    if not late:
        raise BenchError(f"no probes were seen with {foundations} foundations")
    found.looks, found.late, found.p99 = len(late), late[-1], late[int(len(late) * 0.99)]
    return found


def _gaps(exporter: Exporter) -> dict[tuple[str, float], float]:
    """Seconds between the looks at each foundation, by foundation and the time of the later one."""
    view = json.loads(exporter.client.get("/view.json").body)
    found: dict[tuple[str, float], float] = {}
    for foundation in view["foundations"]:
        times = sorted(probe["at"] for probe in foundation["probes"] if probe["target"] == "service")
        looks = [at for number, at in enumerate(times) if number == 0 or at - times[number - 1] > INTERVAL / 5]
        found |= {(foundation["name"], later): later - earlier for earlier, later in pairwise(looks)}
    return found
