"""When a foundation has its turn: never late, at its place, and not all at once."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.monitor import next_turn
from exporter.service import _GOLDEN

times = st.floats(0, 1e7)
intervals = st.floats(0.05, 3600)
places = st.floats(0, 1, exclude_max=True)


@given(times, intervals, places, st.lists(st.floats(0, 3), max_size=20))
def test_the_next_turn_is_at_most_an_interval_away_and_at_its_place(
    now: float, interval: float, place: float, late: list[float]
) -> None:
    for slow in [0.0, *late]:
        due = next_turn(now, interval, place)
        assert interval / 100 * 0.9 < due - now <= interval * 1.011
        off = (due - place * interval) % interval
        assert min(off, interval - off) <= 1e-6 * interval + 1e-6
        now = max(due, now + slow * interval)


def test_a_thread_that_wakes_too_early_has_no_turn_twice() -> None:
    assert next_turn(104.999, 5.0, 0.0) == 110.0
    assert next_turn(105.0, 5.0, 0.0) == 110.0
    assert next_turn(105.001, 5.0, 0.0) == 110.0


def test_many_lie_about_evenly() -> None:
    for number in (2, 3, 10, 50, 200):
        turns = sorted(next_turn(1000.0, 5.0, (k * _GOLDEN) % 1.0) for k in range(1, number + 1))
        gaps = [after - before for before, after in pairwise([*turns, turns[0] + 5.0])]
        assert max(gaps) <= 2 * 5.0 / number
        assert min(gaps) >= 0.3 * 5.0 / number
