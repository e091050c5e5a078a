"""What a request is about, read from its path and query; and the answers that need no stream."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.api import custom
from simulator.api.errors import ApiError, too_old
from simulator.api.events import check_new_event, from_core, to_core
from simulator.api.objects import metadata
from simulator.api.patches import apply
from simulator.api.resources import CRDS, EVENTS, NEW_EVENTS, PODS, RESOURCES, STATEFULSETS, Resource, find
from simulator.api.scale import from_scale, to_scale
from simulator.api.selectors import by_fields, by_labels, name_of
from simulator.api.store import Deletion
from simulator.api.tables import table
from simulator.api.validation import check_change, check_new

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.api.objects import Json
    from simulator.api.selectors import Match
    from simulator.api.store import Store

MUTATING = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True, slots=True)
class Request:
    """A request about a resource."""

    verb: str
    """RBAC's word: exec is `create` of `pods/exec`, a log is `get` of `pods/log`."""
    resource: Resource
    namespace: str
    name: str
    subresource: str
    query: Mapping[str, str]
    commands: tuple[str, ...] = ()
    """The words to execute, for exec."""
    as_table: bool = False

    @property
    def kind(self) -> str:
        """Give `pods` or `pods/exec`, as permissions and fault rules name it."""
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural

    @property
    def stored(self) -> Resource:
        """Give the resource as which the object is kept: both groups of Events show the same ones."""
        return EVENTS if self.resource is NEW_EVENTS else self.resource

    def shown(self, thing: Json) -> Json:
        """Give a stored object as this address shows it."""
        if self.subresource == "scale":
            return to_scale(thing)
        return from_core(thing) if self.resource is NEW_EVENTS else thing

    @property
    def dry_run(self) -> bool:
        """Tell whether nothing may be stored."""
        return self.query.get("dryRun") == "All"


