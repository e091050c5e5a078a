"""The ledger and the Remediations in the cluster: consistent reads, and each change as one compare-and-swap.

A change is a pure function of the newest ledger. It must be idempotent: when an answer is lost, it is applied to
whatever is found then, and a change that has been made already makes no difference. Nothing here waits long; what could
not be read or written is raised as KubeError, and means no.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from foundation.kube.errors import Conflict, NotFound, ServerError, TooManyRequests, Unreachable
from foundation.kube.paths import configmap_path, configmaps_path, group_path
from remediator import ledger as ledgers
from remediator.admission import Instant
from remediator.ledger import Breaker, Ledger, LedgerUnreadable, Superseded
from remediator.words import GROUP, KIND, PLURAL, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foundation.kube.client import Json, KubeClient

ATTEMPTS = 8
"""How often a swap is tried against other writers before it gives up."""
MANAGED_BY = {"app.kubernetes.io/managed-by": "stager-remediator"}


@dataclass(frozen=True, slots=True)
class Reading:
    """A ledger as read, and when."""

    ledger: Ledger
    version: str
    """Its resourceVersion; empty: it does not exist yet."""
    instant: Instant


class Busy(Exception):  # noqa: N818
    """Other writers were always first; nothing was changed."""


def ledger_name(statefulset: str) -> str:
    """The ledger of the target whose BBS is this StatefulSet."""
    return f"stager-medic-{statefulset}"


class LedgerStore:
    """One target's ledger. Thread-safe: it keeps no state."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        statefulset: str,
        *,
        wall: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self.namespace = namespace
        self.name = ledger_name(statefulset)
        self._wall = wall
        self._sleep = sleep

    def read(self) -> Reading:
        """The newest ledger, read from the API server itself.

        A ledger that is missing while Remediations of this target exist is a lost history: the breaker is open.
        Raises KubeError, LedgerUnreadable.
        """
        try:
            found = self._client.get(configmap_path(self.namespace, self.name))
        except NotFound:
            instant = self._instant()
            return Reading(self._born(instant.server), "", instant)
        instant = self._instant()
        data = found.get("data")
        text = data.get("ledger") if isinstance(data, dict) else None
        if not isinstance(text, str):
            raise LedgerUnreadable(f"ConfigMap {self.name} holds no ledger")
        return Reading(ledgers.parse(text), _version(found), instant)

    def swap(self, change: Callable[[Ledger, Instant], Ledger]) -> Reading:
        """Apply a change to the newest ledger, and give it as it then is.

        Raises what `change` raises; KubeError; LedgerUnreadable; Busy; Superseded where the ledger was deleted.
        """
        broken: Exception | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(random.uniform(0, 0.02 * attempt))  # noqa: S311  jitter
            reading = self.read()
            wanted = change(reading.ledger, reading.instant)
            if wanted == reading.ledger and reading.version:
                return reading
            try:
                return self._write(wanted, reading)
            except Conflict:
                broken = None
            except NotFound as error:
                if not reading.version:
                    raise  # it is the namespace that is not there
                raise Superseded(f"the ledger {self.name} was deleted") from error
            except (Unreachable, ServerError, TooManyRequests) as error:
                # It may have been written: only reading again can tell. Once; then the caller decides.
                if broken is not None:
                    raise
                broken = error
        raise Busy(f"the ledger {self.name} was always changed by somebody else first")

    def _write(self, wanted: Ledger, reading: Reading) -> Reading:
        body = self._body(wanted, reading.version)
        if reading.version:
            stored = self._client.replace(configmap_path(self.namespace, self.name), body)
        else:
            stored = self._client.create(configmaps_path(self.namespace), body)
        return Reading(wanted, _version(stored), self._instant())

    def _body(self, ledger: Ledger, version: str) -> Json:
        metadata: Json = {"name": self.name, "namespace": self.namespace, "labels": {**MANAGED_BY}}
        if version:
            metadata["resourceVersion"] = version
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"ledger": ledgers.dump(ledger)},
        }

    def _instant(self) -> Instant:
        told = self._client.answer_date()
        if told is None:  # without the server's clock nothing can be judged
            return Instant(datetime.fromtimestamp(self._wall(), UTC), float("inf"))
        return Instant(datetime.fromtimestamp(told, UTC), self._wall() - told)

    def _born(self, now: datetime) -> Ledger:
        theirs = [item for item in Remediations(self._client, self.namespace).list() if item.target == self.name]
        if not theirs:
            return Ledger()
        newest = max(item.number for item in theirs)
        why = f"the ledger {self.name} is gone while Remediations exist: limits and failures are forgotten"
        return Ledger(next_n=newest + 1, breaker=Breaker(since=now, why=why))


