"""Rules of the protocol left out on purpose: each must make a scenario fail, or the scenario shows nothing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def leave_out(rule: str) -> None:
    """Break this process. Raises KeyError for a rule that is not known."""
    BROKEN[rule]()


def _put(owner: object, name: str, value: object) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name}: what is left out must be there")
    setattr(owner, name, value)


def _fence() -> None:
    from remediator.run.deleting import Deletion

    _put(Deletion, "fence", lambda _self: None)


def _fresh() -> None:
    from remediator.run.deleting import Deletion

    _put(Deletion, "_fresh", lambda _self, _sight: True)


def _version() -> None:
    from foundation.kube.client import KubeClient

    real = KubeClient.delete

    def delete(self: KubeClient, path: str, **given: Any) -> Any:
        given["resource_version"] = None
        return real(self, path, **given)

    _put(KubeClient, "delete", delete)


def _epoch() -> None:
    from remediator import ledger

    def held(found: Any, _holder: str, _epoch: int) -> Any:
        if found.run is None:
            raise ledger.Superseded("there is no run")
        return found.run

    import remediator.claim

    _put(ledger, "held", held)
    _put(remediator.claim, "held", held)


def _recorded_once() -> None:
    """A new holder records the pods again."""
    from remediator.run.runner import Runner

    real = Runner._go

    def go(self: Runner) -> None:
        if self._way.run.recorded:
            self._way.claim.put(lambda run, _: run.model_copy(update={"recorded": False, "intents": (), "deleted": ()}))
        real(self)

    _put(Runner, "_go", go)


def _admission_at_claim() -> None:
    import remediator.executor

    _put(remediator.executor, "admit", lambda *_: None)


def _history_lost() -> None:
    """A missing ledger is taken for a new one."""
    from remediator.ledger import Ledger
    from remediator.store import LedgerStore, Remediations

    def born(self: LedgerStore, _now: Any) -> Ledger:
        theirs = Remediations(self._client, self.namespace).list()
        return Ledger(next_n=max((item.number for item in theirs), default=0) + 1)

    _put(LedgerStore, "_born", born)


def _pause() -> None:
    """A pause is not looked at between the claim and the deletion."""
    from remediator.ledger import Ledger

    _put(Ledger, "paused", lambda _self, _now: None)


def _serverclock() -> None:
    import remediator.admission

    _put(remediator.admission, "MAX_SKEW", float("inf"))
    from remediator.store import LedgerStore

    real = LedgerStore._instant

    def instant(self: LedgerStore) -> Any:
        from datetime import UTC, datetime

        from remediator.admission import Instant

        real(self)
        return Instant(datetime.fromtimestamp(self._wall(), UTC), 0.0)

    _put(LedgerStore, "_instant", instant)


def _swap() -> None:
    """The ledger is written without its resourceVersion: whoever comes last wins."""
    from foundation.kube.client import KubeClient
    from foundation.kube.errors import Target

    def replace(self: KubeClient, path: str, body: Any) -> Any:
        del body["metadata"]["resourceVersion"]
        return self._json("PUT", Target.of("update", path), path, body=body)

    _put(KubeClient, "replace", replace)


def _stored() -> None:
    """What could not be written counts as written."""
    from foundation.kube.errors import KubeError
    from remediator.store import LedgerStore, Reading

    def write(self: LedgerStore, wanted: Any, reading: Reading) -> Reading:
        with contextlib.suppress(KubeError):
            return real(self, wanted, reading)
        return Reading(wanted, reading.version, reading.instant)

    real = LedgerStore._write
    _put(LedgerStore, "_write", write)


def _take_over() -> None:
    """A run whose holder is gone is left where it is."""
    from remediator.executor import Executor

    _put(Executor, "_abandoned", lambda _self, _ledger, _began: False)


def _resolved() -> None:
    """A resolved alert ends the run under way."""
    from datetime import timedelta

    from remediator import ledger as ledgers
    from remediator.intake import Intake
    from remediator.words import Phase

    real = Intake._resolve

    def resolve(self: Intake, site: Any, alert: Any) -> Any:
        def change(ledger: Any, instant: Any) -> Any:
            if ledger.run is None:
                return ledger
            message = "the alert has resolved"
            return ledgers.close(ledger, Phase.CANCELLED, message, instant.server, backoff=timedelta(seconds=2))

        site.ledger.swap(change)
        return real(self, site, alert)

    _put(Intake, "_resolve", resolve)


def _unread() -> None:
    """Pods that cannot be read are taken to be as they were."""
    from foundation.cluster import ListedCluster

    real = ListedCluster.refresh

    def refresh(self: ListedCluster) -> None:
        real(self)
        if self._problem:
            self._read, self._problem = self._monotonic(), ""

    _put(ListedCluster, "refresh", refresh)


def _unreadable() -> None:
    """A ledger that cannot be understood is taken for a new one."""
    from remediator import ledger as ledgers

    real = ledgers.parse

    def parse(text: str) -> ledgers.Ledger:
        try:
            return real(text)
        except ledgers.LedgerUnreadable:
            return ledgers.Ledger(next_n=1000)

    _put(ledgers, "parse", parse)


BROKEN: dict[str, Callable[[], None]] = {
    "fence": _fence,
    "fresh": _fresh,
    "version": _version,
    "epoch": _epoch,
    "recorded-once": _recorded_once,
    "admission-at-claim": _admission_at_claim,
    "history-lost": _history_lost,
    "pause": _pause,
    "server-clock": _serverclock,
    "swap": _swap,
    "stored": _stored,
    "take-over": _take_over,
    "resolved": _resolved,
    "unread": _unread,
    "unreadable": _unreadable,
}
