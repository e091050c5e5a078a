"""The verdict: ordered rules over one Observation, the first that matches wins.

This function is what the exporter shows, the alert fires on, the remediator obeys and `diagnose` prints. It is pure, it
is total (the last rule has no condition), and it is written so that not knowing something never speaks for a restart:
whatever an earlier rule would have needed in order to forbid one must be known before a later rule may allow it.

The rules are numbered as in docs/verdicts.md. Two things hold for every observation and are tested as properties: the
order of the pods does not matter, and forgetting a signal never turns `no` or `wait` into `yes` or `ask`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from foundation import evidence
from foundation.observation import (
    ApiPods,
    Database,
    InnerDatabase,
    Locket,
    Observation,
    Pod,
    PodProbe,
    PodState,
    Role,
    ServiceProbe,
    Witness,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Verdict(StrEnum):
    """What is wrong, if anything. A closed set: these are label values."""

    HEALTHY = "healthy"
    ELECTING = "electing"
    LOCKET_HUNG = "locket_hung"
    LOCKED_OUT = "locked_out"
    STALE_LABEL = "stale_label"
    HUNG = "hung"
    ZOMBIE = "zombie"
    SPLIT = "split"
    UNLABELLED_ACTIVE = "unlabelled_active"
    NETWORK_PATH = "network_path"
    API_DOWN = "api_down"
    CERTIFICATE = "certificate"
    DATABASE_DOWN = "database_down"
    DATABASE_ERROR = "database_error"
    CRASHING = "crashing"
    PODS_STUCK = "pods_stuck"
    MIGRATING = "migrating"
    LOCKET_DOWN = "locket_down"
    UNKNOWN = "unknown"


class Restart(StrEnum):
    """Whether restarting the named pods would help."""

    YES = "yes"
    ASK = "ask"
    """A person decides, in every mode."""
    WAIT = "wait"
    """It may heal by itself; look again."""
    NO = "no"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A verdict with its reasons."""

    verdict: Verdict
    restart: Restart
    rule: int
    """The number of the rule that matched."""
    pods: tuple[int, ...]
    """Positions in the observation of the pods that a restart would take, in the order in which to take them."""
    pods_to_restart: tuple[str | int, ...]
    """The same by name; a pod without one by its position."""
    evidence: tuple[str, ...]
    """Sentences that an operator can check, the reason first."""


def diagnose(observation: Observation) -> Diagnosis:
    """The verdict on one observation. Pure and total; never raises for any observation that can be constructed."""
    found = judge(observation)
    return Diagnosis(
        verdict=found.verdict,
        restart=found.restart,
        rule=found.rule,
        pods=found.pods,
        pods_to_restart=tuple(observation.pods[i].name or i for i in found.pods),
        evidence=(evidence.printable(found.reason), *evidence.sentences(observation)),
    )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict without its sentences, which cost as much again to write."""

    verdict: Verdict
    restart: Restart
    rule: int
    pods: tuple[int, ...]
    """As in Diagnosis."""
    reason: str


def judge(observation: Observation) -> Judgement:
    """What `diagnose` concludes, by the same rules."""
    facts = _Facts(observation)
    for number, rule in enumerate(_RULES, start=1):
        found = rule(facts)
        if found is not None:
            pods = found.pods if found.restart in (Restart.YES, Restart.ASK) else ()
            return Judgement(found.verdict, found.restart, number, pods, found.reason)
    raise AssertionError("the last rule has no condition")  # pragma: no cover


OPEN = frozenset(PodProbe) - {PodProbe.REFUSED, PodProbe.HANGS, PodProbe.NO_ANSWER, PodProbe.NOT_PROBED}
"""8889 accepted and something answered: that process holds or held the lock."""


@dataclass(frozen=True, slots=True)
class _Found:
    verdict: Verdict
    restart: Restart
    reason: str
    pods: tuple[int, ...] = ()


_Value = TypeVar("_Value")


class _Once(Generic[_Value]):
    """A property that is computed once for each object; Python 3.11's functools.cached_property takes a lock for it."""

    def __init__(self, compute: Callable[[_Facts], _Value]) -> None:
        self._compute, self._name = compute, compute.__name__

    def __get__(self, facts: _Facts, _: type[_Facts]) -> _Value:
        value = facts.__dict__[self._name] = self._compute(facts)
        return value


