"""Work that several threads want done, done for all of them at once by whichever comes first."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


@dataclass(slots=True)
class _Waiting(Generic[T]):
    job: T
    done: bool = False
    error: Exception | None = None


@dataclass(slots=True)
class Together(Generic[T]):
    """While one batch is at work the next one gathers, so that each job waits for two batches at the most."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held during a batch; take it for what must not happen beside one."""
    _gathering: threading.Lock = field(default_factory=threading.Lock)
    _waiting: list[_Waiting[T]] = field(default_factory=list)

    def do(self, job: T, work: Callable[[Sequence[T]], None]) -> None:
        """Return when `work` was done on a batch with this job in it. Raises what that batch raised."""
        mine = _Waiting(job)
        with self._gathering:
            self._waiting.append(mine)
        with self.lock:
            if not mine.done:
                self._work(work)
        if mine.error is not None:
            raise mine.error

    def _work(self, work: Callable[[Sequence[T]], None]) -> None:
        with self._gathering:
            batch, self._waiting = self._waiting, []
        try:
            work([one.job for one in batch])
        except Exception as error:  # noqa: BLE001  each of those who wait is told
            for one in batch:
                one.error = error
        for one in batch:
            one.done = True
