"""The rights in the rendered Roles: who has which, what takes them away, and that the README's tables tell the same."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.cases import CASES, Case
from tests.support.helm import CHART, of_kind, render, the
from tests.support.rbac import Right, rights, roles_of

Json = dict[str, Any]
BBS_AND_LOCKET = re.compile(r"^(diego-api|diego-locket|locket|bbs)-\d$")


def held(component: str, *presets: str, **values: object) -> list[Right]:
    return rights(the(render(*presets, values=values), "Role", component))


@pytest.mark.parametrize("one", CASES, ids=str)
def test_roles_stand_in_the_foundations_namespace_and_are_bound_to_its_own_account(one: Case) -> None:
    manifests = one.render(namespace="medic")
    kinds = {found["kind"] for found in manifests}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    where = one.values.get("foundation", {}).get("namespace") or "medic"
    for role in of_kind(manifests, "Role"):
        assert role["metadata"]["namespace"] == where
        assert not [
            right for right in rights(role) if right.resource.startswith(("secrets", "roles", "serviceaccounts"))
        ]
    for binding in of_kind(manifests, "RoleBinding"):
        assert binding["metadata"]["namespace"] == where
        (subject,) = binding["subjects"]
        assert subject["namespace"] == "medic"
        assert len(roles_of(manifests, subject["name"])) == 1
        assert binding["roleRef"]["name"] == binding["metadata"]["name"]


@pytest.mark.parametrize("one", CASES, ids=str)
def test_what_changes_or_runs_something_is_limited_by_name(one: Case) -> None:
    manifests = one.render()
    for role in of_kind(manifests, "Role"):
        exporter = role["metadata"]["name"].endswith("exporter")
        for right in rights(role):
            if right.resource == "pods/exec":
                assert right.names, "exec without names is every pod of the namespace"
                assert one.name == "everything"
            if right.resource == "pods" and right.verb in ("delete", "patch"):
                assert right.names
                if one.name != "overridden-layout":
                    assert all(BBS_AND_LOCKET.match(name) for name in right.names), right.names
            if right.resource == "configmaps" and right.verb == "update":
                assert len(right.names) == 1
            if exporter:
                assert right.verb in ("get", "list", "watch") or right.resource == "pods/exec", str(right)


@pytest.mark.parametrize(
    ("mode", "deletes", "patches"),
    [("off", False, False), ("dry-run", True, False), ("approval", True, True), ("auto", True, True)],
)
def test_the_mode_decides_what_may_happen_to_pods(mode: str, deletes: bool, patches: bool) -> None:
    found = {str(right) for right in held("remediator", remediator={"mode": mode})}
    assert ("delete pods" in found) is deletes
    assert ("patch pods" in found) is patches


def test_a_switch_takes_its_rights_away() -> None:
    def lost(component: str, **values: object) -> set[str]:
        return {str(one) for one in held(component)} - {str(one) for one in held(component, **values)}

    assert lost("remediator", remediator={"evidence": False}) == {"get pods", "get pods/log", "list events"}
    assert not [one for one in held("exporter") if one.resource in ("pods/log", "pods/exec")]
    assert "get pods/log" in {str(one) for one in held("exporter", "kubecf")}
    exec_on = held("exporter", exporter={"exec": {"enabled": True, "pods": ["api-0"]}})
    assert [one for one in exec_on if one.resource == "pods/exec"] == [
        Right(verb, "pods/exec", "", ("api-0",)) for verb in ("get", "create")
    ]
    assert not [one for one in held("remediator") if one.resource == "pods/exec"]


@pytest.mark.parametrize("component", ["exporter", "remediator"])
def test_the_readmes_table_tells_each_right(component: str) -> None:
    everything: Json = {
        "logs": {"pod": {"enabled": True}},
        "exporter": {"exec": {"enabled": True}},
        "remediator": {"mode": "auto", "exec": {"enabled": True}},
    }
    text = (CHART / "README.md").read_text(encoding="utf-8")
    tables = re.findall(r"\| resource \| verbs \|.*?\n\|[-|]+\|\n((?:\|.*\n)+)", text)
    table = tables[("exporter", "remediator").index(component)]
    written = set()
    for line in table.splitlines():
        _, resource, verbs, *_ = (cell.strip() for cell in line.split("|"))
        what = re.match("[a-z/]+", resource)
        assert what is not None, line
        written |= {f"{verb} {what[0]}" for verb in re.findall(r"[a-z]+", re.sub(r"\band\b", "", verbs))}
    given = {str(one) for one in held(component, "cfee2", **everything)}
    assert written == given
