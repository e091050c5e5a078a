"""Each rule of the protocol in the situation that it is for: with it all is well, without it the checker says why not.

The second half of each pair runs real processes of which that one rule has been left out (`tests.campaign.broken`): a
scenario that passes either way would show nothing.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.campaign.checker import Case, check, deleted
from tests.campaign.world import Alertmanager, Cluster, Replica, TimedOutError, eventually, write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Json = dict[str, Any]

pytestmark = pytest.mark.timeout(200)

CLAIM, COOLDOWN = 4.0, 20.0


class Stage:
    """A cluster, some replicas, and what is needed to bring about one situation."""

    def __init__(
        self, folder: Path, without: str, *, replicas: int = 1, skew: tuple[float, ...] = (), **more: Any
    ) -> None:
        self.cluster = Cluster(folder, layout=more.pop("layout", "cfee-2"), speed=40, grace=2)
        config = write_config(self.cluster, folder, playbook=more)
        skews = (*skew, *(0.0 for _ in range(replicas)))[:replicas]
        self.replicas = [Replica(config, skew=one, without=without) for one in skews]
        self.alerts = Alertmanager(self.replicas, every=1.0, doubled=False)
        self.first: dict[str, str] = {}
        for replica in self.replicas:
            eventually(replica.port, "a replica listens")
        self.first = eventually(self.cluster.pods, "the pods run")

    def close(self) -> None:
        for replica in self.replicas:
            replica.process.end()
        self.cluster.process.end()

    def ledger(self) -> Json:
        return self.cluster.ledger()[1]

    def break_it(self, incident: str = "locket_hung") -> None:
        """Start an incident, and wait until its verdict may say yes."""
        time.sleep(1.5)
        self.cluster.incident(incident)
        time.sleep(6)

    def until(self, look: Callable[[Json], object], what: str, deadline: float = 40.0) -> Json:
        """Wait for something to stand in the ledger."""
        eventually(lambda: look(self.ledger()), what, deadline, pause=0.01)
        return self.ledger()

    def until_step(self, step: str) -> None:
        self.until(lambda found: (found.get("run") or {}).get("step") == step, f"the step {step}")

    def until_closed(self, number: int = 1) -> Json:
        """Wait for the end of the n-th request, and for the objects to say so, which are written after the ledger."""

        def over(found: Json) -> bool:
            last = found.get("last") or {}
            return not found.get("run") and last.get("request", {}).get("name", "").endswith(f".{number}")

        self.until(over, "the run ends", 90.0)
        with contextlib.suppress(TimedOutError):  # that is for the checker to say
            eventually(lambda: not self.cluster.under_way(), "the objects say so", 10.0)
        return self.ledger()

    def holder(self) -> Replica:
        holder = self.ledger()["holder"]
        return next(one for one in self.replicas if any(f'"holder": "{holder}"' in line for line in one.process.lines))

    def violations(self) -> list[str]:
        return check(self.case())

    def case(self) -> Case:
        name = self.cluster.ledger()[0]
        return Case(
            journal=self.cluster.journal(),
            told=self.alerts.told,
            ledger=name,
            claim=CLAIM,
            cooldown=COOLDOWN,
            limits=((2, 60.0),),
            first_uids=self.first,
        )

    def verbs(self, verb: str, resource: str) -> list[Json]:
        return [one for one in self.cluster.journal() if one["verb"] == verb and one["resource"] == resource]


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(without: str = "", **more: Any) -> Stage:
        made.append(Stage(tmp_path, without, **more))
        return made[-1]

    yield make
    for stage in made:
        stage.close()


def late_deletions(stage: Stage) -> None:
    """A DELETE is under way when another pod heals by itself; it arrives after the run has ended."""
    stage.break_it()
    stage.cluster.faults(rules=[{"verb": "delete", "resource": "pods", "hang_up": True, "hold": True}])
    stage.alerts.send(stage.replicas[0])
    stage.until(lambda found: (found.get("run") or {}).get("intents"), "a deletion is announced")
    stage.cluster.tell("foundations/demo/pods/diego-api-1", {"locket": "well"})
    stage.until_closed()
    stage.cluster.faults(rules=[])
    eventually(lambda: stage.verbs("delete", "pods"), "the late deletions arrive")
    time.sleep(0.5)


class TestTheFence:
    """Rule 4 (V4, E6): a deletion that arrives late bounces."""

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages()
        late_deletions(stage)
        assert stage.violations() == []
        assert deleted(stage.case()) == []
        assert {one["status"] for one in stage.verbs("delete", "pods")} == {409}

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("fence")
        late_deletions(stage)
        assert any("while no run was open" in violation for violation in stage.violations())

    def test_without_the_version_in_the_delete(self, stages: Callable[..., Stage]) -> None:
        stage = stages("version")
        late_deletions(stage)
        found = stage.violations()
        assert any("a late one would not bounce" in violation for violation in found)
        assert any("while no run was open" in violation for violation in found)


def slow_announcement(stage: Stage) -> None:
    """The announcement's answer takes so long that the look it rests on is old by then."""
    stage.break_it()
    stage.alerts.send(stage.replicas[0])
    stage.until_step("delete")
    stage.cluster.faults(rules=[{"verb": "update", "resource": "configmaps", "delay": 3.6, "times": 1}])
    stage.until_closed()


