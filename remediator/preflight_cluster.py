"""The checks of `preflight` that are about one foundation: its API server, permissions there, its pods, its state.

It reads, and asks what is permitted (SelfSubjectAccessReview, which stores nothing).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from foundation.durations import format_duration
from foundation.kube.errors import Forbidden, KubeError, NotFound
from foundation.kube.paths import group_path, pod_log_path, pods_path, statefulsets_path
from foundation.layout import LayoutError, recognise
from foundation.pods import read_pod, read_statefulset
from foundation.probes.credentials import Credentials as ClientFiles
from foundation.probes.result import Stage
from remediator.admission import MAX_SKEW, left
from remediator.checks import Check, Result
from remediator.definition import APPLY, as_text, lost_fields
from remediator.ledger import LedgerUnreadable
from remediator.store import LedgerStore, ledger_name
from remediator.timeline import moment, span
from remediator.words import GROUP, PLURAL, VERSION, Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from foundation.config import FoundationConfig
    from foundation.kube.client import Json, KubeClient
    from foundation.layout import Layout
    from foundation.pods import PodSeen
    from remediator.config import RemediatorConfig

SKEW_WARNING = 5.0
CERTIFICATE_WARNING = 30 * 86400.0
"""Seconds before a certificate's end from which on it is told."""
_NTP = "synchronise the clocks (NTP)"


class _Which(StrEnum):
    """Which objects a right is needed for: a Role may give it for these alone (resourceNames)."""

    ANY = "any"
    RESTARTED = "restarted"
    """The pods of BBS and Locket."""
    ENTERED = "entered"
    """The pods in which commands are run: those of the api and of BBS."""
    LEDGER = "ledger"


@dataclass(frozen=True, slots=True)
class _Need:
    """Something that the remediator asks of the API server."""

    verbs: tuple[str, ...]
    resource: str
    """With its subresource."""
    why: str
    group: str = ""
    needed: bool = True
    """Without it the remediator does not do its work; else something is missing from what it tells."""
    which: _Which = _Which.ANY


def needs(config: RemediatorConfig, foundation: FoundationConfig) -> Sequence[_Need]:
    """All that this configuration leads to."""
    modes = {playbook.mode for playbook in config.remediator.playbooks.values()}
    evidence = config.remediator.evidence
    found = [_Need(("list", "watch"), "pods", "to see the pods")]
    if modes - {Mode.OFF}:
        # A dry run asks the API server to delete, too (dryRun=All).
        found.append(_Need(("delete",), "pods", "to restart them", which=_Which.RESTARTED))
    if modes - {Mode.OFF, Mode.DRY_RUN}:
        found.append(_Need(("patch",), "pods", "to fence late deletions off", which=_Which.RESTARTED))
    found += [
        _Need(("list", "watch"), "statefulsets", "to notice rollouts", "apps"),
        _Need(("create",), "configmaps", "to keep the ledger and evidence"),
        _Need(("get", "update"), "configmaps", "to keep the ledger", which=_Which.LEDGER),
        _Need(("get", "list", "create", "patch", "delete"), PLURAL, "to queue, show and prune", GROUP),
        _Need(("patch",), f"{PLURAL}/status", "to tell how far it is", GROUP),
        _Need(("create",), "events", "to tell of its deeds", needed=False),
    ]
    if evidence:
        found += [
            _Need(("get",), "pods", "to save what a deletion destroys", needed=False),
            _Need(("get",), "configmaps", "to show evidence", needed=False),
            _Need(("get",), "pods/log", "to save logs before a deletion", needed=False, which=_Which.RESTARTED),
            _Need(("list",), "events", "to save events before a deletion", needed=False),
        ]
    if foundation.exec:
        why = "to look from inside an api pod, as `exec` is true"
        found.append(_Need(("get", "create"), "pods/exec", why, which=_Which.ENTERED))
    return found


