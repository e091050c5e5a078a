"""The whole loop at the speed of real life: from the fault to the alert, the page, the deletion and the recovery.

With the files that ship and the defaults that ship, a real Prometheus and a real Alertmanager. Several foundations of
one simulated cluster break one after the other, so that each meets scrapes and evaluations at another moment. What each
stretch cannot do without is computed from the same files and defaults. Times are seen from outside, a fifth of a second
late at most.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import yaml

from remediator.playbook import PLAYBOOKS
from remediator.words import PLAYBOOK
from simulator.clock import Timing
from simulator.daemons import StartError
from simulator.monitoring import MonitoringError, ProgramsError
from simulator.monitoring.files import ALERTS, PAGE, REMEDIATOR, seconds
from simulator.monitoring.service import SCRAPE
from tests.bench.errors import BenchError
from tests.bench.processes import OtherWork
from tests.bench.report import Check, Section
from tests.support.loop import TRIGGER, Loop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.peers import Peers

OUTAGE: Final = "DiegoBBSUnreachable"
SETTLE: Final = 120.0
GRACE: Final = 30.0
"""Seconds that a hung pod takes to end. SCF's own are 600: the pods of this measurement end sooner."""
APART: Final = 7.0
"""Seconds between two faults: no divisor of a scrape's interval."""
LIMIT: Final = 900.0
_QUICK_SPEED: Final = 20.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """From one milestone to another."""

    name: str
    begin: str
    end: str
    floor: float
    """Seconds that it takes at least."""
    why: str
    """What the floor is made of, and what comes on top."""


