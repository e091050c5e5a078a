"""What Cloud Controller writes: the lines of a request that works, of a push that fails, and of cc-clock's heartbeat.

The shapes are byte for byte those of cloud_controller_ng (steno's key order, Ruby's `inspect` inside the message), in
two ages: V2 with float times, as CFEE's releases write them, and V3 with RFC 3339 times of nine digits, as KubeCF's do.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

_ROOT = "/var/vcap/packages/cloud_controller_ng/cloud_controller_ng"
_BACKTRACE = (
    f"{_ROOT}/lib/cloud_controller/diego/bbs_stager_client.rb:24:in `rescue in stage'",
    f"{_ROOT}/lib/cloud_controller/diego/bbs_stager_client.rb:21:in `stage'",
    f"{_ROOT}/lib/cloud_controller/diego/messenger.rb:12:in `send_stage_request'",
    f"{_ROOT}/lib/cloud_controller/diego/stager.rb:30:in `send_stage_package_request'",
)


@dataclass(frozen=True, slots=True)
class Timed:
    """A line and how long after the request's start it is written."""

    after: float
    """Seconds."""
    write: Callable[[float], str]
    """Gives the line for the Unix time at which it is written."""
    counts: bool = False
    """This line is a failed push: the one that a reader has to count."""


@dataclass(slots=True)
class CloudController:
    """The writer of one api or clock pod. `v3`: the younger of the two shapes."""

    v3: bool
    random: random.Random
    process: int = 31
    thread: int = 47281940533420
    fiber: int = 47281927641380
    _agent: str = field(default="3f1c0a52-8a0e-4c57-9d0b-6f2f1b7f0d11", init=False)

    def ordinary_request(self) -> list[Timed]:
        """Give the lines of a request that works: a look at the applications."""
        guid = self._request_guid()
        path = "/v3/apps" if self.v3 else "/v2/apps?results-per-page=50"
        return [Timed(0.0, self._started("GET", path, guid)), Timed(0.03, self._completed(200, guid))]

    def push(self, failure: str | None, duration: float) -> list[Timed]:
        """Give the lines of a push; with `failure` it ends, after `duration` seconds, in a 503 with that text."""
        guid, staging, package, app = self._request_guid(), self._guid(), self._guid(), self._guid()
        method, path = (
            ("POST", "/v3/builds") if self.v3 else ("PUT", f"/v2/apps/{app}?async=true&inline-relations-depth=1")
        )
        client = "lib/cloud_controller/diego/bbs_stager_client.rb"
        request = {"request_guid": guid, "staging_guid": staging}
        lines = [
            Timed(0.0, self._started(method, path, guid)),
            Timed(0.01, self._line("stage.request", "info", "cc.bbs.stager_client", request, (client, 16, "stage"))),
        ]
        if failure is None:
            answered = {**request, "error": None}
            return [
                *lines,
                Timed(
                    0.05, self._line("stage.response", "info", "cc.bbs.stager_client", answered, (client, 20, "stage"))
                ),
                Timed(0.08, self._completed(201, guid)),
            ]
        text = f"Stager is unavailable: {failure}"
        failed = {
            "request_guid": guid,
            "package_guid": package,
            "staging_guid": staging,
            "error": "CloudController::Errors::ApiError",
        }
        finished = {"request_guid": guid, "response": {"error": {"id": "StagingError", "message": text}}}
        handler = "lib/cloud_controller/diego/staging_completion_handler.rb"
        return [
            *lines,
            Timed(
                duration,
                self._line(
                    "stage.package",
                    "error",
                    "cc.stager",
                    failed,
                    ("lib/cloud_controller/diego/stager.rb", 11, "rescue in stage"),
                ),
            ),
            Timed(
                duration,
                self._line(
                    "diego.staging.buildpack.finished", "info", "cc.stager", finished, (handler, 25, "staging_complete")
                ),
            ),
            Timed(duration, self._failed(text, guid), counts=True),
            Timed(duration, self._completed(503, guid)),
        ]

    def sync_failed(self, failure: str) -> list[Timed]:
        """Give cc-clock's two lines about a synchronisation that did not reach BBS."""
        text = f"Runner is unavailable: {failure}"
        data = {"error": "RunnerUnavailable", "error_message": text}
        processes = "lib/cloud_controller/diego/processes_sync.rb"
        raised = f"{text} (VCAP::CloudController::Diego::ProcessesSync::BBSFetchError)"
        return [
            Timed(
                0.0,
                self._line("sync-failed", "info", "cc.diego.sync.processes", data, (processes, 64, "rescue in sync")),
            ),
            Timed(
                0.1,
                self._line(
                    raised, "error", "cc.clock", {}, ("lib/cloud_controller/clock/scheduler.rb", 38, "block in start")
                ),
            ),
        ]

    def sync_done(self) -> list[Timed]:
        """Give cc-clock's line about a synchronisation that worked."""
        processes = "lib/cloud_controller/diego/processes_sync.rb"
        return [Timed(0.0, self._line("finished-sync", "info", "cc.diego.sync.processes", {}, (processes, 56, "sync")))]

    def _started(self, method: str, path: str, guid: str) -> Callable[[float], str]:
        def write(at: float) -> str:
            day = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            message = (
                f'Started {method} "{path}" for user: {self._agent}, ip: 172.30.13.215 '
                f"with vcap-request-id: {guid} at {day}"
            )
            return self._line(
                message, "info", "cc.api", {"request_guid": guid}, ("middleware/request_logs.rb", 12, "call")
            )(at)

        return write

    def _completed(self, status: int, guid: str) -> Callable[[float], str]:
        message = f"Completed {status} vcap-request-id: {guid}"
        return self._line(message, "info", "cc.api", {"request_guid": guid}, ("middleware/request_logs.rb", 24, "call"))

    def _failed(self, text: str, guid: str) -> Callable[[float], str]:
        said, title = ("detail", "title") if self.v3 else ("description", "error_code")
        backtrace = ", ".join(_inspect(frame) for frame in _BACKTRACE)
        head = f"{_inspect(said)}=>{_inspect(text)}, {_inspect(title)}=>{_inspect('CF-StagerUnavailable')}"
        body = f'{{{head}, "code"=>170010, "test_mode_info"=>{{{head}, "backtrace"=>[{backtrace}]}}}}'
        data = {"request_guid": guid}
        if self.v3:
            message, file = (
                f'Request failed: 503: {{"errors"=>[{body}]}}',
                "app/controllers/v3/application_controller.rb",
            )
            return self._line(message, "info", "cc.api", data, (file, 177, "handle_exception"))
        message = f"Request failed: 503: {body}"
        return self._line(message, "error", "cc.api", data, ("lib/sinatra/vcap.rb", 45, "block in registered"))

    def _line(
        self, message: str, level: str, source: str, data: Mapping[str, object], code: tuple[str, int, str]
    ) -> Callable[[float], str]:
        def write(at: float) -> str:
            moment: float | str = round(at, 7)
            if self.v3:
                whole, part = divmod(at, 1)
                moment = f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{int(part * 1e9):09d}Z"
            record = {
                "timestamp": moment,
                "message": message,
                "log_level": level,
                "source": source,
                "data": data,
                "thread_id": self.thread,
                "fiber_id": self.fiber,
                "process_id": self.process,
                "file": f"{_ROOT}/{code[0]}",
                "lineno": code[1],
                "method": code[2],
            }
            return json.dumps(record, separators=(",", ":"), ensure_ascii=False)

        return write

    def _request_guid(self) -> str:
        return f"{self._guid()}::{self._guid()}"

    def _guid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))


def _inspect(text: str) -> str:
    """Write a string as Ruby's `inspect` does, for the characters that occur here."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def sidecar(line: str, path: str, at: float) -> str:
    """Wrap a line as KubeCF's `logs` container prints it, colours forced on (quarks-operator tlogs.go)."""
    day = datetime.fromtimestamp(at, UTC).strftime("%Y/%m/%d %H:%M:%S")
    return f"\x1b[94m{day}, \x1b[3;94m{path}\x1b[0;94m, {line}\x1b[0m"
