"""What is remembered from look to look."""

from __future__ import annotations

import pytest

from foundation.diagnosis import Diagnosis, Restart, Verdict
from foundation.history import History
from foundation.probes.result import Certificate


def history() -> History:
    return History(settle=120, interval=5, begun=1000)


def found(verdict: Verdict = Verdict.LOCKED_OUT, restart: Restart = Restart.YES) -> Diagnosis:
    return Diagnosis(verdict, restart, 24, (0,), ("a",), ("the reason", "more"))


def test_a_process_that_never_saw_a_bbs_serve_waits_one_full_settle() -> None:
    watched = history()
    assert not watched.settling(1119, None, None).settled
    late = watched.settling(1120, None, None)
    assert late.settled
    assert late.text == "2m since this process began to watch, settle is 2m"


@pytest.mark.parametrize(("now", "settled"), [(1319, False), (1320, True)])
def test_settle_counts_from_the_last_look_that_served(now: float, settled: bool) -> None:
    watched = history()
    watched.served(1190, serving=True)
    watched.served(1200, serving=True)
    watched.served(1205, serving=False)
    assert watched.settling(now, None, None).settled is settled


@pytest.mark.parametrize("now", [1309, 1310])
def test_while_a_bbs_serves_settle_counts_from_when_that_began(now: float) -> None:
    watched = history()
    watched.served(1100, serving=True)
    watched.served(1150, serving=False)
    for at in (1190, 1250, now):
        watched.served(at, serving=True)
    state = watched.settling(now, None, None)
    assert (state.settled, state.quiet) == ((now - 1190) >= 120, (now - 1190) >= 120)
    watched.served(now, serving=False)
    assert watched.settling(now + 119, None, None).settled is False
    assert watched.settling(now + 120, None, None).settled is True


def test_after_a_gap_nothing_of_before_counts_as_watched() -> None:
    watched = history()
    watched.looks(1000)
    watched.served(1000, serving=True)
    watched.confirm(found(), ("u1",), 1000)
    watched.looks(1030)
    assert watched.settling(1120, None, None).settled
    watched.looks(1060.1)
    assert watched.settling(1180, None, None).settled is False
    assert watched.settling(1180.2, None, None).settled is True
    assert watched.confirm(found(), ("u1",), 1061).restart is Restart.WAIT
    assert watched.settling(1180.2, None, None).text == "2m since this process began to watch, settle is 2m"


def test_a_long_interval_is_no_gap() -> None:
    watched = History(settle=120, interval=60, begun=0)
    for now in (0, 100, 280):
        watched.looks(now)
    assert watched.settling(280, None, None).settled


def test_settle_counts_from_the_latest_of_all_causes() -> None:
    watched = history()
    watched.served(1100, serving=True)
    watched.served(1105, serving=False)
    assert watched.settling(1300, 119, 500).settled is False
    assert watched.settling(1300, 120, 500).settled is True
    watched.database(1250, answers=True)
    assert watched.settling(1300, 120, 500).settled is True
    watched.database(1250, answers=False)
    still = watched.settling(1300, 500, 500)
    assert not still.settled
    assert not still.quiet
    assert "the database last failed to answer" in still.text


def test_a_restart_of_bbs_alone_disturbs_settled_and_not_quiet() -> None:
    watched = history()
    watched.served(1100, serving=True)
    state = watched.settling(1300, 3, 400)
    assert (state.settled, state.quiet) == (False, True)
    assert watched.settling(1300, 3, 119).quiet is False


def test_a_verdict_that_acts_is_seen_twice_one_interval_apart() -> None:
    watched = history()
    first = watched.confirm(found(), ("u1",), 2000)
    assert (first.verdict, first.restart, first.pods_to_restart) == (Verdict.LOCKED_OUT, Restart.WAIT, ())
    assert first.evidence == ("the reason", "Seen once: a second look, 5s later, must agree.", "more")
    assert watched.confirm(found(), ("u1",), 2004.9).restart is Restart.WAIT
    assert watched.confirm(found(), ("u1",), 2005) == found()
    assert watched.confirm(found(), ("u1",), 2010) == found()


@pytest.mark.parametrize(
    "between",
    [
        (found(Verdict.ELECTING, Restart.WAIT), ("u1",)),
        (found(Verdict.HUNG, Restart.YES), ("u1",)),
        (found(restart=Restart.ASK), ("u1",)),
        (found(), ("u2",)),
    ],
)
def test_anything_else_in_between_starts_anew(between: tuple[Diagnosis, tuple[str, ...]]) -> None:
    watched = history()
    watched.confirm(found(), ("u1",), 2000)
    watched.confirm(*between, 2003)
    assert watched.confirm(found(), ("u1",), 2006).restart is Restart.WAIT
    assert watched.confirm(found(), ("u1",), 2011).restart is Restart.YES


def test_a_split_seen_once_is_a_hand_over_until_it_lasts() -> None:
    watched = history()
    split = found(Verdict.SPLIT, Restart.NO)
    assert watched.confirm(split, (), 2000).verdict is Verdict.ELECTING
    assert watched.confirm(split, (), 2005) == split


def test_what_does_not_act_needs_no_second_look() -> None:
    plain = found(Verdict.DATABASE_DOWN, Restart.NO)
    assert history().confirm(plain, (), 2000) == plain


def test_since_when() -> None:
    watched = history()
    assert watched.since(found(), 50.0) == 50.0
    assert watched.since(found(), 60.0) == 50.0
    assert watched.since(found(restart=Restart.WAIT), 70.0) == 70.0


def test_the_newest_certificate_is_kept() -> None:
    watched = history()
    old, new = (Certificate("s", "i", 0, end) for end in (10, 20))
    watched.saw_certificate(new)
    watched.saw_certificate(old)
    watched.saw_certificate(None)
    assert watched.certificate == new
