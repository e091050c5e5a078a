"""The remediator's part of the configuration file. The executor obeys this, never what an object says."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from foundation.config import FoundationConfig, LocalPath, Part, ProbeConfig, Switch, Whole, unique_names
from foundation.durations import Duration, PositiveDuration
from foundation.yamlfile import load
from remediator.admission import Limit, Policy
from remediator.playbook import PLAYBOOKS, Playbook, Steps
from remediator.words import PLAYBOOK, Mode, Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class LimitConfig(Part):
    """At most `runs` within any span of `per`."""

    runs: Whole = Field(ge=1, le=1000)
    per: PositiveDuration


class PlaybookConfig(Part):
    """What one playbook may do."""

    mode: Mode = Mode.APPROVAL
    strategy: Strategy | None = None
    """None: the layout's own."""
    cooldown: Duration = 600.0
    limits: tuple[LimitConfig, ...] = Field(
        default=(LimitConfig(runs=2, per="1h"), LimitConfig(runs=4, per="24h")),
        min_length=1,
    )
    max_pods: Whole = Field(default=5, ge=1, le=50)
    steps: dict[str, dict[str, object]] = Field(default_factory=dict)
    """Replaces single parameters of the playbook's steps."""

    @property
    def policy(self) -> Policy:
        """For admission."""
        limits = tuple(Limit(limit.runs, timedelta(seconds=limit.per)) for limit in self.limits)
        return Policy(self.mode, timedelta(seconds=self.cooldown), limits)


class RemediatorWeb(Part):
    """Where the webhook listens; `config_file` is the web.yml of Prometheus's own exporters, for TLS."""

    listen: str = ":9718"
    config_file: LocalPath | None = None


class RemediatorSection(Part):
    """What only the remediator needs."""

    web: RemediatorWeb = RemediatorWeb()
    credentials_file: LocalPath | None = None
    claim: PositiveDuration = Field(default=30.0, ge=2)
    """For how long a silent holder keeps its run."""
    poll: PositiveDuration = 2.0
    """How often the ledger is read while nothing happens."""
    approval_expires: PositiveDuration = 3600.0
    backoff: Duration = 120.0
    """The wait after a run that found nothing to do."""
    retry_for: Duration = 900.0
    """For how long a refused alert is tried again without Alertmanager repeating it."""
    evidence: Switch = True
    keep: Whole = Field(default=100, ge=1, le=10_000)
    """How many ended Remediations stay."""
    playbooks: dict[str, PlaybookConfig] = Field(default_factory=lambda: {PLAYBOOK: PlaybookConfig()})

    @model_validator(mode="after")
    def _know_the_playbooks(self) -> Self:
        for name in self.playbooks:
            self._with_changes(name)
        return self

    @cached_property
    def books(self) -> Mapping[str, Playbook]:
        """The configured playbooks with this configuration's parameters."""
        return {name: self._with_changes(name) for name in self.playbooks}

    def _with_changes(self, name: str) -> Playbook:
        known = PLAYBOOKS
        if name not in known:
            raise ValueError(f"playbooks: there is no playbook {name!r}, only {', '.join(known)}")
        found = known[name]
        raw = {step: dict(given) for step, given in found.given.items()}
        for step, changes in self.playbooks[name].steps.items():
            if step not in raw:
                raise ValueError(f"playbooks.{name}.steps: there is no step {step!r}, only {', '.join(raw)}")
            raw[step].update(changes)
        try:
            return Playbook(name=found.name, title=found.title, given=raw, steps=Steps.model_validate(raw))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"playbooks.{name}.steps.{where}: {first['msg']}") from None


class RemediatorConfig(Part):
    """The whole file. The exporter's sections are the exporter's to check."""

    foundations: Annotated[tuple[FoundationConfig, ...], AfterValidator(unique_names)]
    probe: ProbeConfig = ProbeConfig()
    logs: tuple[dict[str, object], ...] = ()
    exporter: dict[str, object] = Field(default_factory=dict)
    remediator: RemediatorSection = RemediatorSection()

    @model_validator(mode="after")
    def _leave_time_to_act(self) -> Self:
        # DELETE needs a look younger than half the claim, and a look of what hangs takes the probe's whole time.
        if self.remediator.claim < 4 * self.probe.timeout:
            raise ValueError("remediator.claim: less than four times probe.timeout, no look would be fresh enough")
        return self


def load_config(path: Path) -> RemediatorConfig:
    """Raises foundation.yamlfile.ConfigurationError with every problem and its place."""
    return load(path, RemediatorConfig)
