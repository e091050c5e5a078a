"""Capped, jittered exponential back-off. It only computes delays; the caller sleeps, so that tests need not."""

from __future__ import annotations

from random import Random, SystemRandom


class Backoff:
    """Successive delays in seconds: `first`, doubled each time up to `cap`, each multiplied by 0.5 to 1 at random.

    No delay is ever zero, so a loop that always waits for `next()` cannot run hot, and none exceeds `cap`.
    """

    def __init__(self, first: float = 0.5, cap: float = 30.0, factor: float = 2.0, rng: Random | None = None) -> None:
        if first <= 0 or cap < first or factor < 1:
            raise ValueError(f"back-off needs 0 < first <= cap and factor >= 1, not {first}, {cap}, {factor}")
        self._first, self._cap, self._factor = first, cap, factor
        self._rng = rng if rng is not None else SystemRandom()
        self._base = first
        self.failures = 0
        """How many delays were given since the last reset."""

    def next(self, at_least: float | None = None) -> float:
        """The next delay. `at_least` (a server's Retry-After) raises it, still not above twice the cap."""
        base, self._base = self._base, min(self._cap, self._base * self._factor)
        self.failures += 1
        return max(base * self._rng.uniform(0.5, 1.0), min(at_least or 0.0, 2 * self._cap))

    def reset(self) -> None:
        """Begin anew after a success."""
        self._base, self.failures = self._first, 0