@dataclass(frozen=True, slots=True)
class FoundationChecks:
    """The checks of one foundation, in an order in which each rests on those before."""

    config: FoundationConfig
    whole: RemediatorConfig
    client: KubeClient | None
    wall: Callable[[], float]

    def _check(self, name: str, result: Result, text: str, advice: str = "") -> Check:
        return Check(self.config.name, name, result, text, advice)

    def without_cluster(self) -> Iterator[Check]:
        """What can be checked without the API server."""
        yield from self._certificates()
        yield from self._database()

    def all(self) -> Iterator[Check]:
        """Everything, over the client."""
        client = self.client
        if client is None:
            return
        try:
            version = client.get("/version")
        except KubeError as error:
            advice = "check the kubeconfig's server and credentials, and the network's way to it"
            yield self._check("API server", Result.FAIL, str(error), advice)
            yield from self.without_cluster()
            return
        yield self._check("API server", Result.OK, f"{client.host} is {version.get('gitVersion', 'of no version')}")
        yield self._clock(client.answer_date())
        yield from self._definition(client)
        try:
            items, _ = client.list_all(pods_path(self.config.namespace))
        except KubeError as error:
            yield from self._permissions(client, None, ())
            yield self._check("pods", Result.FAIL, str(error), "the remediator sees nothing without them")
        else:
            yield from self._pods(client, tuple(pod for item in items if (pod := read_pod(item)) is not None))
        yield from self.without_cluster()

    def _pods(self, client: KubeClient, pods: Sequence[PodSeen]) -> Iterator[Check]:
        told, layout = self._layout(pods)
        yield from self._permissions(client, layout, pods)
        yield told
        if layout is not None:
            yield from self._selectors(client, layout, pods)
            yield from self._logs(client, layout, pods)
            yield from self._ledger(client, layout)

    def _clock(self, told: float | None) -> Check:
        if told is None:
            advice = "limits are judged on its clock: something between drops the header Date"
            return self._check("clock", Result.FAIL, "the API server's answers carry no Date", advice)
        # The header has whole seconds: half a second is added on average.
        skew = self.wall() - (told + 0.5)
        way = "ahead of" if skew > 0 else "behind"
        text = (
            f"ours is {abs(skew):.0f} s {way} the API server's" if abs(skew) >= 1 else "ours and the API server's agree"
        )
        if abs(skew) > MAX_SKEW:
            return self._check("clock", Result.FAIL, f"{text}: beyond {MAX_SKEW:.0f} s every run is refused", _NTP)
        if abs(skew) > SKEW_WARNING:
            return self._check("clock", Result.WARN, text, f"beyond {MAX_SKEW:.0f} s every run would be refused")
        return self._check("clock", Result.OK, text)

    # --- the custom resource and permissions ----------------------------------------------------------------------

    def _definition(self, client: KubeClient) -> Iterator[Check]:
        name = "CRD"
        try:
            served = client.get(f"/apis/{GROUP}/{VERSION}").get("resources")
        except NotFound:
            yield self._check(name, Result.FAIL, f"{PLURAL}.{GROUP} ({VERSION}) is not served", APPLY)
            return
        except KubeError as error:
            yield self._check(name, Result.FAIL, str(error))
            return
        names = {str(item.get("name")) for item in served if isinstance(item, dict)} if isinstance(served, list) else ()
        missing = [one for one in (PLURAL, f"{PLURAL}/status") if one not in names]
        if missing:
            yield self._check(name, Result.FAIL, f"{GROUP}/{VERSION} serves no {', '.join(missing)}", APPLY)
            return
        yield self._fields(client)

    def _fields(self, client: KubeClient) -> Check:
        try:
            lost = lost_fields(client)
        except Forbidden:
            text = f"{PLURAL}.{GROUP} is served; its fields could not be compared (no permission to get definitions)"
            return self._check("CRD", Result.OK, text)
        except KubeError as error:
            return self._check("CRD", Result.WARN, f"it is served; its fields could not be compared: {error}")
        if lost:
            return self._check("CRD", Result.FAIL, as_text(lost), APPLY)
        return self._check("CRD", Result.OK, f"{PLURAL}.{GROUP} ({VERSION}) is served with every field needed")

    def _permissions(self, client: KubeClient, layout: Layout | None, pods: Sequence[PodSeen]) -> Iterator[Check]:
        name, namespace = "permissions", self.config.namespace
        asked = 0
        wrong = False
        for need in needs(self.whole, self.config):
            denied: list[str] = []
            without: list[str] = []
            for verb in need.verbs:
                for one in _names(need.which, layout, pods):
                    try:
                        answer = _may(client, namespace, verb, need, one)
                    except KubeError as error:
                        text = f"what is permitted could not be asked: {error}"
                        yield self._check(name, Result.FAIL, text, "every account may create selfsubjectaccessreviews")
                        return
                    asked += 1
                    if not answer:
                        denied.append(verb)
                        without.append(one)
            if denied:
                wrong = True
                full = f"{need.resource}.{need.group}" if need.group else need.resource
                of = f" ({', '.join(dict.fromkeys(filter(None, without)))})" if any(without) else ""
                verbs = ", ".join(dict.fromkeys(denied))
                text = f"{verbs} {full}{of} in namespace {namespace} is not permitted: {need.why}"
                result = Result.FAIL if need.needed else Result.WARN
                yield self._check(name, result, text, f"add it to the Role of the remediator's account in {namespace}")
        if not wrong:
            unknown = "" if pods and layout else ", but for those on single pods, which are not known"
            yield self._check(name, Result.OK, f"all {asked} that are needed in namespace {namespace}{unknown}")

    # --- layout and pods ------------------------------------------------------------------------------------------

    def _layout(self, pods: Sequence[PodSeen]) -> tuple[Check, Layout | None]:
        configured = self.config.layout
        if not isinstance(configured, str):
            return self._check("layout", Result.OK, f"{configured.name}, by the configuration"), configured
        try:
            found = recognise([pod.labels for pod in pods])
        except LayoutError as problem:
            advice = "check `namespace`, or set `layout`"
            text = f"namespace {self.config.namespace}: {problem}"
            return self._check("layout", Result.FAIL, text, advice), None
        return self._check("layout", Result.OK, f"{found.layout.name}: {found.by}"), found.layout

    def _selectors(self, client: KubeClient, layout: Layout, pods: Sequence[PodSeen]) -> Iterator[Check]:
        name, namespace = "selectors", self.config.namespace
        by_role = {
            role: [pod for pod in pods if layout.role_of(pod.labels) == role] for role, _ in layout.roles.items()
        }
        for role, found in by_role.items():
            if not found:
                text = f"no pod in namespace {namespace} is selected as {role}"
                yield self._check(name, Result.FAIL, text, "override the labels of `layout`, or check `namespace`")
        named = [f"{role}: {', '.join(sorted(pod.name for pod in found))}" for role, found in by_role.items() if found]
        if named:
            yield self._check(name, Result.OK, "; ".join(named))
        restarted = [pod for role, found in by_role.items() if role != "api" for pod in found]
        most = min([self.config.max_pods, *(book.max_pods for book in self.whole.remediator.playbooks.values())])
        if len(restarted) > most:
            text = f"{len(restarted)} pods of BBS and Locket, more than max_pods = {most}: nothing would be restarted"
            yield self._check("max_pods", Result.FAIL, text, "raise max_pods if all of them are meant")
        yield from self._owners(client, restarted)

    def _owners(self, client: KubeClient, pods: Sequence[PodSeen]) -> Iterator[Check]:
        owners = {pod.owner for pod in pods}
        try:
            items, _ = client.list_all(statefulsets_path(self.config.namespace))
        except KubeError as error:
            yield self._check("StatefulSets", Result.FAIL, str(error), "a rollout could not be noticed")
            return
        known = {found.name for item in items if (found := read_statefulset(item)) is not None}
        lost = sorted(pod.name for pod in pods if pod.owner not in known)
        if lost:
            text = f"{', '.join(lost)} belong to no StatefulSet that could be read: they would not be restarted"
            yield self._check("StatefulSets", Result.FAIL, text)
        elif owners:
            yield self._check("StatefulSets", Result.OK, ", ".join(sorted(owners)))

    def _logs(self, client: KubeClient, layout: Layout, pods: Sequence[PodSeen]) -> Iterator[Check]:
        """Whether evidence could be read: one line of one BBS pod's log."""
        running = sorted((pod for pod in pods if layout.role_of(pod.labels) == "bbs"), key=lambda pod: pod.name)
        if not self.whole.remediator.evidence or not running:
            return
        pod = running[0]
        container = next(iter(layout.roles.bbs.containers), "") or pod.containers[0].name
        query: dict[str, str | int | bool] = {"container": container, "tailLines": 1, "limitBytes": 4096}
        try:
            with client.stream(pod_log_path(pod.namespace, pod.name), query, read_timeout=10.0) as stream:
                for _ in stream:
                    break
        except KubeError as error:
            yield self._check("evidence", Result.WARN, str(error), "evidence would lack this log")
        else:
            yield self._check("evidence", Result.OK, f"the log of {pod.name}, container {container}, can be read")

    # --- state ----------------------------------------------------------------------------------------------------

    def _ledger(self, client: KubeClient, layout: Layout) -> Iterator[Check]:
        store = LedgerStore(client, self.config.namespace, layout.roles.bbs.statefulset, wall=self.wall)
        name = "ledger"
        try:
            reading = store.read()
        except (KubeError, LedgerUnreadable) as error:
            advice = "until it can be read, nothing is done and every notification is answered 503"
            yield self._check(name, Result.FAIL, f"{store.name}: {error}", advice)
            return
        ledger, now = reading.ledger, reading.instant.server
        fine = "readable" if reading.version else "not there yet, the first notification makes it"
        limits = [
            f"{left(ledger, limit, now)} of {limit.runs} runs left per {span(limit.per.total_seconds())}"
            for playbook in self.whole.remediator.playbooks.values()
            for limit in playbook.policy.limits
        ]
        yield self._check(name, Result.OK, f"{store.name}: {fine}; {', '.join(limits)}")
        if ledger.breaker is not None:
            since = moment(ledger.breaker.since.timestamp())
            about = ledger.breaker.remediation or self.config.name
            advice = f"stager-remediator acknowledge {about} --reason ..."
            yield self._check("breaker", Result.WARN, f"open since {since}: {ledger.breaker.why}", advice)
        if pause := ledger.paused(now):
            until = moment(pause.until.timestamp()) if pause.until else "somebody resumes it"
            text = f"paused by {pause.by} until {until}: {pause.why}"
            yield self._check("pause", Result.WARN, text, "stager-remediator resume")
        if ledger.open is not None:
            yield self._check("open", Result.OK, f"{ledger.open.name} is open")
        for playbook_name, playbook in self.whole.remediator.playbooks.items():
            yield self._check("mode", Result.OK, f"{playbook_name}: {playbook.mode}")

    # --- the foundation's own access ------------------------------------------------------------------------------

    def _certificates(self) -> Iterator[Check]:
        name, bbs = "BBS certificate", self.config.bbs
        files = ClientFiles(bbs.ca_file, bbs.cert_file, bbs.key_file)
        certificate = files.certificate
        if (problem := files.problem) is not None:
            advice = "probes go no deeper than without it, so more verdicts say ask or unknown"
            yield self._check(name, Result.FAIL, str(problem), advice)
            return
        if bbs.depth is Stage.TCP:
            text = "not needed, as bbs.depth is tcp: a BBS that hangs cannot be told from one that serves"
            yield self._check(name, Result.WARN, text, "set bbs.depth: ping with ca_file, cert_file and key_file")
            return
        if certificate is None:
            text = f"no cert_file, so probes go no deeper than tls, though bbs.depth is {bbs.depth}"
            result = Result.OK if bbs.depth is Stage.TLS else Result.WARN
            yield self._check(name, result, "none needed, as bbs.depth is tls" if result is Result.OK else text)
        else:
            yield self._expiry(name, certificate.not_after, certificate.not_before, certificate.subject)
        if bbs.ca_file is None:
            text = "no bbs.ca_file: the server's certificate is not checked, only its dates"
            yield self._check(name, Result.WARN, text, "set bbs.ca_file")

    def _expiry(self, name: str, not_after: float, not_before: float, subject: str) -> Check:
        now = self.wall()
        until = f"{subject} is valid until {moment(not_after)}"
        if now >= not_after:
            return self._check(name, Result.FAIL, f"{subject} has expired on {moment(not_after)}", "renew it")
        if now < not_before:
            return self._check(name, Result.FAIL, f"{subject} is not valid before {moment(not_before)}")
        if not_after - now < CERTIFICATE_WARNING:
            days = format_duration(not_after - now)
            return self._check(name, Result.WARN, f"{until}, for {days} only", "renew it: BBS would be seen as down")
        return self._check(name, Result.OK, until)

    def _database(self) -> Iterator[Check]:
        database = self.config.database
        if database is None:
            advice = "set foundations.database (kind: none to leave it out on purpose)"
            text = "not configured: where a restart would be wrong with it down, a person is asked"
            yield self._check("database", Result.WARN, text, advice)
        elif database.kind == "none":
            yield self._check("database", Result.OK, "left out on purpose (kind: none)")
        else:
            host, port = database.address
            yield self._check("database", Result.OK, f"{database.kind} at {host}:{port} (asked while nothing serves)")


def _names(which: _Which, layout: Layout | None, pods: Sequence[PodSeen]) -> Sequence[str]:
    """The objects to ask about, one by one; an empty name stands for any. None at all where they are not known."""
    if which is _Which.ANY:
        return ("",)
    if layout is None:
        return ()
    if which is _Which.LEDGER:
        return (ledger_name(layout.roles.bbs.statefulset),)
    roles = ("bbs", "locket") if which is _Which.RESTARTED else ("api", "bbs")
    return sorted(pod.name for pod in pods if layout.role_of(pod.labels) in roles)


def _may(client: KubeClient, namespace: str, verb: str, need: _Need, name: str) -> bool:
    resource, _, sub = need.resource.partition("/")
    asked = {
        "namespace": namespace, "verb": verb, "group": need.group, "resource": resource, "subresource": sub,
        "name": name,
    }  # fmt: skip
    body: Json = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
    }
    status = client.create(group_path("authorization.k8s.io", "v1", None, "selfsubjectaccessreviews"), body).get(
        "status"
    )
    return isinstance(status, dict) and status.get("allowed") is True
