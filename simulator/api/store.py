"""Objects with resourceVersions, compare-and-swap, deletion and a history to watch: the cluster's etcd and registry.

One counter numbers every change of every resource. A stored object is never changed in place; what `get` and `listing`
give may be read without a lock and must not be written to. History is kept per resource up to a limit, and can be
compacted on purpose, after which an older resourceVersion is answered with 410.
"""

from __future__ import annotations

import copy
import random
import string
import threading
import uuid
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.api.errors import ApiError, already_exists, conflict, not_found, too_old
from simulator.api.objects import metadata, rfc3339
from simulator.api.resources import CRDS, NAMESPACES, PODS, STATEFULSETS
from simulator.api.selectors import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.api.objects import Json
    from simulator.api.resources import Resource

_HISTORY = 4096


@dataclass(frozen=True, slots=True)
class Change:
    """One change: what a watch sends."""

    version: int
    kind: str
    """ADDED, MODIFIED or DELETED."""
    thing: Json
    before: Json | None
    """The object as it was, to tell a selector that it no longer matches."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """The options of a DELETE."""

    uid: str = ""
    version: str = ""
    grace: int | None = None
    """Seconds; None means the pod's own."""
    dry_run: bool = False
    orphan: bool = False
    """What the object owns stays, without an owner."""


