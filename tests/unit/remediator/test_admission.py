"""Each reason to say no, and where it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from remediator.admission import Instant, Limit, Policy, Refused, admit, left
from remediator.ledger import Backoff, Breaker, Ledger, Pause
from remediator.words import Mode, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = Policy(Mode.AUTO, 10 * MINUTE, (Limit(2, 60 * MINUTE), Limit(4, timedelta(days=1))))


def ask(ledger: Ledger, policy: Policy = POLICY, skew: float = 0.0) -> Refused | None:
    return admit(ledger, policy, Instant(NOW, skew))


def starts(*minutes_ago: float) -> Sequence[datetime]:
    return tuple(NOW - minutes * MINUTE for minutes in minutes_ago)


def test_nothing_stands_in_the_way() -> None:
    assert ask(Ledger()) is None


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.APPROVAL, Mode.DRY_RUN])
def test_every_mode_but_off_is_admitted(mode: Mode) -> None:
    assert ask(Ledger(), Policy(mode, POLICY.cooldown, POLICY.limits)) is None


def test_off() -> None:
    found = ask(Ledger(), Policy(Mode.OFF, POLICY.cooldown, POLICY.limits))
    assert found is not None
    assert (found.reason, found.retry) == (Reason.MODE_OFF, False)


@pytest.mark.parametrize(("skew", "word"), [(30.1, "ahead of"), (-3600, "behind"), (float("inf"), "ahead of")])
def test_a_clock_that_is_wrong(skew: float, word: str) -> None:
    found = ask(Ledger(), skew=skew)
    assert found is not None
    assert (found.reason, found.retry) == (Reason.CLOCK, True)
    assert word in found.text


def test_a_clock_that_is_right_enough() -> None:
    assert ask(Ledger(), skew=30.0) is None


def test_paused_for_good_or_until() -> None:
    found = ask(Ledger(pause=Pause(by="ann", why="migration", since=NOW)))
    assert found is not None
    assert (found.reason, found.until, found.retry) == (Reason.PAUSED, None, False)
    assert "ann" in found.text
    assert "migration" in found.text
    later = NOW + MINUTE
    until = ask(Ledger(pause=Pause(by="ann", why="x", since=NOW, until=later)))
    assert until is not None
    assert until.until == later
    assert ask(Ledger(pause=Pause(by="ann", why="x", since=NOW, until=NOW))) is None


def test_the_breaker_does_not_end_by_itself() -> None:
    found = ask(Ledger(breaker=Breaker(since=NOW - timedelta(days=30), why="it failed")))
    assert found is not None
    assert (found.reason, found.until, found.retry) == (Reason.BREAKER, None, False)
    assert "it failed" in found.text


def test_backoff() -> None:
    found = ask(Ledger(backoff=Backoff(until=NOW + MINUTE, why="x")))
    assert found is not None
    assert (found.reason, found.until, found.retry) == (Reason.BACKOFF, NOW + MINUTE, True)
    assert ask(Ledger(backoff=Backoff(until=NOW, why="x"))) is None


def test_cooldown_to_the_second() -> None:
    found = ask(Ledger(last_end=NOW - 4 * MINUTE))
    assert found is not None
    assert (found.reason, found.until, found.retry) == (Reason.COOLDOWN, NOW + 6 * MINUTE, True)
    assert "ended 4m ago" in found.text
    assert "6m left" in found.text
    assert ask(Ledger(last_end=NOW - 10 * MINUTE)) is None
    assert ask(Ledger(last_end=NOW - 10 * MINUTE + timedelta(seconds=1))) is not None


@pytest.mark.parametrize(
    ("ago", "until"),
    [
        ((30, 20), 30),
        ((59, 1), 1),
        ((90, 20), None),
        ((60, 20), None),
        ((1200, 900, 600, 300), 240),
        ((1500, 900, 600, 300), None),
        ((100, 59, 58, 1), 2),
    ],
)
def test_limits_over_sliding_windows(ago: tuple[float, ...], until: float | None) -> None:
    found = ask(Ledger(starts=tuple(starts(*ago))))
    if until is None:
        assert found is None
    else:
        assert found is not None
        assert (found.reason, found.until, found.retry) == (Reason.LIMIT, NOW + until * MINUTE, True)


def test_what_is_left_of_a_limit() -> None:
    ledger = Ledger(starts=tuple(starts(90, 20)))
    assert [left(ledger, limit, NOW) for limit in POLICY.limits] == [1, 2]
    assert left(Ledger(starts=tuple(starts(1, 2, 3))), POLICY.limits[0], NOW) == 0


def test_the_gravest_reason_is_told() -> None:
    """Who only waits for a cooldown must not be told so while a person has to act."""
    ledger = Ledger(breaker=Breaker(since=NOW, why="x"), last_end=NOW, starts=tuple(starts(1, 2)))
    found = ask(ledger)
    assert found is not None
    assert found.reason is Reason.BREAKER
    paused = ask(ledger.changed(pause=Pause(by="a", why="b", since=NOW)))
    assert paused is not None
    assert paused.reason is Reason.PAUSED
