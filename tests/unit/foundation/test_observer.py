"""From probes and pods to a Look, with a cluster and probes made of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import pytest

from foundation import interpret
from foundation.config import BbsConfig, DatabaseConfig, FoundationConfig, ProbeConfig
from foundation.diagnosis import Restart, Verdict, diagnose
from foundation.history import History
from foundation.layout import Layout, override
from foundation.observation import Database, InnerDatabase, Locket, Observation, PodProbe, ServiceProbe, Witness
from foundation.observer import Look, Observer, service_target_of
from foundation.pods import Container, PodSeen, StatefulSetSeen
from foundation.probes.result import Cause, Certificate, ProbeResult, Stage, Target

SCF = "app.kubernetes.io/component"
T0 = 1_800_000_000.0


def pod(name: str, role: str, ip: str, *, active: str | None = None, ready: bool = True) -> PodSeen:
    labels = {SCF: role} | ({"skiff-role-active": active} if active else {})
    container = Container(role, ready, 0, "c1", T0 - 5000, None, "")
    return PodSeen(
        "cf", name, f"uid-{name}", "1", labels, ip, "n", "Running", ready, T0 - 5010, None, 30, role, (container,)
    )


PODS = (
    pod("diego-api-0", "diego-api", "10.0.0.1", active="true"),
    pod("diego-api-1", "diego-api", "10.0.0.2", active="false"),
    pod("api-0", "api", "10.0.0.3"),
    pod("mysql-0", "mysql", "10.0.0.4"),
)
SETS = (StatefulSetSeen("diego-api", "s1", 2, rolling=False, revision="r1"),)


@dataclass
class FakeCluster:
    found: Sequence[PodSeen] = PODS
    sets: Sequence[StatefulSetSeen] | None = SETS
    trouble: str = ""
    seconds: float | None = 1.0
    now: float = T0

    def pods(self) -> Sequence[PodSeen]:
        return self.found

    def statefulsets(self) -> Sequence[StatefulSetSeen] | None:
        return self.sets

    def age(self) -> float | None:
        return self.seconds

    def server_time(self) -> float:
        return self.now

    def problem(self) -> str:
        return self.trouble

    def statefulsets_problem(self) -> str:
        return ""


OK: tuple[Stage | None, Cause | None] = (None, None)
REFUSED = (Stage.TCP, Cause.REFUSED)
SILENT = (Stage.TLS, Cause.TIMEOUT)
NO_SYN = (Stage.TCP, Cause.TIMEOUT)


def result(
    target: Target, how: tuple[Stage | None, Cause | None], depth: Stage = Stage.PING, **more: Any
) -> ProbeResult:
    failed, cause = how
    stages = MappingProxyType({Stage.TCP: 0.001})
    return ProbeResult(target, depth, T0, stages, cause=cause, failed=failed, detail="in its words", **more)


@dataclass
class FakeTools:
    """By host and port, what the probe finds."""

    says: dict[tuple[str, int], tuple[Stage | None, Cause | None]] = field(default_factory=dict)
    sql: tuple[Stage | None, Cause | None] | None = OK
    witness: tuple[Witness, str] = (Witness.OK, "nc")
    certificate: Certificate | None = None
    asked: list[Target] = field(default_factory=list)
    sql_asked: int = 0
    witness_asked: int = 0
    inner: tuple[InnerDatabase, str] = (InnerDatabase.UP, "nc from a BBS pod")
    inside: list[str] = field(default_factory=list)
    anew: list[bool] = field(default_factory=list)

    def bbs(self, target: Target) -> ProbeResult:
        self.asked.append(target)
        how = self.says.get((target.host, target.port), REFUSED)
        return result(target, how, certificate=self.certificate if how == OK else None)

    def locket(self, target: Target) -> ProbeResult:
        self.asked.append(target)
        return result(target, self.says.get((target.host, target.port), OK), Stage.TLS)

    def database(self) -> ProbeResult | None:
        self.sql_asked += 1
        return None if self.sql is None else result(Target("database", "db", 5432), self.sql)

    def from_api_pod(
        self, pods: Sequence[PodSeen], layout: Layout, host: str, port: int, *, anew: bool = False
    ) -> tuple[Witness, str]:
        self.witness_asked += 1
        self.anew.append(anew)
        return self.witness

    def from_bbs_pod(self, pods: Sequence[PodSeen], layout: Layout) -> tuple[InnerDatabase, str]:
        self.inside = [pod.name for pod in pods]
        return self.inner


SERVICE = ("diego-api.cf.svc.cluster.local", 8889)
A, B = ("10.0.0.1", 8889), ("10.0.0.2", 8889)
WELL = {SERVICE: OK, A: OK}


class World:
    def __init__(self, **settings: Any) -> None:
        self.time = 10_000.0
        self.cluster, self.tools = FakeCluster(), FakeTools(says=dict(WELL))
        database = DatabaseConfig(kind="postgresql", host="db")
        values = {"name": "prod", "namespace": "cf", "database": database, **settings}
        self.config = FoundationConfig(**values)
        self.executor = ThreadPoolExecutor(8)
        self.observer = Observer(
            self.config,
            ProbeConfig(),
            cluster=self.cluster,
            tools=self.tools,
            executor=self.executor,
            history=History(settle=120, interval=5, begun=self.time - 1000),
            monotonic=lambda: self.time,
            wall=lambda: T0,
        )

    def look(self, after: float = 5.0) -> Look:
        """A look after so many seconds, with others in between: a process that does not look knows nothing."""
        while after > 20:
            after -= 20
            self.look(20)
        self.time += after
        return self.observer.look()


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Any:
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World(**settings))
        return made[-1]

    yield make
    for item in made:
        item.executor.shutdown()


Make = Callable[..., World]


def test_a_healthy_foundation(world: Make) -> None:
    look = world().look()
    assert (look.diagnosis.verdict, look.diagnosis.restart) == (Verdict.HEALTHY, Restart.NO)
    assert look.layout is not None
    assert look.layout.layout.name == "cfee-2"
    assert [item.seen.name for item in look.pods] == ["api-0", "diego-api-0", "diego-api-1"]
    assert look.observation.signals.database is Database.UNKNOWN
    assert any("10.0.0.1:8889, ping in 1.0 ms" in sentence for sentence in look.diagnosis.evidence)
    assert len(look.service) == 3


def test_the_seeds_incident_from_electing_to_a_verdict(world: Make) -> None:
    scene = world()
    scene.look()
    for host in ("10.0.0.1", "10.0.0.2"):
        scene.tools.says[host, 8891] = SILENT
        scene.tools.says[host, 8889] = REFUSED
    scene.tools.says[SERVICE] = REFUSED
    first = scene.look()
    assert (first.diagnosis.verdict, first.diagnosis.restart) == (Verdict.ELECTING, Restart.WAIT)
    assert scene.look(110).diagnosis.verdict is Verdict.ELECTING
    once = scene.look(5).diagnosis
    assert (once.verdict, once.restart) == (Verdict.LOCKET_HUNG, Restart.WAIT)
    last = scene.look(5)
    assert (last.diagnosis.verdict, last.diagnosis.restart) == (Verdict.LOCKET_HUNG, Restart.YES)
    assert last.diagnosis.pods_to_restart == ("diego-api-0", "diego-api-1")
    assert last.observation.signals.database is Database.UP
    assert diagnose(Observation.from_json(last.observation.to_json())).verdict is Verdict.LOCKET_HUNG


def test_the_database_is_asked_only_while_nothing_serves_or_something_hangs(world: Make) -> None:
    scene = world()
    scene.look()
    assert scene.tools.sql_asked == 0
    scene.tools.says[B] = SILENT
    assert scene.look().diagnosis.verdict is Verdict.ZOMBIE
    assert scene.tools.sql_asked == 1
    scene.tools.sql = None
    kept = scene.look()
    assert kept.observation.signals.database is Database.UP
    scene.tools.says[B] = REFUSED
    assert scene.look().observation.signals.database is Database.UNKNOWN


def test_a_database_that_came_back_starts_the_settle_anew(world: Make) -> None:
    scene = world()
    scene.tools.says = {SERVICE: REFUSED}
    scene.tools.sql = (Stage.PING, Cause.TIMEOUT)
    assert scene.look(500).diagnosis.verdict is Verdict.DATABASE_DOWN
    scene.tools.sql = OK
    assert scene.look().diagnosis.verdict is Verdict.ELECTING
    scene.look(120)
    assert scene.look().diagnosis.verdict is Verdict.STALE_LABEL


@pytest.mark.parametrize(("database", "word"), [(None, Database.NOT_CONFIGURED), ({"kind": "none"}, Database.NONE)])
def test_databases_that_are_not_asked(world: Make, database: Any, word: Database) -> None:
    scene = world(database=database)
    scene.tools.says = {}
    assert scene.look().observation.signals.database is word
    assert scene.tools.sql_asked == 0


def test_an_api_server_that_is_gone_stops_every_conclusion(world: Make) -> None:
    scene = world()
    scene.look()
    scene.cluster.trouble = "cannot watch pods in namespace cf: refused"
    look = scene.look()
    assert look.diagnosis.verdict is Verdict.UNKNOWN
    assert look.problems["pods"] == scene.cluster.trouble
    scene.cluster.trouble, scene.cluster.seconds = "", 121.0
    assert scene.look().diagnosis.verdict is Verdict.UNKNOWN
    scene.cluster.seconds = None
    assert scene.look().diagnosis.verdict is Verdict.UNKNOWN


def test_no_layout_is_told_and_tried_again(world: Make) -> None:
    scene = world()
    scene.cluster.found = PODS[3:]
    look = scene.look()
    assert look.layout is None
    assert look.diagnosis.verdict is Verdict.UNKNOWN
    assert "no layout fits" in look.problems["layout"]
    scene.cluster.found = ()
    assert scene.look().problems == {"layout": "there are no pods in the namespace cf, if there is such a namespace"}
    scene.cluster.trouble = "cannot list pods"
    assert scene.look().problems == {"pods": "cannot list pods"}
    scene.cluster.found, scene.cluster.trouble = PODS, ""
    assert scene.look().diagnosis.verdict is Verdict.HEALTHY


def test_statefulsets_that_cannot_be_read_forbid(world: Make) -> None:
    scene = world()
    scene.tools.says = {}
    scene.cluster.sets = None
    scene.look(500)
    look = scene.look()
    assert look.observation.signals.rollout is None
    assert look.diagnosis.restart is Restart.WAIT
    scene.cluster.sets = (replace(SETS[0], rolling=True),)
    assert scene.look().observation.signals.rollout is True
    scene.cluster.sets = (*SETS, replace(SETS[0], name="mysql", rolling=True))
    assert scene.look().observation.signals.rollout is False


@pytest.mark.parametrize(
    ("sets", "why"),
    [
        ((), "no StatefulSet diego-api was found"),
        ((replace(SETS[0], name="mysql"),), "no StatefulSet diego-api was found"),
        ((replace(SETS[0], rolling=None),), "the status of diego-api is not given"),
    ],
)
def test_a_rollout_that_cannot_be_seen_is_not_taken_for_none(world: Make, sets: Any, why: str) -> None:
    scene = world()
    scene.tools.says, scene.cluster.sets = {}, sets
    scene.look(500)
    look = scene.look()
    assert look.observation.signals.rollout is None
    assert look.diagnosis.restart is Restart.WAIT
    assert f"Whether a rollout is under way is not known: {why}." in look.diagnosis.evidence


def test_statefulsets_are_known_by_the_pods_that_they_own(world: Make) -> None:
    """Early KubeCF releases name them kubecf-diego-api; a pod without an owner leaves the layout's name."""
    scene = world()
    mine = replace(SETS[0], name="kubecf-diego-api", rolling=True)
    scene.cluster.found = tuple(replace(item, owner=f"kubecf-{item.owner}") for item in PODS)
    scene.cluster.sets = (*SETS, mine)
    assert scene.look().observation.seen["rollout"] == "kubecf-diego-api"
    scene.cluster.found = tuple(replace(item, owner="") for item in PODS)
    assert scene.look().observation.signals.rollout is False