def read(
    method: str, path: str, query: Mapping[str, list[str]], accept: str, served: Sequence[Resource] = RESOURCES
) -> Request:
    """Read a request; raises ApiError 404 for a path that is not served, 405 for a verb it does not know."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"]:
        group, version, rest = "", "".join(parts[1:2]), parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise ApiError(404, "the server could not find the requested resource")
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    resource = find(group, version, rest[0], served) if rest else None
    if resource is None or len(rest) > 3:
        raise ApiError(404, "the server could not find the requested resource")
    name, subresource = "".join(rest[1:2]), "".join(rest[2:3])
    if subresource and subresource not in resource.subresources:
        raise ApiError(404, "the server could not find the requested resource")
    flat = {key: values[-1] for key, values in query.items()}
    verb = _verb(method, name, subresource, watch=flat.get("watch") in ("1", "true"))
    if not verb or (resource.namespaced and not namespace and verb not in ("list", "watch")):
        raise ApiError(405, "the server does not allow this method on the requested resource")
    commands = tuple(query.get("command", ()))
    return Request(verb, resource, namespace, name, subresource, flat, commands, "as=Table" in accept)


def _verb(method: str, name: str, subresource: str, *, watch: bool) -> str:
    if subresource == "exec":
        return "create" if method in ("GET", "POST") else ""
    if method == "GET":
        return "watch" if watch else "get" if name else "list"
    if method == "POST":
        return "create" if not name or subresource == "eviction" else ""
    if method == "DELETE":
        return "deletecollection" if not name else "" if subresource else "delete"
    return {"PUT": "update", "PATCH": "patch"}.get(method, "") if name else ""


def selection(request: Request) -> Match:
    """Give the test that a listed or watched object has to pass; raises ApiError 400."""
    tests = [by_labels(request.query.get("labelSelector", "")), by_fields(request.query.get("fieldSelector", ""))]
    if request.namespace:
        tests.append(lambda thing: metadata(thing).get("namespace") == request.namespace)
    if request.name:
        tests.append(lambda thing: metadata(thing).get("name") == request.name)
    return lambda thing: all(test(request.shown(thing)) for test in tests)


def listing(store: Store, request: Request, now: float, oldest: int) -> Json:
    """Answer a list, a page of it where `limit` asks for one.

    Pages after the first show the present, not the moment of the first page; a token older than the last compaction is
    answered with 410, as a real server does.
    """
    things, version = store.listing(request.stored, request.namespace)
    matches = selection(request)
    found = [thing for thing in things if matches(thing)]
    token = request.query.get("continue", "")
    if token:
        at, after = _decode(token)
        if at < oldest:
            raise too_old(at, oldest)
        found = [thing for thing in found if name_of(thing) > after]
    limit = int(request.query.get("limit") or 0)
    about: Json = {"resourceVersion": str(version)}
    if limit and len(found) > limit:
        about["remainingItemCount"] = len(found) - limit
        found = found[:limit]
        about["continue"] = _encode(version, name_of(found[-1]))
    if request.as_table:
        return rows(store, request, found, str(version), now, more=about.get("continue", ""))
    kind, api_version = f"{request.resource.kind}List", request.resource.api_version
    return {
        "kind": kind,
        "apiVersion": api_version,
        "metadata": about,
        "items": [request.shown(thing) for thing in found],
    }


def rows(store: Store, request: Request, things: Sequence[Json], version: str, now: float, *, more: str = "") -> Json:
    """Give stored objects as a `Table`."""
    printed = custom.columns(store, request.resource) if request.resource.custom else ()
    return table(request.stored, things, version, now, more=more, custom=printed)


def _encode(version: int, after: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *after]).encode()).decode()


def _decode(token: str) -> tuple[int, tuple[str, str]]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(version), (str(namespace), str(name))
    except (ValueError, TypeError, binascii.Error) as error:
        raise ApiError(400, "continue key is not valid") from error


def write(store: Store, request: Request, body: object, media: str) -> tuple[int, Json]:
    """Answer a create, update, patch or delete: HTTP status and object. Raises ApiError."""
    if request.query.get("dryRun", "All") != "All":
        raise ApiError(422, f'dryRun: Unsupported value: "{request.query["dryRun"]}": supported values: "All"')
    if request.verb in ("delete", "deletecollection"):
        return _delete(store, request, body)
    if request.subresource == "eviction":
        options = body.get("deleteOptions") if isinstance(body, dict) else None
        _delete(store, request, options or {})
        return 201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if request.verb != "patch" and not isinstance(body, dict):
        raise ApiError(400, "the object provided is unrecognized: a JSON object is expected")
    if request.verb == "create":
        return 201, request.shown(_create(store, request, body if isinstance(body, dict) else {}))
    if request.verb == "patch" and request.resource.custom and media == "application/strategic-merge-patch+json":
        raise ApiError(415, "the body of the request was in an unknown format - accepted media types include: "
                            "application/json-patch+json, application/merge-patch+json")  # fmt: skip

    def change(old: Json) -> Json:
        seen = request.shown(old)
        return _changed(store, request, old, apply(media, seen, body) if request.verb == "patch" else dict_of(body))

    where = (request.stored, request.namespace, request.name)
    subresource = "" if request.subresource == "scale" else request.subresource
    return 200, request.shown(store.update(*where, change, subresource=subresource, dry_run=request.dry_run))


def dict_of(body: object) -> Json:
    """Give a JSON object as such; raises ApiError 400 for anything else."""
    if not isinstance(body, dict):
        raise ApiError(400, "the object provided is unrecognized: a JSON object is expected")
    return body


def _create(store: Store, request: Request, body: Json) -> Json:
    resource, about = request.resource, dict(metadata(body))
    if about.get("namespace") and about["namespace"] != request.namespace:
        raise ApiError(400, "the namespace of the provided object does not match the namespace sent on the request")
    for key in ("uid", "deletionTimestamp", "generation", "creationTimestamp"):
        about.pop(key, None)
    wanted = {**body, "metadata": about}
    if resource is NEW_EVENTS:
        check_new_event(wanted)
        wanted = to_core(wanted)
    elif resource is CRDS:
        custom.check_definition(wanted)
    elif resource is STATEFULSETS:
        wanted["spec"] = {"replicas": 1, **wanted.get("spec", {})}
    elif resource.custom:
        wanted.pop("status", None)
        wanted = custom.conform(store, resource, wanted, None)
    check_new(request.stored, {**wanted, "metadata": {**about, "namespace": request.namespace}})
    created = store.create(request.stored, request.namespace, wanted, dry_run=request.dry_run)
    return custom.establish(store, created) if resource is CRDS and not request.dry_run else created


def _changed(store: Store, request: Request, old: Json, wanted: Json) -> Json:
    """Give the object that a request wants stored, checked; what its door may not change is as it was."""
    resource = request.resource
    if request.subresource == "scale":
        wanted = from_scale(old, wanted)
    elif resource is NEW_EVENTS:
        wanted = to_core(wanted)
    elif resource is STATEFULSETS and wanted.get("spec", {}).get("replicas") is None:
        wanted.setdefault("spec", {})["replicas"] = 1
    if request.subresource == "status":
        wanted = {**old, "metadata": metadata(wanted), "status": wanted.get("status", {})}
    elif "status" in resource.subresources:
        wanted = {key: value for key, value in wanted.items() if key != "status"}
        wanted |= {"status": old["status"]} if "status" in old else {}
    if resource.custom:
        if not metadata(wanted).get("resourceVersion"):
            raise ApiError(
                422,
                f'{resource.qualified} "{request.name}" is invalid: metadata.resourceVersion: Invalid value: 0x0: '
                "must be specified for an update",
            )
        wanted = custom.conform(store, resource, wanted, old)
    if request.subresource != "status":
        check_change(request.stored, old, wanted)
    return wanted


def _delete(store: Store, request: Request, body: object) -> tuple[int, Json]:
    options = body if isinstance(body, dict) else {}
    if (options.get("dryRun") or ["All"]) != ["All"]:
        raise ApiError(422, f'dryRun: Unsupported value: {options["dryRun"]}: supported values: "All"')
    before = options.get("preconditions") or {}
    grace = options.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
    deletion = Deletion(
        uid=before.get("uid") or "",
        version=before.get("resourceVersion") or "",
        grace=None if grace is None else int(grace),
        dry_run=request.dry_run or options.get("dryRun") == ["All"],
        orphan=(options.get("propagationPolicy") or request.query.get("propagationPolicy")) == "Orphan"
        or options.get("orphanDependents") is True,
    )
    if request.verb == "deletecollection":
        matches = selection(request)
        things, version = store.listing(request.stored, request.namespace)
        doomed = [thing for thing in things if matches(thing)]
        for thing in doomed:
            store.delete(request.stored, request.namespace, metadata(thing)["name"], deletion)
        kind = f"{request.resource.kind}List"
        about = {"resourceVersion": str(version)}
        return 200, {"kind": kind, "apiVersion": request.resource.api_version, "metadata": about, "items": doomed}
    gone = store.delete(request.stored, request.namespace, request.name, deletion)
    if request.resource is PODS:
        return 200, gone
    details = {"name": request.name, "kind": request.resource.plural, "uid": metadata(gone)["uid"]}
    return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