class Store:
    """All objects of the cluster. Thread-safe. `clock` gives Unix time in seconds."""

    def __init__(self, clock: Callable[[], float], seed: int | None = None) -> None:
        self._clock = clock
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._version = 1000
        self._objects: dict[Resource, dict[tuple[str, str], Json]] = {}
        self._history: dict[Resource, deque[Change]] = {}
        self._compacted: dict[Resource, int] = {}
        self._closed = False

    def close(self) -> None:
        """Wake every watch for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def now(self) -> float:
        """Give the cluster's Unix time."""
        return self._clock()

    @property
    def closed(self) -> bool:
        """Tell whether `close` was called."""
        return self._closed

    @property
    def version(self) -> int:
        """Give the newest resourceVersion."""
        with self._lock:
            return self._version

    def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """Give one object; raises ApiError 404."""
        with self._lock:
            found = self._objects.get(resource, {}).get((namespace, name))
        if found is None:
            raise not_found(resource, name)
        return found

    def listing(self, resource: Resource, namespace: str = "") -> tuple[list[Json], int]:
        """Give the objects (of one namespace, or of all) sorted by name, and the resourceVersion of that view."""
        with self._lock:
            things = self._objects.get(resource, {})
            chosen = [thing for (where, _), thing in things.items() if not namespace or where == namespace]
            return sorted(chosen, key=name_of), self._version

    def create(self, resource: Resource, namespace: str, thing: Json, *, dry_run: bool = False) -> Json:
        """Store a new object and give it as stored; raises ApiError 404 (namespace), 409, 422."""
        with self._changed:
            if resource.namespaced and (("", namespace)) not in self._objects.get(NAMESPACES, {}):
                raise not_found(NAMESPACES, namespace)
            created = copy.deepcopy(thing)
            about = created.setdefault("metadata", {})
            name = about.get("name") or self._generated(about)
            if not name:
                raise ApiError(422, f"{resource.kind} is invalid: metadata.name: Required value: name is required")
            if (namespace, name) in self._objects.get(resource, {}):
                raise already_exists(resource, name)
            created["apiVersion"], created["kind"] = resource.api_version, resource.kind
            about["name"] = name
            if resource.namespaced:
                about["namespace"] = namespace
            about["uid"] = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
            about.setdefault("creationTimestamp", rfc3339(self._clock()))
            if resource.custom or resource is STATEFULSETS:
                about["generation"] = 1
            if resource.custom or resource is CRDS:
                created.pop("status", None)
            return self._put(resource, created, "ADDED", None, dry_run=dry_run)

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Json], Json],
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Json:
        """Replace an object by what `change` makes of a copy of it, in one step.

        A `metadata.resourceVersion` or `uid` in the result that is not the stored one is a conflict: that is the
        compare-and-swap. Raises ApiError 404, 409, and whatever `change` raises.
        """
        with self._changed:
            old = self.get(resource, namespace, name)
            wanted = change(copy.deepcopy(old))
            about, before = wanted.setdefault("metadata", {}), metadata(old)
            if str(about.get("resourceVersion") or before["resourceVersion"]) != before["resourceVersion"]:
                raise conflict(
                    resource,
                    name,
                    "the object has been modified; please apply your changes to the latest version and try again",
                )
            if about.get("uid", before["uid"]) != before["uid"]:
                raise conflict(
                    resource,
                    name,
                    f"Precondition failed: UID in precondition: {about['uid']}, UID in object meta: {before['uid']}",
                )
            if about.get("name", name) != name:
                raise ApiError(
                    400, f"the name of the object ({about['name']}) does not match the name on the URL ({name})"
                )
            new = _settle(resource, old, wanted, subresource)
            if new == old:
                return old
            finished = metadata(new).get("deletionTimestamp") and not metadata(new).get("finalizers")
            if finished and resource is not PODS and not dry_run:
                return self._drop(resource, new)
            return self._put(resource, new, "MODIFIED", old, dry_run=dry_run)

    def delete(self, resource: Resource, namespace: str, name: str, options: Deletion) -> Json:
        """Delete an object: a pod becomes Terminating (its kubelet removes it), anything else goes at once.

        Raises ApiError 404, or 409 where a precondition does not hold.
        """
        with self._changed:
            old = self.get(resource, namespace, name)
            _check(resource, name, metadata(old), options)
            if resource is PODS and options.grace != 0:
                return self._terminate(old, options)
            if options.dry_run:
                return old
            if metadata(old).get("finalizers"):
                doomed = copy.deepcopy(old)
                metadata(doomed).setdefault("deletionTimestamp", rfc3339(self._clock()))
                return old if doomed == old else self._put(resource, doomed, "MODIFIED", old)
            if options.orphan:
                self._orphan(metadata(old)["uid"])
            return self._drop(resource, old)

    def _orphan(self, uid: str) -> None:
        for kind, things in self._objects.items():
            for owned in [thing for thing in things.values() if _is_owned(thing, uid)]:
                freed = copy.deepcopy(owned)
                about = metadata(freed)
                about["ownerReferences"] = [owner for owner in about["ownerReferences"] if owner.get("uid") != uid]
                self._put(kind, freed, "MODIFIED", owned)

    def remove(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Remove an object for good, if it is still the one of that uid: the kubelet's last word on a pod."""
        with self._changed:
            found = self._objects.get(resource, {}).get((namespace, name))
            if found is not None and metadata(found)["uid"] == uid:
                self._drop(resource, found)

    def compact(self) -> None:
        """Forget all history: every watch from an older resourceVersion ends in 410."""
        with self._changed:
            for resource in self._history:
                self._compacted[resource] = self._version + 1
                self._history[resource].clear()
            # Numbers move on, as they do in a real cluster: otherwise the newest one handed out would count as old.
            self._version += 1
            self._changed.notify_all()

    def wait(self, resource: Resource, after: int, timeout: float) -> tuple[list[Change], int]:
        """Give the changes after a resourceVersion, waiting for one; empty when the time is up or the store closed.

        The number is the resourceVersion up to which the caller has now seen everything. Raises ApiError 410.
        """
        with self._changed:
            oldest = self._compacted.get(resource, 0)
            if after < oldest:
                raise too_old(after, oldest)
            changes = self._after(resource, after)
            if not changes and not self._closed and timeout > 0:
                self._changed.wait(timeout)
                if after < self._compacted.get(resource, 0):
                    raise too_old(after, self._compacted[resource])
                changes = self._after(resource, after)
            return changes, self._version

    def oldest(self, resource: Resource) -> int:
        """Give the resourceVersion before which history is gone."""
        with self._lock:
            return self._compacted.get(resource, 0)

    def _after(self, resource: Resource, after: int) -> list[Change]:
        newer: list[Change] = []
        for change in reversed(self._history.get(resource, ())):
            if change.version <= after:
                break
            newer.append(change)
        return newer[::-1]

    def _generated(self, about: Json) -> str:
        prefix = str(about.get("generateName") or "")
        if not prefix:
            return ""
        return prefix + "".join(self._random.choices(string.ascii_lowercase + string.digits, k=5))

    def _put(self, resource: Resource, thing: Json, kind: str, before: Json | None, *, dry_run: bool = False) -> Json:
        if dry_run:
            return thing
        self._version += 1
        thing["metadata"]["resourceVersion"] = str(self._version)
        about = thing["metadata"]
        self._objects.setdefault(resource, {})[about.get("namespace", ""), about["name"]] = thing
        self._record(resource, Change(self._version, kind, thing, before))
        return thing

    def _terminate(self, old: Json, options: Deletion) -> Json:
        doomed = copy.deepcopy(old)
        about = metadata(doomed)
        grace = options.grace
        if grace is None:
            grace = int(doomed.get("spec", {}).get("terminationGracePeriodSeconds", 30))
        if about.get("deletionTimestamp") and grace >= int(about.get("deletionGracePeriodSeconds", 0)):
            return old
        about["deletionGracePeriodSeconds"] = grace
        about["deletionTimestamp"] = rfc3339(self._clock() + grace)
        return self._put(PODS, doomed, "MODIFIED", old, dry_run=options.dry_run)

    def _drop(self, resource: Resource, thing: Json) -> Json:
        about = metadata(thing)
        before = self._objects[resource].pop((about.get("namespace", ""), about["name"]))
        self._version += 1
        gone = copy.deepcopy(thing)
        gone["metadata"]["resourceVersion"] = str(self._version)
        self._record(resource, Change(self._version, "DELETED", gone, before))
        # Garbage collection, at once; of pods their kubelet lets go later.
        for kind in list(self._objects):
            for owned in [thing for thing in self._objects[kind].values() if _is_owned(thing, about["uid"])]:
                self.delete(kind, metadata(owned).get("namespace", ""), metadata(owned)["name"], Deletion())
        if resource is CRDS:
            self._drop_kind(thing)
        return gone

    def _drop_kind(self, definition: Json) -> None:
        """Remove every object of a definition that is gone."""
        spec = definition["spec"]
        named = (spec["group"], spec["names"]["plural"])
        for kind in [kind for kind in self._objects if (kind.group, kind.plural) == named]:
            for thing in list(self._objects[kind].values()):
                self._drop(kind, thing)

    def _record(self, resource: Resource, change: Change) -> None:
        history = self._history.setdefault(resource, deque())
        history.append(change)
        if len(history) > _HISTORY:
            self._compacted[resource] = history.popleft().version
        self._changed.notify_all()


def _is_owned(thing: Json, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in metadata(thing).get("ownerReferences") or [])


def _check(resource: Resource, name: str, about: Json, options: Deletion) -> None:
    if options.uid and options.uid != about["uid"]:
        why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {about['uid']}"
        raise conflict(resource, name, why)
    if options.version and options.version != about["resourceVersion"]:
        raise conflict(
            resource,
            name,
            f"Precondition failed: ResourceVersion in precondition: {options.version}, "
            f"ResourceVersion in object meta: {about['resourceVersion']}",
        )


def _settle(resource: Resource, old: Json, wanted: Json, subresource: str) -> Json:
    """Keep what a request may not change: identity, and the half of the object that belongs to the other door."""
    if subresource == "status":
        return {**copy.deepcopy(old), "status": wanted.get("status", {})}
    new = copy.deepcopy(wanted)
    if resource is CRDS and "status" in old:
        new["status"] = copy.deepcopy(old["status"])
    before, about = metadata(old), metadata(new)
    for key in ("uid", "creationTimestamp", "namespace", "name", "resourceVersion", "deletionTimestamp", "generation"):
        if key in before:
            about[key] = before[key]
        else:
            about.pop(key, None)
    if resource.custom:
        new.pop("status", None)
        if "status" in old:
            new["status"] = copy.deepcopy(old["status"])
    if (resource.custom or resource is STATEFULSETS) and new.get("spec") != old.get("spec"):
        about["generation"] = int(before.get("generation", 1)) + 1
    new["apiVersion"], new["kind"] = resource.api_version, resource.kind
    return new