def test_why_the_statefulsets_cannot_be_read_is_told(world: Make) -> None:
    class Explaining(FakeCluster):
        def statefulsets_problem(self) -> str:
            return "cannot list statefulsets in namespace cf: 403 Forbidden: no"

    scene = world()
    scene.observer._cluster = Explaining(sets=None)
    scene.tools.says = {}
    look = scene.look()
    assert look.problems == {"statefulsets": "cannot list statefulsets in namespace cf: 403 Forbidden: no"}
    assert any("403 Forbidden" in sentence for sentence in look.diagnosis.evidence)
    assert look.observation.signals.observation_fresh is True


def test_a_layout_without_a_bbs_pod_names_what_to_check(world: Make) -> None:
    scene = world(layout="kubecf")
    look = scene.look()
    assert look.diagnosis.verdict is Verdict.UNKNOWN
    assert look.problems["layout"].startswith(
        "none of the 4 pods in the namespace cf is a BBS pod of the layout kubecf"
    )
    scene.cluster.found = ()
    assert "none of the 0 pods" in scene.look().problems["layout"]


def test_an_upgrade_of_the_platform_changes_the_recognised_layout(world: Make) -> None:
    scene = world()
    assert scene.look().layout == scene.observer.layout
    assert scene.observer.layout is not None
    assert scene.observer.layout.layout.name == "cfee-2"
    scene.cluster.found = PODS[:2]  # no api pod: nothing fits, and what was known stands
    assert (scene.observer.layout.layout.name, scene.look().problems) == ("cfee-2", {})
    scene.cluster.found = (
        *PODS[:2],
        pod("locket-0", "locket", "10.0.0.5"),
        pod("api-group-0", "api-group", "10.0.0.6"),
    )
    scene.look()
    assert scene.observer.layout.layout.name == "cfee-4"


