"""A simulated cluster for tests: started in this process, fast, and closed to the last thread."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from simulator.clock import Timing
from simulator.cluster import Cluster, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

DEADLINE = 20.0


def quick(*, grace: float = 1.0, speed: float = 40.0) -> Timing:
    """Give timing for a test: fast, with a short termination grace (whole seconds)."""
    scaled = Timing().scaled(speed)
    return Timing(**{name: grace if name == "grace" else getattr(scaled, name) for name in Timing.__slots__})


@contextmanager
def simulated(
    layout: str = "cfee-2", *, foundations: int = 1, traffic: bool = False, timing: Timing | None = None
) -> Iterator[Cluster]:
    """Run a cluster; without `traffic` nothing is written to the logs of Cloud Controller by itself."""
    options = Options(foundations=foundations, layout=layout, traffic=traffic, timing=timing or quick(), seed=1)
    with Cluster(options) as cluster:
        yield cluster


def eventually(look: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
    """Give the first true value of `look`; fails after `deadline` seconds, saying what was awaited."""
    ends = time.monotonic() + deadline
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > ends:
            raise AssertionError(f"{what}: not within {deadline:g} s; last seen: {found!r}")
        time.sleep(0.01)