class TestAFreshVerdict:
    """Rule 3 (E7): DELETE is sent only while one's own confirming look is younger than half the claim."""

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages()
        slow_announcement(stage)
        assert stage.violations() == []
        assert len(deleted(stage.case())) == 2

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("fresh")
        slow_announcement(stage)
        assert any("after the look that it rests on" in violation for violation in stage.violations())


def frozen_holder(stage: Stage) -> None:
    """The holder is frozen in the middle; another goes on; the first wakes up while the other is at work."""
    stage.break_it()
    for replica in stage.replicas:
        stage.alerts.send(replica)
    stage.until(lambda found: (found.get("run") or {}).get("deleted"), "a pod is deleted")
    first, epoch = stage.holder(), stage.ledger()["epoch"]
    first.process.signal(signal.SIGSTOP)
    stage.until(lambda found: found["epoch"] > epoch and found.get("run"), "another takes over")
    first.process.signal(signal.SIGCONT)
    stage.until_closed()
    time.sleep(1)


class TestTheEpoch:
    """Rule 7 (V7): every entry into a run raises the epoch, and whoever has an older one does nothing more."""

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages(replicas=2, strategy="one-by-one")
        frozen_holder(stage)
        assert stage.violations() == []

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("epoch", replicas=2, strategy="one-by-one")
        frozen_holder(stage)
        assert any("2: " in violation and "was changed by" in violation for violation in stage.violations())


def killed_holder(stage: Stage) -> None:
    """The holder dies after its first deletion, and the replacement falls ill of the same before another goes on."""
    stage.break_it()
    stage.alerts.send(stage.replicas[0])
    stage.until(lambda found: (found.get("run") or {}).get("deleted"), "a pod is deleted")
    stage.replicas[0].process.end()
    name = stage.ledger()["run"]["deleted"][0]["name"]
    eventually(lambda: stage.cluster.pods().get(name) not in (None, stage.first[name]), "the pod is replaced")
    time.sleep(1)
    stage.cluster.incident("locket_hung")
    stage.replicas[0].restart()
    stage.until_closed()


class TestRecordedOnce:
    """Rule 5 (V5): a new holder deletes only what is left of the list made at the start."""

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages(strategy="one-by-one")
        killed_holder(stage)
        assert stage.violations() == []

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("recorded-once", strategy="one-by-one")
        killed_holder(stage)
        assert any("3: the record" in violation for violation in stage.violations())


