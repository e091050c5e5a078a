"""What carries the alert from the exporter to the remediator in the demo: the real ones, or a stand-in that says so.

The real ones are Prometheus and Alertmanager with the files that ship, told faster (`simulator.monitoring`). Where
neither can be had, `simulator.alerting` plays both, and its `why` is the reason. A program that is there and does not
work is an error, never a reason for the stand-in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Protocol

from simulator.alerting import Alerting
from simulator.clock import Timing
from simulator.debian import PackageError, Ran
from simulator.monitoring import Monitoring, MonitoringError, ProgramsError, Receivers, Targets, find_programs
from simulator.story import ALWAYS_FIRES, FIRING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from simulator.daemons import Access, Exporter, Remediator
    from simulator.monitoring import Alert, Heard, Programs

DOWNLOAD_LIMIT = 300.0
"""Seconds that fetching a package may take."""


NO_PAGE = "Debian package of the alertmanager does not include a web"
"""What Debian's Alertmanager shows instead of a page."""


class StoppedError(Exception):
    """Whoever watches wants no more."""


class Carrier(Protocol):
    """What the play asks of it."""

    source: str
    """Who says which alerts fire."""
    sender: str
    """Who notifies."""

    def lines(self) -> Sequence[str]:
        """Give what is said of it at the start: addresses, or that it is a stand-in and why."""

    def ready(self) -> bool:
        """Tell whether it would notice an alert now."""

    def alerts(self) -> Sequence[Alert]:
        """Give the alerts that are pending or fire. Raises MonitoringError where nothing answers."""

    def pages(self) -> Sequence[Heard]:
        """Give all that came to whoever is on call."""

    def ended(self) -> str:
        """Tell which program has ended that should run, in one line; empty where none has."""

    def summary(self) -> dict[str, object]:
        """Give what it is, for the summary."""


class Real:
    """Prometheus and Alertmanager."""

    source, sender = "Prometheus", "Alertmanager"

    def __init__(self, monitoring: Monitoring, receivers: Receivers, programs: Programs, folder: Path) -> None:
        """`folder`: theirs."""
        self._monitoring, self._receivers, self._programs, self._folder = monitoring, receivers, programs, folder
        self._prometheus = monitoring.prometheus_url
        (self._alertmanager,) = monitoring.alertmanager_urls
        self._versions = monitoring.versions()
        self._page = self._prometheus + alerts_page(self._prometheus)
        self._has_page = NO_PAGE not in _body(self._alertmanager)

    def lines(self) -> Sequence[str]:
        """Give both pages' addresses."""
        prometheus, alertmanager = self._versions
        ask = f"{self._programs.amtool or 'amtool'} --alertmanager.url={self._alertmanager} alert"
        return [
            f"prometheus    {self._page}   {prometheus}, from {self._programs.origin}",
            f"alertmanager  {self._alertmanager}   {alertmanager}{'' if self._has_page else f'; no page: {ask}'}",
        ]

    def ready(self) -> bool:
        """Tell whether the rules are evaluated: the alert that always fires does."""
        with contextlib.suppress(MonitoringError):
            return any(alert.state == FIRING for alert in self._monitoring.alerts(ALWAYS_FIRES))
        return False

    def alerts(self) -> Sequence[Alert]:
        """Give Prometheus' own list."""
        return self._monitoring.alerts()

    def pages(self) -> Sequence[Heard]:
        """Give what Alertmanager sent to the receiver `page`."""
        return self._receivers.heard("page")

    def ended(self) -> str:
        """Look at both processes."""
        for server in (self._monitoring.prometheus, *self._monitoring.alertmanagers):
            if not server.pid:
                return f"{server.name} ended: {server.last_words()}; its log: {server.log}"
        return ""

    def summary(self) -> dict[str, object]:
        """Give addresses, versions and where the programs come from."""
        prometheus, alertmanager = self._versions
        return {
            "stand_in": False,
            "why": "",
            "programs": self._programs.origin,
            "prometheus": {
                "url": self._prometheus, "page": self._page, "version": prometheus,
                "program": str(self._programs.prometheus),
            },
            "alertmanager": {
                "url": self._alertmanager, "version": alertmanager, "program": str(self._programs.alertmanager),
            },
        }  # fmt: skip


