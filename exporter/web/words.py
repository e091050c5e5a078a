"""Words for a person: what each verdict means, whether a restart would help, and how times read.

Pure functions. The verdicts and their order are the rules' business; a verdict that is not in the table is shown by its
own name, so that a new rule never breaks the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Tone = Literal["good", "wait", "bad", "unsure"]
"""How a verdict looks: each tone has its own colour and its own shape."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A verdict for a person."""

    title: str
    sentence: str
    tone: Tone


MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    {
        "healthy": Meaning("Healthy", "Exactly one BBS serves, and Cloud Controller can reach it.", "good"),
        "unknown": Meaning("Unknown", "Too little could be seen to say how Diego is.", "unsure"),
        "split": Meaning("Two are open", "More than one BBS answers as if it held the lock.", "bad"),
        "zombie": Meaning("A hung BBS is in the way", "One BBS serves, but another still draws its requests.", "bad"),
        "unlabelled_active": Meaning(
            "The serving BBS is not marked", "One BBS serves, but the Service does not send requests to it.", "bad"
        ),
        "electing": Meaning("Electing", "Things changed a moment ago; a BBS is expected to take over.", "wait"),
        "network_path": Meaning("The way to BBS is broken", "A BBS runs, but not every path to it works.", "bad"),
        "api_down": Meaning("No API pod is ready", "Cloud Controller itself is not ready to take a push.", "bad"),
        "certificate": Meaning(
            "A certificate is refused", "BBS or this exporter shows a certificate that is not accepted.", "bad"
        ),
        "database_down": Meaning("The database is down", "Diego's SQL database does not answer.", "bad"),
        "database_error": Meaning("The database gives errors", "BBS answers, and its database refuses work.", "bad"),
        "locket_hung": Meaning("Locket hangs", "Locket accepts, never answers: no BBS holds the lock.", "bad"),
        "crashing": Meaning("Pods are crashing", "A BBS or Locket container ends again and again.", "bad"),
        "pods_stuck": Meaning("Pods are stuck", "A pod neither starts nor ends within its time.", "bad"),
        "migrating": Meaning("Migrating", "A BBS holds the lock and is still migrating its database.", "wait"),
        "locket_down": Meaning("Locket is down", "No Locket accepts connections, so no BBS can hold the lock.", "bad"),
        "hung": Meaning("BBS hangs", "A BBS accepts connections and never answers.", "bad"),
        "stale_label": Meaning("The label is stale", "A pod is marked active, and no BBS serves.", "bad"),
        "locked_out": Meaning("No BBS is active", "Every BBS is passive: nothing holds the lock or serves.", "bad"),
    }
)  # fmt: skip


def meaning(verdict: str) -> Meaning:
    """Give the words of a verdict; an unlisted one goes by its own name."""
    return MEANINGS.get(verdict, Meaning(verdict.replace("_", " ") or "Unknown", "", "unsure"))


def restart_words(verdict: str, restart: str) -> tuple[str, str]:
    """Give the short answer to "would a restart help?", and one sentence."""
    if restart == "yes":
        return "Yes, restart", "Restarting the pods below is expected to bring staging back."
    if restart == "ask":
        return "A person decides", "A restart may help, but something that could forbid it is not known."
    if restart == "wait":
        return "Wait", "It may heal by itself; a restart now would begin it anew."
    if verdict == "healthy":
        return "No restart needed", "Leave it as it is."
    if verdict == "unknown":
        return "Do not restart", "Nothing seen so far says that a restart would help."
    return "Do not restart", "A restart would not cure this, and may take down what still runs."


def severity(verdict: str, restart: str) -> int:
    """Give the place of a foundation in an overview: 0 wants somebody first."""
    tone = meaning(verdict).tone
    if tone == "bad":
        return 0 if restart in ("yes", "ask") else 1
    return {"unsure": 2, "wait": 3, "good": 4}[tone]


def duration(seconds: float) -> str:
    """Give a measured time with three digits at most: `0.4 ms`, `12 ms`, `3.00 s`."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else span(seconds)


def span(seconds: float) -> str:
    """Give a longer time in its largest fitting unit: `45 s`, `12 min`, `5 h`, `3 d`."""
    whole = max(0, int(seconds))
    for size, unit, upto in ((1, "s", 120), (60, "min", 7200), (3600, "h", 172800)):
        if whole < upto:
            return f"{whole // size} {unit}"
    return f"{whole // 86400} d"


def ago(at: float | None, now: float) -> str:
    """Give how long ago a Unix time was; one in the future (another clock) is told as such."""
    if at is None:
        return "never"
    if at - now >= 1:
        return f"in {span(at - now)}"
    return f"{span(now - at)} ago"


def utc(at: float | None, now: float) -> str:
    """Give a Unix time in UTC, the date only where it is not today's."""
    if at is None:
        return "-"
    try:
        moment, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC).date()
    except (OverflowError, ValueError, OSError):
        return "-"  # not a time that a calendar has
    return moment.strftime("%H:%M:%S UTC" if moment.date() == today else "%Y-%m-%d %H:%M:%S UTC")


def iso(at: float | None) -> str:
    """Give a Unix time as RFC 3339 in UTC, for a machine; empty where there is none."""
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return ""


def label_disagrees(active_label: str, probe_word: str) -> bool:
    """Tell whether a pod's label says something else than its own answer; unknown agrees with everything."""
    if not probe_word or probe_word in ("unreached", "not probed"):
        return False
    return (active_label == "yes" and probe_word != "serves") or (active_label == "no" and probe_word == "serves")
