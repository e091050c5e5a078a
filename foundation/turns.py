"""How long one thread may keep the interpreter while others wait for it.

Each that waits wakes up as often as that to ask for it. With hundreds of foundations hundreds wait, and with Python's
5 ms their asking alone takes the processor from the one that works: probes are late by seconds, and a scrape takes
several times as long (docs/benchmarks.md, "Many foundations").
"""

from __future__ import annotations

import sys

SECONDS = 0.03


def take_longer_turns() -> None:
    """For this process, from now on."""
    sys.setswitchinterval(SECONDS)
