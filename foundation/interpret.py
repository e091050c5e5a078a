"""From what sockets and the API server said to the words of the rules. Pure: times come in, nothing goes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foundation.observation import ApiPods, Locket, PodProbe, ServiceProbe
from foundation.probes.result import Cause, ProbeResult, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from foundation.pods import PodSeen

_CERTIFICATE = (Cause.TLS_EXPIRED, Cause.TLS_UNTRUSTED, Cause.TLS_HOSTNAME)
_POD: Mapping[Cause, PodProbe] = {
    Cause.REFUSED: PodProbe.REFUSED,
    Cause.CLIENT_CERTIFICATE_REJECTED: PodProbe.CLIENT_REJECTED,
    Cause.NOT_SERVING: PodProbe.MIGRATING,
    **dict.fromkeys(_CERTIFICATE, PodProbe.SERVER_CERTIFICATE),
}
_SERVICE: Mapping[Cause, ServiceProbe] = {
    Cause.CLIENT_CERTIFICATE_REJECTED: ServiceProbe.CLIENT,
    Cause.NOT_SERVING: ServiceProbe.MIGRATING,
    **dict.fromkeys(_CERTIFICATE, ServiceProbe.CERTIFICATE),
}


def pod_word(result: ProbeResult | None) -> PodProbe:
    """What one probe of a BBS pod's own address says."""
    if result is None:
        return PodProbe.NOT_PROBED
    if result.cause is None:
        return PodProbe.SERVES
    if result.database_error:
        return PodProbe.DATABASE_ERROR
    if result.cause in _POD:
        return _POD[result.cause]
    if result.failed in (None, Stage.DNS, Stage.TCP):
        return PodProbe.NO_ANSWER
    return PodProbe.HANGS if result.cause is Cause.TIMEOUT else PodProbe.NOT_BBS


def service_word(results: Sequence[ProbeResult]) -> ServiceProbe:
    """What several fresh connections to the Service say: `ok` only when all of them passed."""
    if not results:
        return ServiceProbe.UNKNOWN
    causes = [result.cause for result in results if result.cause is not None]
    return _SERVICE.get(causes[0], ServiceProbe.FAIL) if causes else ServiceProbe.OK


def locket_hangs(result: ProbeResult | None) -> bool | None:
    """Accepted, then no answer to the TLS hello within the deadline. None: not probed."""
    if result is None:
        return None
    return result.cause is Cause.TIMEOUT and result.failed not in (None, Stage.DNS, Stage.TCP)


def locket_word(results: Iterable[ProbeResult], *, colocated: bool, pods: int | None = None) -> Locket:
    """Where Locket lives and whether any of them accepts. `pods`: how many it has, None where that is not known."""
    if colocated:
        return Locket.IN_THE_BBS_PODS
    accepted = [result.accepted for result in results]
    if pods == 0:
        return Locket.SEPARATE_DOWN
    if not accepted:
        return Locket.UNKNOWN
    return Locket.SEPARATE_ACCEPTING if any(accepted) else Locket.SEPARATE_DOWN


def api_word(pods: Iterable[PodSeen]) -> tuple[ApiPods, str]:
    """Whether any api pod is ready, and how many of how many."""
    ready = [pod.ready and pod.deleted is None for pod in pods]
    return ApiPods.READY if any(ready) else ApiPods.NONE, f"{sum(ready)} of {len(ready)} ready"


def probe_text(result: ProbeResult) -> str:
    """One clause for a person: where, how deep, how long, in whose words."""
    where = f"{result.target.host}:{result.target.port}"
    took = f"{result.seconds * 1000:.1f} ms"
    if result.cause is None:
        note = f": {result.detail}" if result.detail else ""
        return f"{where}, {result.depth} in {took}{note}"
    stage = f" at {result.failed}" if result.failed else ""
    words = f": {result.detail}" if result.detail else ""
    return f"{where}, {result.cause}{stage} after {took}{words}"