class _Facts:
    """The derived words of one observation, each computed once."""

    def __init__(self, observation: Observation) -> None:
        self.signals = observation.signals
        self.pods = observation.pods

    @_Once
    def bbs(self) -> tuple[int, ...]:
        return tuple([i for i, pod in enumerate(self.pods) if pod.role is Role.BBS])

    def probed(self, *words: PodProbe) -> tuple[int, ...]:
        return tuple([i for i in self.bbs if self.pods[i].probe in words])

    def in_state(self, *states: PodState) -> tuple[int, ...]:
        return tuple([i for i, pod in enumerate(self.pods) if pod.state in states])

    def control(self, pod: Pod) -> bool:
        answers = pod.control_port_answers
        return bool(self.signals.control_port_answers if answers is None else answers)

    @_Once
    def serving(self) -> tuple[int, ...]:
        return self.probed(PodProbe.SERVES)

    @_Once
    def hanging(self) -> tuple[int, ...]:
        silent = (i for i in self.probed(PodProbe.NO_ANSWER) if self.control(self.pods[i]))
        return tuple(sorted((*self.probed(PodProbe.HANGS), *silent)))

    @_Once
    def unreached(self) -> tuple[int, ...]:
        return tuple(i for i in self.probed(PodProbe.NO_ANSWER) if not self.control(self.pods[i]))

    @_Once
    def labelled(self) -> tuple[int, ...]:
        if not self.signals.layout_has_label:
            return ()
        return tuple(i for i in self.bbs if self.pods[i].labelled_active)

    @_Once
    def still(self) -> bool:
        """No rollout and no pod moving, both known."""
        return self.signals.rollout is False and not self.in_state(PodState.MOVING, PodState.UNKNOWN)

    @_Once
    def settled(self) -> bool:
        return self.signals.settled is True and self.still

    @_Once
    def quiet(self) -> bool:
        quiet = self.signals.settled if self.signals.quiet is None else self.signals.quiet
        return quiet is True and self.still

    @_Once
    def missing(self) -> tuple[str, ...]:
        """What the rules up to 12 could have forbidden a restart with, and is not known."""
        signals = self.signals
        unknown = {
            "the probe of the Service": signals.service_probe is ServiceProbe.UNKNOWN,
            "the look from an api pod": signals.probe_from_api_pod is Witness.UNKNOWN,
            "the database as a BBS pod sees it": signals.database_from_bbs_pod is InnerDatabase.UNKNOWN,
            "whether the server's certificate has expired": signals.last_certificate_expired is None,
            "the state of every pod": bool(self.in_state(PodState.UNKNOWN)),
            "the probe of every BBS pod": bool(self.probed(PodProbe.NOT_PROBED)),
        }
        return tuple(what for what, is_missing in unknown.items() if is_missing)

    def name(self, index: int) -> str:
        return evidence.pod_name(self.pods, index)

    def names(self, indexes: Iterable[int]) -> str:
        return ", ".join(self.name(i) for i in indexes)

    @_Once
    def restartable(self) -> tuple[int, ...]:
        """All running pods of the restart roles, Locket before BBS where it has pods of its own."""
        running = [i for i, pod in enumerate(self.pods) if pod.state in (PodState.READY, PodState.CRASH)]
        return tuple(sorted(running, key=lambda i: (self.pods[i].role is Role.BBS, i)))


def _rule_1_incomplete(facts: _Facts) -> _Found | None:
    if facts.signals.observation_fresh is not True:
        return _no(Verdict.UNKNOWN, "The observation is incomplete or too old to conclude anything from.")
    if not facts.bbs:
        return _no(Verdict.UNKNOWN, "No BBS pod was found: nothing is known of BBS, and nothing may be restarted.")
    if len(facts.pods) > facts.signals.max_pods:
        return _no(
            Verdict.UNKNOWN,
            f"{len(facts.pods)} pods match, more than max_pods = {facts.signals.max_pods}: the selector may be wrong.",
        )
    return None


