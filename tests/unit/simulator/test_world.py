"""The foundation as a state machine, moved by a clock that only the test turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from simulator.api.objects import labels, metadata, parse_time
from simulator.api.resources import ENDPOINTS, PODS, STATEFULSETS
from simulator.api.store import Deletion, Store
from simulator.clock import Timing
from simulator.incidents import INCIDENTS, NAMES, NotApplicableError, afflict, incident_named
from simulator.layouts import LAYOUT_NAMES, layout_named
from simulator.servers.bbs import BBSMode
from simulator.servers.database import DatabaseMode
from simulator.servers.locket import LocketMode
from simulator.world import Foundation

if TYPE_CHECKING:
    from simulator.api.objects import Json
    from simulator.pod import Pod

NEEDS_LOCKET_PODS = {"locket_down"}


@dataclass
class FakeClock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0 + self.now


@dataclass
class World:
    clock: FakeClock
    foundation: Foundation
    addresses: list[str] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """Let time pass in steps of half a second."""
        ends = self.clock.now + seconds
        while self.clock.now < ends:
            self.clock.now += 0.5
            self.foundation.step()

    def start(self, incident: str) -> None:
        incident_named(incident).start(self.foundation)
        self.foundation.step()

    def heal(self, incident: str) -> None:
        incident_named(incident).heal(self.foundation)
        self.foundation.step()

    def delete(self, name: str) -> None:
        self.foundation.store.delete(PODS, "cf", name, Deletion())

    def modes(self) -> list[BBSMode]:
        plan = self.foundation.plan()
        return [plan.bbs.get(pod.ip, BBSMode.CLOSED) for pod in self.foundation.of("bbs")]

    def labelled(self) -> list[str]:
        key = self.foundation.layout.active_key
        things, _ = self.foundation.store.listing(PODS, "cf")
        return [metadata(thing)["name"] for thing in things if labels(thing).get(key) in ("true", "active")]

    def ready(self) -> list[str]:
        return [pod.name for pod in self.foundation.of("bbs") if pod.ready]

    def pod(self, name: str) -> Pod:
        return self.foundation.pods[name]


def world(layout: str = "cfee-2") -> World:
    clock = FakeClock()
    store = Store(clock.time, seed=1)
    numbers = iter(range(10, 250))
    foundation = Foundation(
        name="demo",
        namespace="cf",
        layout=layout_named(layout),
        store=store,
        clock=clock,
        timing=Timing(grace=30.0),
        address=lambda: f"127.9.9.{next(numbers)}",
        service_address="127.9.9.1",
        database_address="127.9.9.2",
    )
    foundation.create()
    return World(clock, foundation)


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_begins_well_and_stays_so(layout: str) -> None:
    new = world(layout)
    for _ in range(2):
        assert new.modes() == [BBSMode.SERVES, BBSMode.CLOSED]
        assert new.labelled() == (["diego-api-0"] if new.foundation.layout.active_key else [])
        assert new.ready() == (["diego-api-0"] if layout == "cfee-1" else ["diego-api-0", "diego-api-1"])
        assert new.foundation.push_failure() is None
        assert new.foundation.plan().service.backends == ((new.pod("diego-api-0").ip, False),)
        new.run(60)


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_every_incident_can_be_started_and_healed(layout: str, name: str) -> None:
    new, incident = world(layout), incident_named(name)
    try:
        new.start(name)
    except NotApplicableError:
        assert name in NEEDS_LOCKET_PODS | {"stale_label", "unlabelled_active"}
        return
    new.run(40)
    new.heal(name)
    new.run(180)
    assert new.modes().count(BBSMode.SERVES) == 1, incident.about
    assert new.foundation.push_failure() is None
    if new.foundation.layout.active_key:
        assert len(new.labelled()) == 1


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
@pytest.mark.parametrize("name", [incident.name for incident in INCIDENTS if incident.cured_by_restart])
def test_what_a_restart_cures_is_cured_by_one(layout: str, name: str) -> None:
    new = world(layout)
    try:
        new.start(name)
    except NotApplicableError:
        return
    new.run(60)
    for pod in [*new.foundation.of("locket"), *new.foundation.of("bbs")]:
        new.delete(pod.name)
    new.run(180)
    assert sorted(new.modes()) == [BBSMode.CLOSED, BBSMode.SERVES]
    assert not any(pod.afflicted for pod in new.foundation.pods.values())


@pytest.mark.parametrize(
    "name",
    [
        "split",
        "network_path",
        "unlabelled_active",
        "certificate",
        "database_down",
        "database_cut",
        "crashing",
        "migrating",
    ],
)
def test_what_a_restart_does_not_cure_is_not(name: str) -> None:
    new = world()
    new.start(name)
    new.run(60)
    for pod in new.foundation.of("bbs"):
        new.delete(pod.name)
    new.run(180)
    well = new.modes().count(BBSMode.SERVES) == 1 and new.foundation.push_failure() is None and len(new.labelled()) == 1
    assert not well


def test_every_locket_hung_reads_as_in_the_incident_that_was_seen() -> None:
    new = world()
    new.start("locket_hung")
    assert new.modes() == [BBSMode.SERVES, BBSMode.CLOSED], "the lock's time is not up yet"
    new.run(17)
    assert new.modes() == [BBSMode.CLOSED, BBSMode.CLOSED]
    assert set(new.foundation.plan().locket.values()) == {LocketMode.HANGS}
    assert new.foundation.plan().database is DatabaseMode.ANSWERS
    new.run(60)
    assert new.ready() == ["diego-api-0", "diego-api-1"], "READY stays as it was"
    assert new.pod("diego-api-0").restarts == 0
    assert new.labelled() == []
    assert "Connection refused" in str(new.foundation.push_failure())


def test_kubecf_sees_a_hung_locket_as_not_ready() -> None:
    new = world("kubecf")
    new.start("locket_hung")
    new.run(60)
    assert new.ready() == []
    assert new.foundation.push_failure() == (
        "getaddrinfo: Name or service not known (bbs.service.cf.internal:8889)",
        0.05,
    )


def test_a_wedged_active_stays_labelled_beside_its_successor() -> None:
    new = world()
    new.start("zombie")
    new.run(10)
    assert new.modes() == [BBSMode.HANGS, BBSMode.CLOSED]
    new.run(30)
    assert new.modes() == [BBSMode.HANGS, BBSMode.SERVES]
    assert new.labelled() == ["diego-api-0", "diego-api-1"]
    new.delete("diego-api-0")
    new.run(20)
    assert new.pod("diego-api-0").terminating, "a stopped process ignores TERM until its grace is over"
    new.run(40)
    assert new.modes() == [BBSMode.CLOSED, BBSMode.SERVES]


def test_a_stale_label_leaves_a_service_that_refuses() -> None:
    new = world()
    new.start("stale_label")
    new.run(40)
    assert new.labelled() == ["diego-api-0"]
    assert new.modes() == [BBSMode.CLOSED, BBSMode.CLOSED]
    assert new.foundation.plan().service.refuses


def test_a_dead_database_heals_by_itself_when_it_is_back() -> None:
    new = world()
    new.start("database_down")
    new.run(3)
    assert new.modes() == [BBSMode.CLOSED, BBSMode.CLOSED]
    new.run(40)
    assert new.ready() == ["diego-api-1"], "the former active cannot start"
    new.heal("database_down")
    new.run(20)
    assert new.modes().count(BBSMode.SERVES) == 1


def test_pods_deleted_under_a_dead_database_come_back_one_and_not_ready() -> None:
    new = world()
    new.start("database_down")
    new.run(5)
    for name in ("diego-api-0", "diego-api-1"):
        new.delete(name)
    new.run(120)
    assert [pod.name for pod in new.foundation.of("bbs")] == ["diego-api-0"]
    assert new.ready() == []


def test_an_expired_certificate_kills_the_next_bbs_to_start() -> None:
    new = world()
    new.start("certificate")
    new.run(20)
    assert new.modes() == [BBSMode.CERTIFICATE_EXPIRED, BBSMode.CLOSED]
    assert new.labelled() == []
    new.delete("diego-api-0")
    new.delete("diego-api-1")
    new.run(120)
    assert set(new.modes()) == {BBSMode.CLOSED}


def test_ordered_ready_waits_for_the_pod_before() -> None:
    new = world()
    old = {pod.name: pod.uid for pod in new.foundation.of("bbs")}
    for name in old:
        new.delete(name)
    seen: list[list[str]] = []
    for _ in range(120):
        new.run(0.5)
        names = [pod.name for pod in new.foundation.of("bbs") if pod.uid not in old.values()]
        if "diego-api-1" in names:
            seen.append(new.ready())
    assert seen[0] == ["diego-api-0"], "diego-api-1 was made before diego-api-0 was ready"
    assert new.ready() == ["diego-api-0", "diego-api-1"]


def test_kubecf_makes_its_pods_at_once() -> None:
    new = world("kubecf")
    for name in ("diego-api-0", "diego-api-1"):
        new.delete(name)
    new.run(9)
    assert len(new.foundation.of("bbs")) == 2


def test_a_replacement_has_another_uid_and_address() -> None:
    new = world()
    old = new.pod("diego-api-1")
    new.delete("diego-api-1")
    new.run(60)
    assert new.pod("diego-api-1").uid != old.uid
    assert new.pod("diego-api-1").ip != old.ip
    assert new.modes() == [BBSMode.SERVES, BBSMode.CLOSED], "the other one was not disturbed"


def test_pods_hang_in_terminating_until_they_are_let_go() -> None:
    new = world()
    new.start("terminating")
    new.run(600)
    assert all(pod.terminating for pod in new.foundation.of("bbs"))
    new.heal("terminating")
    new.run(120)
    assert new.ready() == ["diego-api-0", "diego-api-1"]


def test_a_rollout_replaces_one_pod_at_a_time_from_the_last() -> None:
    new = world()
    uids = [pod.uid for pod in new.foundation.of("bbs")]
    new.start("rollout")
    status = new.foundation.store.get(STATEFULSETS, "cf", "diego-api")["status"]
    assert status["currentRevision"] != status["updateRevision"]
    new.run(20)
    assert new.pod("diego-api-0").uid == uids[0]
    new.run(120)
    status = new.foundation.store.get(STATEFULSETS, "cf", "diego-api")["status"]
    assert status["currentRevision"] == status["updateRevision"]
    assert not set(uids) & {pod.uid for pod in new.foundation.of("bbs")}


def test_locket_down_needs_locket_pods_of_their_own() -> None:
    with pytest.raises(NotApplicableError, match="no Locket pods of its own"):
        world().start("locket_down")
    new = world("cfee-4")
    new.start("locket_down")
    new.run(40)
    assert new.modes() == [BBSMode.CLOSED, BBSMode.CLOSED]
    assert new.foundation.plan().locket == {}


def test_an_unknown_incident_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NotApplicableError, match="known: locket_hung, locked_out"):
        incident_named("lunch")


def test_endpoints_follow_label_and_readiness() -> None:
    new = world()
    subsets = new.foundation.store.get(ENDPOINTS, "cf", "diego-api")["subsets"]
    assert [address["ip"] for address in subsets[0]["addresses"]] == [new.pod("diego-api-0").ip]
    new.start("locked_out")
    new.run(30)
    assert new.foundation.store.get(ENDPOINTS, "cf", "diego-api")["subsets"] == []


def test_a_wedged_process_uses_up_the_grace_and_a_second_deletion_shortens_it() -> None:
    new = world()
    pod = new.pod("diego-api-0")
    new.start("locket_hung")
    new.delete("diego-api-0")
    new.run(29)
    assert new.pod("diego-api-0") is pod, "TERM is ignored"
    new.run(2)
    assert new.foundation.pods.get("diego-api-0") is not pod
    other = new.pod("diego-api-1")
    new.delete("diego-api-1")
    new.run(5)
    new.foundation.store.delete(PODS, "cf", "diego-api-1", Deletion(grace=6))
    new.run(2)
    assert new.foundation.pods.get("diego-api-1") is not other


def test_a_well_process_ends_before_its_grace_is_up() -> None:
    new = world()
    old = new.pod("diego-api-0")
    new.delete("diego-api-0")
    new.run(7)
    assert new.foundation.pods.get("diego-api-0") is not old


def scale(new: World, replicas: int) -> None:
    def change(thing: Json) -> Json:
        thing["spec"]["replicas"] = replicas
        return thing

    new.foundation.store.update(STATEFULSETS, "cf", "diego-api", change)


def test_scaling_goes_in_order_of_the_ordinals() -> None:
    new = world()
    scale(new, 4)
    new.run(8)
    assert [pod.name for pod in new.foundation.of("bbs")] == ["diego-api-0", "diego-api-1", "diego-api-2"]
    new.run(60)
    assert len(new.ready()) == 4
    scale(new, 1)
    new.run(1)
    assert [pod.name for pod in new.foundation.of("bbs") if pod.terminating] == ["diego-api-3"], "one after the other"
    new.run(60)
    assert [pod.name for pod in new.foundation.of("bbs")] == ["diego-api-0"]
    assert new.foundation.store.get(STATEFULSETS, "cf", "diego-api")["status"]["readyReplicas"] == 1


def test_a_rollout_keeps_to_its_partition() -> None:
    new = world()
    uids = {pod.name: pod.uid for pod in new.foundation.of("bbs")}

    def change(thing: Json) -> Json:
        thing["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
        thing["spec"]["template"]["metadata"]["annotations"] = {"a": "b"}
        return thing

    new.foundation.store.update(STATEFULSETS, "cf", "diego-api", change)
    new.run(90)
    assert {name for name, uid in uids.items() if new.pod(name).uid == uid} == {"diego-api-0"}


def test_pods_go_with_their_stateful_set_unless_they_are_orphaned() -> None:
    for orphan in (False, True):
        new = world()
        store, uids = new.foundation.store, [pod.uid for pod in new.foundation.of("bbs")]
        old = store.get(STATEFULSETS, "cf", "diego-api")
        store.delete(STATEFULSETS, "cf", "diego-api", Deletion(orphan=orphan))
        new.run(30)
        assert [pod.uid for pod in new.foundation.of("bbs")] == (uids if orphan else [])
        store.create(STATEFULSETS, "cf", {"metadata": {"name": "diego-api"}, "spec": old["spec"]})
        new.run(60)
        assert new.ready() == ["diego-api-0", "diego-api-1"]
        owner = store.get(STATEFULSETS, "cf", "diego-api")["metadata"]["uid"]
        assert owner != old["metadata"]["uid"]
        for pod in new.foundation.of("bbs"):
            assert metadata(store.get(PODS, "cf", pod.name))["ownerReferences"][0]["uid"] == owner


@pytest.mark.parametrize(
    ("layout", "labelled"), [("cfee-2", ["diego-api-0"]), ("scf-2.11", ["diego-api-0"]), ("cfee-4", [])]
)
def test_before_fissile_was_mended_the_label_outlives_its_bbs(layout: str, labelled: list[str]) -> None:
    new = world(layout)
    new.start("database_down")
    new.run(60)
    assert new.labelled() == labelled
    assert new.modes() == [BBSMode.CLOSED, BBSMode.CLOSED]
    new.heal("database_down")
    new.run(60)
    assert len(new.labelled()) == 1
    assert new.modes().count(BBSMode.SERVES) == 1


def test_a_label_set_by_hand_moves_the_service_until_it_is_refreshed() -> None:
    new = world()

    def change(thing: Json) -> Json:
        thing["metadata"]["labels"]["skiff-role-active"] = "true"
        return thing

    new.foundation.store.update(PODS, "cf", "diego-api-1", change)
    new.foundation.step()
    assert [ip for ip, _ in new.foundation.service_plan().backends] == [pod.ip for pod in new.foundation.of("bbs")]
    assert new.labelled() == ["diego-api-0", "diego-api-1"]
    new.run(11)
    assert new.labelled() == ["diego-api-0"]


@pytest.mark.parametrize(
    ("troubles", "modes"),
    [
        ({"bbs": "wedged"}, [BBSMode.HANGS, BBSMode.SERVES]),
        ({"bbs": "stuck"}, [BBSMode.CLOSED, BBSMode.SERVES]),
        ({"locket": "wedged"}, [BBSMode.CLOSED, BBSMode.SERVES]),
        ({"label": "false"}, [BBSMode.SERVES, BBSMode.CLOSED]),
    ],
)
def test_one_pod_can_be_broken_alone_and_mended(troubles: Json, modes: list[BBSMode]) -> None:
    new = world()
    afflict(new.foundation, new.pod("diego-api-0"), troubles)
    new.run(40)
    assert new.modes() == modes
    assert (new.labelled() == []) == ("label" in troubles)
    afflict(new.foundation, new.pod("diego-api-0"), dict.fromkeys(troubles, "well"))
    new.run(40)
    assert new.modes().count(BBSMode.SERVES) == 1
    assert len(new.labelled()) == 1


def test_a_bbs_that_ends_gives_its_lock_back_and_runs_again() -> None:
    new = world()
    afflict(new.foundation, new.pod("diego-api-0"), {"bbs": "exit"})
    new.run(5)
    assert new.modes().count(BBSMode.SERVES) == 1


@pytest.mark.parametrize("troubles", [{"bbs": "drunk"}, {"lunch": "well"}, {"bbs": "wedged", "locket": "no"}])
def test_what_cannot_be_broken_is_refused_and_nothing_is_broken(troubles: Json) -> None:
    new = world()
    with pytest.raises(NotApplicableError):
        afflict(new.foundation, new.pod("diego-api-0"), troubles)
    with pytest.raises(NotApplicableError):
        afflict(new.foundation, new.pod("api-0"), {"bbs": "well"})
    assert not any(pod.afflicted for pod in new.foundation.pods.values())


def test_the_ready_condition_says_since_when() -> None:
    new = world()
    new.run(5)

    def turned() -> str:
        conditions = new.foundation.store.get(PODS, "cf", "diego-api-0")["status"]["conditions"]
        return str(next(one for one in conditions if one["type"] == "Ready")["lastTransitionTime"])

    first = turned()
    assert parse_time(first) == pytest.approx(new.clock.time() - 3605, abs=1)
    new.start("database_down")
    new.run(60)
    assert not new.pod("diego-api-0").ready
    assert new.clock.time() - 60 < parse_time(turned()) < new.clock.time()
    new.heal("database_down")
    later = turned()
    new.run(60)
    assert parse_time(turned()) >= parse_time(later) > parse_time(first)
