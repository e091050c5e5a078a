"""Edges of the rules that no recorded vector reaches: exact words, limits, and what the first sentence names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from foundation.diagnosis import Diagnosis, Restart, Verdict, diagnose
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
    Signals,
    Witness,
)

PASSIVE = Pod(PodState.READY, PodProbe.REFUSED, labelled_active=False, locket_hangs=False)
LOCKED_OUT = Signals(
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
)
REACHABLE = {"service_probe": ServiceProbe.OK, "probe_from_api_pod": Witness.OK}
ACTIVE = {"probe": PodProbe.SERVES, "labelled_active": True}
HANGS = {"probe": PodProbe.HANGS}
UNREACHED = {"probe": PodProbe.NO_ANSWER, "control_port_answers": False}
NOT_PROBED = {"probe": PodProbe.NOT_PROBED}


def look(*pods: dict[str, Any], **signals: Any) -> Diagnosis:
    """The verdict on these pods, each told by how it differs from a passive one, in a locked-out foundation."""
    named = tuple(replace(PASSIVE, name=f"api-{index}", **pod) for index, pod in enumerate(pods))
    return diagnose(Observation(pods=named, signals=replace(LOCKED_OUT, **signals)))


def test_the_words_that_alerts_and_dashboards_are_written_with() -> None:
    assert set(Verdict) == {
        *("healthy", "electing", "locket_hung", "locked_out", "stale_label", "hung", "zombie", "split"),
        *("unlabelled_active", "network_path", "api_down", "certificate", "database_down", "database_error"),
        *("crashing", "pods_stuck", "migrating", "locket_down", "unknown"),
    }
    assert set(Restart) == {"yes", "ask", "wait", "no"}


def test_as_many_pods_as_max_pods_are_not_too_many() -> None:
    assert look({}, {}, max_pods=2).verdict is Verdict.LOCKED_OUT
    found = look({}, {}, {}, max_pods=2)
    assert found.verdict is Verdict.UNKNOWN
    assert "3 pods match, more than max_pods = 2" in found.evidence[0]


# --- one serves ---


@pytest.mark.parametrize("state", [PodState.MOVING, PodState.STUCK, PodState.CRASH, PodState.UNKNOWN])
def test_a_zombie_stays_while_any_pod_is_in_trouble(state: PodState) -> None:
    found = look(ACTIVE, HANGS, {"state": state})
    assert (found.verdict, found.restart, found.pods) == (Verdict.ZOMBIE, Restart.NO, ())
    assert "api-2" in found.evidence[0]


def test_a_zombie_stays_while_the_state_of_the_serving_pod_is_in_doubt() -> None:
    found = look({**ACTIVE, "state": PodState.STUCK}, HANGS)
    assert (found.verdict, found.restart) == (Verdict.ZOMBIE, Restart.NO)


@pytest.mark.parametrize("state", [state for state in PodState if state is not PodState.READY])
def test_only_a_ready_pod_can_be_a_zombie(state: PodState) -> None:
    assert look(ACTIVE, {**HANGS, "state": state}, **REACHABLE).verdict is Verdict.HEALTHY
    both = look(ACTIVE, HANGS, {**HANGS, "state": state}, **REACHABLE)
    assert both.verdict is Verdict.ZOMBIE
    assert "api-1 still" in both.evidence[0]


def test_zombies_are_taken_in_the_order_of_the_pods() -> None:
    found = look(ACTIVE, HANGS, *[{} for _ in range(6)], HANGS, max_pods=9)
    assert found.pods == (1, 8)
    assert found.pods_to_restart == ("api-1", "api-8")
    assert found.evidence[0].startswith("api-0 serves, but api-1, api-8 still")


def test_a_passive_pod_with_the_label_is_no_zombie_beside_an_unlabelled_active_one() -> None:
    found = look({"probe": PodProbe.SERVES}, {"labelled_active": True})
    assert found.verdict is Verdict.UNLABELLED_ACTIVE


def test_a_pod_that_cannot_be_reached_is_no_zombie() -> None:
    assert look(ACTIVE, UNREACHED, **REACHABLE).verdict is Verdict.HEALTHY


@pytest.mark.parametrize(
    "word", [ServiceProbe.FAIL, ServiceProbe.CERTIFICATE, ServiceProbe.CLIENT, ServiceProbe.MIGRATING]
)
def test_any_failure_of_the_service_beside_a_serving_pod_is_the_path(word: ServiceProbe) -> None:
    found = look(ACTIVE, {}, service_probe=word, probe_from_api_pod=Witness.OK)
    assert (found.verdict, found.restart) == (Verdict.NETWORK_PATH, Restart.NO)
    assert "not through the Service:" in found.evidence[0]


@pytest.mark.parametrize("word", [Witness.OK, Witness.WAIVED, Witness.UNKNOWN])
def test_a_service_that_was_not_probed_says_nothing_about_the_path(word: Witness) -> None:
    assert look(ACTIVE, {}, service_probe=ServiceProbe.UNKNOWN, probe_from_api_pod=word).verdict is Verdict.HEALTHY


def test_the_path_is_said_to_fail_from_where_it_fails() -> None:
    found = look(ACTIVE, {}, service_probe=ServiceProbe.OK)
    assert "not from an api pod:" in found.evidence[0]
    found = look(ACTIVE, {})
    assert "not through the Service nor from an api pod:" in found.evidence[0]


@pytest.mark.parametrize("api", [ApiPods.READY, ApiPods.UNKNOWN])
def test_only_api_pods_known_to_be_down_are_api_down_while_bbs_serves(api: ApiPods) -> None:
    assert look(ACTIVE, {}, api_pods=api, **REACHABLE).verdict is Verdict.HEALTHY


@pytest.mark.parametrize(
    ("label", "verdict"), [(None, Verdict.HEALTHY), (True, Verdict.HEALTHY), (False, Verdict.UNLABELLED_ACTIVE)]
)
def test_only_a_label_known_to_be_missing_is_missing(label: bool | None, verdict: Verdict) -> None:
    assert look({**ACTIVE, "labelled_active": label}, {}, **REACHABLE).verdict is verdict


# --- none serves, but somebody is answered ---


def test_who_is_answered_while_no_pod_serves_is_named() -> None:
    assert "answers through the Service, but none" in look({}, service_probe=ServiceProbe.OK).evidence[0]
    assert "answers from an api pod, but none" in look({}, probe_from_api_pod=Witness.OK).evidence[0]
    both = look(UNREACHED, {}, **REACHABLE)
    assert both.verdict is Verdict.NETWORK_PATH
    assert "through the Service and from an api pod, but api-0 cannot be reached" in both.evidence[0]


@pytest.mark.parametrize(
    ("pods", "signals", "start"),
    [
        ([{"probe": PodProbe.SERVER_CERTIFICATE}], {}, "The server's certificate fails at api-0."),
        ([{}, {"probe": PodProbe.CLIENT_REJECTED}], {}, "Our client certificate is rejected by api-1."),
        ([{}], {"last_certificate_expired": True}, "The last server certificate that was seen has expired."),
        ([{}], {"database": Database.DOWN}, "The database does not answer. "),
        ([{}], {"database_from_bbs_pod": InnerDatabase.DOWN}, "The database does not answer inside a BBS pod. "),
        ([{}, {"probe": PodProbe.DATABASE_ERROR}], {}, "api-1 answers with an error of its database."),
        ([{"probe": PodProbe.NOT_BBS}], {}, "Something that is not BBS answers on port 8889 of api-0."),
        ([{}, {"locket_hangs": True}], {}, "Locket hangs in api-1: "),
        ([{"state": PodState.CRASH}, {}], {}, "api-0 ends again and again."),
        ([{}, {"state": PodState.STUCK}], {}, "api-1 has been starting or terminating for too long."),
        ([{}, {"state": PodState.MOVING}], {}, "api-1 is starting or terminating."),
        ([{}], {"rollout": True}, "A rollout of the StatefulSet is under way."),
        ([{}], {"settled": False}, "Nothing serves, but things have not settled: "),
        ([{"probe": PodProbe.MIGRATING}], {}, "api-0 was elected and answers 503 "),
        ([NOT_PROBED, UNREACHED], {}, "api-0, api-1 could not be probed, "),
        ([{}], {"locket": Locket.SEPARATE_DOWN}, "No Locket accepts on port 8891: "),
        ([{"probe": PodProbe.NO_ANSWER}, HANGS], {}, "api-0, api-1 accepts connections and does not answer."),
        ([{}, {"labelled_active": True}], {}, "api-1 carries the active label, "),
        ([ACTIVE, {"probe": PodProbe.SERVES}], {}, "api-0 serves, and api-1 has port 8889 open too, "),
    ],
)
def test_the_first_sentence_says_why_and_which_pod(
    pods: list[dict[str, Any]], signals: dict[str, Any], start: str
) -> None:
    assert look(*pods, **signals).evidence[0].startswith(start)


# --- what is not known ---

UNKNOWN_SIGNALS = [
    ({"service_probe": ServiceProbe.UNKNOWN}, "the probe of the Service"),
    ({"probe_from_api_pod": Witness.UNKNOWN}, "the look from an api pod"),
    ({"database_from_bbs_pod": InnerDatabase.UNKNOWN}, "the database as a BBS pod sees it"),
    ({"last_certificate_expired": None}, "whether the server's certificate has expired"),
    ({"database": Database.UNKNOWN}, "whether the database answers"),
]


@pytest.mark.parametrize(("signals", "what"), UNKNOWN_SIGNALS)
@pytest.mark.parametrize("pod", [{}, HANGS, {"labelled_active": True}, {"locket_hangs": True}])
def test_a_signal_that_gave_no_answer_forbids_every_restart_and_is_named(
    pod: dict[str, Any], signals: dict[str, Any], what: str
) -> None:
    found = look(pod, {}, **signals)
    assert (found.rule, found.verdict, found.restart) == (21, Verdict.UNKNOWN, Restart.NO)
    assert found.evidence[0] == f"Not known: {what}. What is not known counts against a restart."


@pytest.mark.parametrize(("signals", "what"), UNKNOWN_SIGNALS)
def test_a_signal_that_gave_no_answer_leaves_a_crash_to_nobody(signals: dict[str, Any], what: str) -> None:
    found = look({"state": PodState.CRASH}, {}, **signals)
    assert (found.verdict, found.restart) == (Verdict.CRASHING, Restart.NO)
    found = look({"state": PodState.CRASH, "locket_hangs": True}, {}, **signals)
    assert (found.verdict, found.restart) == (Verdict.CRASHING, Restart.NO)


def test_all_that_is_not_known_is_named_in_one_sentence() -> None:
    found = look({}, probe_from_api_pod=Witness.UNKNOWN, database=Database.UNKNOWN)
    assert "the look from an api pod, whether the database answers." in found.evidence[0]


@pytest.mark.parametrize("other", [NOT_PROBED, UNREACHED])
def test_a_pod_that_was_not_seen_may_serve(other: dict[str, Any]) -> None:
    for pod in ({}, HANGS, {"labelled_active": True}):
        found = look(pod, other)
        assert (found.rule, found.restart) == (18, Restart.NO)


def test_a_hung_locket_waits_until_every_bbs_pod_was_probed() -> None:
    found = look({"locket_hangs": True}, NOT_PROBED)
    assert (found.verdict, found.restart) == (Verdict.UNKNOWN, Restart.NO)
    crash = look({"state": PodState.CRASH}, NOT_PROBED)
    assert (crash.verdict, crash.restart) == (Verdict.CRASHING, Restart.NO)


def test_a_pod_in_an_unknown_state_may_be_starting() -> None:
    for pod in ({}, {"locket_hangs": True}):
        found = look({"state": PodState.UNKNOWN}, pod)
        assert (found.rule, found.verdict, found.restart) == (16, Verdict.ELECTING, Restart.WAIT)


# --- Locket ---


@pytest.mark.parametrize("quiet", [True, None])
def test_a_hung_locket_waits_for_a_rollout_and_for_moving_pods(quiet: bool | None) -> None:
    hung = {"locket_hangs": True}
    assert look(hung, {}, quiet=quiet).verdict is Verdict.LOCKET_HUNG
    assert look(hung, {}, quiet=quiet, rollout=True).restart is Restart.WAIT
    assert look(hung, {}, quiet=quiet, rollout=None).restart is Restart.WAIT
    assert look(hung, {"state": PodState.MOVING}, quiet=quiet).restart is Restart.WAIT


def test_a_hung_locket_in_a_crashing_pod_may_be_restarted_and_a_stuck_one_may_not() -> None:
    found = look({"locket_hangs": True, "state": PodState.CRASH}, {"locket_hangs": True, "state": PodState.STUCK})
    assert (found.verdict, found.restart, found.pods) == (Verdict.LOCKET_HUNG, Restart.YES, (0,))


def test_a_locket_in_pods_of_its_own_that_hangs_is_the_one_to_restart() -> None:
    locket = {"role": Role.LOCKET, "locket_hangs": True, "probe": PodProbe.NOT_PROBED}
    found = look({}, locket, locket=Locket.SEPARATE_ACCEPTING)
    assert (found.verdict, found.restart, found.pods_to_restart) == (Verdict.LOCKET_HUNG, Restart.YES, ("api-1",))


# --- which pods ---


def test_a_restart_takes_running_pods_only() -> None:
    found = look({"state": PodState.CRASH}, {"state": PodState.STUCK}, {})
    assert (found.verdict, found.restart, found.pods) == (Verdict.CRASHING, Restart.ASK, (0, 2))


def test_a_restart_takes_every_locket_before_every_bbs_each_in_their_order() -> None:
    locket = {"role": Role.LOCKET, "probe": PodProbe.NOT_PROBED}
    found = look({}, locket, {}, locket, locket=Locket.SEPARATE_ACCEPTING)
    assert found.pods_to_restart == ("api-1", "api-3", "api-0", "api-2")


def test_a_pods_own_control_port_counts_before_the_common_word() -> None:
    silent = {"probe": PodProbe.NO_ANSWER}
    assert look({**silent, "control_port_answers": True}, control_port_answers=False).verdict is Verdict.HUNG
    assert look({**silent, "control_port_answers": False}, control_port_answers=True).verdict is Verdict.UNKNOWN
    assert look(silent, control_port_answers=True).verdict is Verdict.HUNG
    for word in (False, None):
        assert look(silent, control_port_answers=word).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("pod", "signals"), [({}, {}), (HANGS, {}), ({"labelled_active": True}, {}), ({"locket_hangs": True}, {})]
)
def test_without_a_database_to_ask_a_person_decides_and_is_told_why(pod: dict[str, Any], signals: Any) -> None:
    found = look(pod, database=Database.NOT_CONFIGURED, **signals)
    assert (found.restart, found.pods) == (Restart.ASK, (0,))
    assert found.evidence[0].endswith("The database is not configured: a person decides.")
    on_purpose = look(pod, database=Database.NONE, **signals)
    assert (on_purpose.restart, on_purpose.pods) == (Restart.YES, (0,))


def test_a_label_that_the_layout_does_not_have_is_not_looked_at() -> None:
    for word in (False, None):
        found = look({"labelled_active": True}, {}, layout_has_label=word)
        assert found.verdict is Verdict.LOCKED_OUT
        assert look({"probe": PodProbe.SERVES}, layout_has_label=word, **REACHABLE).verdict is Verdict.HEALTHY


def test_a_pod_without_a_name_is_told_by_its_place() -> None:
    found = diagnose(Observation(pods=(PASSIVE, replace(PASSIVE, probe=PodProbe.HANGS)), signals=LOCKED_OUT))
    assert found.evidence[0].startswith("pod 1 accepts")
    assert found.pods_to_restart == (0, 1)