def stretches(speed: float, grace: float) -> list[Stretch]:
    """What is measured, with its floors as the shipped files and defaults have them.

    Where all is `speed` times as fast, so are they, but for `grace` and the waits that the simulator's configuration
    keeps at a second.
    """
    rules = yaml.safe_load((ALERTS / "rules.yml").read_text(encoding="utf-8"))
    routes = yaml.safe_load((ALERTS / "alertmanager.yml").read_text(encoding="utf-8"))["route"]["routes"]
    hold = {
        rule["alert"]: seconds(rule.get("for", "0s")) / speed
        for group in rules["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    wait = {
        route["receiver"]: seconds(route["group_wait"]) / speed
        for route in routes
        if route["receiver"] in (REMEDIATOR, PAGE)
    }
    again = next(seconds(route["group_interval"]) / speed for route in routes if route["receiver"] == PAGE)
    timing, dwell = Timing().scaled(speed), float(PLAYBOOKS[PLAYBOOK].steps.verify.dwell)
    # A lock that was renewed a moment ago is held for all of its TTL but the time between two tries.
    held = timing.lock_ttl - timing.lock_retry
    up = timing.schedule + timing.start
    late = f"a scrape and an evaluation, each up to {SCRAPE / speed:g} s"
    return [
        Stretch(
            "the fault → the verdict says yes", "fault", "yes", held + SETTLE / speed,
            f"what is left of the lock's TTL, {held:g} s, `settle` {SETTLE / speed:g} s; on top looks, their timeouts",
        ),
        Stretch("→ Prometheus sees it", "yes", "seen", 0.0, f"0; on top {late}"),
        Stretch(
            "→ the trigger fires", "seen", "fires", hold[TRIGGER],
            f"`for: {hold[TRIGGER]:g}s`, in whole evaluations",
        ),
        Stretch("→ the remediator has it", "fires", "asked", wait[REMEDIATOR], f"`group_wait` {wait[REMEDIATOR]:g} s"),
        Stretch("→ the first deletion", "asked", "deleted", 0.0,
                "0; on top two looks of its own that agree, evidence, the record"),
        Stretch(
            "→ BBS serves again", "deleted", "healthy", grace + up,
            f"termination grace {grace:g} s, creation and start {up:g} s; on top readiness and label",
        ),
        Stretch("→ the run has succeeded", "healthy", "succeeded", dwell, f"dwell {dwell:g} s"),
        Stretch(
            "the fault → the page", "fault", "paged", held + hold[OUTAGE] + wait[PAGE],
            f"the lock {held:g} s, {OUTAGE} `for: {hold[OUTAGE]:g}s`, `group_wait` {wait[PAGE]:g} s; on top {late}",
        ),
        Stretch(
            "BBS serves again → the page is taken back", "healthy", "cleared", 0.0,
            f"0; on top {late}, and the rest of a `group_interval` of {again:g} s; of all critical alerts",
        ),
        Stretch(
            "the fault → BBS serves again", "fault", "healthy",
            held + SETTLE / speed + hold[TRIGGER] + wait[REMEDIATOR] + grace + up, "the sum of the above",
        ),
    ]  # fmt: skip


def measure(_peers: Peers, *, quick: bool) -> Section:
    """Break three foundations, and write down when what happened."""
    speed, grace = (_QUICK_SPEED, 5.0) if quick else (1.0, GRACE)
    others = OtherWork()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            marks, deleted = _run(Path(folder), speed, grace)
    except (MonitoringError, ProgramsError, StartError, AssertionError) as error:
        raise BenchError(str(error)) from error
    wanted = stretches(speed, grace)
    if quick:  # the simulator's configuration shortens the dwell by itself, and not by the speed
        wanted = [one for one in wanted if one.end != "succeeded"]
    told = [one["asked"] - one["yes"] for one in marks.values()]
    hold = next(one.floor for one in wanted if one.end == "fires")
    wait = next(one.floor for one in wanted if one.end == "asked")
    most = 3 * SCRAPE / speed + hold + wait + 1
    return Section(
        name="loop",
        title="The loop, from the fault to the recovery",
        how=(
            f"{len(marks)} simulated foundations, in each of which every Locket hangs, {APART / speed:g} s apart; a "
            "real Prometheus and a real Alertmanager with the rules, routes and intervals that ship"
            f"{f', all {speed:g} times as fast' if speed != 1 else ''} (scrape and evaluation every "
            f"{SCRAPE / speed:g} s), exporter and remediator with their defaults, mode `auto`. A hung pod takes "
            f"{grace:g} s to end; on SCF it may take 600. The floor is what the settings alone cost."
        ),
        columns=("stretch", "seconds, median", "smallest to largest", "floor", "what it is made of"),
        rows=tuple(_row(one, marks) for one in wanted),
        checks=(
            Check("from the verdict to the remediator, over Prometheus and Alertmanager, the longest",
                  f"{max(told):.1f} s", f"at most {most:g} s (three intervals, `for`, `group_wait`, 1 s)",
                  max(told) <= most),
            Check("pods deleted in each foundation by one incident", ", ".join(map(str, deleted)), "2 each",
                  all(count == 2 for count in deleted)),
        ),
        others=others.share(),
    )  # fmt: skip


def _row(one: Stretch, marks: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    values = [mark[one.end] - mark[one.begin] for mark in marks.values()]
    return (
        one.name,
        f"{median(values):.1f}",
        f"{min(values):.1f} to {max(values):.1f}",
        f"{one.floor:g} s" if one.floor else "",
        one.why,
    )


def _run(folder: Path, speed: float, grace: float) -> tuple[dict[str, dict[str, float]], list[int]]:
    """The milestones of each foundation, in Unix time, and how many pods were deleted in each."""
    with Loop(folder, 3, speed=speed, grace=grace, as_deployed=speed == 1) as loop:
        marks: dict[str, dict[str, float]] = {}
        waiting = list(loop.names)
        due = time.monotonic()
        deadline = due + LIMIT
        while waiting or not all(_complete(mark) for mark in marks.values()):
            if waiting and time.monotonic() >= due:
                name = waiting.pop(0)
                marks[name] = {"fault": loop.incident(name)}
                due += APART / speed
            _look(loop, marks)
            if time.monotonic() > deadline:
                raise BenchError(f"the loop did not close within {LIMIT:g} s: {marks}")
            time.sleep(0.1 if speed == 1 else 0.02)
        return marks, [len(loop.deleted(name)) for name in loop.names]


_MILESTONES: Final = frozenset(
    {"fault", "yes", "seen", "fires", "asked", "deleted", "healthy", "succeeded", "paged", "cleared"}
)


def _complete(mark: Mapping[str, float]) -> bool:
    return set(mark) >= _MILESTONES


def _look(loop: Loop, marks: Mapping[str, dict[str, float]]) -> None:
    """Write down what has happened since the last look."""
    text = loop.exporter.get("/view.json")
    now = time.time()
    for found in json.loads(text)["foundations"] if text else []:
        mark = marks.get(found["name"], {})
        if found["restart"] == "yes":
            mark.setdefault("yes", now)
        if "deleted" in mark and found["verdict"] == "healthy":
            mark.setdefault("healthy", now)
    with contextlib.suppress(MonitoringError):
        for alert in loop.monitoring.alerts(TRIGGER):
            mark = marks.get(alert.labels["foundation"], {})
            mark.setdefault("seen", alert.active_at)
            if alert.state == "firing":
                mark.setdefault("fires", time.time())
    for name, mark in marks.items():
        if "fires" in mark and "succeeded" not in mark:
            _look_at_run(loop.remediations(name), mark)
        if "asked" in mark and "deleted" not in mark and (deleted := loop.deleted(name)):
            mark["deleted"] = deleted[0].at
        for milestone, status in (("paged", "firing"), ("cleared", "resolved")):
            if milestone not in mark and (heard := loop.heard(name, "page", status)):
                mark[milestone] = heard[0].at


def _look_at_run(found: Sequence[dict[str, Any]], mark: dict[str, float]) -> None:
    if found:
        mark.setdefault("asked", time.time())
        if found[0].get("status", {}).get("phase") == "Succeeded":
            mark.setdefault("succeeded", time.time())
        elif found[0].get("status", {}).get("phase") in ("Failed", "NotNeeded", "WouldNotHelp", "Expired"):
            raise BenchError(f"{found[0]['name']} ended otherwise: {found[0]['status'].get('message')}")