def test_a_configured_layout_stays(world: Make) -> None:
    scene = world(layout="cfee-3")
    scene.look()
    assert scene.observer.layout is not None
    assert scene.observer.layout.layout.name == "cfee-3"


def test_a_probe_that_could_not_go_as_deep_as_asked_says_so() -> None:
    shallow = ProbeResult(Target("service", "h", 1), Stage.TLS, T0, detail="looked no deeper than the TLS handshake")
    assert interpret.probe_text(shallow) == "h:1, tls in 0.0 ms: looked no deeper than the TLS handshake"
    assert interpret.probe_text(replace(shallow, detail="")) == "h:1, tls in 0.0 ms"


def test_sentences_hold_nothing_that_a_terminal_obeys(world: Make) -> None:
    scene = world()
    scene.tools.certificate = Certificate("CN=bbs\x1b[2J\nhealthy", "CN=ca", 0, T0 + 60)
    scene.cluster.found = (replace(PODS[0], name="diego\ud800-0"), *PODS[1:])
    for sentence in scene.look().diagnosis.evidence:
        assert sentence.isprintable()


def test_one_failing_connection_of_several_fails_the_service(world: Make) -> None:
    scene = world(bbs=BbsConfig(connections=4))
    turns = iter([OK, OK, REFUSED, OK])

    class Flaky(FakeTools):
        def bbs(self, target: Target) -> ProbeResult:
            return result(
                target, next(turns) if target.name == "service" else self.says.get((target.host, 8889), REFUSED)
            )

    scene.observer._tools = Flaky(says=dict(WELL))
    look = scene.look()
    assert look.observation.signals.service_probe is ServiceProbe.FAIL
    assert look.diagnosis.verdict is Verdict.NETWORK_PATH


