"""The eight guarantees, read off the API server's own log of requests.

It knows nothing of the implementation: only what the protocol writes (the ledger ConfigMap, the Remediations) and what
was asked of the API server, by whom, and what took effect. `check` gives every violation as a sentence.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Json = dict[str, Any]

FINAL = {"Succeeded", "Failed", "NotNeeded", "WouldNotHelp", "Cancelled", "Expired"}


@dataclass(frozen=True, slots=True)
class Told:
    """One answer of the webhook."""

    at: float
    status: int
    answers: Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Case:
    """What a run of the campaign leaves behind."""

    journal: Sequence[Json]
    """Every request in the order of its effect."""
    told: Sequence[Told]
    ledger: str
    """The ledger's name."""
    claim: float
    cooldown: float
    limits: Sequence[tuple[int, float]]
    first_uids: Mapping[str, str]
    """Pod names and UIDs before anything happened."""
    resolved_at: Sequence[float] = ()
    by_hand: frozenset[str] = frozenset()
    """Remediations that somebody deleted by hand."""
    lost_ledger: bool = False
    """Somebody deleted the ledger."""
    slack: float = 1.0
    """Seconds that a busy machine may be late."""


@dataclass(slots=True)
class State:
    """The ledger as stored after a request."""

    number: int
    at: float
    who: str
    ledger: Json
    """Empty once the ledger was deleted."""


@dataclass(slots=True)
class History:
    """What the journal says, sorted out."""

    states: list[State] = field(default_factory=list)
    deletes: list[Json] = field(default_factory=list)
    """Every DELETE of a pod by a remediator, answered in whatever way."""

    def before(self, number: int) -> State | None:
        """The ledger in force when request `number` took effect."""
        found = None
        for state in self.states:
            if state.number >= number:
                break
            found = state
        return found


def check(case: Case) -> list[str]:
    """Every violation; empty where all guarantees held."""
    history = _sort(case)
    return [
        *_stored(case, history),
        *_one_at_a_time(history),
        *_by_its_holder(history),
        *_only_recorded(case, history),
        *_confirmed(case, history),
        *_limited(case, history),
        *_ended(case, history),
        *_closed_to_nothing(case),
        *_not_interrupted(case, history),
    ]


def deleted(case: Case) -> list[str]:
    """Names of the pods that a remediator deleted, in order."""
    return [entry["name"] for entry in _sort(case).deletes if entry["status"] < 300 and not entry["dry_run"]]


def _ours(entry: Json) -> bool:
    return str(entry["user_agent"]).startswith("stager-remediator/")


def _who(entry: Json) -> str:
    return str(entry["user_agent"]).removeprefix("stager-remediator/")


def _sort(case: Case) -> History:
    history = History()
    for entry in case.journal:
        took = 200 <= entry["status"] < 300 and not entry["dry_run"]
        if entry["resource"] == "configmaps" and entry["name"] in (case.ledger, "") and took and entry["changes"]:
            body = entry["body"] or {}
            name = body.get("metadata", {}).get("name", entry["name"]) if isinstance(body, dict) else ""
            if name == case.ledger and entry["verb"] in ("create", "update"):
                text = body.get("data", {}).get("ledger", "{}")
                history.states.append(State(entry["number"], entry["at"], _who(entry), json.loads(text)))
            if name == case.ledger and entry["verb"] == "delete":
                history.states.append(State(entry["number"], entry["at"], _who(entry), {}))
        if entry["resource"] == "pods" and not entry["subresource"] and entry["verb"] == "delete" and _ours(entry):
            history.deletes.append(entry)
    return history


def _effective(history: History) -> Iterator[Json]:
    return (entry for entry in history.deletes if 200 <= entry["status"] < 300 and not entry["dry_run"])


def _uid(entry: Json) -> str:
    return str(((entry["body"] or {}).get("preconditions") or {}).get("uid", ""))


def _requests(ledger: Json) -> Iterator[Json]:
    for key in ("pending", "run"):
        if ledger.get(key):
            yield ledger[key]
    if ledger.get("last"):
        yield ledger["last"]["request"]