class StandIn:
    """`simulator.alerting`, and the reason for it."""

    source = sender = "the stand-in"

    def __init__(self, alerting: Alerting, why: str) -> None:
        self._alerting, self._why = alerting, why

    def lines(self) -> Sequence[str]:
        """Say plainly what it is."""
        return [
            "A STAND-IN plays Prometheus and Alertmanager: one rule, one receiver, no page of its own.",
            f"Why: {self._why}",
        ]

    def ready(self) -> bool:
        """It is from the start."""
        return True

    def alerts(self) -> Sequence[Alert]:
        """Give its one alert."""
        return self._alerting.alerts()

    def pages(self) -> Sequence[Heard]:
        """Nobody is paged by it."""
        return []

    def ended(self) -> str:
        """It is a thread of this process."""
        return ""

    def summary(self) -> dict[str, object]:
        """Say what it is and why."""
        return {"stand_in": True, "why": self._why, "programs": "", "prometheus": None, "alertmanager": None}


def carry(
    stack: ExitStack,
    daemons: tuple[Exporter, Remediator, Access],
    foundation: str,
    folder: Path,
    *,
    lock_ttl: float,
    tools: Path,
    say: Callable[[str], None],
    stop: threading.Event,
) -> Carrier:
    """Start it; `stack` ends it. `folder`: for its configurations, data and logs. `tools`: where programs are unpacked.

    All waits of the shipped files are as much shorter as `lock_ttl` (seconds) is than a real foundation's. Raises
    MonitoringError where a program does not work, StoppedError.
    """
    exporter, remediator, access = daemons
    factor = max(1.0, Timing().lock_ttl / lock_ttl)
    webhook = f"{remediator.url}/api/v1/alertmanager"
    try:
        programs = find_programs(tools, execute=_Fetch(tools, say, stop))
    except ProgramsError as error:
        alerting = Alerting(lambda: exporter.get("/metrics"), webhook, access.notify, foundation, factor=factor)
        alerting.start()
        stack.callback(alerting.stop)
        return StandIn(alerting, str(error))
    if stop.is_set():
        raise StoppedError
    receivers = stack.enter_context(Receivers())
    targets = Targets(
        exporters=[_place(exporter.url)],
        remediators=[_place(remediator.url)],
        webhook=webhook,
        token_file=access.config.with_name("alertmanager.token"),
        receivers=receivers.url,
    )
    monitoring = stack.enter_context(Monitoring(programs, folder, targets, factor=factor))
    return Real(monitoring, receivers, programs, folder)


def alerts_page(url: str) -> str:
    """Give the path of Prometheus' page of alerts: Debian's has the old one only; empty where there is none."""
    return next((path for path in ("/alerts", "/classic/alerts") if _body(url + path)), "")


def _body(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode(errors="replace"))
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return ""


def _place(url: str) -> str:
    return url.removeprefix("http://")


class _Fetch:
    """Runs what fetches and unpacks packages, and says so once, as it may take a minute."""

    def __init__(self, tools: Path, say: Callable[[str], None], stop: threading.Event) -> None:
        self._tools, self._say, self._stop = tools, say, stop
        self._said = False

    def __call__(self, command: Sequence[str], folder: Path) -> Ran:
        """Give what became of a command. Raises PackageError, StoppedError."""
        if not self._said:
            self._say(f"fetching Debian's packages of Prometheus and Alertmanager into {self._tools} …")
            self._said = True
        try:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise PackageError(f"{command[0]}: {error.strerror}") from None
        deadline = time.monotonic() + DOWNLOAD_LIMIT
        with process:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    said, _ = process.communicate(timeout=0.2)
                    return Ran(process.returncode, said)
                late = time.monotonic() > deadline
                if late or self._stop.is_set():
                    # With all that it started: apt-get leaves its fetching to others.
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
                    if not late:
                        raise StoppedError
                    raise PackageError(f"{command[0]}: not done within {DOWNLOAD_LIMIT:.0f} s")
