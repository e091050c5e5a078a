"""A playbook's parameters: what a YAML file in `playbooks/` may say, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import yaml
from pydantic import Field

from foundation.config import Part
from foundation.durations import Duration, PositiveDuration

if TYPE_CHECKING:
    from collections.abc import Mapping


class ConfirmStep(Part):
    """Two looks that agree, one probe interval apart."""

    deadline: PositiveDuration
    """How long a verdict of `wait` is waited for."""


class EvidenceStep(Part):
    """What is saved before anything is deleted."""

    deadline: PositiveDuration
    log_lines: int = Field(ge=0, le=5000)


class DeleteStep(Part):
    """Look, announce, delete, for each pod."""

    deadline: PositiveDuration
    """For how long a verdict of `wait` between two deletions is waited for, beyond the settle time."""


class ReplaceStep(Part):
    """Wait for the replacements."""

    start_budget: PositiveDuration
    """What a pod may take to become ready; its termination grace comes on top."""


class ActiveStep(Part):
    """Wait for exactly one active BBS."""

    deadline: PositiveDuration


class VerifyStep(Part):
    """See it answer for a while."""

    dwell: Duration
    deadline: PositiveDuration


class Steps(Part):
    """Each step with its parameters."""

    confirm: ConfirmStep
    evidence: EvidenceStep
    delete: DeleteStep
    replace: ReplaceStep
    active: ActiveStep
    verify: VerifyStep


@dataclass(frozen=True, slots=True)
class Playbook:
    """One playbook."""

    name: str
    title: str
    steps: Steps
    given: Mapping[str, Mapping[str, object]]
    """The steps as written, for a configuration to replace single values."""


def _read() -> Mapping[str, Playbook]:
    found = {}
    for file in resources.files("remediator.playbooks").iterdir():
        if file.name.endswith(".yaml"):
            read = yaml.safe_load(file.read_text(encoding="utf-8"))
            steps = Steps.model_validate(read["steps"])
            found[read["name"]] = Playbook(read["name"], read["title"], steps, read["steps"])
    return MappingProxyType(found)


PLAYBOOKS: Final = _read()
"""All that the program knows, by name."""