def test_light_probes_are_paced_while_all_is_well_and_not_in_an_incident(world: Make) -> None:
    scene = world(bbs=BbsConfig(depth=Stage.TCP))
    scene.tools.says[B] = OK
    scene.tools.says[B] = REFUSED
    for _ in range(3):
        scene.look(5)
    first = sum(target.name == "diego-api-0" and target.port == 8889 for target in scene.tools.asked)
    assert first == 1
    scene.look(6)
    assert sum(target.name == "diego-api-0" and target.port == 8889 for target in scene.tools.asked) == 2
    scene.tools.says[A] = REFUSED
    scene.look(15)
    before = len(scene.tools.asked)
    scene.look(1)
    assert len(scene.tools.asked) - before == 5


def test_the_witness_is_asked_only_when_it_matters_and_allowed(world: Make) -> None:
    scene = world(exec=True)
    assert scene.look().observation.signals.probe_from_api_pod is Witness.WAIVED
    assert scene.tools.witness_asked == 0
    scene.tools.says = {}
    assert scene.look().observation.signals.probe_from_api_pod is Witness.OK
    scene.cluster.found = (*PODS[:2], pod("api-0", "api", "10.0.0.3", ready=False))
    assert scene.look().observation.signals.probe_from_api_pod is Witness.UNKNOWN
    assert scene.tools.witness_asked == 1


