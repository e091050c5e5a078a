"""This process's hold of a run: every write goes through it, is guarded by the epoch, and renews it.

A hold is believed only on one's own boot-time clock, from before the last write that succeeded. When the API server
cannot be written to for as long as the claim lasts, somebody else may have it: then `Superseded` ends all that is done
under it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from foundation.kube.errors import KubeError, ServerError, TooManyRequests, Unreachable
from remediator.ledger import Superseded, held, with_run
from remediator.store import Busy

if TYPE_CHECKING:
    from collections.abc import Callable

    from remediator.admission import Instant
    from remediator.ledger import Ledger, Run
    from remediator.store import LedgerStore, Reading


class Claim:
    """Use it from the one thread that carries out the run."""

    def __init__(
        self,
        store: LedgerStore,
        reading: Reading,
        *,
        began: float,
        duration: float,
        boot: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        """`reading` is the ledger as written by the swap that made the claim; `began` the boot time before it."""
        if reading.ledger.run is None:
            raise Superseded("there is no run to hold")
        self._store = store
        self.holder, self.epoch = reading.ledger.holder, reading.ledger.epoch
        self.run: Run = reading.ledger.run
        self.reading = reading
        self._renewed = began
        self.duration = duration
        self._boot = boot
        self._sleep = sleep

    def age(self) -> float:
        """Seconds since before the write that last renewed it."""
        return self._boot() - self._renewed

    def write(self, change: Callable[[Ledger, Instant], Ledger]) -> Reading:
        """Change the ledger under this claim; tries again while the claim can still be ours.

        Raises Superseded, whatever `change` raises, and KubeError where trying again is of no use.
        """

        def guarded(ledger: Ledger, instant: Instant) -> Ledger:
            held(ledger, self.holder, self.epoch)
            return change(ledger, instant)

        pause = 0.1
        while True:
            began = self._boot()
            try:
                reading = self._store.swap(guarded)
                break
            except (Unreachable, ServerError, TooManyRequests, Busy) as error:
                problem: KubeError | Busy = error
            if self._boot() + pause > self._renewed + self.duration:
                raise Superseded(f"the claim could not be renewed in time: {problem}") from problem
            self._sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter
            pause = min(2.0, pause * 2)
        self._renewed = began
        self.reading = reading
        if reading.ledger.run is not None:
            self.run = reading.ledger.run
        return reading

    def finish(self, change: Callable[[Ledger, Instant], Ledger]) -> Reading:
        """Write the change that ends the run. One whose answer was lost is found to be made already.

        Nobody but the holder of this epoch ends the run, and whoever comes after raises the epoch.
        """
        name = self.run.name
        try:
            return self.write(change)
        except Superseded:
            reading = self._store.read()
            last = reading.ledger.last
            if reading.ledger.epoch != self.epoch or last is None or last.request.name != name:
                raise
            return reading

    def keep(self) -> None:
        """Renew it when a third of its time is over."""
        if self.age() > self.duration / 3:
            self.write(lambda ledger, _: with_run(ledger, held(ledger, self.holder, self.epoch)))

    def put(self, change: Callable[[Run, Instant], Run]) -> Run:
        """Change the run. The change is made from this process's own copy, so that doing it twice does no harm."""
        base = self.run
        self.write(lambda ledger, instant: with_run(ledger, change(base, instant)))
        return self.run