@dataclass(frozen=True, slots=True)
class Remediation:
    """A Remediation as the API server gives it, reduced to what is asked of it."""

    raw: Json

    @property
    def metadata(self) -> Json:
        """Its metadata."""
        return _map(self.raw.get("metadata"))

    @property
    def spec(self) -> Json:
        """The request."""
        return _map(self.raw.get("spec"))

    @property
    def status(self) -> Json:
        """The copy of the story."""
        return _map(self.raw.get("status"))

    @property
    def name(self) -> str:
        """Its name."""
        return _text(self.metadata.get("name"))

    @property
    def uid(self) -> str:
        """Its UID."""
        return _text(self.metadata.get("uid"))

    @property
    def version(self) -> str:
        """Its resourceVersion."""
        return _text(self.metadata.get("resourceVersion"))

    @property
    def foundation(self) -> str:
        """Which foundation it is about; what a hand-made one says."""
        return _text(self.spec.get("foundation"))

    @property
    def playbook(self) -> str:
        """Which playbook it asks for."""
        return _text(self.spec.get("playbook"))

    @property
    def phase(self) -> str:
        """Its phase; empty where none was written yet."""
        return _text(self.status.get("phase"))

    @property
    def target(self) -> str:
        """The ledger's name, where one of us made the object; empty for a hand-made one."""
        return _text(_map(self.metadata.get("labels")).get(f"{GROUP}/target"))

    @property
    def deleting(self) -> bool:
        """Whether its deletion was asked for."""
        return "deletionTimestamp" in self.metadata

    @property
    def approval(self) -> Json:
        """What people said of it."""
        return _map(self.spec.get("approval"))

    @property
    def number(self) -> int:
        """The n of its name; 0 for a hand-made name."""
        last = self.name.rpartition(".")[2]
        return int(last) if last.isascii() and last.isdigit() and len(last) < 16 else 0


class Remediations:
    """The custom resources of one namespace."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    def _path(self, name: str | None = None, sub: str | None = None) -> str:
        return group_path(GROUP, VERSION, self._namespace, PLURAL, name, sub=sub)

    def list(self) -> Sequence[Remediation]:
        """All of the namespace, read from the API server itself."""
        items, _ = self._client.list_all(self._path())
        return tuple(Remediation(item) for item in items)

    def get(self, name: str) -> Remediation:
        """One, by its name."""
        return Remediation(self._client.get(self._path(name)))

    def create(self, name: str, spec: Json, target: str) -> Remediation:
        """Make one; one that exists under this name is taken for it."""
        body: Json = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": name, "labels": {**MANAGED_BY, f"{GROUP}/target": target}},
            "spec": spec,
        }
        try:
            return Remediation(self._client.create(self._path(), body))
        except Conflict:
            return self.get(name)

    def write_status(self, name: str, status: Json, version: str | None = None) -> Remediation:
        """Replace fields of the status; with a version only if nothing changed since (Conflict)."""
        body: Json = {"status": status}
        if version is not None:
            body["metadata"] = {"resourceVersion": version}
        return Remediation(self._client.patch(self._path(name, "status"), body))

    def write_spec(self, name: str, spec: Json, version: str) -> Remediation:
        """Replace fields of the spec, only if nothing changed since (Conflict)."""
        body: Json = {"metadata": {"resourceVersion": version}, "spec": spec}
        return Remediation(self._client.patch(self._path(name), body))

    def delete(self, found: Remediation) -> None:
        """Remove one that has ended, if it is still the same."""
        self._client.delete(self._path(found.name), uid=found.uid)


def _version(found: Json) -> str:
    version = _text(_map(found.get("metadata")).get("resourceVersion"))
    if not version:
        raise LedgerUnreadable("the API server gave an object without resourceVersion")
    return version


def _map(value: object) -> Json:
    return cast("Json", value) if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
