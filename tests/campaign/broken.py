"""Rules of the protocol left out on purpose: each must make a scenario fail, or the scenario shows nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def leave_out(rule: str) -> None:
    """Break this process. Raises KeyError for a rule that is not known."""
    BROKEN[rule]()


def _fence() -> None:
    from remediator.runner import Runner

    Runner._fence = lambda _self: None  # type: ignore[method-assign]


def _fresh() -> None:
    from remediator.runner import Runner

    Runner._fresh = lambda _self, _sight: True  # type: ignore[method-assign]


def _version() -> None:
    from foundation.kube.client import KubeClient

    real = KubeClient.delete

    def delete(self: KubeClient, path: str, **given: Any) -> Any:
        given["resource_version"] = None
        return real(self, path, **given)

    KubeClient.delete = delete  # type: ignore[method-assign,assignment]


def _epoch() -> None:
    from remediator import ledger

    def held(found: Any, _holder: str, _epoch: int) -> Any:
        if found.run is None:
            raise ledger.Superseded("there is no run")
        return found.run

    ledger.held = held
    import remediator.claim

    remediator.claim.held = held


def _recorded_once() -> None:
    """A new holder records the pods again."""
    from remediator.runner import Runner

    real = Runner._go

    def go(self: Runner) -> None:
        if self.run.recorded:
            self._claim.put(lambda run, _: run.model_copy(update={"recorded": False, "intents": (), "deleted": ()}))
        real(self)

    Runner._go = go  # type: ignore[method-assign]


def _admission_at_claim() -> None:
    import remediator.executor

    remediator.executor.admit = lambda *_: None


def _own_name() -> None:
    import remediator.service

    remediator.service.own_name = lambda: "same"


def _serverclock() -> None:
    import remediator.admission

    remediator.admission.MAX_SKEW = float("inf")
    from remediator.store import LedgerStore

    real = LedgerStore._instant

    def instant(self: LedgerStore) -> Any:
        from datetime import UTC, datetime

        from remediator.admission import Instant

        real(self)
        return Instant(datetime.fromtimestamp(self._wall(), UTC), 0.0)

    LedgerStore._instant = instant  # type: ignore[method-assign]


def _swap() -> None:
    """The ledger is written without its resourceVersion."""
    from foundation.kube.client import KubeClient

    real = KubeClient.replace

    def replace(self: KubeClient, path: str, body: Any) -> Any:
        current = self.get(path)
        body["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]  # type: ignore[index]
        return real(self, path, body)

    KubeClient.replace = replace  # type: ignore[method-assign]


BROKEN: dict[str, Callable[[], None]] = {
    "fence": _fence,
    "fresh": _fresh,
    "version": _version,
    "epoch": _epoch,
    "recorded-once": _recorded_once,
    "admission-at-claim": _admission_at_claim,
    "own-name": _own_name,
    "server-clock": _serverclock,
    "swap": _swap,
}
