"""A stand-in for Prometheus and Alertmanager, for a demo where neither can be had (`simulator.carrier` decides that).

One rule over one scraped page, `diego_verdict_restart{restart=~"yes|ask"} == 1` for a short while, and its notification
in Alertmanager's v4 form: sent when it fires, repeated while it does, sent again when it has resolved, and tried again
where the answer was a 5xx or none. What is not here: grouping, silences, inhibition, several receivers, and a memory
that outlives the process. Whoever uses it says that it is a stand-in.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from simulator.monitoring import Alert

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from simulator.api.objects import Json

ALERTNAME = "DiegoRestartWouldHelp"
_SERIES = "diego_verdict_restart"
HOLD, REPEAT = 30.0, 300.0
"""Seconds: the shipped rule's `for`, and the `repeat_interval` of its route."""
_RETRY = 1.0
"""Seconds from a notification that was not taken to the next try."""


def fingerprint(labels: Mapping[str, str]) -> str:
    """Give a label set's name among alerts, as Prometheus makes it: FNV-1a over the sorted names and values."""
    found = 14695981039346656037
    for name in sorted(labels):
        for byte in (*name.encode(), 255, *labels[name].encode(), 255):
            found = (found ^ byte) * 1099511628211 % 2**64
    return f"{found:016x}"


def restart_would_help(page: str, foundation: str) -> bool:
    """Tell whether a metrics page says that a restart would help this foundation. A page that is none says no."""
    try:
        return any(
            sample.value == 1
            for family in text_string_to_metric_families(page)
            if family.name == _SERIES
            for sample in family.samples
            if sample.labels.get("foundation") == foundation and sample.labels.get("restart") in ("yes", "ask")
        )
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification that is due."""

    status: str
    """firing or resolved."""
    labels: Mapping[str, str]
    starts_at: float
    """Unix time."""
    ends_at: float | None

    def payload(self) -> Json:
        """Give Alertmanager's v4 form of it."""
        labels = dict(sorted(self.labels.items()))
        annotations = {"summary": "Restarting Diego's API would help."}
        return {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{ALERTNAME}"}}',
            "truncatedAlerts": 0,
            "status": self.status,
            "receiver": "stager-remediator",
            "groupLabels": {"alertname": ALERTNAME},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "http://127.0.0.1",
            "alerts": [
                {
                    "status": self.status,
                    "labels": labels,
                    "annotations": annotations,
                    "startsAt": _rfc3339(self.starts_at),
                    "endsAt": "0001-01-01T00:00:00Z" if self.ends_at is None else _rfc3339(self.ends_at),
                    "generatorURL": "",
                    "fingerprint": fingerprint(labels),
                }
            ],
        }


class Rule:
    """The alert's life: inactive, pending, firing, resolved. One thread; no clock of its own."""

    def __init__(self, foundation: str, *, hold: float, repeat: float) -> None:
        """`hold`: seconds for which the condition must be true (Prometheus' `for`); `repeat`: between notifications."""
        self._labels = {
            "alertname": ALERTNAME,
            "foundation": foundation,
            "remediate": "restart-diego-api",
            "restart": "yes",
            "severity": "none",
        }
        self._hold, self._repeat = hold, repeat
        self._true_since: float | None = None
        self._true_at = 0.0
        """The same as Unix time."""
        self._fired_at: float | None = None
        self._ended_at: float | None = None
        self._told = False
        """Whether anybody was told that it fires: nobody is told of the end of what they never heard of."""
        self._next = 0.0

    def see(self, now: float, wall: float, *, true: bool) -> Notice | None:
        """Take in what a scrape said; gives the notification that is due, if one is.

        The same one is given again until `taken` or `put_off` has said what became of it.
        """
        if not true:
            self._true_since = None
            if self._fired_at is not None and self._ended_at is None:
                self._ended_at, self._next = wall, now
        else:
            if self._ended_at is not None:
                # It is true again before its end was told: for those who were told, it never ended.
                self._ended_at = None
            if self._true_since is None:
                self._true_since, self._true_at = now, wall
            if self._fired_at is None and now - self._true_since >= self._hold:
                self._fired_at, self._next = wall, now
        if self._fired_at is None or now < self._next:
            return None
        if self._ended_at is not None and not self._told:
            self._forget()
            return None
        status = "firing" if self._ended_at is None else "resolved"
        return Notice(status, self._labels, self._fired_at, self._ended_at)

    def alert(self) -> Alert | None:
        """Give it as Prometheus would list it: pending or firing; None while it is neither."""
        if self._fired_at is not None and self._ended_at is None:
            return Alert(ALERTNAME, "firing", self._labels, self._fired_at)
        if self._true_since is not None:
            return Alert(ALERTNAME, "pending", self._labels, self._true_at)
        return None

    def taken(self, now: float) -> None:
        """Note that the notification was answered."""
        if self._ended_at is not None:
            self._forget()
        else:
            self._told = True
            self._next = now + self._repeat

    def put_off(self, now: float) -> None:
        """Note that the notification has to be tried again."""
        self._next = now + _RETRY

    def _forget(self) -> None:
        self._fired_at = self._ended_at = None
        self._told = False


class Alerting:
    """Scrapes, decides, notifies, in a thread of its own from `start` to `stop`."""

    def __init__(
        self, scrape: Callable[[], str], url: str, token: str, foundation: str, *, factor: float = 1.0
    ) -> None:
        """`factor`: by which its waits are shorter than those of the shipped files."""
        self._scrape, self._url, self._token, self._foundation = scrape, url, token, foundation
        self._rule = Rule(foundation, hold=HOLD / factor, repeat=REPEAT / factor)
        self._alerts: tuple[Alert, ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerting", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a notification under way is waited for."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def alerts(self) -> Sequence[Alert]:
        """Give its alert while that is pending or fires."""
        return self._alerts

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            true = restart_would_help(self._scrape(), self._foundation)
            notice = self._rule.see(time.monotonic(), time.time(), true=true)
            alert = self._rule.alert()
            self._alerts = () if alert is None else (alert,)
            if notice is None:
                continue
            status = self._notify(notice)
            if status == 0 or status >= 500:
                self._rule.put_off(time.monotonic())
            else:
                self._rule.taken(time.monotonic())

    def _notify(self, notice: Notice) -> int:
        """Send it; gives the status of HTTP, 0 where there was no answer."""
        body = json.dumps(notice.payload()).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                response.read()
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return 0


def _rfc3339(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
