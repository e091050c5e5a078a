"""When `diagnose` looks again, what it records, and what it prints for a person."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from exporter.diagnose import record
from exporter.report import as_json, as_text, delete_command, printable
from foundation.config import FoundationConfig
from foundation.diagnosis import Restart, Verdict, diagnose
from foundation.history import History
from foundation.looking import MOST_LOOKS, Finding, confirmed, if_lasting, lasting_text, unconfirmed
from foundation.observation import (
    ApiPods,
    Database,
    InnerDatabase,
    Locket,
    Observation,
    Pod,
    PodProbe,
    PodState,
    ServiceProbe,
    Signals,
    Witness,
)
from tests.support.looks import look

if TYPE_CHECKING:
    from foundation.observer import Look

QUIET = Signals(
    observation_fresh=True,
    service_probe=ServiceProbe.FAIL,
    database=Database.UP,
    api_pods=ApiPods.READY,
    probe_from_api_pod=Witness.WAIVED,
    settled=True,
    quiet=True,
    rollout=False,
    layout_has_label=True,
    control_port_answers=False,
    locket=Locket.IN_THE_BBS_PODS,
    database_from_bbs_pod=InnerDatabase.WAIVED,
    last_certificate_expired=False,
    depth="ping",
)


def bbs(number: int, probe: PodProbe, *, hangs: bool = False, active: bool = False) -> Pod:
    return Pod(
        state=PodState.READY,
        probe=probe,
        labelled_active=active,
        locket_hangs=hangs,
        control_port_answers=True,
        name=f"diego-api-{number}",
    )


HEALTHY = Observation(
    (bbs(0, PodProbe.SERVES, active=True), bbs(1, PodProbe.REFUSED)), replace(QUIET, service_probe=ServiceProbe.OK)
)
HUNG = Observation((bbs(0, PodProbe.REFUSED, hangs=True), bbs(1, PodProbe.REFUSED, hangs=True)), QUIET)
BEGUN = replace(HUNG, signals=replace(QUIET, settled=False, quiet=False))
SPLIT = Observation((bbs(0, PodProbe.SERVES, active=True), bbs(1, PodProbe.SERVES)), QUIET)
DOWN = replace(HUNG, signals=replace(QUIET, database=Database.DOWN))
LATE = replace(BEGUN, pods=(bbs(0, PodProbe.REFUSED), bbs(1, PodProbe.REFUSED)))


class Looking:
    """Gives one observation after the other, through the rule that acts only on what was seen twice."""

    def __init__(self, *observations: Observation) -> None:
        self.left = list(observations)
        self.looks = 0
        self.now = 0.0
        self.history = History(settle=120.0, interval=5.0, begun=0.0)

    def look(self) -> Look:
        self.looks += 1
        observation = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        found = self.history.confirm(diagnose(observation), (), self.now)
        return replace(look(observation=observation), diagnosis=found)

    def wait(self) -> None:
        self.now += 5.0

    def find(self) -> Finding:
        return confirmed(self.look, self.wait, "cf")


@pytest.mark.parametrize(
    ("observations", "looks", "verdict", "restart", "lasting"),
    [
        ((HEALTHY,), 1, "healthy", "no", None),
        ((DOWN,), 1, "database_down", "no", None),
        ((HUNG,), 2, "locket_hung", "yes", None),
        ((SPLIT,), 2, "split", "no", None),
        ((BEGUN,), 2, "electing", "wait", "locket_hung"),
        ((BEGUN, HEALTHY), 2, "healthy", "no", None),
        ((HUNG, HEALTHY), 2, "healthy", "no", None),
        ((HUNG, SPLIT, HUNG), 4, "locket_hung", "yes", None),
        ((BEGUN, LATE), 3, "electing", "wait", "locked_out"),
    ],
)
def test_what_would_act_is_seen_twice(
    observations: tuple[Observation, ...], looks: int, verdict: str, restart: str, lasting: str | None
) -> None:
    looking = Looking(*observations)
    found = looking.find()
    assert looking.looks == looks
    assert (found.look.diagnosis.verdict, found.look.diagnosis.restart) == (verdict, restart)
    assert (found.if_lasting.verdict if found.if_lasting else None) == lasting
    # What is kept gives the same answer again, pods included.
    kept = json.loads(record(found.look, "prod"))
    again = diagnose(Observation.from_json(json.dumps(kept)))
    assert (again.verdict, again.restart) == (verdict, restart)
    assert list(again.pods_to_restart) == kept["expect"]["pods_to_restart"]
    assert again.evidence == found.look.diagnosis.evidence
    replayed = if_lasting(Observation.from_json(json.dumps(kept)))
    assert (replayed.verdict if replayed else None) == lasting


def test_a_foundation_that_is_different_every_time_ends_with_a_look_seen_once() -> None:
    looking = Looking(HUNG, SPLIT, HUNG, SPLIT)
    found = looking.find()
    assert looking.looks == MOST_LOOKS
    assert unconfirmed(found.look)
    assert found.look.diagnosis.restart is Restart.WAIT
    assert found.if_lasting is None
    assert "Seen once" in " ".join(found.look.diagnosis.evidence)


def test_an_empty_namespace_says_so() -> None:
    found = confirmed(lambda: look(recognised=None, observation=Observation()), lambda: None, "cf-typo")
    assert found.blind
    assert found.why_blind == "there are no pods in the namespace cf-typo, if there is such a namespace"
    known = look(recognised=None, observation=Observation(), problems={"pods": "403: cannot list pods"})
    assert confirmed(lambda: known, lambda: None, "cf").why_blind == "403: cannot list pods"


def config(**more: object) -> FoundationConfig:
    return FoundationConfig.model_validate({"name": "prod", "namespace": "cf", **more})


def test_the_command_to_copy_goes_to_the_cluster_that_was_looked_at() -> None:
    assert delete_command(config(), ["a-0", "a-1"]) == "kubectl delete pod --namespace cf a-0 a-1"
    there = config(kubeconfig="/etc/my clusters/prod", context="admin@prod")
    assert delete_command(there, ["a-0"]) == (
        "kubectl --kubeconfig '/etc/my clusters/prod' --context admin@prod delete pod --namespace cf a-0"
    )
    text = as_text(diagnose(HUNG), title="prod", config=config(), layout="cfee-2 (its pods)")
    assert text.splitlines()[:3] == [
        "prod: locket_hung, a restart helps",
        "  Locket is stuck, so no BBS can become active and every cf push fails with 503.",
        "  layout cfee-2 (its pods)",
    ]
    assert text.endswith("By hand\n  kubectl delete pod --namespace cf diego-api-0 diego-api-1")
    assert as_text(diagnose(HUNG), title="o.json").endswith("By hand\n  delete the pods diego-api-0 diego-api-1")


def test_what_only_a_person_may_decide_is_marked_so() -> None:
    unsure = replace(HUNG, signals=replace(QUIET, database=Database.NOT_CONFIGURED))
    assert diagnose(unsure).restart is Restart.ASK
    assert "By hand, once somebody has decided" in as_text(diagnose(unsure), title="prod", config=config())


def test_no_text_from_outside_steers_the_terminal() -> None:
    evil = "\x1b[2J\x1b]0;owned\x07 first\nsecond\u202e\u009b"
    odd = replace(HEALTHY, pods=(replace(HEALTHY.pods[0], name=evil), HEALTHY.pods[1]))
    text = as_text(diagnose(odd), title=evil, config=config())
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert "owned" in text
    assert printable("grüß \u2713") == "grüß \u2713"
    assert json.loads(as_json(diagnose(odd), foundation="prod"))["foundation"] == "prod"


def test_how_long_it_must_have_lasted() -> None:
    lasting = if_lasting(BEGUN)
    assert lasting is not None
    assert lasting.verdict is Verdict.LOCKET_HUNG
    told = lasting_text(lasting, 120)
    assert told.startswith("If this has lasted for 2m already (this command cannot know), the verdict is locket_hung")
    assert "restart yes (diego-api-0, diego-api-1)" in told
    assert lasting_text(lasting, None).startswith("If this has lasted as long as `settle` already")