def _rule_2_split(facts: _Facts) -> _Found | None:
    if not facts.serving:
        return None
    others = [i for i in facts.probed(*OPEN) if i not in facts.serving[:1]]
    if not others:
        return None
    return _no(
        Verdict.SPLIT,
        f"{facts.name(facts.serving[0])} serves, and {facts.names(others)} has port 8889 open too, which only a "
        "holder of the lock does: two processes believe that they are the active BBS. A person decides.",
    )


def _rule_3_zombie(facts: _Facts) -> _Found | None:
    if not facts.serving:
        return None
    stale: tuple[int, ...] = ()
    if facts.serving[0] in facts.labelled:
        stale = tuple(i for i in facts.labelled if facts.pods[i].probe is PodProbe.REFUSED)
    zombies = tuple(i for i in sorted({*facts.hanging, *stale}) if facts.pods[i].state is PodState.READY)
    if not zombies:
        return None
    restart, why = _zombie_restart(facts)
    reason = (
        f"{facts.name(facts.serving[0])} serves, but {facts.names(zombies)} still looks active without answering, so "
        f"the Service can send every other request to it. {why}"
    )
    return _Found(Verdict.ZOMBIE, restart, reason, zombies)


def _zombie_restart(facts: _Facts) -> tuple[Restart, str]:
    database = facts.signals.database
    troubled = facts.in_state(PodState.MOVING, PodState.STUCK, PodState.CRASH, PodState.UNKNOWN)
    if troubled:
        return Restart.NO, f"Not while {facts.names(troubled)} is moving, stuck or crashing."
    if unseen := (*facts.unreached, *facts.probed(PodProbe.NOT_PROBED)):
        return Restart.NO, f"Not while {facts.names(unseen)} cannot be reached."
    if database in (Database.DOWN, Database.UNKNOWN):
        return Restart.NO, "Not while the database is not known to answer."
    if not facts.settled:
        return Restart.WAIT, "Things have not settled yet."
    if database is Database.NOT_CONFIGURED:
        return Restart.ASK, "The database is not configured, so a person decides."
    return Restart.YES, "Restarting only that cures it."


def _rule_4_unlabelled(facts: _Facts) -> _Found | None:
    if not facts.serving or facts.signals.layout_has_label is not True:
        return None
    active = facts.serving[0]
    if facts.pods[active].labelled_active is not False:
        return None
    if facts.settled:
        return _no(
            Verdict.UNLABELLED_ACTIVE,
            f"{facts.name(active)} serves but does not carry the active label: whatever writes the label is broken. "
            "A restart would delete the working BBS, and no label would come back.",
        )
    return _wait(
        Verdict.ELECTING,
        f"{facts.name(active)} serves and does not carry the active label yet: 0 to 17 s are normal after a recovery.",
    )


def _rule_5_path(facts: _Facts) -> _Found | None:
    if not facts.serving:
        return None
    failing = []
    if facts.signals.service_probe not in (ServiceProbe.OK, ServiceProbe.UNKNOWN):
        failing.append("through the Service")
    if facts.signals.probe_from_api_pod is Witness.FAIL:
        failing.append("from an api pod")
    if not failing:
        return None
    return _no(
        Verdict.NETWORK_PATH,
        f"{facts.name(facts.serving[0])} serves at its own address, but not {' nor '.join(failing)}: look at DNS, "
        "network policy, kube-proxy and the Service's selector.",
    )


def _rule_6_api(facts: _Facts) -> _Found | None:
    if facts.serving and facts.signals.api_pods is ApiPods.NONE:
        return _no(Verdict.API_DOWN, "BBS serves, but no api pod is ready: the fault is Cloud Controller's own.")
    return None


def _rule_7_healthy(facts: _Facts) -> _Found | None:
    if not facts.serving:
        return None
    return _no(Verdict.HEALTHY, f"{facts.name(facts.serving[0])} serves, and it alone.")