@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        (SILENT, Verdict.HUNG),
        ((Stage.PING, Cause.NOT_SERVING), Verdict.MIGRATING),
        ((Stage.TLS, Cause.CLIENT_CERTIFICATE_REJECTED), Verdict.CERTIFICATE),
        ((Stage.TLS, Cause.TLS_EXPIRED), Verdict.CERTIFICATE),
        (REFUSED, Verdict.UNKNOWN),
    ],
)
def test_a_bare_connection_from_an_api_pod_proves_nothing_beside_a_pod_that_accepts(
    world: Make, how: Any, verdict: Verdict
) -> None:
    scene = world(exec=True)
    scene.tools.says = {A: how}
    scene.look(500)
    look = scene.look()
    assert look.diagnosis.verdict is verdict
    accepts = how is not REFUSED
    assert (look.observation.signals.probe_from_api_pod is Witness.WAIVED) is accepts
    sentence = "From an api pod, something accepts connections, which a BBS that does not serve may do: nc."
    assert (sentence in look.diagnosis.evidence) is accepts


def test_what_an_api_pod_saw_before_the_pods_changed_no_longer_counts(world: Make) -> None:
    scene = world(exec=True)
    scene.tools.says = {A: SILENT}
    for how in ({A: SILENT}, {A: SILENT}, {}, {}, {B: SILENT}):
        scene.tools.says = dict(how)
        scene.look()
    assert scene.tools.anew == [True, False, True, False, True]


@pytest.mark.parametrize(
    ("inner", "verdict", "restart"),
    [
        (InnerDatabase.DOWN, Verdict.DATABASE_DOWN, Restart.NO),
        (InnerDatabase.UNKNOWN, Verdict.UNKNOWN, Restart.NO),
        (InnerDatabase.UP, Verdict.LOCKET_HUNG, Restart.YES),
    ],
)
def test_pods_that_are_cut_off_from_the_database_are_not_restarted(
    world: Make, inner: InnerDatabase, verdict: Verdict, restart: Restart
) -> None:
    scene = world(exec=True)
    scene.tools.witness = (Witness.FAIL, "refused")
    scene.look()
    assert scene.tools.inside == []
    scene.tools.says = {("10.0.0.1", 8891): SILENT, ("10.0.0.2", 8891): SILENT}
    scene.tools.inner = (inner, "nc from a BBS pod")
    scene.look(500)
    look = scene.look()
    assert scene.tools.inside == ["diego-api-0", "diego-api-1"]
    assert (look.diagnosis.verdict, look.diagnosis.restart) == (verdict, restart)
    assert any(sentence.endswith(": nc from a BBS pod.") for sentence in look.diagnosis.evidence)


def test_the_look_from_a_bbs_pod_is_waived_only_on_purpose(world: Make) -> None:
    scene = world(exec=False)
    scene.tools.says = {}
    assert scene.look().observation.signals.database_from_bbs_pod is InnerDatabase.WAIVED
    scene = world(exec=True)
    scene.tools.says = {}
    scene.cluster.found = tuple(replace(item, phase="Pending", ready=False) for item in PODS)
    look = scene.look()
    assert look.observation.signals.database_from_bbs_pod is InnerDatabase.UNKNOWN
    assert look.observation.seen["database_from_bbs_pod"] == "no BBS pod runs"
    scene = world(exec=True, database=None)
    scene.tools.says = {}
    scene.cluster.found = tuple(replace(item, phase="Pending", ready=False) for item in PODS)
    assert scene.look().observation.signals.database_from_bbs_pod is InnerDatabase.WAIVED