def paused_before_the_claim(stage: Stage) -> None:
    """Approved, but paused before anybody claims it."""
    stage.break_it()
    stage.alerts.send(stage.replicas[0])
    name = stage.until(lambda found: (found.get("pending") or {}).get("phase") == "AwaitingApproval", "it waits")
    name = name["pending"]["name"]
    eventually(lambda: stage.cluster.remediations()[0].get("status", {}).get("phase") == "AwaitingApproval", "shown")
    stage.replicas[0].process.signal(signal.SIGSTOP)
    found, item = stage.cluster.ledger()[0], stage.cluster.remediations()[0]
    path = f"/apis/stager-medic.dev/v1alpha1/namespaces/{stage.cluster.namespace}/remediations/{name}"
    approval = {"spec": {"approval": {"state": "approved", "by": "ann"}}}
    assert item["metadata"]["name"] == name
    stage.cluster.api("PATCH", path, approval, "application/merge-patch+json")
    where = f"/api/v1/namespaces/{stage.cluster.namespace}/configmaps/{found}"
    _, stored = stage.cluster.api("GET", where)
    ledger = json.loads(stored["data"]["ledger"])
    ledger["pause"] = {"by": "ann", "why": "a migration", "since": "2026-01-01T00:00:00Z"}
    stored["data"]["ledger"] = json.dumps(ledger)
    stage.cluster.api("PUT", where, stored)
    stage.replicas[0].process.signal(signal.SIGCONT)
    stage.until_closed()


class TestAdmissionAtTheClaim:
    """Rule 8 (V8): pause, cooldown, limits and breaker are judged again when a run begins."""

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages(mode="approval")
        paused_before_the_claim(stage)
        assert stage.violations() == []
        assert stage.ledger()["last"]["phase"] == "Cancelled"

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("admission-at-claim", mode="approval")
        paused_before_the_claim(stage)
        assert any("was claimed while paused" in violation for violation in stage.violations())


def pause_between_two_deletions(stage: Stage) -> None:
    stage.break_it()
    stage.alerts.send(stage.replicas[0])
    stage.until(lambda found: (found.get("run") or {}).get("recorded"), "the pods are recorded")
    assert stage.replicas[0].post("/api/v1/pause", {"reason": "a migration"})[0] == 200
    stage.until_closed()


class TestThePause:
    """Rule 8: a run under way deletes no further pod."""

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages(strategy="one-by-one")
        pause_between_two_deletions(stage)
        assert stage.violations() == []

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("pause", strategy="one-by-one")
        pause_between_two_deletions(stage)
        assert any("announced a deletion while paused" in violation for violation in stage.violations())


def again_within_the_cooldown(stage: Stage) -> None:
    """A run, then the same again at once, told to the last replica."""
    stage.break_it()
    stage.alerts.send(stage.replicas[0])
    assert stage.until_closed()["last"]["phase"] == "Succeeded"


class TestTheServersClock:
    """Rule 2 (V3): cooldown and limits by the API server's clock; a replica whose own is wrong refuses."""

    @staticmethod
    def play(stage: Stage) -> None:
        again_within_the_cooldown(stage)
        stage.break_it()
        stage.replicas[0].process.signal(signal.SIGSTOP)  # it would judge rightly, and close what the other let in
        stage.alerts.send(stage.replicas[1])
        time.sleep(4)
        stage.replicas[0].process.signal(signal.SIGCONT)

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages(replicas=2, skew=(0.0, 3600.0))
        self.play(stage)
        assert stage.alerts.told[-1].answers[0]["outcome"] == "refused"
        assert stage.alerts.told[-1].answers[0]["reason"].startswith("clock")
        assert stage.violations() == []

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("server-clock", replicas=2, skew=(0.0, 3600.0))
        self.play(stage)
        assert any("was claimed" in one or "the cooldown is" in one or "6:" in one for one in stage.violations())