def _rule_8_served_elsewhere(facts: _Facts) -> _Found | None:
    ways = []
    if facts.signals.service_probe is ServiceProbe.OK:
        ways.append("through the Service")
    if facts.signals.probe_from_api_pod is Witness.OK:
        ways.append("from an api pod")
    if not ways:
        return None
    if facts.unreached:
        return _no(
            Verdict.NETWORK_PATH,
            f"BBS answers {' and '.join(ways)}, but {facts.names(facts.unreached)} cannot be reached from here: the "
            "path between us and the pods is cut, not BBS.",
        )
    return _no(
        Verdict.UNKNOWN,
        f"BBS answers {' and '.join(ways)}, but none of the pods found does: the selector may name the wrong pods.",
    )


def _rule_9_certificate(facts: _Facts) -> _Found | None:
    if broken := facts.probed(PodProbe.SERVER_CERTIFICATE):
        side = f"The server's certificate fails at {facts.names(broken)}"
    elif rejecting := facts.probed(PodProbe.CLIENT_REJECTED):
        side = f"Our client certificate is rejected by {facts.names(rejecting)}"
    elif facts.signals.last_certificate_expired:
        side = "The last server certificate that was seen has expired"
    else:
        return None
    return _no(
        Verdict.CERTIFICATE,
        f"{side}. BBS does not start with an expired certificate, so a restart would end the last one that still runs.",
    )


def _rule_10_database(facts: _Facts) -> _Found | None:
    if facts.signals.database is Database.DOWN:
        where = "The database does not answer"
    elif facts.signals.database_from_bbs_pod is InnerDatabase.DOWN:
        where = "The database does not answer inside a BBS pod"
    else:
        return None
    return _no(
        Verdict.DATABASE_DOWN,
        f"{where}. BBS takes over by itself within about 20 s of its return; a restart would only delay that.",
    )


def _rule_11_database_error(facts: _Facts) -> _Found | None:
    if reporting := facts.probed(PodProbe.DATABASE_ERROR):
        return _no(Verdict.DATABASE_ERROR, f"{facts.names(reporting)} answers with an error of its database.")
    return None


def _rule_12_not_bbs(facts: _Facts) -> _Found | None:
    if strange := facts.probed(PodProbe.NOT_BBS):
        return _no(Verdict.UNKNOWN, f"Something that is not BBS answers on port 8889 of {facts.names(strange)}.")
    return None


def _rule_13_locket_hung(facts: _Facts) -> _Found | None:
    standing = (PodState.READY, PodState.CRASH)
    hung = tuple(i for i, pod in enumerate(facts.pods) if pod.locket_hangs and pod.state in standing)
    database = facts.signals.database
    if not hung or not facts.quiet or facts.missing:
        return None
    if database in (Database.DOWN, Database.UNKNOWN):
        return None
    reason = f"Locket hangs in {facts.names(hung)}: it accepts and does not answer, so no BBS can get the lock."
    if database is Database.NOT_CONFIGURED:
        return _Found(
            Verdict.LOCKET_HUNG, Restart.ASK, f"{reason} The database is not configured: a person decides.", hung
        )
    return _Found(Verdict.LOCKET_HUNG, Restart.YES, f"{reason} It does not heal by itself.", hung)


def _rule_14_crashing(facts: _Facts) -> _Found | None:
    crashing = facts.in_state(PodState.CRASH)
    if not crashing:
        return None
    reason = f"{facts.names(crashing)} ends again and again."
    if facts.quiet and facts.signals.database is Database.UP and not facts.missing:
        return _Found(
            Verdict.CRASHING,
            Restart.ASK,
            f"{reason} The database answers us, though not certainly them: a person decides.",
            facts.restartable,
        )
    return _no(Verdict.CRASHING, f"{reason} A restart would only reset its back-off.")


def _rule_15_stuck(facts: _Facts) -> _Found | None:
    if stuck := facts.in_state(PodState.STUCK):
        return _no(Verdict.PODS_STUCK, f"{facts.names(stuck)} has been starting or terminating for too long.")
    return None


def _rule_16_unsettled(facts: _Facts) -> _Found | None:
    if facts.settled:
        return None
    moving = facts.in_state(PodState.MOVING)
    if moving:
        return _wait(Verdict.ELECTING, f"{facts.names(moving)} is starting or terminating.")
    if facts.signals.rollout:
        return _wait(Verdict.ELECTING, "A rollout of the StatefulSet is under way.")
    return _wait(Verdict.ELECTING, "Nothing serves, but things have not settled: a normal fail-over takes 20 to 60 s.")