def _stored(case: Case, history: History) -> Iterator[str]:
    """1: a notification answered 2xx is stored, or refused with a reason on record."""
    names = {request["name"] for state in history.states for request in _requests(state.ledger)}
    reasons = {refusal["reason"] for state in history.states for refusal in state.ledger.get("refusals", [])}
    created = Counter(
        answer["remediation"] for told in case.told for answer in told.answers if answer["outcome"] == "created"
    )
    for name, count in created.items():
        if count > 1:
            yield f"1: {name} was created {count} times"
    for told in case.told:
        if told.status != 200:
            continue
        for answer in told.answers:
            outcome, reason = answer["outcome"], answer["reason"].partition(":")[0]
            if outcome in ("created", "duplicate") and answer["remediation"] not in names:
                yield f"1: answered {outcome}, but no ledger ever held {answer['remediation'] or 'a name'}"
            if outcome == "refused" and not reason:
                yield "1: refused without a reason"
            kept = reason not in ("unknown_foundation", "unknown_playbook", "bad_alert")
            if outcome == "refused" and kept and reason not in reasons:
                yield f"1: refused for {reason}, which no ledger has on record"


def _one_at_a_time(history: History) -> Iterator[str]:
    """2: a deletion takes effect only under the one run that the ledger holds, by its holder."""
    for entry in _effective(history):
        state = history.before(entry["number"])
        run = state.ledger.get("run") if state else None
        if run is None or state is None:
            yield f"2: {entry['name']} was deleted by {_who(entry)} while no run was open"
        elif state.ledger.get("holder") != _who(entry):
            yield f"2: {entry['name']} was deleted by {_who(entry)} while {state.ledger.get('holder')} held the run"


def _by_its_holder(history: History) -> Iterator[str]:
    """2: a run is changed by nobody but its holder, unless the change is a new entry, which raises the epoch."""
    for old, state in _pairs(history):
        run = old.get("run")
        if run is None or state.ledger.get("run") == run or not state.ledger:
            continue  # a run goes with a ledger that somebody deletes
        entered = state.ledger.get("epoch", 0) > old.get("epoch", 0)
        if not entered and old.get("holder") != state.who:
            yield f"2: {run['name']} was changed by {state.who} while {old.get('holder') or 'nobody'} held it"
        if state.ledger.get("epoch", 0) < old.get("epoch", 0):
            yield f"2: the epoch went back from {old['epoch']} to {state.ledger.get('epoch')}"


def _only_recorded(case: Case, history: History) -> Iterator[str]:
    """3: only a pod recorded at the run's start is deleted, and the record is never extended."""
    recorded: dict[str, list[str]] = {}
    for state in history.states:
        run = state.ledger.get("run")
        if not run or not run.get("recorded"):
            continue
        uids = [pod["uid"] for pod in run["pods"]]
        known = recorded.setdefault(run["name"], uids)
        if known != uids:
            yield f"3: the record of {run['name']} changed from {known} to {uids}"
    for entry in _effective(history):
        held = history.before(entry["number"])
        run = held.ledger.get("run") if held else None
        uid = _uid(entry)
        if run is None or uid not in [pod["uid"] for pod in run.get("pods", [])]:
            yield f"3: {entry['name']} ({uid}) was deleted without being recorded"
        elif uid not in run.get("intents", []):
            yield f"3: {entry['name']} ({uid}) was deleted without being announced"
    gone = [_uid(entry) for entry in _effective(history)]
    if len(set(gone)) != len(gone):
        yield "3: one pod was deleted twice"
    del case


def _confirmed(case: Case, history: History) -> Iterator[str]:
    """4: before each deletion its process read the pods itself, announced it, then sent it, all in short order."""
    for entry in _effective(history):
        who, uid = entry["user_agent"], _uid(entry)
        version = ((entry["body"] or {}).get("preconditions") or {}).get("resourceVersion", "")
        mine = [other for other in case.journal if other["user_agent"] == who and other["number"] < entry["number"]]
        announced = [
            state
            for state in history.states
            if state.number < entry["number"] and uid in (state.ledger.get("run") or {}).get("intents", [])
        ]
        own = [state for state in announced if "stager-remediator/" + state.who == who]
        if not own:
            yield f"4: {entry['name']} was deleted by {who}, which had not announced it"
            continue
        # What was refused was not read: only an answered list is a look.
        lists = [
            other for other in mine if (other["resource"], other["verb"], other["status"]) == ("pods", "list", 200)
        ]
        looked = [other for other in lists if other["number"] < own[-1].number]
        if not looked:
            yield f"4: {entry['name']} was deleted by {who}, which had not looked at the pods"
        elif entry["received"] - looked[-1]["received"] > case.claim / 2 + case.slack:
            age = entry["received"] - looked[-1]["received"]
            yield f"4: {entry['name']} was deleted {age:.1f} s after the look that it rests on"
        if not version:
            yield f"4: {entry['name']} was deleted without a resourceVersion: a late one would not bounce"
        read = [other for other in mine if other["resource"] == "pods" and other["verb"] == "get"]
        if any(other["name"] == entry["name"] and other["number"] > own[-1].number for other in read):
            yield f"4: {entry['name']} was read again between the announcement and the deletion"


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _limited(case: Case, history: History) -> Iterator[str]:
    """5: limits, cooldown, breaker and pause, over all replicas and whatever was deleted."""
    starts: dict[str, float] = {}
    ends: dict[str, float] = {}
    claims: dict[str, float] = {}
    for old, state in _pairs(history):
        run = state.ledger.get("run") or {}
        if run:
            claims.setdefault(run["name"], state.at)
        if run.get("intents") and run["name"] not in starts:
            starts[run["name"]] = state.at
        last = state.ledger.get("last")
        if last and last["request"]["name"] in starts and last["request"]["name"] not in ends:
            ends[last["request"]["name"]] = state.at
            if last["phase"] == "Failed" and not state.ledger.get("breaker"):
                yield f"5: {last['request']['name']} failed and the breaker stayed closed"
        yield from _against_a_stop(old, state)
    yield from _too_often(case, starts, ends, claims)