def test_an_answer_of_the_database_outlives_a_moment_of_service(world: Make) -> None:
    scene = world()
    scene.tools.says = {}
    scene.look()
    scene.tools.says = WELL
    assert scene.look().observation.signals.database is Database.UNKNOWN
    scene.tools.says, scene.tools.sql = {}, None  # within its interval it is not asked again
    assert scene.look().observation.signals.database is Database.UP


def test_a_separate_locket(world: Make) -> None:
    scene = world(layout="cfee-4")
    scene.cluster.found = (
        *PODS[:2],
        pod("locket-0", "locket", "10.0.0.5"),
        pod("api-group-0", "api-group", "10.0.0.3"),
    )
    scene.cluster.sets = (*SETS, replace(SETS[0], name="locket"))
    scene.tools.says = {("10.0.0.5", 8891): SILENT}
    scene.look(500)
    look = scene.look()
    assert look.observation.signals.locket is Locket.SEPARATE_ACCEPTING
    assert (look.diagnosis.verdict, look.diagnosis.pods_to_restart) == (Verdict.LOCKET_HUNG, ("locket-0",))
    scene.tools.says = {("10.0.0.5", 8891): REFUSED}
    scene.look()
    assert scene.look().observation.signals.locket is Locket.SEPARATE_DOWN


def test_no_locket_pod_at_all_is_a_locket_that_is_down(world: Make) -> None:
    scene = world(layout="cfee-4")
    scene.cluster.found = (*PODS[:2], pod("api-group-0", "api-group", "10.0.0.3"))
    scene.cluster.sets = (*SETS, replace(SETS[0], name="locket"))
    scene.tools.says = {}
    scene.look(500)
    assert scene.look().diagnosis.verdict is Verdict.LOCKET_DOWN
    scene.cluster.trouble = "cannot list pods"
    assert scene.look().observation.signals.locket is Locket.UNKNOWN
    scene.cluster.trouble = ""
    without = replace(pod("locket-0", "locket", ""), ready=True)
    scene.cluster.found = (*scene.cluster.found, without)
    assert scene.look().observation.signals.locket is Locket.UNKNOWN


def test_lockets_that_are_all_gone_do_not_make_another_layout(world: Make) -> None:
    """Without them, the pods look like SCF 2.14's, where a restart would take the BBS pods alone."""
    lockets = (pod("locket-0", "locket", "10.0.0.5"),)
    rest = (*PODS[:2], pod("api-group-0", "api-group", "10.0.0.3"))
    scene = world()
    scene.cluster.found, scene.cluster.sets = rest, (*SETS, replace(SETS[0], name="locket"))
    assert "but there is a StatefulSet locket: set `layout`" in scene.look().problems["layout"]
    scene.cluster.found = (*rest, *lockets)
    scene.look()
    scene.cluster.found = rest
    assert scene.look().layout is scene.observer.layout
    assert scene.observer.layout is not None
    assert scene.observer.layout.layout.name == "cfee-4"


def test_a_bbs_that_serves_for_long_is_settled(world: Make) -> None:
    """Else nothing that needs it while one serves could ever be said: a zombie, an active BBS without its label."""
    scene = world()
    scene.tools.says = {**WELL, B: SILENT}
    zombie = scene.look()
    assert (zombie.diagnosis.verdict, zombie.diagnosis.restart) == (Verdict.ZOMBIE, Restart.WAIT)
    scene.look(119)
    assert scene.look().diagnosis.restart is Restart.WAIT
    assert scene.look().diagnosis.restart is Restart.YES
    scene.tools.says, scene.cluster.found = (
        WELL,
        tuple(replace(item, labels={SCF: item.labels[SCF], "skiff-role-active": "false"}) for item in PODS),
    )
    assert scene.look().diagnosis.verdict is Verdict.UNLABELLED_ACTIVE


