"""Layouts: each recognised from its pods, nothing guessed."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from foundation.layout import LayoutError, layouts, override, recognise

SCF = "app.kubernetes.io/component"
OLD = "skiff-role-name"
QUARKS = "quarks.cloudfoundry.org/instance-group-name"
ACTIVE = "skiff-role-active"

PODS: dict[str, list[dict[str, str]]] = {
    "cfee-1": [{OLD: "diego-api"}, {OLD: "diego-locket"}, {OLD: "api"}],
    "scf-2.11": [{SCF: "diego-api", ACTIVE: "true"}, {SCF: "diego-locket"}, {SCF: "api"}],
    "cfee-2": [{SCF: "diego-api", ACTIVE: "true"}, {SCF: "diego-api", ACTIVE: "false"}, {SCF: "api"}],
    "cfee-3": [{SCF: "diego-api", ACTIVE: "true"}, {SCF: "api-group"}],
    "cfee-4": [{SCF: "diego-api", ACTIVE: "true"}, {SCF: "locket"}, {SCF: "api-group"}],
    "kubecf": [{QUARKS: "diego-api"}, {QUARKS: "api"}],
    "kubecf-next": [{QUARKS: "diego-api"}, {QUARKS: "api"}, {QUARKS: "locket"}],
}


def test_there_is_a_case_for_every_layout() -> None:
    assert set(PODS) == set(layouts())


@pytest.mark.parametrize("name", PODS)
def test_each_layout_is_recognised_from_its_pods_and_says_by_what(name: str) -> None:
    found = recognise([*PODS[name], {SCF: "mysql"}, {}])
    assert found.layout.name == name
    assert "bbs pod" in found.by
    assert "diego-api" in found.by
    assert ("no Locket pods of their own" in found.by) == (found.layout.roles.locket is None)


@pytest.mark.parametrize("name", PODS)
def test_no_layout_fits_without_its_bbs_pods(name: str) -> None:
    with pytest.raises(LayoutError, match="no layout fits the namespace's"):
        recognise([pod for pod in PODS[name] if "diego-api" not in pod.values()])


def test_no_pods_at_all_name_the_settings_to_look_at() -> None:
    with pytest.raises(LayoutError, match=r"0 pods \(none of its pods carries a role's label\).*check `namespace`"):
        recognise([])


def test_two_fitting_layouts_are_an_error_that_names_both() -> None:
    with pytest.raises(LayoutError, match=r"cfee-2 and kubecf: set `layout`"):
        recognise([*PODS["cfee-2"], *PODS["kubecf"]])


def test_an_override_changes_one_field_and_keeps_the_rest() -> None:
    base = layouts()["cfee-2"]
    changed = override("cfee-2", {"service": {"address": "127.0.0.1"}, "locket_port": 9999})
    assert changed.service.address == "127.0.0.1"
    assert changed.service.host == base.service.host
    assert changed.locket_port == 9999
    assert changed.roles == base.roles


def test_an_override_of_what_does_not_exist_is_refused() -> None:
    with pytest.raises(LayoutError, match="'cfee-9' is no layout"):
        override("cfee-9", {})
    with pytest.raises(ValidationError, match=r"service\.prt"):
        override("cfee-2", {"service": {"prt": 1}})
    with pytest.raises(ValidationError, match="an empty selector would match every pod"):
        override("cfee-2", {"roles": {"bbs": {"any_of": [{}]}}})
    with pytest.raises(ValidationError):
        override("cfee-2", {"roles": {"bbs": {"any_of": []}}})


def test_roles_of_pods() -> None:
    layout = layouts()["cfee-4"]
    assert layout.role_of({SCF: "locket"}) == "locket"
    assert layout.role_of({OLD: "diego-api"}) == "bbs"
    assert layout.role_of({SCF: "mysql"}) is None
    assert layout.role_of({}) is None
