"""The probes of one foundation, bound together: against the simulated servers and a scripted API server."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from foundation import interpret, tools
from foundation.config import BbsConfig, DatabaseConfig, FoundationConfig, ProbeConfig
from foundation.diagnosis import Restart, Verdict, diagnose
from foundation.layout import layouts
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
from foundation.pods import PodSeen
from foundation.probes.resolving import Resolver
from foundation.probes.result import Cause, Stage, Target
from foundation.tools import WITNESS_INTERVAL, ProbeTools
from simulator.servers.bbs import BBSMode
from simulator.servers.database import DatabaseMode, DatabaseServer
from simulator.servers.locket import LocketMode
from tests.support.scripted_api import ScriptedApi, exec_status, frame, status, websocket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.servers.bbs import BBSServer
    from simulator.servers.certificates import ClientFiles
    from simulator.servers.locket import LocketServer
    from tests.support.scripted_api import Answer

NAME = "bbs.service.cf.internal"
LAYOUT = layouts()["cfee-2"]
EXEC = "/api/v1/namespaces/cf/pods/api-0/exec"
API_PODS = [PodSeen("cf", "api-1", "u1", "1"), PodSeen("cf", "api-0", "u0", "1")]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Maker:
    """Makes the tools, with real time for the sockets unless a clock is given."""

    def __init__(self, api: ScriptedApi, files: ClientFiles) -> None:
        self.client = api.client()
        self.bbs = BbsConfig(ca_file=files.ca, cert_file=files.cert, key_file=files.key)

    def __call__(
        self, database: DatabaseConfig | None = None, timeout: float = 20.0, clock: Clock | None = None
    ) -> ProbeTools:
        config = FoundationConfig(name="prod", namespace="cf", bbs=self.bbs, database=database, exec=True)
        timing = ProbeConfig.model_construct(interval=5.0, timeout=timeout)
        clock_ = clock or time.monotonic
        return ProbeTools(config, timing, client=self.client, resolver=Resolver(), monotonic=clock_, wall=time.time)


@pytest.fixture
def make(api: ScriptedApi, files: ClientFiles) -> Iterator[Maker]:
    maker = Maker(api, files)
    with maker.client:
        yield maker


def target(port: int) -> Target:
    return Target("diego-api-0", "127.0.0.1", port, NAME)


def test_bbs_is_probed_to_the_configured_depth_with_the_foundations_credentials(make: Maker, bbs: BBSServer) -> None:
    bbs.mode = BBSMode.SERVES
    found = make().bbs(target(bbs.port))
    assert (found.ok, found.depth) == (True, Stage.PING), found.detail
    make.bbs = BbsConfig(depth=Stage.TCP)
    assert make().bbs(target(bbs.port)).depth is Stage.TCP


class TestLocket:
    def test_the_owner_of_the_lock_is_told(self, make: Maker, locket: LocketServer) -> None:
        locket.mode = LocketMode.ANSWERS
        found = make().locket(target(locket.port))
        assert (found.ok, found.depth) == (True, Stage.READ)
        assert found.detail == "the lock is held by diego-api-0"
        locket.owner = ""
        assert make().locket(target(locket.port)).detail == "nobody holds the lock"

    def test_a_locket_whose_read_hangs_is_a_locket_that_hangs(self, make: Maker, locket: LocketServer) -> None:
        """TLS answers in time, so that only the read can tell; it is rule 13's second half."""
        locket.mode = LocketMode.READ_HANGS
        found = make(timeout=1.0).locket(target(locket.port))
        assert (found.cause, found.failed, found.depth) == (Cause.TIMEOUT, Stage.READ, Stage.READ)
        assert found.detail.startswith("no answer within ")
        assert interpret.locket_hangs(found) is True
        assert found.accepted
        pod = Pod(PodState.READY, PodProbe.REFUSED, labelled_active=False, locket_hangs=interpret.locket_hangs(found))
        signals = Signals(
            observation_fresh=True,
            service_probe=ServiceProbe.FAIL,
            database=Database.UP,
            api_pods=ApiPods.READY,
            probe_from_api_pod=Witness.WAIVED,
            settled=True,
            rollout=False,
            layout_has_label=True,
            locket=Locket.IN_THE_BBS_PODS,
            database_from_bbs_pod=InnerDatabase.WAIVED,
            last_certificate_expired=False,
        )
        said = diagnose(Observation((pod, replace(pod, locket_hangs=False)), signals))
        assert (said.verdict, said.restart, said.pods) == (Verdict.LOCKET_HUNG, Restart.YES, (0,))

    def test_the_read_has_what_the_handshake_left_of_the_deadline(self, make: Maker, locket: LocketServer) -> None:
        locket.mode = LocketMode.READ_HANGS
        began = time.monotonic()
        make(timeout=1.0).locket(target(locket.port))
        assert time.monotonic() - began < 8.0

    def test_a_hello_without_answer_is_not_asked_for_more(self, make: Maker, locket: LocketServer) -> None:
        locket.mode = LocketMode.HANGS
        found = make(timeout=0.5).locket(target(locket.port))
        assert (found.cause, found.failed) == (Cause.TIMEOUT, Stage.TLS)
        assert interpret.locket_hangs(found) is True

    def test_a_read_that_is_not_possible_counts_for_nothing(
        self, make: Maker, locket: LocketServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        locket.mode = LocketMode.READ_HANGS
        make.bbs = BbsConfig(ca_file=make.bbs.ca_file)
        found = make().locket(target(locket.port))
        assert (found.ok, found.depth) == (True, Stage.TLS)
        make.bbs = BbsConfig()
        monkeypatch.setattr(tools, "available", lambda: False)
        found = make().locket(target(locket.port))
        assert (found.ok, found.depth) == (True, Stage.TLS)


class TestDatabase:
    @pytest.fixture
    def server(self) -> Iterator[DatabaseServer]:
        server = DatabaseServer("127.0.0.1", 0, "mysql", DatabaseMode.ANSWERS)
        server.start()
        yield server
        server.stop()

    def config(self, server: DatabaseServer) -> DatabaseConfig:
        return DatabaseConfig(kind="mysql", host="127.0.0.1", port=server.port)

    def test_it_is_asked_once_a_minute_at_most(self, make: Maker, server: DatabaseServer, clock: Clock) -> None:
        made = make(self.config(server), clock=clock)
        found = made.database()
        assert found is not None
        assert found.ok, found.detail
        clock.now = 59.0
        assert made.database() is None
        clock.now = 61.0
        server.mode = DatabaseMode.CLOSED
        found = made.database()
        assert found is not None
        assert found.cause is Cause.REFUSED

    def test_once_turned_away_it_is_never_asked_again(self, make: Maker, server: DatabaseServer, clock: Clock) -> None:
        server.mode = DatabaseMode.BLOCKED
        made = make(self.config(server), clock=clock)
        first = made.database()
        assert first is not None
        assert "is not asked again until this process is started anew" in first.detail
        server.mode = DatabaseMode.ANSWERS
        clock.now = 1e6
        assert made.database() is first

    def test_none_is_asked_where_none_is_named(self, make: Maker) -> None:
        assert make().database() is None
        assert make(DatabaseConfig(kind="none")).database() is None


class TestWitness:
    def ask(self, made: ProbeTools) -> tuple[Witness, str]:
        return made.from_api_pod(API_PODS, LAYOUT, "diego-api.cf", 8889)

    @pytest.mark.parametrize(
        ("answer", "word", "text"),
        [
            (websocket([frame(2, b"x\nopen\n"), frame(3, exec_status(0))]), Witness.OK, "nc diego-api.cf 8889: open"),
            (websocket([frame(1, b"refused"), frame(3, exec_status(1))]), Witness.FAIL, "8889: refused"),
            (websocket([frame(3, exec_status(1))]), Witness.FAIL, "8889: no output"),
            (websocket([frame(2, b"nc: not found"), frame(3, exec_status(127))]), Witness.UNKNOWN, "nc: not found"),
            (websocket([frame(2, b"\x1b[2J\xff!\x07"), frame(3, exec_status(1))]), Witness.FAIL, "8889: [2J\ufffd!"),
            (websocket([frame(3, b"garbage")]), Witness.UNKNOWN, "8889: no exchange with"),
            (status(403, "Forbidden", "no"), Witness.UNKNOWN, "cannot get pods/exec api-0 in namespace cf: 403"),
            (status(404, "NotFound", "gone"), Witness.UNKNOWN, "404 NotFound: gone"),
        ],
    )
    def test_what_nc_says_from_the_first_api_pod(
        self, make: Maker, api: ScriptedApi, answer: Answer, word: Witness, text: str
    ) -> None:
        api.on("GET", EXEC, answer)
        found = self.ask(make())
        assert found[0] is word, found
        assert text in found[1]
        assert found[1].isprintable()
        asked = api.seen[0].query
        assert asked["command"] == ["nc", "-zv", "-w", "5", "diego-api.cf", "8889"]
        assert asked["container"] == ["api"]

    def test_it_is_asked_at_intervals(self, make: Maker, api: ScriptedApi, clock: Clock) -> None:
        api.on("GET", EXEC, websocket([frame(3, exec_status(0))]), websocket([frame(3, exec_status(1))]))
        made = make(clock=clock)
        assert self.ask(made)[0] is Witness.OK
        clock.now = WITNESS_INTERVAL - 0.1
        assert self.ask(made)[0] is Witness.OK
        assert len(api.seen) == 1
        clock.now = WITNESS_INTERVAL
        assert self.ask(made)[0] is Witness.FAIL

    def test_it_is_asked_at_once_where_what_was_found_no_longer_counts(self, make: Maker, api: ScriptedApi) -> None:
        api.on("GET", EXEC, websocket([frame(3, exec_status(0))]), websocket([frame(3, exec_status(1))]))
        made = make()
        assert self.ask(made)[0] is Witness.OK
        assert made.from_api_pod(API_PODS, LAYOUT, "diego-api.cf", 8889, anew=True)[0] is Witness.FAIL


class TestDatabaseFromABbsPod:
    BBS = (PodSeen("cf", "diego-api-1", "u1", "1"), PodSeen("cf", "diego-api-0", "u0", "1"))
    PATH = "/api/v1/namespaces/cf/pods/diego-api-0/exec"
    SQL = DatabaseConfig(kind="postgresql", host="db.cf")

    @pytest.mark.parametrize(
        ("answer", "word", "text"),
        [
            (websocket([frame(2, b"succeeded!"), frame(3, exec_status(0))]), InnerDatabase.UP, "succeeded!"),
            (websocket([frame(2, b"timed out"), frame(3, exec_status(1))]), InnerDatabase.DOWN, "5432: timed out"),
            (websocket([frame(3, exec_status(127))]), InnerDatabase.UNKNOWN, "nc db.cf 5432: no output"),
            (websocket([], then="end"), InnerDatabase.UNKNOWN, "no exchange with"),
            (status(403, "Forbidden", "no"), InnerDatabase.UNKNOWN, "cannot get pods/exec diego-api-0"),
        ],
    )
    def test_what_nc_says_from_the_first_bbs_pod(
        self, make: Maker, api: ScriptedApi, answer: Answer, word: InnerDatabase, text: str
    ) -> None:
        api.on("GET", self.PATH, answer)
        found = make(self.SQL).from_bbs_pod(self.BBS, LAYOUT)
        assert found[0] is word, found
        assert text in found[1]
        assert api.seen[0].query["command"] == ["nc", "-zv", "-w", "5", "db.cf", "5432"]
        assert api.seen[0].query["container"] == ["diego-api"]

    def test_it_is_asked_as_seldom_as_from_here(self, make: Maker, api: ScriptedApi, clock: Clock) -> None:
        up, down = (websocket([frame(3, exec_status(code))]) for code in (0, 1))
        api.on("GET", self.PATH, status(403, "Forbidden", "no"), up, down)
        made = make(self.SQL, clock=clock)
        found = [made.from_bbs_pod(self.BBS, LAYOUT)[0] for _ in range(3)]
        assert found == [InnerDatabase.UNKNOWN, InnerDatabase.UP, InnerDatabase.UP]
        clock.now = 59.9
        assert made.from_bbs_pod(self.BBS, LAYOUT)[0] is InnerDatabase.UP
        clock.now = 60.0
        assert made.from_bbs_pod(self.BBS, LAYOUT)[0] is InnerDatabase.DOWN
        assert len(api.seen) == 3

    def test_without_a_database_there_is_nothing_to_look_at(self, make: Maker, api: ScriptedApi) -> None:
        for config in (None, DatabaseConfig(kind="none")):
            assert make(config).from_bbs_pod(self.BBS, LAYOUT) == (InnerDatabase.WAIVED, "")
        assert api.seen == []
