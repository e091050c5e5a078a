"""Makes synthetic Cloud Controller lines, plain and in every wrapper. Deterministic for a seed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SAMPLES_FILE = Path(__file__).parents[1] / "data" / "log-samples.jsonl"
_ROOT = "/var/vcap/packages/cloud_controller_ng/cloud_controller_ng"
LOG_FILE = "/var/vcap/sys/log/cloud_controller_ng/cloud_controller_ng.log"


def samples() -> list[dict[str, Any]]:
    """The reference lines, each with `id`, `line` and `expect`."""
    return [json.loads(line) for line in SAMPLES_FILE.read_text(encoding="utf-8").splitlines()]


def sample(name: str) -> bytes:
    return next(str(one["line"]) for one in samples() if one["id"] == name).encode()


def steno(
    message: str,
    *,
    data: dict[str, Any] | None = None,
    source: str = "cc.api",
    level: str = "info",
    timestamp: float | str = 1549101631.2255123,
    file: str = "middleware/request_logs.rb",
) -> bytes:
    """A line as steno writes it, keys in its order."""
    return json.dumps(
        {
            "timestamp": timestamp,
            "message": message,
            "log_level": level,
            "source": source,
            "data": data or {},
            "thread_id": 47281940533420,
            "fiber_id": 47281927641380,
            "process_id": 31,
            "file": f"{_ROOT}/{file}",
            "lineno": 12,
            "method": "call",
        },
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()


def ruby(text: str) -> str:
    """A string as Ruby's inspect shows it."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("#{", "\\#{")
    return '"' + text.replace("\n", "\\n").replace("\x1b", "\\e") + '"'


def failed(
    error: str = "StagerUnavailable",
    description: str = "Stager is unavailable: execution expired",
    *,
    api: str = "v2",
    status: int = 503,
    code: int = 170010,
    request_id: str = "5c7f7a4e::0b7c8f7e",
    timestamp: float | str = 1549101631.2255123,
    job: bool = False,
    frames: int = 4,
) -> bytes:
    """CC's `Request failed` line for one request (or job)."""
    trace = ", ".join(ruby(f"{_ROOT}/lib/frame{n}.rb:{n}:in `call'") for n in range(frames))
    text_key, name_key = ("description", "error_code") if api == "v2" else ("detail", "title")
    core = f'"{text_key}"=>{ruby(description)}, "{name_key}"=>"CF-{error}", '
    inner = f'{core}"code"=>{code}, "test_mode_info"=>{{{core}"backtrace"=>[{trace}]}}'
    shown = f"{{{inner}}}" if api == "v2" else f'{{"errors"=>[{{{inner}}}]}}'
    data = {"request_guid": request_id} | ({"job_guid": "0d6b1f7e"} if job else {})
    source = "cc.background" if job else "cc.api"
    return steno(f"Request failed: {status}: {shown}", data=data, source=source, level="error", timestamp=timestamp)


def completed(
    status: int = 200, request_id: str = "5c7f7a4e::0b7c8f7e", timestamp: float | str = 1549101631.5
) -> bytes:
    return steno(
        f"Completed {status} vcap-request-id: {request_id}", data={"request_guid": request_id}, timestamp=timestamp
    )


def started(
    url: str = "/v2/info", request_id: str = "5c7f7a4e::0b7c8f7e", timestamp: float | str = 1549101631.1
) -> bytes:
    message = (
        f'Started GET "{url}" for user: 3f1c0a52, ip: 172.30.13.215 with vcap-request-id: {request_id}'
        " at 2019-02-02 10:00:00 UTC"
    )
    return steno(message, data={"request_guid": request_id}, timestamp=timestamp)


def stage_request(timestamp: float | str = 1549101601.5) -> bytes:
    return steno("stage.request", data={"staging_guid": "f4a9"}, source="cc.bbs.stager_client", timestamp=timestamp)


def sync_failed(timestamp: float | str = 1549101705.5) -> bytes:
    data = {"error": "RunnerUnavailable", "error_message": "Runner is unavailable: execution expired"}
    return steno("sync-failed", data=data, source="cc.diego.sync.processes", timestamp=timestamp)


def in_rfc5424(line: bytes, pod: str = "api-group-0", tag: str = "cloud_controller_ng") -> bytes:
    return f"<190>1 2019-02-02T10:00:31.301245+00:00 {pod} vcap.{tag} - - - ".encode() + line


def in_bosh(line: bytes) -> bytes:
    data = '[instance@47450 director="bo\\"s]h" az="z2"]'
    return f"<14>1 2019-06-04T13:13:24.96681Z 10.0.129.68 cloud_controller_ng rs2 - {data} ".encode() + line


def in_sidecar(line: bytes, path: str = LOG_FILE) -> bytes:
    return f"\x1b[94m2021/06/01 10:00:31, \x1b[3;94m{path}\x1b[0;94m, ".encode() + line + b"\x1b[0m"


def in_plain_sidecar(line: bytes) -> bytes:
    return f"2021/06/01 10:00:31, {LOG_FILE}, ".encode() + line


def in_cri(line: bytes) -> bytes:
    return b"2021-06-01T10:00:31.223456789Z stdout F " + line


def in_docker(line: bytes) -> bytes:
    # Docker's own encoder escapes the ESC byte, and leaves text as it is.
    entry = {"log": line.decode("utf-8", "replace") + "\n", "stream": "stdout", "time": "2021-06-01T10:00:31.2Z"}
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode()


def in_kubectl_prefix(line: bytes, pod: str = "api-0") -> bytes:
    return f"[pod/{pod}/logs] ".encode() + line


def in_kubectl_timestamps(line: bytes) -> bytes:
    return b"2021-06-01T10:00:31.223456789Z " + line


WRAPPERS: dict[str, Callable[[bytes], bytes]] = {
    "rfc5424": in_rfc5424,
    "rfc5424-bosh": in_bosh,
    "kubecf-logs-sidecar": in_sidecar,
    "kubecf-logs-sidecar ": in_plain_sidecar,
    "cri": in_cri,
    "docker": in_docker,
    "kubectl-prefix": in_kubectl_prefix,
    "kubectl-timestamps": in_kubectl_timestamps,
}
"""By the name that `unwrap` gives them (a blank after it: a second form of the same)."""


def synthetic(count: int, *, failing: float = 0.001, completing: float = 0.2, seed: int = 1) -> Iterator[bytes]:
    """`count` lines of about 480 bytes: `failing` of them StagerUnavailable, `completing` of them `Completed`.

    The rest is Started lines and CC's small talk. Ids and times differ from line to line.
    """
    rng = random.Random(seed)
    padding = "x" * 90
    for number in range(count):
        request_id = f"{rng.getrandbits(64):016x}-{number:012d}::{rng.getrandbits(64):016x}"
        timestamp = 1549101600 + number / 1000
        chance = rng.random()
        if chance < failing:
            yield failed(request_id=request_id, timestamp=timestamp, frames=2)
        elif chance < failing + completing:
            yield completed(rng.choice((200, 200, 201, 404, 503)), request_id + "0" * 22, timestamp)
        elif chance < 0.6:
            yield started(f"/v3/apps/{rng.getrandbits(128):032x}", request_id, timestamp)
        else:
            message = f"cached.response.{rng.getrandbits(32)} {padding}"
            yield steno(message, data={"request_guid": request_id}, source="cc.app_stager", timestamp=timestamp)
