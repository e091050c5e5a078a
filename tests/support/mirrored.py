"""A simulated foundation whose pods stand in a real API server.

BBS, Locket, the database and what is wrong with them are the simulator's; the pods, StatefulSets and the label of the
active one are copied into a real API server as they change, and whoever deletes a pod there deletes the simulated one.
So the programs' own code talks to a real API server about a foundation that behaves. It stands for the StatefulSet
controller and the kubelet, as far as pods come and go; logs and exec need a real kubelet and are not here.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from typing import TYPE_CHECKING, Any, Self, cast

from foundation.kube.errors import Conflict, KubeError, NotFound
from foundation.kube.paths import core_path, group_path, pod_path, pods_path, statefulset_path, statefulsets_path
from simulator.api.resources import PODS, STATEFULSETS

if TYPE_CHECKING:
    from types import TracebackType

    from foundation.kube.client import KubeClient
    from simulator.cluster import Cluster

Json = dict[str, Any]
_NODE = "no-kubelet-here"


class Mirror:
    """Keeps a namespace like the one foundation of a simulated cluster, from `start` to `stop`."""

    def __init__(self, cluster: Cluster, client: KubeClient, namespace: str, *, bound: bool) -> None:
        """`bound`: pods have a node, so that a deletion waits for its kubelet, which is played here.

        Not where a controller would notice that there is no such node.
        """
        self._foundation = cluster.site().foundation
        self._client, self._namespace, self._bound = client, namespace, bound
        self._sets: dict[str, str] = {}
        self._copied: dict[str, tuple[str, str]] = {}
        """By the simulated pod's UID: the real one's, and what was last written of it."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self.problem: BaseException | None = None

    def __enter__(self) -> Self:
        with self._foundation.lock:
            for found in self._foundation.store.listing(STATEFULSETS, self._foundation.namespace)[0]:
                self._make_set(found)
        self.turn()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self.problem is not None and e is None:
            raise self.problem

    def pods(self) -> dict[str, str]:
        """The real pods' UIDs by name."""
        items, _ = self._client.list_all(pods_path(self._namespace))
        return {one["metadata"]["name"]: one["metadata"]["uid"] for one in cast("list[Json]", items)}

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            try:
                self.turn()
            except (Conflict, NotFound):
                continue
            except KubeError as problem:
                if not problem.retry:
                    self.problem = problem
                    return

    def turn(self) -> None:
        """Bring both sides together once. Raises KubeError."""
        items, _ = self._client.list_all(pods_path(self._namespace))
        real = {one["metadata"]["name"]: one for one in cast("list[Json]", items)}
        with self._foundation.lock:
            self._carry_deletions(real)
            simulated = {
                one["metadata"]["name"]: one
                for one in self._foundation.store.listing(PODS, self._foundation.namespace)[0]
            }
        for name, one in real.items():
            known = self._copied.get(simulated[name]["metadata"]["uid"]) if name in simulated else None
            if known is None or known[0] != one["metadata"]["uid"]:
                with contextlib.suppress(NotFound, Conflict):
                    self._client.delete(pod_path(self._namespace, name), uid=one["metadata"]["uid"], grace=0)
        for name, one in simulated.items():
            self._copy(name, one, real.get(name))

    def _carry_deletions(self, real: dict[str, Json]) -> None:
        for pod in list(self._foundation.pods.values()):
            if pod.uid not in self._copied or pod.terminating:
                continue
            found = real.get(pod.name)
            gone = found is None or found["metadata"]["uid"] != self._copied[pod.uid][0]
            if gone or (found is not None and found["metadata"].get("deletionTimestamp")):
                self._foundation.delete(pod)

    def _copy(self, name: str, one: Json, real: Json | None) -> None:
        uid = one["metadata"]["uid"]
        if uid not in self._copied:
            if real is not None or one["metadata"].get("deletionTimestamp"):
                return
            made = cast("Json", self._client.create(pods_path(self._namespace), self._pod(one)))
            self._copied[uid] = (made["metadata"]["uid"], "")
        elif real is None or real["metadata"]["uid"] != self._copied[uid][0]:
            return
        shown = repr((one["metadata"].get("labels"), one["status"]))
        if self._copied[uid][1] == shown:
            return
        before = real["metadata"].get("labels") or {} if real is not None else {}
        labels = {**dict.fromkeys(before), **one["metadata"]["labels"]}
        with contextlib.suppress(NotFound):
            self._client.patch(pod_path(self._namespace, name), {"metadata": {"labels": labels}})
            path = core_path(self._namespace, "pods", name, sub="status")
            # The class follows from the specification, and the API server knows that better.
            status = {key: value for key, value in one["status"].items() if key != "qosClass"}
            self._client.patch(path, {"status": status})
            self._copied[uid] = (self._copied[uid][0], shown)

    def _pod(self, one: Json) -> Json:
        spec = dict(one["spec"])
        spec.pop("nodeName", None)
        if self._bound:
            spec["nodeName"] = _NODE
        else:
            spec["schedulerName"] = _NODE
        spec["automountServiceAccountToken"] = False
        owner = one["metadata"]["ownerReferences"][0]
        metadata = {
            "name": one["metadata"]["name"],
            "labels": one["metadata"]["labels"],
            "ownerReferences": [{**owner, "uid": self._sets[owner["name"]]}],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _make_set(self, found: Json) -> None:
        name = found["metadata"]["name"]
        spec = copy.deepcopy(found["spec"])
        # Where there is a controller, it shall make no pods: those here are adopted by name.
        spec["template"]["spec"]["schedulerName"] = _NODE
        body: Json = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": name, "labels": found["metadata"].get("labels", {})},
            "spec": spec,
        }
        made = cast("Json", self._client.create(statefulsets_path(self._namespace), body))
        self._sets[name] = made["metadata"]["uid"]
        status = {**found["status"], "observedGeneration": made["metadata"]["generation"]}
        path = group_path("apps", "v1", self._namespace, "statefulsets", name, sub="status")
        self._client.patch(path, {"status": status})
        assert statefulset_path(self._namespace, name) in path
