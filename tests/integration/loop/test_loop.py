"""The loop with a real Prometheus, a real Alertmanager and the files that ship, twenty times as fast as deployed.

From the incident to the alert, to page and remediation, to recovery and to the word that it is over; and what silences,
other alerts, a killed Alertmanager, two of them, and a remediator that is away make of it.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.alert_rules import firing
from tests.support.loop import TRIGGER, Loop, eventually

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)  # each wait has a deadline of its own

SPEED: Final = 20.0
GRACE: Final = 8.0
"""Seconds: long enough that people are paged before it is mended."""
LONG: Final = 600.0
"""Seconds that a silence lasts: longer than the test."""


def mended(loop: Loop, foundation: str, seconds: float = 60) -> None:
    """It was restarted, once, it works, and the trigger no longer fires."""
    eventually(
        lambda: loop.phase(foundation) == "Succeeded",
        f"{foundation} is remediated",
        seconds,
        lambda: (loop.verdict(foundation), loop.phase(foundation), loop.fires(foundation)),
    )
    (only,) = loop.remediations(foundation)
    assert only["spec"]["trigger"]["alertname"] == TRIGGER
    pods = [pod["name"] for pod in only["status"]["pods"]]
    assert sorted(one.pod for one in loop.deleted(foundation)) == sorted(pods), "each pod was deleted once"
    eventually(lambda: loop.verdict(foundation) == "healthy", f"{foundation} is healthy")
    eventually(lambda: not loop.fires(foundation), f"the trigger of {foundation} has resolved")


def paged(loop: Loop, foundation: str, after: float = 0.0) -> None:
    """Whoever is on call, and the chat, were told of the outage after this Unix time."""
    for receiver in ("page", "chat"):
        eventually(
            partial(loop.heard, foundation, receiver, "firing", "DiegoBBSUnreachable", after=after),
            f"{receiver} hears of {foundation}",
            seen=loop.receivers.heard,
        )


def over(loop: Loop, foundation: str) -> None:
    """And that it is over."""
    for receiver in ("page", "chat"):
        eventually(
            partial(loop.heard, foundation, receiver, "resolved"),
            f"{receiver} hears that {foundation} is well",
            seen=loop.receivers.heard,
        )


def test_the_loop_closes_whatever_else_is_silenced_or_fires(tmp_path: Path) -> None:
    with Loop(tmp_path, 4, speed=SPEED, grace=GRACE) as loop:
        plain, silenced, quiet, crowded = loop.names
        others = [
            {**labels, "foundation": crowded} if "foundation" in labels else labels
            for labels in firing()
            if labels["alertname"] != TRIGGER
        ]
        loop.tell_alerts(others)
        silence = loop.monitoring.silence([f"foundation={silenced}", f"alertname={TRIGGER}"], LONG)
        loop.monitoring.silence([f"foundation={quiet}", "remediate="], LONG)
        told = {alert["labels"]["alertname"] for alert in loop.monitoring.told()}
        assert told >= {labels["alertname"] for labels in others}, "all of them fire before the trigger does"

        for name in loop.names:
            loop.incident(name)
        for name in loop.names:
            eventually(partial(loop.fires, name), f"{name}'s trigger fires")
        for name in (plain, silenced, crowded):
            paged(loop, name)
        for name in (plain, quiet, crowded):
            mended(loop, name)
        eventually(lambda: loop.answers("ignored", "resolved") >= 3, "the remediator hears that the triggers resolved")
        over(loop, plain)

        # The silences did what they say: the one stopped the repair, the other only the pages.
        assert loop.fires(silenced)
        assert loop.suppressed(silenced)
        assert (loop.remediations(silenced), loop.deleted(silenced)) == ([], [])
        assert not loop.heard(quiet, "page", "firing")
        assert not loop.heard(quiet, "chat", "firing")
        loop.monitoring.unsilence(silence)
        mended(loop, silenced)
        over(loop, silenced)


def test_nothing_is_lost_while_the_remediator_is_away_or_alertmanager_is_killed(tmp_path: Path) -> None:
    with Loop(tmp_path, 2, speed=SPEED, grace=GRACE) as loop:
        late, killed = loop.names

        loop.remediator.stop()
        loop.incident(late)
        eventually(lambda: loop.fires(late), "the trigger fires")
        eventually(lambda: loop.sent(0, "requests_failed_total") >= 2, "Alertmanager notifies in vain, and again")
        paged(loop, late)
        loop.start_remediator()
        mended(loop, late)
        over(loop, late)

        loop.incident(killed)
        eventually(lambda: loop.phase(killed) == "Running", "the remediation runs")
        (alertmanager,) = loop.monitoring.alertmanagers
        alertmanager.kill()
        gone = time.time()
        eventually(lambda: loop.fires(killed, "DiegoBBSUnreachable"), "Prometheus has nobody to tell of the outage")
        alertmanager.start()
        alertmanager.wait()
        paged(loop, killed, after=gone)
        mended(loop, killed)
        over(loop, killed)


def test_where_a_person_must_decide_the_remediator_asks_and_the_chat_hears_of_it(tmp_path: Path) -> None:
    with Loop(tmp_path, 1, speed=SPEED, grace=GRACE) as loop:
        (name,) = loop.names
        loop.incident(name, "crashing")  # its restart is `ask`, and the mode is `auto`
        eventually(lambda: loop.phase(name) == "AwaitingApproval", "it waits for a person", seen=loop.monitoring.alerts)
        awaiting = partial(loop.heard, name, "chat", "firing", "StagerRemediationAwaitingApproval")
        eventually(awaiting, "the chat hears of it", seen=loop.receivers.heard)
        assert loop.deleted(name) == []


def test_two_alertmanagers_that_both_notify_are_one_remediation(tmp_path: Path) -> None:
    with Loop(tmp_path, 1, speed=SPEED, grace=GRACE, alertmanagers=2, peer_timeout=0) as loop:
        (name,) = loop.names
        eventually(lambda: [loop.monitoring.peers(number) for number in range(2)] == [2, 2], "they are a cluster")
        loop.incident(name)
        mended(loop, name)
        assert loop.answers("created") == 1
        for number in range(2):
            assert loop.monitoring.delivered("stager-remediator", number) >= 1, "each of them has told the remediator"
        assert loop.answers("duplicate", "running") >= 1
        over(loop, name)
