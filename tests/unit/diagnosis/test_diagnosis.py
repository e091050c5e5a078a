"""The rules against the recorded vectors, and the properties that hold for every observation."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.diagnosis import Restart, Verdict, diagnose, judge
from foundation.observation import (
    ApiPods,
    Database,
    InnerDatabase,
    Locket,
    Observation,
    ObservationError,
    Pod,
    PodProbe,
    PodState,
    Role,
    ServiceProbe,
    Signals,
    Witness,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = json.loads((Path(__file__).parents[2] / "data" / "verdict_vectors.json").read_text())
ACTS = (Restart.YES, Restart.ASK)
LOCKED_OUT = Observation(
    pods=(
        Pod(PodState.READY, PodProbe.REFUSED, labelled_active=False, locket_hangs=False),
        Pod(PodState.READY, PodProbe.REFUSED, labelled_active=False, locket_hangs=False),
    ),
    signals=Signals(
        observation_fresh=True,
        service_probe=ServiceProbe.FAIL,
        database=Database.UP,
        api_pods=ApiPods.READY,
        probe_from_api_pod=Witness.FAIL,
        settled=True,
        rollout=False,
        layout_has_label=True,
        control_port_answers=True,
        locket=Locket.IN_THE_BBS_PODS,
        database_from_bbs_pod=InnerDatabase.WAIVED,
        last_certificate_expired=False,
    ),
)


def signals(**changes: Any) -> Observation:
    return replace(LOCKED_OUT, signals=replace(LOCKED_OUT.signals, **changes))


def pods(*changed: dict[str, Any], **changes: Any) -> Observation:
    return replace(signals(**changes), pods=tuple(replace(LOCKED_OUT.pods[0], **change) for change in changed))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["scenario"][:60])
def test_recorded_vector(vector: dict[str, Any]) -> None:
    found = diagnose(Observation.from_json(json.dumps(vector)))
    assert {
        "verdict": found.verdict,
        "restart": found.restart,
        "pods_to_restart": list(found.pods_to_restart),
    } == vector["expect"]


S, R, H = PodProbe.SERVES, PodProbe.REFUSED, PodProbe.HANGS
CASES: list[tuple[int, Observation, Verdict, Restart, tuple[int, ...]]] = [
    (1, signals(observation_fresh=None), Verdict.UNKNOWN, Restart.NO, ()),
    (1, replace(LOCKED_OUT, pods=()), Verdict.UNKNOWN, Restart.NO, ()),
    (1, signals(max_pods=1), Verdict.UNKNOWN, Restart.NO, ()),
    (1, pods({"role": Role.LOCKET}), Verdict.UNKNOWN, Restart.NO, ()),
    (2, pods({"probe": S}, {"probe": PodProbe.MIGRATING}), Verdict.SPLIT, Restart.NO, ()),
    (3, pods({"probe": S, "labelled_active": True}, {"labelled_active": True}), Verdict.ZOMBIE, Restart.YES, (1,)),
    (3, pods({"probe": S}, {"probe": H}), Verdict.ZOMBIE, Restart.YES, (1,)),
    (3, pods({"probe": S}, {"probe": H}, database=Database.NOT_CONFIGURED), Verdict.ZOMBIE, Restart.ASK, (1,)),
    (3, pods({"probe": S}, {"probe": H}, database=Database.NONE), Verdict.ZOMBIE, Restart.YES, (1,)),
    (3, pods({"probe": S}, {"probe": H}, database=Database.UNKNOWN), Verdict.ZOMBIE, Restart.NO, ()),
    (3, pods({"probe": S}, {"probe": H}, database=Database.DOWN), Verdict.ZOMBIE, Restart.NO, ()),
    (3, pods({"probe": S}, {"probe": H}, settled=False), Verdict.ZOMBIE, Restart.WAIT, ()),
    (3, pods({"probe": S}, {"probe": H}, rollout=True), Verdict.ZOMBIE, Restart.WAIT, ()),
    (3, pods({"probe": S}, {"probe": H}, {"state": PodState.CRASH}), Verdict.ZOMBIE, Restart.NO, ()),
    (3, pods({"probe": S}, {"probe": PodProbe.NO_ANSWER}), Verdict.ZOMBIE, Restart.YES, (1,)),
    (
        3,
        pods({"probe": S}, {"probe": H}, {"probe": PodProbe.NO_ANSWER, "control_port_answers": False}),
        Verdict.ZOMBIE,
        Restart.NO,
        (),
    ),
    (3, pods({"probe": S}, {"probe": H}, {"probe": PodProbe.NOT_PROBED}), Verdict.ZOMBIE, Restart.NO, ()),
    (4, pods({"probe": S}), Verdict.UNLABELLED_ACTIVE, Restart.NO, ()),
    (4, pods({"probe": S}, settled=None), Verdict.ELECTING, Restart.WAIT, ()),
    (5, pods({"probe": S, "labelled_active": True}), Verdict.NETWORK_PATH, Restart.NO, ()),
    (
        5,
        pods({"probe": S}, layout_has_label=False, service_probe=ServiceProbe.OK),
        Verdict.NETWORK_PATH,
        Restart.NO,
        (),
    ),
    (
        6,
        pods(
            {"probe": S, "labelled_active": True},
            service_probe=ServiceProbe.OK,
            probe_from_api_pod=Witness.WAIVED,
            api_pods=ApiPods.NONE,
        ),
        Verdict.API_DOWN,
        Restart.NO,
        (),
    ),
    (
        7,
        pods({"probe": S}, layout_has_label=False, service_probe=ServiceProbe.OK, probe_from_api_pod=Witness.OK),
        Verdict.HEALTHY,
        Restart.NO,
        (),
    ),
    (8, signals(service_probe=ServiceProbe.OK), Verdict.UNKNOWN, Restart.NO, ()),
    (
        8,
        pods({"probe": PodProbe.NO_ANSWER, "control_port_answers": False}, probe_from_api_pod=Witness.OK),
        Verdict.NETWORK_PATH,
        Restart.NO,
        (),
    ),
    (9, pods({"probe": PodProbe.SERVER_CERTIFICATE}), Verdict.CERTIFICATE, Restart.NO, ()),
    (9, pods({"probe": PodProbe.CLIENT_REJECTED}), Verdict.CERTIFICATE, Restart.NO, ()),
    (9, signals(last_certificate_expired=True), Verdict.CERTIFICATE, Restart.NO, ()),
    (10, signals(database=Database.DOWN), Verdict.DATABASE_DOWN, Restart.NO, ()),
    (10, signals(database_from_bbs_pod=InnerDatabase.DOWN), Verdict.DATABASE_DOWN, Restart.NO, ()),
    (11, pods({"probe": PodProbe.DATABASE_ERROR}), Verdict.DATABASE_ERROR, Restart.NO, ()),
    (12, pods({"probe": PodProbe.NOT_BBS}), Verdict.UNKNOWN, Restart.NO, ()),
    (13, pods({"locket_hangs": True}, {}), Verdict.LOCKET_HUNG, Restart.YES, (0,)),
    (13, pods({"locket_hangs": True}, settled=False, quiet=True), Verdict.LOCKET_HUNG, Restart.YES, (0,)),
    (13, pods({"locket_hangs": True}, database=Database.NOT_CONFIGURED), Verdict.LOCKET_HUNG, Restart.ASK, (0,)),
    (13, pods({"locket_hangs": True}, database=Database.NONE), Verdict.LOCKET_HUNG, Restart.YES, (0,)),
    (14, pods({"state": PodState.CRASH}, {}), Verdict.CRASHING, Restart.ASK, (0, 1)),
    (14, pods({"state": PodState.CRASH}, {}, database=Database.NONE), Verdict.CRASHING, Restart.NO, ()),
    (14, pods({"state": PodState.CRASH}, {}, quiet=False), Verdict.CRASHING, Restart.NO, ()),
    (14, pods({"state": PodState.CRASH, "locket_hangs": True}, quiet=False), Verdict.CRASHING, Restart.NO, ()),
    (15, pods({"state": PodState.STUCK}, {}), Verdict.PODS_STUCK, Restart.NO, ()),
    (15, pods({"state": PodState.STUCK, "locket_hangs": True}), Verdict.PODS_STUCK, Restart.NO, ()),
    (16, signals(settled=False), Verdict.ELECTING, Restart.WAIT, ()),
    (16, signals(rollout=True), Verdict.ELECTING, Restart.WAIT, ()),
    (16, pods({"state": PodState.MOVING, "locket_hangs": True}), Verdict.ELECTING, Restart.WAIT, ()),
    (17, pods({"probe": PodProbe.MIGRATING}), Verdict.MIGRATING, Restart.WAIT, ()),
    (18, pods({"probe": PodProbe.NOT_PROBED}), Verdict.UNKNOWN, Restart.NO, ()),
    (18, pods({"probe": PodProbe.NO_ANSWER, "control_port_answers": False}), Verdict.UNKNOWN, Restart.NO, ()),
    (19, signals(locket=Locket.SEPARATE_DOWN), Verdict.LOCKET_DOWN, Restart.NO, ()),
    (19, signals(locket=Locket.UNKNOWN), Verdict.UNKNOWN, Restart.NO, ()),
    (20, signals(api_pods=ApiPods.NONE), Verdict.API_DOWN, Restart.NO, ()),
    (20, signals(api_pods=ApiPods.UNKNOWN), Verdict.UNKNOWN, Restart.NO, ()),
    (21, signals(probe_from_api_pod=Witness.UNKNOWN), Verdict.UNKNOWN, Restart.NO, ()),
    (21, signals(database=Database.UNKNOWN), Verdict.UNKNOWN, Restart.NO, ()),
    (21, signals(last_certificate_expired=None), Verdict.UNKNOWN, Restart.NO, ()),
    (22, pods({"probe": H}), Verdict.HUNG, Restart.YES, (0,)),
    (22, pods({"probe": PodProbe.NO_ANSWER}), Verdict.HUNG, Restart.YES, (0,)),
    (23, pods({"labelled_active": True}, {}), Verdict.STALE_LABEL, Restart.YES, (0, 1)),
    (24, LOCKED_OUT, Verdict.LOCKED_OUT, Restart.YES, (0, 1)),
    (24, signals(database=Database.NOT_CONFIGURED), Verdict.LOCKED_OUT, Restart.ASK, (0, 1)),
    (24, signals(database=Database.NONE), Verdict.LOCKED_OUT, Restart.YES, (0, 1)),
    (24, pods({"labelled_active": True}, layout_has_label=False), Verdict.LOCKED_OUT, Restart.YES, (0,)),
    (
        24,
        pods({}, {"role": Role.LOCKET, "probe": PodProbe.NOT_PROBED}, locket=Locket.SEPARATE_ACCEPTING),
        Verdict.LOCKED_OUT,
        Restart.YES,
        (1, 0),
    ),
]


@pytest.mark.parametrize(("rule", "observation", "verdict", "restart", "chosen"), CASES)
def test_each_rule_and_its_edges(
    rule: int, observation: Observation, verdict: Verdict, restart: Restart, chosen: tuple[int, ...]
) -> None:
    found = diagnose(observation)
    assert (found.rule, found.verdict, found.restart, found.pods) == (rule, verdict, restart, chosen)
    assert len(found.evidence) > len(observation.pods)


def test_every_rule_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(range(1, 25))


def _pod_domain() -> list[Pod]:
    return [
        Pod(state, probe, labelled_active=label, locket_hangs=hangs, control_port_answers=control)
        for state, probe, label, hangs in itertools.product(
            PodState, PodProbe, (True, False, None), (True, False, None)
        )
        for control in ((True, False) if probe is PodProbe.NO_ANSWER else (None,))
    ]


def _random_observation(rng: random.Random, domain: list[Pod]) -> Observation:
    """Mostly favourable to a restart, so that the rare and dangerous corners are visited often."""

    def pick(good: Any, words: Any) -> Any:
        return good if rng.random() < 0.7 else rng.choice(list(words))

    maybe = (True, False, None)
    found = []
    for _ in range(rng.randint(1, 3)):
        pod = rng.choice(domain)
        if rng.random() < 0.6:
            pod = replace(pod, state=PodState.READY)
        if rng.random() < 0.4:
            pod = replace(pod, probe=rng.choice((S, R, H)))
        if rng.random() < 0.2:
            pod = replace(pod, role=Role.LOCKET)
        found.append(pod)
    return Observation(
        pods=tuple(found),
        signals=Signals(
            observation_fresh=pick(True, maybe),
            service_probe=pick(ServiceProbe.FAIL, ServiceProbe),
            database=pick(Database.UP, Database),
            api_pods=pick(ApiPods.READY, ApiPods),
            probe_from_api_pod=pick(Witness.WAIVED, Witness),
            settled=pick(True, maybe),
            quiet=rng.choice(maybe),
            rollout=pick(False, maybe),
            layout_has_label=pick(True, maybe),
            control_port_answers=pick(True, maybe),
            locket=pick(Locket.IN_THE_BBS_PODS, Locket),
            database_from_bbs_pod=pick(InnerDatabase.WAIVED, InnerDatabase),
            last_certificate_expired=pick(False, maybe),
        ),
    )


SIGNALS = [item.name for item in fields(Signals)]
"""In the order of the constructor: an observation is made 400,000 times here, and `replace` takes most of that."""
POD_WORDS = [item.name for item in fields(Pod)]
FORGETTABLE = [
    (name, SIGNALS.index(name), getattr(Signals(), name))
    for name in SIGNALS
    if name not in ("quiet", "depth", "max_pods")
]
POD_FORGETTABLE = [
    (key, POD_WORDS.index(key), getattr(Pod(), key)) for key in ("state", "probe", "labelled_active", "locket_hangs")
]
QUIET = SIGNALS.index("quiet")


def forgettings(observation: Observation) -> Iterator[tuple[str, Observation]]:
    """The observation with each single signal that it knows replaced by "not known"."""
    values = [getattr(observation.signals, name) for name in SIGNALS]
    for name, index, unknown in FORGETTABLE:
        if values[index] is unknown and (name != "settled" or values[QUIET] is None):
            continue
        poorer = values.copy()
        poorer[index] = unknown
        if name == "settled":
            poorer[QUIET] = None
        yield name, Observation(observation.pods, Signals(*poorer))
    for place, pod in enumerate(observation.pods):
        words = [getattr(pod, key) for key in POD_WORDS]
        for key, index, unknown in POD_FORGETTABLE:
            if words[index] is not unknown:
                poorer = words.copy()
                poorer[index] = unknown
                pods = (*observation.pods[:place], Pod(*poorer), *observation.pods[place + 1 :])
                yield f"pod {place} {key}", Observation(pods, observation.signals)


def test_every_signal_that_is_known_is_forgotten_once() -> None:
    """What the property below walks through, against `replace`, and that it leaves out nothing but what is unknown."""
    for observation in (LOCKED_OUT, pods({"locket_hangs": True}, {"probe": S}, {}, quiet=True), Observation()):
        expected = []
        for name in SIGNALS:
            changes = {name: getattr(Signals(), name)} | ({"quiet": None} if name == "settled" else {})
            poorer = replace(observation, signals=replace(observation.signals, **changes))
            if name not in ("quiet", "depth", "max_pods") and poorer != observation:
                expected.append((name, poorer))
        for place, pod in enumerate(observation.pods):
            for key in ("state", "probe", "labelled_active", "locket_hangs"):
                changed = replace(pod, **{key: getattr(Pod(), key)})
                rest = (*observation.pods[:place], changed, *observation.pods[place + 1 :])
                if changed != pod:
                    expected.append((f"pod {place} {key}", replace(observation, pods=rest)))
        assert list(forgettings(observation)) == expected


@pytest.mark.timeout(300)
def test_forgetting_a_signal_never_allows_a_restart_and_no_restart_takes_a_pod_that_answers() -> None:
    rng = random.Random(20190205)
    domain = _pod_domain()
    acted = 0
    for _ in range(25_000):
        observation = _random_observation(rng, domain)
        found = judge(observation)
        if found.restart in ACTS:
            acted += 1
            for index in found.pods:
                pod = observation.pods[index]
                assert pod.probe is not S or pod.role is Role.LOCKET, observation
                assert pod.state in (PodState.READY, PodState.CRASH), observation
            continue
        assert found.pods == ()
        for what, poorer in forgettings(observation):
            assert judge(poorer).restart not in ACTS, (what, observation)
    assert acted > 500


def test_a_diagnosis_is_the_judgement_with_its_sentences() -> None:
    """The property above is of `judge`, which writes none of them; so it is one of `diagnose` too."""
    rng = random.Random(20190205)
    domain = _pod_domain()
    for _ in range(2_000):
        observation = _random_observation(rng, domain)
        said, meant = diagnose(observation), judge(observation)
        assert (said.verdict, said.restart, said.rule, said.pods) == (
            meant.verdict,
            meant.restart,
            meant.rule,
            meant.pods,
        )
        assert said.evidence[0] == meant.reason


@pytest.mark.timeout(300)
def test_total_and_single_valued_by_enumeration() -> None:
    """Every pair of pod words under every word of each signal: no gap, no exception, the first match is the answer."""
    domain = _pod_domain()
    seen = set()
    for first in domain:
        for second in (domain[0], replace(LOCKED_OUT.pods[0]), replace(LOCKED_OUT.pods[0], probe=S)):
            seen.add(diagnose(replace(LOCKED_OUT, pods=(first, second))).rule)
    words: dict[str, Any] = {
        "service_probe": ServiceProbe,
        "database": Database,
        "api_pods": ApiPods,
        "probe_from_api_pod": Witness,
        "settled": (True, False, None),
        "rollout": (True, False, None),
        "layout_has_label": (True, False),
        "locket": Locket,
        "last_certificate_expired": (True, False, None),
    }
    for one, other in itertools.combinations(words, 2):
        for first_word, second_word in itertools.product(words[one], words[other]):
            for pod in (LOCKED_OUT.pods[0], *(replace(LOCKED_OUT.pods[0], probe=probe) for probe in PodProbe)):
                changed = signals(**{one: first_word, other: second_word})
                seen.add(diagnose(replace(changed, pods=(pod, LOCKED_OUT.pods[1]))).rule)
    well = {"probe_from_api_pod": Witness.OK, "service_probe": ServiceProbe.OK}
    for api in ApiPods:
        active = {"probe": S, "labelled_active": True}
        seen.add(diagnose(pods(active, {}, api_pods=api, **well)).rule)
    seen.add(diagnose(signals(observation_fresh=False)).rule)
    assert seen == set(range(1, 25))


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), order=st.permutations([0, 1, 2]))
def test_the_order_of_pods_does_not_matter(seed: int, order: list[int]) -> None:
    observation = _random_observation(random.Random(seed), _pod_domain())
    pods_by_name = [replace(pod, name=f"p{i}") for i, pod in enumerate(observation.pods)]
    shuffled = [pods_by_name[i] for i in order if i < len(pods_by_name)]
    one = diagnose(replace(observation, pods=tuple(pods_by_name)))
    other = diagnose(replace(observation, pods=tuple(shuffled)))
    assert (one.verdict, one.restart, one.rule) == (other.verdict, other.restart, other.rule)
    assert set(one.pods_to_restart) == set(other.pods_to_restart)


def test_json_round_trip_keeps_every_word() -> None:
    rng = random.Random(7)
    domain = _pod_domain()
    for _ in range(200):
        observation = _random_observation(rng, domain)
        assert Observation.from_json(observation.to_json()) == observation


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "expected an object"),
        ('{"pod": []}', "pod: no such key"),
        ('{"pods": {}}', "pods: expected a list"),
        ('{"pods": [{"probe": "servs"}]}', "pods.0.probe: 'servs' is none of serves, refused"),
        ('{"pods": [{"state": ["ready"]}]}', "pods.0.state: ['ready'] is none of"),
        ('{"pods": [{"port": 1}]}', "pods.0.port: no such key"),
        ('{"signals": {"settled": "yes"}}', "signals.settled: expected true or false"),
        ('{"signals": {"max_pods": true}}', "signals.max_pods: expected a whole number"),
        ('{"signals": 3}', "signals: expected an object"),
        ('{"seen": {"a": 1}}', "seen: expected an object of texts"),
        ('{"signals": {"settled": false, "settled": true}}', "the key 'settled' stands twice in one object"),
        ('{"pods": [{"probe": "serves", "probe": "refused"}]}', "the key 'probe' stands twice in one object"),
        ('{"signals": {"max_pods": ' + "9" * 5000 + "}}", "not JSON: "),
        ('{"signals": {"max_pods": NaN}}', "signals.max_pods: expected a whole number, not nan"),
        ('{"signals": {"max_pods": 1e999}}', "signals.max_pods: expected a whole number, not inf"),
    ],
)
def test_a_bad_record_is_refused_with_the_place(text: str, problem: str) -> None:
    with pytest.raises(ObservationError, match="^" + __import__("re").escape(problem)):
        Observation.from_json(text)
