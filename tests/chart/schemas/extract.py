"""Cuts the schemas that the chart's manifests are checked against out of what their makers publish.

    python tests/chart/schemas/extract.py kubernetes RELEASE SWAGGER_JSON OUT
    python tests/chart/schemas/extract.py operator OUT CRD_YAML...

The first reads `api/openapi-spec/swagger.json`, which every release of the Go module k8s.io/kubernetes carries; the
second the `example/prometheus-operator-crd/*.yaml` of the Go module
github.com/prometheus-operator/prometheus-operator. README.md beside this file says which releases were taken.

Kept are the kinds that the chart may render and what they refer to; descriptions are dropped, and unknown fields are
refused, as an API server that is asked with `fieldValidation=Strict` refuses them. Not checked by the result: what is
no schema (names, quantities' spelling, CEL rules, whether two fields go together); `make e2e` asks a real server.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TypeAlias

import yaml

Json: TypeAlias = dict[str, object]

KINDS = (
    ("v1", "ConfigMap"), ("v1", "Pod"), ("v1", "Secret"), ("v1", "Service"), ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"), ("batch/v1", "Job"),
    ("rbac.authorization.k8s.io/v1", "Role"), ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("networking.k8s.io/v1", "NetworkPolicy"), ("policy/v1", "PodDisruptionBudget"),
    ("policy/v1beta1", "PodDisruptionBudget"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
)  # fmt: skip
_KEPT = ("type", "required", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems")
_OPEN = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource")
_REF = "#/definitions/"


def reduced(schema: object) -> Json:
    """A schema without words, and closed where it names its fields."""
    if not isinstance(schema, dict):
        return {}
    if "$ref" in schema:
        return {"$ref": schema["$ref"]}
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    found: Json = {key: schema[key] for key in _KEPT if key in schema}
    if "(?" in str(found.get("pattern", "")):
        del found["pattern"]  # Go's own kind of expression, which a JSON schema has no word for
    properties = schema.get("properties")
    if isinstance(properties, dict):
        found["properties"] = {name: reduced(below) for name, below in sorted(properties.items())}
    if isinstance(schema.get("items"), dict):
        found["items"] = reduced(schema["items"])
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        found["additionalProperties"] = reduced(others)
    elif isinstance(properties, dict) and others is not True and not any(schema.get(key) for key in _OPEN):
        found["additionalProperties"] = False
    return found


def _references(schema: object) -> set[str]:
    if isinstance(schema, list):
        return {name for one in schema for name in _references(one)}
    if not isinstance(schema, dict):
        return set()
    here = {schema["$ref"].removeprefix(_REF)} if isinstance(schema.get("$ref"), str) else set()
    return here | {name for one in schema.values() for name in _references(one)}


def kubernetes(release: str, swagger: Json) -> Json:
    """The definitions of KINDS and of all that they refer to, and where each kind stands."""
    whole = swagger["definitions"]
    assert isinstance(whole, dict)
    kinds: dict[str, str] = {}
    for name, schema in whole.items():
        for told in schema.get("x-kubernetes-group-version-kind", ()):
            version = f"{told['group']}/{told['version']}".lstrip("/")
            if (version, told["kind"]) in KINDS:
                kinds[f"{version}/{told['kind']}"] = name
    kept: Json = {}
    waiting = set(kinds.values())
    while waiting:
        name = waiting.pop()
        schema = reduced(whole[name])
        if name.endswith(".resource.Quantity"):
            schema = {"type": ["string", "number"]}
        if name.endswith((".JSON", ".JSONSchemaPropsOrBool", ".JSONSchemaPropsOrArray", ".IntOrString")):
            schema = {}
        if name.endswith(".JSONSchemaProps") and isinstance(schema["properties"], dict):
            # The swagger file leaves these open on purpose: a schema within a schema is the API server's to check.
            schema["additionalProperties"] = False
        kept[name] = schema
        waiting |= _references(schema) - set(kept)
    missing = {kind for _, kind in KINDS} - {name.rpartition("/")[2] for name in kinds}
    if missing:
        raise SystemExit(f"the document has no {', '.join(sorted(missing))}")
    return {"release": release, "kinds": kinds, "definitions": dict(sorted(kept.items()))}


class _Loader(yaml.SafeLoader):
    """As usual, but a lone `=` is a text: YAML 1.1 has a meaning for it that no Kubernetes tool knows."""


_Loader.yaml_implicit_resolvers = {
    first: found for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items() if first != "="
}


def operator(files: list[Path]) -> Json:
    """The schema of every served version in CustomResourceDefinitions."""
    kinds: dict[str, str] = {}
    kept: Json = {}
    release = ""
    for file in files:
        definition = yaml.load(file.read_text(encoding="utf-8"), _Loader)
        release = definition["metadata"]["annotations"]["operator.prometheus.io/version"]
        spec = definition["spec"]
        for version in spec["versions"]:
            schema = reduced(version["schema"]["openAPIV3Schema"])
            properties = schema["properties"]
            assert isinstance(properties, dict)
            properties["metadata"] = {"type": "object"}
            name = f"{spec['group']}/{version['name']}/{spec['names']['kind']}"
            kinds[name] = name.replace("/", ".")
            kept[kinds[name]] = schema
    return {"release": release, "kinds": kinds, "definitions": dict(sorted(kept.items()))}


def main(what: str, *given: str) -> None:
    """Write one file; see the module's own text."""
    if what == "kubernetes":
        release, source, out = given
        found = kubernetes(release, json.loads(Path(source).read_text(encoding="utf-8")))
    else:
        out, *sources = given
        found = operator(list(map(Path, sources)))
    Path(out).write_text(json.dumps(found, separators=(",", ":"), sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
