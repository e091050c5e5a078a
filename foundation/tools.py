"""The probes of one foundation, bound to its credentials, its deadlines and its pace."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from foundation.kube.errors import KubeError
from foundation.kube.exec import run
from foundation.observation import InnerDatabase, Witness
from foundation.probes.bbs import probe
from foundation.probes.credentials import Credentials
from foundation.probes.database import DatabasePacer, probe_database
from foundation.probes.locket import probe_locket
from foundation.probes.locket_read import available, fetch_lock
from foundation.probes.result import Cause, ProbeResult, Stage, Target, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foundation.config import FoundationConfig, ProbeConfig
    from foundation.kube.client import KubeClient
    from foundation.layout import Layout
    from foundation.pods import PodSeen
    from foundation.probes.resolving import Resolver

WITNESS_INTERVAL = 15.0
"""Seconds between two looks from inside an api pod: each starts a process there."""


class ProbeTools:
    """What an Observer probes with. Safe to use from its executor's threads."""

    def __init__(
        self,
        config: FoundationConfig,
        timing: ProbeConfig,
        *,
        client: KubeClient,
        resolver: Resolver,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        bbs = config.bbs
        self._config = config
        self._timeout = timing.timeout
        self._client = client
        self._resolver = resolver
        self._monotonic = monotonic
        self._wall = wall
        self.credentials = Credentials(bbs.ca_file, bbs.cert_file, bbs.key_file)
        interval = config.database.interval if config.database else 0.0
        self._pacer = DatabasePacer(monotonic, interval)
        self._turned_away: ProbeResult | None = None
        self._witness: tuple[float, tuple[Witness, str]] | None = None
        self._inner: tuple[float, tuple[InnerDatabase, str]] | None = None

    def bbs(self, target: Target) -> ProbeResult:
        """BBS at a Service or a pod, to the configured depth."""
        return probe(
            target,
            self._config.bbs.depth,
            self._timeout,
            self.credentials,
            self._monotonic,
            now=self._wall,
            resolve=self._resolver,
        )

    def locket(self, target: Target) -> ProbeResult:
        """A Locket: tcp and the TLS hello and, with the extra `locket`, who holds the lock of BBS.

        A read that gets no answer counts as a Locket that hangs; one that is not possible counts for nothing.
        """
        result = probe_locket(
            target, self._timeout, self.credentials, self._monotonic, now=self._wall, resolve=self._resolver
        )
        if not result.ok or not available():
            return result
        reading = fetch_lock(target, max(0.1, self._timeout - result.seconds), self.credentials)
        if reading.timed_out:
            return replace(result, depth=Stage.READ, cause=Cause.TIMEOUT, failed=Stage.READ, detail=reading.detail)
        if not reading.answered:
            return result
        words = f"the lock is held by {reading.owner}" if reading.owner else reading.detail
        return replace(result, depth=Stage.READ, detail=words)

    def database(self) -> ProbeResult | None:
        """The SQL server's first answer, as often as the pace allows.

        Where MySQL turned us away it is not asked again, and that answer stands until the process is started anew: it
        is no database that answers, and asking on could block Locket's host too.
        """
        config = self._config.database
        if config is None or config.kind == "none":
            return None
        if not self._pacer.permit(nothing_serves=True):
            return self._turned_away
        host, port = config.address
        reading = probe_database(
            config.kind, host, port, self._timeout, self._monotonic, now=self._wall, resolve=self._resolver
        )
        self._pacer.note(reading)
        if reading.stop:
            words = f"{reading.result.detail}; it is not asked again until this process is started anew"
            self._turned_away = replace(reading.result, detail=words)
        return self._turned_away or reading.result

    def from_api_pod(
        self, pods: Sequence[PodSeen], layout: Layout, host: str, port: int, *, anew: bool = False
    ) -> tuple[Witness, str]:
        """`nc` from the first ready api pod, in the vendor's words; what cannot be run is not known.

        What was found stands for WITNESS_INTERVAL, unless asked `anew`.
        """
        now = self._monotonic()
        if self._witness and not anew and now - self._witness[0] < WITNESS_INTERVAL:
            return self._witness[1]
        code, text = self._nc(pods, next(iter(layout.roles.api.containers), ""), host, port)
        found = ({0: Witness.OK, 1: Witness.FAIL}.get(code, Witness.UNKNOWN), text)
        self._witness = (now, found)
        return found

    def from_bbs_pod(self, pods: Sequence[PodSeen], layout: Layout) -> tuple[InnerDatabase, str]:
        """`nc` to the database from the first of these BBS pods; what cannot be run is not known.

        As seldom as the database is asked from here, and its answer stands meanwhile: MySQL counts connections without
        a login against the host that they come from. That it accepts does not show that it would answer.
        """
        config = self._config.database
        if config is None or config.kind == "none":
            return InnerDatabase.WAIVED, ""
        now = self._monotonic()
        if self._inner and now - self._inner[0] < config.interval:
            return self._inner[1]
        code, text = self._nc(pods, next(iter(layout.roles.bbs.containers), ""), *config.address)
        found = ({0: InnerDatabase.UP, 1: InnerDatabase.DOWN}.get(code, InnerDatabase.UNKNOWN), text)
        # What could not be run has not touched the database, and may be possible the next time.
        self._inner = (now, found) if found[0] is not InnerDatabase.UNKNOWN else None
        return found

    def _nc(self, pods: Sequence[PodSeen], container: str, host: str, port: int) -> tuple[int, str]:
        """The exit status of `nc` in the first of these pods, -1 where there is none, and its last line."""
        pod = min(pods, key=lambda item: item.name)
        command = ["nc", "-zv", "-w", "5", host, str(port)]
        try:
            result = run(
                self._client, pod.namespace, pod.name, container, command, timeout=self._timeout + 5, max_output=4096
            )
        except KubeError as error:
            return -1, str(error)
        words = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()
        said = one_line(words[-1]) if words else result.problem or "no output"
        return -1 if result.exit_code is None else result.exit_code, f"{pod.name}: nc {host} {port}: {said}"
