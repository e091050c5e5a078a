"""The closed sets of words that objects, answers, metrics and the audit log share."""

from __future__ import annotations

from enum import StrEnum

GROUP, VERSION, KIND, PLURAL = "stager-medic.dev", "v1alpha1", "Remediation", "remediations"
FENCE = "stager-medic.dev/fence"
"""The annotation by which a holder makes older DELETEs of a pod bounce."""
PLAYBOOK = "restart-diego-api"


class Phase(StrEnum):
    """Where a Remediation stands."""

    PENDING = "Pending"
    AWAITING_APPROVAL = "AwaitingApproval"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    NOT_NEEDED = "NotNeeded"
    WOULD_NOT_HELP = "WouldNotHelp"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self not in (Phase.PENDING, Phase.AWAITING_APPROVAL, Phase.RUNNING)


class Mode(StrEnum):
    """What may happen without a person, from the strictest."""

    OFF = "off"
    DRY_RUN = "dry-run"
    """Every step but the deletion, which the API server is asked to rehearse."""
    APPROVAL = "approval"
    AUTO = "auto"


def stricter(one: Mode, other: Mode) -> Mode:
    """Of two modes the one that allows less."""
    order = list(Mode)
    return min(one, other, key=order.index)


class Strategy(StrEnum):
    """How the pods of the verdict's set are taken."""

    ALL = "all"
    """The whole set within one fresh verdict: the vendor's runbook."""
    ONE_BY_ONE = "one-by-one"
    """A look after each; it stops when healthy."""


class Outcome(StrEnum):
    """What became of one alert."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    IGNORED = "ignored"


class Reason(StrEnum):
    """Why a request was refused, ignored, or found to be a duplicate."""

    CLOCK = "clock"
    """The API server's clock and ours differ by more than 30 s."""
    MODE_OFF = "mode_off"
    PAUSED = "paused"
    BREAKER = "breaker"
    """A failure that nobody has acknowledged, or a lost history."""
    BACKOFF = "backoff"
    """A moment ago it was not needed, or would not have helped."""
    COOLDOWN = "cooldown"
    LIMIT = "limit"
    RUNNING = "running"
    """A Remediation of the same target is open already."""
    RESOLVED = "resolved"
    NO_REMEDY = "no_remedy"
    """The alert asks for nothing: it carries no label `remediate`."""
    UNKNOWN_FOUNDATION = "unknown_foundation"
    UNKNOWN_PLAYBOOK = "unknown_playbook"
    BAD_ALERT = "bad_alert"
    """A label or time that cannot be right."""


class Step(StrEnum):
    """The steps of a run, in their order."""

    CONFIRM = "confirm"
    EVIDENCE = "evidence"
    RECORD = "record"
    DELETE = "delete"
    REPLACE = "replace"
    ACTIVE = "active"
    VERIFY = "verify"
    FENCE = "fence"