def _rule_17_migrating(facts: _Facts) -> _Found | None:
    if migrating := facts.probed(PodProbe.MIGRATING):
        return _wait(
            Verdict.MIGRATING,
            f"{facts.names(migrating)} was elected and answers 503 while it migrates its database. Let it finish.",
        )
    return None


def _rule_18_unseen(facts: _Facts) -> _Found | None:
    if unseen := tuple(sorted((*facts.unreached, *facts.probed(PodProbe.NOT_PROBED)))):
        return _no(Verdict.UNKNOWN, f"{facts.names(unseen)} could not be probed, so it may be serving.")
    return None


def _rule_19_locket_down(facts: _Facts) -> _Found | None:
    if facts.signals.locket is Locket.SEPARATE_DOWN:
        return _no(Verdict.LOCKET_DOWN, "No Locket accepts on port 8891: BBS cannot get a lock from anywhere.")
    if facts.signals.locket is Locket.UNKNOWN:
        return _no(Verdict.UNKNOWN, "It is not known whether any Locket accepts on port 8891.")
    return None


def _rule_20_api(facts: _Facts) -> _Found | None:
    if facts.signals.api_pods is ApiPods.NONE:
        return _no(Verdict.API_DOWN, "No api pod is ready, and nothing serves.")
    if facts.signals.api_pods is ApiPods.UNKNOWN:
        return _no(Verdict.UNKNOWN, "It is not known whether any api pod is ready.")
    return None


def _rule_21_witness(facts: _Facts) -> _Found | None:
    missing = facts.missing
    if facts.signals.database is Database.UNKNOWN:
        missing = (*missing, "whether the database answers")
    if missing:
        return _no(Verdict.UNKNOWN, f"Not known: {', '.join(missing)}. What is not known counts against a restart.")
    return None


def _rule_22_hung(facts: _Facts) -> _Found | None:
    if facts.hanging:
        return _all_pods(facts, Verdict.HUNG, f"{facts.names(facts.hanging)} accepts connections and does not answer.")
    return None


def _rule_23_stale_label(facts: _Facts) -> _Found | None:
    if facts.labelled:
        reason = f"{facts.names(facts.labelled)} carries the active label, and nothing listens on its port 8889."
        return _all_pods(facts, Verdict.STALE_LABEL, reason)
    return None


def _rule_24_locked_out(facts: _Facts) -> _Found:
    reason = "Every BBS pod runs and none of them gets the lock, though nothing explains it that would heal by itself."
    return _all_pods(facts, Verdict.LOCKED_OUT, reason)


_RULES: tuple[Callable[[_Facts], _Found | None], ...] = (
    _rule_1_incomplete,
    _rule_2_split,
    _rule_3_zombie,
    _rule_4_unlabelled,
    _rule_5_path,
    _rule_6_api,
    _rule_7_healthy,
    _rule_8_served_elsewhere,
    _rule_9_certificate,
    _rule_10_database,
    _rule_11_database_error,
    _rule_12_not_bbs,
    _rule_13_locket_hung,
    _rule_14_crashing,
    _rule_15_stuck,
    _rule_16_unsettled,
    _rule_17_migrating,
    _rule_18_unseen,
    _rule_19_locket_down,
    _rule_20_api,
    _rule_21_witness,
    _rule_22_hung,
    _rule_23_stale_label,
    _rule_24_locked_out,
)


def _no(verdict: Verdict, reason: str) -> _Found:
    return _Found(verdict, Restart.NO, reason)


def _wait(verdict: Verdict, reason: str) -> _Found:
    return _Found(verdict, Restart.WAIT, reason)


def _all_pods(facts: _Facts, verdict: Verdict, reason: str) -> _Found:
    if facts.signals.database is Database.NOT_CONFIGURED:
        return _Found(
            verdict, Restart.ASK, f"{reason} The database is not configured: a person decides.", facts.restartable
        )
    return _Found(verdict, Restart.YES, f"{reason} A restart helps.", facts.restartable)
