"""Address blocks: two simulators never take the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.net import Block

if TYPE_CHECKING:
    import random


class Drawn:
    """Draws what it is told."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)

    def randint(self, _low: int, _high: int) -> int:
        return self.numbers.pop(0)


def draw(*numbers: int) -> random.Random:
    return Drawn(*numbers)  # type: ignore[return-value]  # the one method that is used


def test_a_block_that_is_taken_is_drawn_again() -> None:
    first = Block(draw(251, 1))
    second = Block(draw(251, 1, 251, 1, 251, 2))
    try:
        assert (first.service, second.service) == ("127.251.1.1", "127.251.2.1")
    finally:
        first.close()
        second.close()


def test_pod_addresses_are_fresh_for_a_long_time() -> None:
    block = Block(draw(252, 1))
    try:
        addresses = [block.pod() for _ in range(241)]
        assert len(set(addresses)) == 240
        assert addresses[240] == addresses[0] == "127.252.1.10"
    finally:
        block.close()