class TestALostHistory:
    """Rule 1 (V2): a ledger that is missing while Remediations exist opens the breaker."""

    @staticmethod
    def play(stage: Stage) -> None:
        again_within_the_cooldown(stage)
        name = stage.cluster.ledger()[0]
        stage.cluster.api("DELETE", f"/api/v1/namespaces/{stage.cluster.namespace}/configmaps/{name}")
        stage.break_it()
        stage.alerts.send(stage.replicas[0])
        time.sleep(8)

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages()
        self.play(stage)
        answer = stage.alerts.told[-1].answers[0]
        assert (answer["outcome"], answer["reason"].partition(":")[0]) == ("refused", "breaker")
        assert stage.violations() == []

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("history-lost")
        self.play(stage)
        assert any("the cooldown is" in violation for violation in stage.violations())


def doubled_notifications(stage: Stage) -> None:
    """Two replicas decide on the same ledger at the same moment."""
    import threading

    stage.break_it()
    assert stage.replicas[0].post("/api/v1/pause", {"reason": "for a ledger to be there"})[0] == 200
    assert stage.replicas[0].post("/api/v1/resume", {})[0] == 200
    stage.cluster.faults(rules=[{"verb": "update", "resource": "configmaps", "delay": 1.0, "times": 3}])
    threads = [threading.Thread(target=stage.alerts.send, args=(one,)) for one in stage.replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stage.until_closed()


class TestOneNotificationTwice:
    """Rules 1 and 14 (V1): however often it is told, one Remediation."""

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages(replicas=3)
        doubled_notifications(stage)
        outcomes = sorted(answer["outcome"] for told in stage.alerts.told for answer in told.answers)
        assert outcomes == ["created", "duplicate", "duplicate"]
        assert stage.violations() == []
        assert len(deleted(stage.case())) == 2

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("swap", replicas=3)
        doubled_notifications(stage)
        assert any("times" in one or "2: " in one for one in stage.violations())


def told_while_nothing_can_be_written(stage: Stage) -> None:
    stage.break_it()
    stage.cluster.faults(
        rules=[{"verb": verb, "resource": "configmaps", "status": 500} for verb in ("create", "update")]
    )
    stage.alerts.send(stage.replicas[0])
    time.sleep(1)


class TestAcceptedMeansStored:
    """Guarantee 1: what is answered 2xx stands in the ledger; what cannot be written is 503, and comes again."""

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages()
        told_while_nothing_can_be_written(stage)
        assert [told.status for told in stage.alerts.told] == [503]
        stage.cluster.faults(rules=[])
        stage.alerts.send(stage.replicas[0])
        stage.until_closed()
        assert stage.violations() == []

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("stored")
        told_while_nothing_can_be_written(stage)
        assert [told.status for told in stage.alerts.told] == [200]
        assert any("1: answered created, but no ledger" in violation for violation in stage.violations())


class TestTakingOver:
    """Guarantee 6: after a kill at any point another goes on, or closes."""

    @staticmethod
    def play(stage: Stage) -> None:
        stage.break_it()
        for replica in stage.replicas:
            stage.alerts.send(replica)
        stage.until(lambda found: (found.get("run") or {}).get("recorded"), "the pods are recorded")
        stage.holder().process.signal(signal.SIGKILL)

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages(replicas=2)
        self.play(stage)
        stage.until_closed()
        assert stage.violations() == []
        assert stage.ledger()["last"]["phase"] == "Succeeded"

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("take-over", replicas=2)
        self.play(stage)
        time.sleep(4 * CLAIM)
        assert any("6: " in violation and "never ended" in violation for violation in stage.violations())


class TestAResolvedAlert:
    """Guarantee 8: it never interrupts a run half way."""

    @staticmethod
    def play(stage: Stage) -> None:
        stage.break_it()
        stage.alerts.send(stage.replicas[0])
        stage.until(lambda found: (found.get("run") or {}).get("deleted"), "a pod is deleted")
        stage.alerts.status = "resolved"
        stage.alerts.send(stage.replicas[0])
        stage.until_closed()

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages()
        self.play(stage)
        assert stage.violations() == []
        assert stage.ledger()["last"]["phase"] == "Succeeded"

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("resolved")
        self.play(stage)
        assert any("8: " in violation for violation in stage.violations())


def blind_before_the_deletion(stage: Stage) -> None:
    """Two looks agreed; then the pods cannot be read, and saving the evidence takes longer than a look lasts."""
    stage.break_it()
    stage.alerts.send(stage.replicas[0])
    stage.until_step("evidence")
    rules = [
        {"verb": "list", "resource": "pods", "status": 403},
        {"verb": "create", "resource": "configmaps", "delay": 3.4, "times": 1},
    ]
    stage.cluster.faults(rules=rules)
    stage.until_step("delete")
    time.sleep(4)


class TestWhatCannotBeRead:
    """Guarantee 7: it counts as no, whatever was seen before."""

    def test_pods_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages()
        blind_before_the_deletion(stage)
        assert deleted(stage.case()) == []
        stage.cluster.faults(rules=[])
        stage.until_closed()
        assert stage.violations() == []
        assert len(deleted(stage.case())) == 2, "it was a restart that helps all the time"

    def test_pods_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("unread")
        blind_before_the_deletion(stage)
        assert deleted(stage.case()) != []
        assert any("after the look that it rests on" in violation for violation in stage.violations())


def not_understood(stage: Stage) -> None:
    """A run; then the ledger is one of a newer version, and the same incident comes again."""
    again_within_the_cooldown(stage)
    where = f"/api/v1/namespaces/{stage.cluster.namespace}/configmaps/{stage.cluster.ledger()[0]}"
    _, stored = stage.cluster.api("GET", where)
    stored["data"]["ledger"] = json.dumps(json.loads(stored["data"]["ledger"]) | {"version": 2})
    assert stage.cluster.api("PUT", where, stored)[0] == 200
    stage.break_it()
    stage.alerts.send(stage.replicas[0])
    time.sleep(8)


class TestALedgerThatIsNotUnderstood:
    """Guarantee 7: no state, no action, and the sender is told to come again."""

    def test_with(self, stages: Callable[..., Stage]) -> None:
        stage = stages()
        not_understood(stage)
        assert stage.alerts.told[-1].status == 503
        assert len(deleted(stage.case())) == 2, "those of the first run"
        assert stage.violations() == []

    def test_without(self, stages: Callable[..., Stage]) -> None:
        stage = stages("unreadable")
        not_understood(stage)
        assert stage.alerts.told[-1].status == 200
        assert any("the cooldown is" in violation for violation in stage.violations())


class TestStopping:
    """Rule 15: SIGTERM in the destructive step: the deletion under way is finished and recorded, the claim given up."""

    def test_the_deletion_under_way_is_recorded(self, stages: Callable[..., Stage]) -> None:
        stage = stages(replicas=2)
        stage.break_it()
        stage.cluster.faults(rules=[{"verb": "delete", "resource": "pods", "delay": 1.0, "times": 1}])
        for replica in stage.replicas:
            stage.alerts.send(replica)
        stage.until(lambda found: (found.get("run") or {}).get("intents"), "a deletion is announced")
        holder = stage.holder()
        holder.process.signal(signal.SIGTERM)
        eventually(lambda: not holder.process.alive, "the holder ends", 6.0)
        ledger = stage.ledger()
        assert ledger["holder"] == "" or ledger["epoch"] > 1
        assert len(ledger["run"]["deleted"]) >= 1
        stage.until_closed()
        assert stage.violations() == []


class TestTryingAgain:
    """Rule 12: what was refused for a time is tried again when that is over, without being told again."""

    def test_after_the_cooldown(self, stages: Callable[..., Stage]) -> None:
        stage = stages()
        again_within_the_cooldown(stage)
        stage.cluster.incident("zombie")
        stage.alerts.send(stage.replicas[0])
        assert stage.alerts.told[-1].answers[0]["reason"].startswith("cooldown")
        stage.until_closed(2)
        assert stage.violations() == []
