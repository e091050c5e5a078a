"""The simulator's two clocks, passed in so that tests need not wait."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """A clock."""

    def monotonic(self) -> float:
        """Give seconds that never jump, for everything that lasts."""

    def time(self) -> float:
        """Give Unix time, for everything that is written down."""


class SystemClock:
    """The machine's own."""

    def monotonic(self) -> float:
        """Give `time.monotonic()`."""
        return time.monotonic()

    def time(self) -> float:
        """Give `time.time()`."""
        return time.time()


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take, in seconds; the defaults are a real foundation's (SCF 2.12, Kubernetes' own)."""

    lock_ttl: float = 15.0
    lock_retry: float = 1.0
    label: float = 10.0
    """Between two refreshes of a pod's active label."""
    not_ready: float = 30.0
    """From a failing readiness check to NotReady: three periods of ten seconds."""
    schedule: float = 1.0
    """From a pod's end to its replacement's creation."""
    start: float = 5.0
    """From creation to running containers."""
    ready: float = 10.0
    """From running containers to Ready."""
    terminate: float = 5.0
    """How long a well pod takes to end."""
    grace: float = 600.0
    """The termination grace, which a wedged process uses up: it ignores TERM."""
    cc_timeout: float = 30.0
    """After which a Cloud Controller gives up on a BBS that does not answer: three tries of ten seconds."""
    heartbeat: float = 30.0
    """Between two synchronisations by cc-clock."""
    request: float = 2.0
    """Between two requests to one Cloud Controller."""

    def scaled(self, speed: float) -> Timing:
        """Give the same story told `speed` times as fast; raises ValueError unless it is positive."""
        if speed <= 0:
            raise ValueError(f"speed must be positive, got {speed}")
        return Timing(
            lock_ttl=self.lock_ttl / speed,
            lock_retry=self.lock_retry / speed,
            label=self.label / speed,
            not_ready=self.not_ready / speed,
            schedule=self.schedule / speed,
            start=self.start / speed,
            ready=self.ready / speed,
            terminate=self.terminate / speed,
            # Kubernetes counts the grace in whole seconds.
            grace=max(1.0, round(self.grace / speed)),
            cc_timeout=self.cc_timeout / speed,
            heartbeat=self.heartbeat / speed,
            request=self.request / speed,
        )
