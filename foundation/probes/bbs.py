"""The probe of a BBS: dns, tcp, tls, ping, read, as deep as asked and as its credentials allow.

Ping proves that a BBS holds the lock and answers; it never touches the database. Read does, and finds the errors that
BBS wraps in an HTTP 200. Facts from cloudfoundry/bbs: handlers/ping_handler.go, handlers/unavailable_handler.go,
models/ping.proto, models/domain.proto, models/error.proto.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from foundation.probes.attempt import Attempt, Failure
from foundation.probes.credentials import Credentials
from foundation.probes.http import Answer, post
from foundation.probes.protobuf import ProtobufError, last_bytes, last_number, last_text
from foundation.probes.result import Cause, ProbeResult, Stage, Target

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from foundation.probes.certificates import FileProblem
    from foundation.probes.resolving import Address

__all__ = ["Credentials", "lowered", "probe"]

PING, READ = "/v1/ping", "/v1/domains/list"
MAX_PING_BODY = 1024
MAX_READ_BODY = 256 * 1024
ORDER = tuple(Stage)


def lowered(depth: Stage, *, presents: bool, problem: FileProblem | None = None) -> tuple[Stage, str]:
    """The depth that is possible with or without a client certificate, and a note where that is less than was asked."""
    note = f"credentials: {problem}" if problem else ""
    if presents or ORDER.index(depth) <= ORDER.index(Stage.TLS):
        return depth, note if ORDER.index(depth) >= ORDER.index(Stage.TLS) else ""
    return Stage.TLS, f"looked no deeper than the TLS handshake: {note or 'no client certificate is configured'}"


def probe(
    target: Target,
    depth: Stage,
    timeout: float,
    credentials: Credentials | None,
    clock: Callable[[], float] = time.monotonic,
    *,
    now: Callable[[], float] = time.time,
    resolve: Callable[[str, int, float], list[Address]] | None = None,
) -> ProbeResult:
    """Probe a BBS once, within `timeout` seconds over all stages. Raises nothing for what the network or a peer does.

    Without a usable client certificate the depth is at most tls, and the result says so. Pass a shared `Resolver` as
    `resolve`, so that lookups don't pile up while DNS hangs.
    """
    contexts, problem = (credentials or Credentials()).current()
    depth, note = lowered(depth, presents=contexts.presents, problem=problem)
    attempt = Attempt(target, timeout, clock, now, resolve)
    try:
        if depth is Stage.DNS:
            attempt.look_up()
        elif depth is Stage.TCP:
            attempt.connect()
        else:
            attempt.connect(contexts)
            secured = attempt.handshake()
            if secured is not None and depth is not Stage.TLS:
                _ask(attempt, secured, depth)
    except Failure as found:
        return attempt.result(depth, found, note)
    finally:
        attempt.close()
    return attempt.result(depth, note=note)


def _ask(attempt: Attempt, connection: ssl.SSLSocket, depth: Stage) -> None:
    host = attempt.target.server_name or attempt.target.host
    last = depth is Stage.PING
    with attempt.entering(Stage.PING):
        judge_ping(post(connection, host, PING, attempt.left, max_body=MAX_PING_BODY, last=last))
    if not last:
        with attempt.entering(Stage.READ):
            judge_read(post(connection, host, READ, attempt.left, max_body=MAX_READ_BODY, last=True))


def judge_ping(answer: Answer) -> None:
    """Pass for what only a serving BBS says. Raises Failure."""
    _judge_status(answer)
    try:
        available = last_number(answer.body, 1)
    except ProtobufError as error:
        raise Failure(Cause.BAD_ANSWER, f"HTTP 200 without a ping's answer: {error}") from error
    if not available:
        raise Failure(Cause.BAD_ANSWER, "HTTP 200, but the answer to ping is not 'available'")


def judge_read(answer: Answer) -> None:
    """Pass for a listing without an error in it. Raises Failure."""
    _judge_status(answer)
    try:
        error = last_bytes(answer.body, 1)
        if error is None:
            return
        kind, message = last_number(error, 1) or 0, last_text(error, 2)
    except ProtobufError as malformed:
        raise Failure(Cause.BAD_ANSWER, f"HTTP 200 without a listing: {malformed}") from malformed
    raise Failure(Cause.BAD_ANSWER, f"HTTP 200 with error {kind} inside: {message}", database_error=True)


def _judge_status(answer: Answer) -> None:
    if answer.status == 503:
        raise Failure(Cause.NOT_SERVING, "HTTP 503: elected, not yet serving")
    if answer.status != 200:
        raise Failure(Cause.BAD_ANSWER, f"HTTP {answer.status} {answer.reason}")
