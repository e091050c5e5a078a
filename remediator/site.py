"""Everything that belongs to one foundation in this process, handed from part to part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from remediator.store import LedgerStore, Remediations

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from foundation.config import FoundationConfig
    from foundation.kube.client import KubeClient
    from remediator.config import PlaybookConfig, RemediatorSection
    from remediator.ledger import Run
    from remediator.lookout import Lookout, Sight
    from remediator.playbook import Playbook
    from remediator.trail import Trail


class Evidence(Protocol):
    """What saves what a deletion would destroy."""

    def save(self, run: Run, sight: Sight, keep: Callable[[], None]) -> str:
        """Capture and store; gives the ConfigMap's name. Calls `keep` between its requests.

        Raises KubeError where it could not be stored.
        """
        ...


class LayoutUnknown(Exception):  # noqa: N818
    """The foundation's layout is not known yet, so neither is its ledger."""


@dataclass(frozen=True, slots=True)
class Site:
    """One foundation's parts. `boot` is a clock that runs while the machine sleeps."""

    config: FoundationConfig
    section: RemediatorSection
    client: KubeClient
    lookout: Lookout
    remediations: Remediations
    trail: Trail
    evidence: Evidence | None
    holder: str
    """This process's own name: no two processes have the same."""
    boot: Callable[[], float]
    wall: Callable[[], float]
    stopping: Event
    wake: Event
    """Set by whoever put something into the queue."""

    @property
    def name(self) -> str:
        """The foundation's."""
        return self.config.name

    @property
    def ledger(self) -> LedgerStore:
        """The target's ledger. Raises LayoutUnknown."""
        layout = self.lookout.layout
        if layout is None:
            sight = self.lookout.newest
            why = sight.blind if sight else "no look was made yet"
            raise LayoutUnknown(f"the layout of {self.name} is not known: {why}")
        return LedgerStore(self.client, self.config.namespace, layout.roles.bbs.statefulset, wall=self.wall)

    def playbook(self, name: str) -> tuple[PlaybookConfig, Playbook] | None:
        """A playbook with what the configuration allows it; None where it is not configured."""
        config = self.section.playbooks.get(name)
        return None if config is None else (config, self.section.books[name])