def _pairs(history: History) -> Iterator[tuple[Json, State]]:
    """Each state with the ledger before it."""
    old: Json = {}
    for state in history.states:
        yield old, state
        old = state.ledger


def _against_a_stop(old: Json, state: State) -> Iterator[str]:
    """What began, or was announced, although a pause or the breaker stood in the way."""
    run, before = state.ledger.get("run") or {}, old.get("run") or {}
    deeds = []
    if run and run["name"] != before.get("name"):
        deeds.append("was claimed")
    if set(run.get("intents", [])) - set(before.get("intents", [])):
        deeds.append("announced a deletion")
    pause = old.get("pause")
    for deed in deeds:
        if pause and ("until" not in pause or _time(pause["until"]) > state.at):
            yield f"5: {run['name']} {deed} while paused by {pause['by']}"
        if old.get("breaker"):
            yield f"5: {run['name']} {deed} with the breaker open"


def _too_often(
    case: Case, starts: Mapping[str, float], ends: Mapping[str, float], claims: Mapping[str, float]
) -> Iterator[str]:
    begun = sorted(starts.values())
    for runs, per in case.limits:
        for start in begun:
            if (count := sum(1 for other in begun if start <= other < start + per - case.slack)) > runs:
                yield f"5: {count} runs within {per:g} s, the limit is {runs}"
    for name, start in claims.items():
        for other, end in ends.items():
            if other != name and end <= start < end + case.cooldown - 1 - case.slack:
                yield f"5: {name} began {start - end:.1f} s after {other} ended, the cooldown is {case.cooldown:g} s"


def _ended(case: Case, history: History) -> Iterator[str]:
    """6: in the end nothing is under way, and every Remediation that is there has ended."""
    if history.states and (run := history.states[-1].ledger.get("run")):
        yield f"6: {run['name']} never ended, it is in step {run['step']}"
    phases: dict[str, str] = {}
    for entry in case.journal:
        if entry["resource"] != "remediations" or not 200 <= entry["status"] < 300:
            continue
        if entry["verb"] == "create" and isinstance(entry["body"], dict):
            phases.setdefault(entry["body"]["metadata"]["name"], "")
        if entry["verb"] == "delete":
            phases.pop(entry["name"], None)
        if entry["subresource"] == "status" and isinstance(entry["body"], dict):
            phase = entry["body"].get("status", {}).get("phase")
            if phase and entry["name"] in phases:
                phases[entry["name"]] = phase
    for name, phase in phases.items():
        if phase not in FINAL and phase != "AwaitingApproval":
            yield f"6: {name} stayed {phase or 'without a phase'}"


def _closed_to_nothing(case: Case) -> Iterator[str]:
    """7: never a collection, never without both preconditions."""
    for entry in case.journal:
        if not _ours(entry):
            continue
        if entry["verb"] == "deletecollection":
            yield f"7: a collection was deleted: {entry['path']}"
        if entry["resource"] == "pods" and not entry["subresource"] and entry["verb"] == "delete":
            given = (entry["body"] or {}).get("preconditions") or {}
            if not entry["name"] or not given.get("uid"):
                yield f"7: DELETE {entry['path']} without name or uid"


def _not_interrupted(case: Case, history: History) -> Iterator[str]:
    """8: a resolved notification never ends a run half way."""
    for state in history.states:
        last = state.ledger.get("last") or {}
        request = last.get("request", {})
        if last.get("phase") == "Cancelled" and "resolved" in last.get("message", "") and request.get("recorded"):
            yield f"8: {request['name']} was ended by a resolved notification"
    del case