def test_why_the_pods_are_not_current_is_the_second_sentence(world: Make) -> None:
    scene = world()
    scene.look()
    scene.cluster.trouble = "cannot watch pods in namespace cf: 403 Forbidden: no"
    evidence = scene.look().diagnosis.evidence
    assert evidence[1] == "The pods are not current: cannot watch pods in namespace cf: 403 Forbidden: no."
    scene.cluster.found, scene.observer._layout = (), None
    assert "403 Forbidden" in scene.look().diagnosis.evidence[1]


def test_a_process_that_stood_still_has_not_been_watching(world: Make) -> None:
    scene = world()
    scene.tools.says = {}
    scene.look(500)
    assert scene.look().diagnosis.restart is Restart.YES
    scene.time += 40
    assert scene.look().diagnosis.restart is Restart.WAIT


def test_an_expired_certificate_is_remembered_after_bbs_has_gone(world: Make) -> None:
    scene = world()
    scene.tools.certificate = Certificate("CN=bbs", "CN=ca", 0, T0 - 60)
    scene.look()
    scene.tools.says = {}
    look = scene.look(500)
    assert look.diagnosis.verdict is Verdict.CERTIFICATE
    assert any("CN=bbs, ended 1m ago" in sentence for sentence in look.diagnosis.evidence)


def test_a_pod_without_an_address_is_not_probed(world: Make) -> None:
    scene = world()
    scene.cluster.found = (replace(PODS[0], ip=""), *PODS[1:])
    look = scene.look()
    assert look.observation.pods[0].probe is PodProbe.NOT_PROBED


def test_the_service_as_cloud_controller_uses_it() -> None:
    config = FoundationConfig(name="a", namespace="kubecf")
    target = service_target_of(config, override("kubecf", {}))
    assert (target.host, target.server_name) == ("diego-api.kubecf.svc.cluster.local", "bbs.service.cf.internal")
    target = service_target_of(config, override("cfee-2", {"service": {"address": "127.0.0.9"}}))
    assert (target.host, target.server_name) == ("127.0.0.9", "diego-api.kubecf.svc.cluster.local")


TARGET = Target("p", "10.0.0.1", 8889)


@pytest.mark.parametrize(
    ("how", "word"),
    [
        (OK, PodProbe.SERVES),
        (REFUSED, PodProbe.REFUSED),
        (NO_SYN, PodProbe.NO_ANSWER),
        ((Stage.TCP, Cause.OTHER), PodProbe.NO_ANSWER),
        (SILENT, PodProbe.HANGS),
        ((Stage.PING, Cause.TIMEOUT), PodProbe.HANGS),
        ((Stage.PING, Cause.NOT_SERVING), PodProbe.MIGRATING),
        ((Stage.TLS, Cause.TLS_EXPIRED), PodProbe.SERVER_CERTIFICATE),
        ((Stage.TLS, Cause.TLS_HOSTNAME), PodProbe.SERVER_CERTIFICATE),
        ((Stage.PING, Cause.CLIENT_CERTIFICATE_REJECTED), PodProbe.CLIENT_REJECTED),
        ((Stage.PING, Cause.BAD_ANSWER), PodProbe.NOT_BBS),
        ((Stage.TLS, Cause.RESET), PodProbe.NOT_BBS),
    ],
)
def test_what_a_probe_of_a_pod_says(how: Any, word: PodProbe) -> None:
    assert interpret.pod_word(result(TARGET, how)) is word


def test_words_of_what_was_not_probed() -> None:
    assert interpret.pod_word(None) is PodProbe.NOT_PROBED
    assert (
        interpret.pod_word(result(TARGET, (Stage.READ, Cause.BAD_ANSWER), database_error=True))
        is PodProbe.DATABASE_ERROR
    )
    assert interpret.service_word(()) is ServiceProbe.UNKNOWN
    assert interpret.locket_hangs(None) is None
    assert interpret.locket_hangs(result(TARGET, NO_SYN)) is False
    assert interpret.locket_word((), colocated=False) is Locket.UNKNOWN
    assert "refused at tcp after 1.0 ms: in its words" in interpret.probe_text(result(TARGET, REFUSED))
