"""The rights that rendered manifests give, one by one, and the same with one of them taken away."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource."""

    verb: str
    resource: str
    """With its subresource."""
    group: str = ""
    names: tuple[str, ...] = ()
    """The only objects that it holds for; empty: all."""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


def rights(role: Json) -> list[Right]:
    """Every right of a Role, in order, each once. Fails for a wildcard, which no Role here may have."""
    found: dict[Right, None] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    assert "*" not in (group, resource, verb), f"{role['metadata']['name']}: a wildcard in {rule}"
                    found[Right(verb, resource, group, tuple(sorted(rule.get("resourceNames", ()))))] = None
    return list(found)


def without(role: Json, right: Right) -> Json:
    """The Role with each of its rules split into single rights, and that one left out."""
    less = deepcopy(role)
    less["rules"] = [
        {
            "apiGroups": [one.group],
            "resources": [one.resource],
            "verbs": [one.verb],
            **({"resourceNames": list(one.names)} if one.names else {}),
        }
        for one in rights(role)
        if one != right
    ]
    return less


def roles_of(manifests: Sequence[Json], account: str) -> list[Json]:
    """The Roles bound to a ServiceAccount, by RoleBindings in the same namespace."""
    named = {
        (one["metadata"].get("namespace", ""), one["roleRef"]["name"])
        for one in manifests
        if one["kind"] == "RoleBinding"
        and any(who["kind"] == "ServiceAccount" and who["name"] == account for who in one["subjects"])
    }
    return [
        one
        for one in manifests
        if one["kind"] == "Role" and (one["metadata"].get("namespace", ""), one["metadata"]["name"]) in named
    ]


def as_faults(identity: str, given: Sequence[Right]) -> list[Json]:
    """Rules for the simulated API server that let this identity do what it has a right to, and nothing else."""
    rules: list[Json] = [
        {"identity": identity, "verb": one.verb, "resource": one.resource, "name": name}
        for one in given
        for name in one.names or ("*",)
    ]
    return [*rules, {"identity": identity, "status": 403}]
