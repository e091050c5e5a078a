"""Manifests held against the schemas of Kubernetes releases and of the Prometheus operator (tests/chart/schemas)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema_rs import Draft4Validator

from tests.support.helm import ROOT

Json = dict[str, Any]
RELEASES = ("1.19", "1.37")
"""Oldest and newest."""
_FOLDER = ROOT / "tests" / "chart" / "schemas"
OPERATOR = "prometheus-operator-0.85"


@cache
def _document(name: str) -> Json:
    found: Json = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


@cache
def _validator(document: str, kind: str) -> Draft4Validator | None:
    whole = _document(document)
    name = whole["kinds"].get(kind)
    if name is None:
        return None
    return Draft4Validator({"$ref": f"#/definitions/{name}", "definitions": whole["definitions"]})


def faults(manifest: Json, release: str) -> list[str]:
    """What a Kubernetes release, or the operator where it is the operator's kind, would not take; one line each."""
    kind = f"{manifest['apiVersion']}/{manifest['kind']}"
    document = OPERATOR if kind.startswith("monitoring.coreos.com/") else f"kubernetes-{release}"
    validator = _validator(document, kind)
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    if validator is None:
        return [f"{name}: {document} has no {kind}"]
    return [
        f"{name}: {'.'.join(map(str, error.instance_path))}: {error.message}"
        for error in validator.iter_errors(manifest)
    ]
