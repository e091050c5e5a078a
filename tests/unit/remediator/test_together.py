"""Jobs of several threads done in few batches, each once, and each caller told of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from remediator.together import Together

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_what_gathers_during_a_batch_is_the_next_one() -> None:
    together: Together[int] = Together()
    batches: list[list[int]] = []
    entered, go_on = threading.Event(), threading.Event()

    def work(jobs: Sequence[int]) -> None:
        batches.append(sorted(jobs))
        entered.set()
        assert go_on.wait(10)

    threads = [threading.Thread(target=together.do, args=(0, work))]
    threads[0].start()
    assert entered.wait(10)
    threads += [threading.Thread(target=together.do, args=(number, work)) for number in (1, 2, 3)]
    for thread in threads[1:]:
        thread.start()
    while len(together._waiting) < 3:
        pass
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert batches == [[0], [1, 2, 3]]


def test_a_batch_that_fails_is_told_to_all_of_it_and_to_nobody_else() -> None:
    together: Together[str] = Together()

    def work(_jobs: Sequence[str]) -> None:
        raise LookupError("no state")

    with pytest.raises(LookupError, match="no state"):
        together.do("a", work)
    done: list[str] = []
    together.do("b", done.extend)
    assert done == ["b"]
