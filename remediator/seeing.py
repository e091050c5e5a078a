"""What a run reads off one look: pure functions of a Sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundation.observation import PodProbe

if TYPE_CHECKING:
    from remediator.lookout import Sight


def uids_to_restart(sight: Sight) -> list[str]:
    """The pods that the verdict names, so that a replaced one makes two looks differ."""
    names = set(sight.look.diagnosis.pods_to_restart)
    return sorted(pod.uid for pod in sight.pods() if pod.name in names)


def not_one_active(sight: Sight) -> str:
    """Empty where exactly one BBS serves and, with a label, it alone carries it; else what is wrong."""
    if sight.blind:
        return f"nothing could be seen: {sight.blind}"
    pods = sight.look.pods
    words = sight.look.observation.pods
    serving = {pod.name for pod in words if pod.probe is PodProbe.SERVES}
    if len(serving) != 1:
        return f"{len(serving)} BBS pods serve instead of one"
    marked = {pod.seen.name for pod in pods if pod.active and pod.role == "bbs"}
    if sight.look.observation.signals.layout_has_label and marked != serving:
        return f"the active label is on {', '.join(sorted(marked)) or 'no pod'}, while {', '.join(serving)} serves"
    return ""


def foreign_owner(sight: Sight) -> str:
    """Where Locket names the lock's owner and that is another of our pods than the one that serves."""
    serving = {str(pod.name) for pod in sight.look.observation.pods if pod.probe is PodProbe.SERVES}
    names = {pod.seen.name for pod in sight.look.pods if pod.role == "bbs"}
    for pod in sight.look.pods:
        owner = (pod.locket.detail if pod.locket else "").removeprefix("the lock is held by ")
        if owner in names - serving:
            return f"Locket says that {owner} holds the lock, while {', '.join(serving)} serves"
    return ""
