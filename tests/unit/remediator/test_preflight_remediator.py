"""`preflight`: each check good and wrong, what to do about it, and Alertmanager's route by its own rules."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest
import yaml
from click.testing import CliRunner, Result
from kubernetes.client import Configuration

from foundation.kube.client import KubeClient
from remediator import alertmanager_route as routes
from remediator import preflight_cluster
from remediator.alertmanager_route import RouteProblem
from remediator.cli import main
from remediator.config import load_config
from remediator.definition import FIELDS, missing_fields
from remediator.ledger import Breaker, Ledger, Pause
from remediator.preflight import preflight
from remediator.preflight_cluster import needs
from remediator.store import LedgerStore
from remediator.story import final_status, spec_of, status_of
from remediator.words import GROUP, PLAYBOOK, PLURAL
from simulator.api.custom import REMEDIATION_DEFINITION
from simulator.api.resources import CRDS
from tests.support.remediator_files import write_config
from tests.support.remediator_web import SERVER, failed_run
from tests.support.simulated import simulated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from foundation.kube.client import Json
    from simulator.cluster import Cluster

ALERT = {"alertname": "DiegoRestartWouldHelp", "remediate": PLAYBOOK, "foundation": "demo", "severity": "none"}
GOOD: Json = {
    "route": {
        "receiver": "team",
        "routes": [{"matchers": ['remediate=~".+"'], "receiver": "stager", "continue": True}],
    },
    "receivers": [
        {"name": "team"},
        {
            "name": "stager",
            "webhook_configs": [
                {
                    "url": "http://stager-remediator:9718/api/v1/alertmanager",
                    "max_alerts": 0,
                    "http_config": {"authorization": {"credentials_file": "/etc/token"}},
                }
            ],
        },
    ],
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with simulated() as running:
        yield running


@pytest.fixture
def config(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    yield write_config(cluster, tmp_path, identity="preflight")
    cluster.api.faults.change({"rules": []})


def run(config: Path, *more: object) -> Result:
    done = CliRunner().invoke(main, ["preflight", "--config", str(config), *map(str, more)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def told(config: Path, *more: object) -> dict[str, list[tuple[str, str]]]:
    """By check: results and texts."""
    found: dict[str, list[tuple[str, str]]] = {}
    for check in json.loads(run(config, "--json", *more).stdout)["checks"]:
        found.setdefault(check["check"], []).append((check["result"], f"{check['text']} -> {check['advice']}"))
    return found


def edit(config: Path, **foundation: object) -> None:
    """Change settings of the one foundation."""
    document = yaml.safe_load(config.read_text())
    document["foundations"][0] |= foundation
    config.write_text(yaml.safe_dump(document))


# --- a foundation -----------------------------------------------------------------------------------------------------


def test_where_all_is_well_all_is_ok_and_nothing_is_changed(cluster: Cluster, config: Path, tmp_path: Path) -> None:
    alertmanager = tmp_path / "alertmanager.yml"
    alertmanager.write_text(yaml.safe_dump(GOOD))
    done = run(config, "--alertmanager-config", alertmanager)
    assert done.exit_code == 0, done.stdout
    assert done.stdout.endswith("ok, 0 warn, 0 FAIL\n")
    for said in (
        "reaches the webhook", "is v1.32", "is served with every field needed", "permissions     all 31",
        "bbs: diego-api-0, diego-api-1; api: api-0", "the log of diego-api-0", "2 of 2 runs left per 1h",
        "CN=diego-client", "postgresql at 127.",
    ):  # fmt: skip
        assert " ".join(said.split()) in " ".join(done.stdout.split()), said
    assert max(len(line) for line in done.stdout.splitlines() if str(tmp_path) not in line) <= 110
    mine = [entry for entry in cluster.api.journal.entries(everything=True) if entry.identity == "preflight"]
    assert {entry.method for entry in mine} <= {"GET", "POST"}
    assert not [entry for entry in mine if entry.changes]


@pytest.mark.parametrize(
    ("rule", "result", "said"),
    [
        ({"verb": "delete", "resource": "pods"}, "FAIL", "delete pods (diego-api-0, diego-api-1) in namespace cf is"),
        (
            {"verb": "delete", "resource": "pods", "name": "diego-api-1"},
            "FAIL",
            "delete pods (diego-api-1) in namespace",
        ),
        ({"verb": "patch", "resource": "pods"}, "FAIL", "to fence late deletions off"),
        ({"verb": "update", "resource": "configmaps"}, "FAIL", "configmaps (stager-medic-diego-api) in namespace"),
        ({"verb": "create", "resource": "configmaps"}, "FAIL", "to keep the ledger and evidence"),
        ({"verb": "watch", "resource": "statefulsets"}, "FAIL", "watch statefulsets.apps in namespace cf"),
        ({"verb": "patch", "resource": "remediations/status"}, "FAIL", "remediations/status.stager-medic.dev"),
        ({"verb": "create", "resource": "pods/exec"}, "FAIL", "to look from inside an api pod, as `exec` is true"),
        (
            {"verb": "create", "resource": "pods/exec", "name": "api-0"},
            "FAIL",
            "create pods/exec (api-0) in namespace cf",
        ),
        ({"verb": "create", "resource": "events"}, "warn", "to tell of its deeds"),
        ({"verb": "get", "resource": "pods/log"}, "warn", "to save logs before a deletion"),
    ],
)
def test_a_missing_permission_is_named(
    cluster: Cluster, config: Path, rule: dict[str, str], result: str, said: str
) -> None:
    cluster.api.faults.change({"rules": [{**rule, "status": 403}]})
    ((found, text),) = told(config)["permissions"]
    assert found == result
    assert said in text
    assert "add it to the Role of the remediator's account in cf" in text
    assert run(config).exit_code == (1 if result == "FAIL" else 0)


def test_what_is_asked_for_follows_the_configuration(config: Path) -> None:
    edit(config, exec=False)
    read = load_config(config)
    asked = {need.resource for need in needs(read, read.foundations[0])}
    assert "pods/exec" not in asked
    assert "pods/log" in asked
    section = read.remediator.model_copy(update={"evidence": False})
    assert "pods/log" not in {
        need.resource for need in needs(read.model_copy(update={"remediator": section}), read.foundations[0])
    }


@pytest.mark.parametrize(("mode", "verbs"), [("auto", "delete patch"), ("dry-run", "delete"), ("off", "")])
def test_a_right_to_pods_is_needed_only_where_the_mode_uses_it(config: Path, mode: str, verbs: str) -> None:
    document = yaml.safe_load(config.read_text())
    document["remediator"]["playbooks"][PLAYBOOK]["mode"] = mode
    config.write_text(yaml.safe_dump(document))
    read = load_config(config)
    found = [verb for need in needs(read, read.foundations[0]) if need.resource == "pods" for verb in need.verbs]
    assert [verb for verb in found if verb in ("delete", "patch")] == verbs.split()


def test_rights_on_single_pods_are_asked_for_by_name(cluster: Cluster, config: Path) -> None:
    """As a Role with resourceNames gives them: nothing for pods at large."""
    allowed = [
        {"verb": verb, "resource": "pods", "name": name}
        for verb in ("delete", "patch")
        for name in ("diego-api-0", "diego-api-1")
    ]
    denied = [{"verb": verb, "resource": "pods", "status": 403} for verb in ("delete", "patch")]
    cluster.api.faults.change({"rules": [*allowed, *denied]})
    assert [result for result, _ in told(config)["permissions"]] == ["ok"]


def test_where_the_pods_are_not_known_their_names_are_not_guessed(cluster: Cluster, config: Path) -> None:
    cluster.api.faults.change({"rules": [{"verb": "list", "resource": "pods", "status": 403}]})
    ((result, text),) = told(config)["permissions"]
    assert result == "FAIL"
    assert text.startswith("list pods in namespace cf")
    cluster.api.faults.change({"rules": [{"verb": "list", "resource": "pods", "status": 500}]})
    ((result, text),) = told(config)["permissions"]
    assert (result, "but for those on single pods, which are not known" in text) == ("ok", True)


def test_an_unreachable_api_server_leaves_the_rest(cluster: Cluster, config: Path) -> None:
    kubeconfig = config.parent / "kubeconfig"
    kubeconfig.write_text(kubeconfig.read_text().replace(cluster.url, "http://127.0.0.1:1"))
    found = told(config)
    assert found["API server"][0][0] == "FAIL"
    assert "Connection refused" in found["API server"][0][1]
    assert found["BBS certificate"][0][0] == "ok"
    kubeconfig.unlink()
    gone = told(config)
    assert "no way to Kubernetes is configured" in gone["API server"][0][1]
    assert gone["database"][0][0] == "ok"
    assert run(config).exit_code == 1


@pytest.mark.parametrize(("skew", "result"), [(60.0, "FAIL"), (-60.0, "FAIL"), (10.0, "warn"), (0.0, "ok")])
def test_the_clocks_are_compared(config: Path, skew: float, result: str) -> None:
    found = preflight(load_config(config), config, None, wall=lambda: datetime.now(UTC).timestamp() + skew)
    (clock,) = [check for check in found if check.name == "clock"]
    assert clock.result == result
    assert ("ahead" if skew > 0 else "behind") in clock.text or skew == 0


def test_the_custom_resource_is_compared_field_by_field(cluster: Cluster, config: Path) -> None:
    cluster.api.faults.change({"rules": [{"verb": "get", "resource": "customresourcedefinitions", "status": 403}]})
    ((result, text),) = told(config)["CRD"]
    assert (result, "could not be compared (no permission" in text) == ("ok", True)
    cluster.api.faults.change({"rules": []})
    name = f"{PLURAL}.{GROUP}"
    whole = cluster.store.get(CRDS, "", name)
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"foundation": {}}}}}

    def narrow(found: Json) -> Json:
        version = {**found["spec"]["versions"][0], "schema": {"openAPIV3Schema": schema}}  # type: ignore[index]
        return {**found, "spec": {**cast("Json", found["spec"]), "versions": [version]}}

    cluster.store.update(CRDS, "", name, narrow)
    try:
        ((result, text),) = told(config)["CRD"]
    finally:
        cluster.store.update(CRDS, "", name, lambda found: {**found, "spec": whole["spec"]})
    assert result == "FAIL"
    assert "has no fields spec.playbook, spec.mode" in text
    assert "they would be lost -> apply the CustomResourceDefinition" in text


def test_a_cluster_without_the_custom_resource() -> None:
    assert missing_fields({}) == FIELDS
    assert missing_fields(REMEDIATION_DEFINITION) == []
    steps = {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}}
    schema = {"properties": {"spec": {"x-kubernetes-preserve-unknown-fields": True},
                             "status": {"properties": {"steps": steps}}}}  # fmt: skip
    version = {"name": "v1alpha1", "schema": {"openAPIV3Schema": schema}}
    lost = missing_fields({"spec": {"versions": [version]}})
    assert "status.phase" in lost
    assert not [field for field in lost if field.startswith(("spec.", "status.steps."))]


def test_the_fields_are_those_that_are_written() -> None:
    """FIELDS keeps up with what `story` writes."""
    from remediator.ledger import Closed, Pending
    from remediator.words import Mode, Phase

    run_ = failed_run().model_copy(update={"approved_by": "alice"})
    closed = Closed(request=run_, phase=Phase.FAILED, message="x", finished=SERVER, verdict_after="healthy")
    entry = Pending(name="a.b.1", foundation="a", playbook="b", mode=Mode.AUTO, at=SERVER, expires=SERVER)
    written: set[str] = set()
    for part, body in (("spec", spec_of(run_)), ("status", final_status(closed)), ("status", status_of(entry))):
        written |= set(_paths(part, body))
    assert not [path for path in written if path not in FIELDS]


def _paths(path: str, value: object) -> Iterator[str]:
    if isinstance(value, dict) and not path.endswith("labels"):
        for key, below in value.items():
            yield from _paths(f"{path}.{key}", below)
    elif isinstance(value, list):
        for below in value:
            yield from _paths(path, below)
    else:
        yield path


def test_pods_that_do_not_fit_are_told(cluster: Cluster, config: Path) -> None:
    edit(config, namespace="elsewhere", layout="auto")
    ((result, text),) = told(config)["layout"]
    assert result == "FAIL"
    assert "no layout fits" in text
    edit(config, namespace="elsewhere", layout="cfee-2")
    assert [result for result, _ in told(config)["selectors"]] == ["FAIL", "FAIL"]
    edit(config, namespace="cf", layout="auto", max_pods=1)
    found = told(config)
    assert found["layout"] == [("ok", found["layout"][0][1])]
    assert "2 pods of BBS and Locket, more than max_pods = 1: nothing would be restarted" in found["max_pods"][0][1]


def test_a_state_that_stops_everything_is_told(cluster: Cluster, config: Path) -> None:
    now = datetime.now(UTC)
    conf = Configuration()
    conf.host = cluster.url
    with KubeClient(conf) as client:
        store = LedgerStore(client, "cf", "diego-api", wall=lambda: datetime.now(UTC).timestamp())
        breaker = Breaker(since=now, why="demo.x.3 failed", remediation="demo.x.3")
        pause = Pause(by="bob", why="upgrade", since=now, until=now + timedelta(hours=1))
        store.swap(lambda _, __: Ledger(starts=(now,), breaker=breaker, pause=pause))
        found = told(config)
        store.swap(lambda _, __: Ledger())
    assert "1 of 2 runs left per 1h, 3 of 4 runs left per 24h" in found["ledger"][0][1]
    assert found["breaker"][0][0] == "warn"
    assert "stager-remediator acknowledge demo.x.3 --reason" in found["breaker"][0][1]
    assert "paused by bob until" in found["pause"][0][1]
    cluster.api.faults.change({"rules": [{"verb": "get", "resource": "configmaps", "status": 500}]})
    assert found["ledger"][0][0] == "ok"
    ((result, text),) = told(config)["ledger"]
    assert (result, "every notification is answered 503" in text) == ("FAIL", True)


@pytest.mark.parametrize(
    ("bbs", "result", "said"),
    [
        ({"depth": "tcp"}, "warn", "cannot be told from one that serves"),
        ({"depth": "ping"}, "warn", "no cert_file, so probes go no deeper than tls"),
        ({"depth": "ping", "ca_file": "none.pem"}, "FAIL", "none.pem: No such file or directory"),
    ],
)
def test_credentials_for_bbs(config: Path, bbs: Mapping[str, str], result: str, said: str) -> None:
    edit(config, bbs=dict(bbs), database=None)
    found = told(config)
    assert any(one == result and said in text for one, text in found["BBS certificate"])
    ((database, text),) = found["database"]
    assert (database, "a person is asked" in text) == ("warn", True)


@pytest.mark.parametrize(("days", "result"), [(-1, "FAIL"), (10, "warn"), (100, "ok")])
def test_the_certificates_end_is_told(config: Path, days: int, result: str) -> None:
    read = load_config(config)
    checks = preflight_cluster.FoundationChecks(read.foundations[0], read, None, lambda: 1_800_000_000.0)
    found = checks._expiry("BBS certificate", 1_800_000_000.0 + days * 86400, 0.0, "CN=x")
    assert found.result == result


def test_credentials_of_the_remediator(config: Path) -> None:
    file = config.parent / "credentials.yml"
    file.write_text(f"- {{name: a, scopes: [webhook], token_sha256: {'0' * 64}}}\n")
    assert [result for result, _ in told(config)["credentials"]] == ["FAIL", "warn"]
    file.write_text("- {name: a}\n")
    assert told(config)["credentials"][0][1].startswith(f"{file}:1:")
    document = yaml.safe_load(config.read_text())
    del document["remediator"]["credentials_file"]
    config.write_text(yaml.safe_dump(document))
    assert "anybody could have pods deleted" in told(config)["credentials"][0][1]


# --- Alertmanager's route ---------------------------------------------------------------------------------------------


def altered(**hook: object) -> Json:
    """GOOD with other settings of its webhook."""
    found = cast("Json", json.loads(json.dumps(GOOD)))
    found["receivers"][1]["webhook_configs"][0].update(hook)  # type: ignore[index]
    return found


def test_a_good_route_has_no_fault() -> None:
    assert routes.faults(GOOD, ALERT, "it") == ()
    assert routes.faults(altered(max_alerts=None, send_resolved=True), ALERT, "it") == ()


@pytest.mark.parametrize(
    ("hook", "fatal", "said"),
    [
        ({"max_alerts": 5}, True, "max_alerts is 5"),
        ({"send_resolved": False}, True, "send_resolved is false"),
        ({"http_config": {}}, True, "would be answered 401"),
        ({"http_config": {"authorization": {"credentials": "x"}}}, False, "stand in the file itself"),
        ({"url": "http://h/hook"}, True, "it goes to stager and not to the remediator"),
    ],
)
def test_what_is_wrong_with_the_webhook_is_told(hook: Json, fatal: bool, said: str) -> None:
    (fault,) = routes.faults(altered(**hook), ALERT, "it")
    assert (fault.fatal, said in fault.what) == (fatal, True), fault
    assert fault.advice


@pytest.mark.parametrize(
    "http", [{"basic_auth": {"password_file": "f"}}, {"tls_config": {"cert_file": "f"}}, {"bearer_token_file": "f"}]
)
def test_each_way_to_show_credentials_by_file_will_do(http: Json) -> None:
    assert routes.faults(altered(http_config=http), ALERT, "it") == ()
    assert routes.faults({**altered(http_config=None), "global": {"http_config": http}}, ALERT, "it") == ()


@pytest.mark.parametrize(
    ("routing", "receivers"),
    [
        ([], ["top"]),
        ([{"receiver": "a", "match": {"remediate": PLAYBOOK}}], ["a"]),
        ([{"receiver": "a", "match": {"remediate": "other"}}], ["top"]),
        ([{"receiver": "a", "match_re": {"alertname": "Diego.*"}}], ["a"]),
        ([{"receiver": "a", "match_re": {"alertname": "Diego"}}], ["top"]),
        ([{"receiver": "a", "matchers": ["severity!=critical", 'remediate=~"restart-.+"']}], ["a"]),
        ([{"receiver": "a", "matchers": '{severity="none",nosuch=""}'}], ["a"]),
        ([{"receiver": "a", "matchers": ["remediate!~.+"]}], ["top"]),
        ([{"receiver": "a", "matchers": ['nosuch=~".+"']}], ["top"]),
        ([{"receiver": "a"}, {"receiver": "b"}], ["a"]),
        ([{"receiver": "a", "continue": True}, {"receiver": "b"}], ["a", "b"]),
        ([{"receiver": "a", "continue": True}, {"receiver": "b", "match": {"x": "y"}}], ["a"]),
        ([{"receiver": "a", "routes": [{"match": {"foundation": "demo"}}]}], ["a"]),
        ([{"receiver": "a", "routes": [{"match": {"foundation": "other"}, "receiver": "b"}]}], ["a"]),
        ([{"routes": [{"receiver": "b"}]}], ["b"]),
    ],
)
def test_routes_are_followed_by_alertmanagers_rules(routing: object, receivers: list[str]) -> None:
    found = routes.ways({"route": {"receiver": "top", "routes": routing}}, ALERT)
    assert [way.receiver for way in found] == receivers


def test_a_route_that_comes_too_late_is_told_with_what_to_do() -> None:
    late = {**GOOD, "route": {"receiver": "team", "routes": [{"receiver": "team"}, {"receiver": "stager"}]}}
    (fault,) = routes.faults(late, ALERT, "the alert")
    assert fault.what == "the alert goes to team and not to the remediator"
    assert fault.advice == "put a route to stager with matchers: ['remediate=~\".+\"'] before the others"
    (none,) = routes.faults({"route": {"receiver": "team"}}, ALERT, "the alert")
    assert none.advice.startswith("add a receiver with a webhook to http://HOST:9718/api/v1/alertmanager")
    silent = {**GOOD, "route": {"receiver": "stager", "routes": [{"mute_time_intervals": ["nights"]}]}}
    (at_times,) = routes.faults(silent, ALERT, "the alert")
    assert (at_times.fatal, "silent at times (nights)" in at_times.what) == (False, True)


@pytest.mark.parametrize(
    "text", ["", "route: [", "route: x", "- a", "&a [*a]", "!!python/object:x {}", "a: " + "[" * 5000]
)
def test_a_file_that_is_none_is_one_problem(text: str, config: Path) -> None:
    with pytest.raises(RouteProblem):
        routes.read(text)
    file = config.parent / "am.yml"
    file.write_text(text)
    ((result, said),) = told(config, "--alertmanager-config", file)["Alertmanager"]
    assert (result, said.startswith(str(file))) == ("FAIL", True)


@pytest.mark.parametrize("matcher", ["x=~(", "a b", "=x", '{a="b"'])
def test_a_matcher_that_cannot_be_read_is_no_guess(matcher: str) -> None:
    with pytest.raises(RouteProblem, match="not understood here"):
        routes.ways({"route": {"receiver": "a", "routes": [{"matchers": [matcher]}]}}, ALERT)


def test_endless_routes_end() -> None:
    route: Json = {"receiver": "a"}
    for _ in range(100):
        route = {"routes": [route]}
    with pytest.raises(RouteProblem, match="too deeply"):
        routes.ways({"route": route}, ALERT)
