"""The three kinds of patch: merge (RFC 7386), JSON (RFC 6902) and Kubernetes' strategic merge.

Strategic merge knows the merge keys of the lists that callers here patch; other lists are replaced whole, which the
real one does too where a type declares no merge key.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from simulator.api.errors import ApiError

if TYPE_CHECKING:
    from simulator.api.objects import Json

_MERGE_KEYS = {
    "conditions": "type",
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "ownerReferences": "uid",
}


def apply(kind: str, target: Json, patch: object) -> Json:
    """Give a patched copy; `kind` is the media type. Raises ApiError 400, 415 or 422."""
    if kind == "application/json-patch+json":
        return _json_patch(target, patch)
    if not isinstance(patch, dict):
        raise ApiError(400, "error decoding patch: a JSON object is expected")
    if kind == "application/merge-patch+json":
        return _merge(target, patch, strategic=False)
    if kind == "application/strategic-merge-patch+json":
        return _merge(target, patch, strategic=True)
    raise ApiError(415, f"the body of the request was in an unknown format: {kind}")


def _merge(target: Json, patch: Json, *, strategic: bool) -> Json:
    merged = copy.deepcopy(target)
    for key, value in patch.items():
        if strategic and key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            below = merged.get(key)
            merged[key] = _merge(below if isinstance(below, dict) else {}, value, strategic=strategic)
        elif strategic and key in _MERGE_KEYS and isinstance(value, list):
            merged[key] = _merge_list(merged.get(key) or [], value, _MERGE_KEYS[key])
        elif strategic and key == "finalizers" and isinstance(value, list):
            merged[key] = list(dict.fromkeys([*(merged.get(key) or []), *value]))
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _merge_list(target: list[Json], patch: list[Json], key: str) -> list[Json]:
    merged = list(target)
    for entry in patch:
        place = next((i for i, old in enumerate(merged) if old.get(key) == entry.get(key)), None)
        if entry.get("$patch") == "delete":
            if place is not None:
                del merged[place]
        elif place is None:
            merged.append(copy.deepcopy(entry))
        else:
            merged[place] = _merge(merged[place], entry, strategic=True)
    return merged


def _json_patch(target: Json, patch: object) -> Json:
    if not isinstance(patch, list):
        raise ApiError(400, "error decoding patch: a JSON array is expected")
    patched = copy.deepcopy(target)
    for step in patch:
        try:
            patched = _json_step(patched, step)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise ApiError(422, f"the server rejected our request due to an error in our request: {error}") from error
    return patched


def _json_step(document: Json, step: Json) -> Json:
    operation, path = step["op"], _pointer(step["path"])
    if operation == "test":
        if _at(document, path) != step.get("value"):
            raise ApiError(422, f"testing value {step['path']} failed")
        return document
    if operation in ("move", "copy"):
        source = _pointer(step["from"])
        value = copy.deepcopy(_at(document, source))
        if operation == "move":
            _change(document, source, "remove", None)
        _change(document, path, "add", value)
        return document
    if operation not in ("add", "replace", "remove"):
        raise ApiError(400, f"unexpected kind of operation: {operation}")
    if not path:
        value = step.get("value")
        if operation == "remove" or not isinstance(value, dict):
            raise ApiError(422, "the whole document can only be replaced by an object")
        return value
    _change(document, path, operation, step.get("value"))
    return document


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise ValueError(f"{text!r} is not a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _at(document: Any, path: list[str]) -> Any:  # noqa: ANN401 - a value anywhere in a JSON document
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _change(document: Json, path: list[str], operation: str, value: object) -> None:
    parent, last = _at(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        if operation == "remove":
            del parent[int(last)]
        elif operation == "replace":
            parent[int(last)] = value
        else:
            parent.insert(len(parent) if last == "-" else int(last), value)
    elif operation == "remove":
        del parent[last]
    elif operation == "replace" and last not in parent:
        raise KeyError(f"replace operation does not apply: doc is missing key: /{'/'.join(path)}")
    else:
        parent[last] = value
