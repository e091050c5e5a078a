"""The probe of a Locket's port: does its TLS answer?

A Locket that is stuck keeps accepting and no longer answers the TLS hello: `cause` timeout with `failed` tls. That a
Locket answers here says nothing of its database; `locket_read` asks for that.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from foundation.probes.attempt import Attempt, Failure
from foundation.probes.bbs import lowered
from foundation.probes.credentials import Credentials
from foundation.probes.result import Cause, ProbeResult, Stage, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from foundation.probes.resolving import Address


def probe_locket(
    target: Target,
    timeout: float,
    credentials: Credentials | None,
    clock: Callable[[], float] = time.monotonic,
    *,
    now: Callable[[], float] = time.time,
    resolve: Callable[[str, int, float], list[Address]] | None = None,
) -> ProbeResult:
    """Probe a Locket once to the depth tls, within `timeout` seconds. Raises nothing for what a peer does."""
    contexts, problem = (credentials or Credentials()).current()
    depth, note = lowered(Stage.TLS, presents=contexts.presents, problem=problem)
    attempt = Attempt(target, timeout, clock, now, resolve)
    try:
        attempt.connect(contexts)
        attempt.handshake()
    except Failure as found:
        return attempt.result(depth, found, note)
    finally:
        attempt.close()
    return attempt.result(depth, note=note)


def hangs(result: ProbeResult) -> bool:
    """Whether this Locket accepted and then left the TLS hello without an answer."""
    return result.cause is Cause.TIMEOUT and result.failed is Stage.TLS
