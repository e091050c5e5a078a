"""Who holds BBS's lock, read from Locket itself: the optional `Fetch("bbs")` over gRPC.

The read goes to Locket's database, so one call tries both. It is the only call made here: taking or releasing a lock is
not a monitor's business. It needs the extra `locket` (grpcio), loaded at first use; everything else works without.
Facts from cloudfoundry/locket, models/locket.proto.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from foundation.probes.protobuf import ProtobufError, last_bytes, last_text
from foundation.probes.result import one_line

if TYPE_CHECKING:
    from foundation.probes.credentials import Credentials
    from foundation.probes.result import Target

FETCH = "/models.Locket/Fetch"
MAX_ANSWER = 64 * 1024


@dataclass(frozen=True, slots=True)
class LockReading:
    """What a Locket said of a lock."""

    owner: str | None
    """The holder's identity; None where nobody holds the lock, or where Locket gave no answer."""
    answered: bool
    """Locket answered, be it with an error of its own."""
    detail: str
    timed_out: bool = False
    """No answer within the time: where its port accepts, this Locket hangs."""


def available() -> bool:
    """Whether the extra `locket` is installed."""
    return find_spec("grpc") is not None


def fetch_lock(target: Target, timeout: float, credentials: Credentials | None, key: str = "bbs") -> LockReading:
    """Ask a Locket who holds a lock, within `timeout` seconds from connecting to the answer. Raises nothing.

    It needs all three files of the credentials: gRPC knows no connection without verification.
    """
    if not available():
        return LockReading(None, answered=False, detail="not read: the extra 'locket' (grpcio) is not installed")
    pem = credentials.pem() if credentials is not None else None
    if pem is None:
        said = credentials.problem if credentials is not None else None
        why = said or "needs ca_file, cert_file and key_file"
        return LockReading(None, answered=False, detail=f"not read: {why}")
    return _fetch(target, timeout, pem, key.encode())


def _fetch(target: Target, timeout: float, pem: tuple[bytes, bytes, bytes], key: bytes) -> LockReading:
    import grpc

    ca, certificate, private_key = pem
    options = (
        ("grpc.ssl_target_name_override", target.server_name or target.host),
        ("grpc.default_authority", target.server_name or target.host),
        # A probe looks at the target itself, through no proxy, and not through a connection that an earlier one left.
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", MAX_ANSWER),
    )
    secure = grpc.ssl_channel_credentials(ca, private_key, certificate)
    with grpc.secure_channel(_where(target), secure, options) as channel:
        try:
            answer: bytes = channel.unary_unary(FETCH)(request(key), timeout=timeout)
        except grpc.RpcError as error:
            return _judge_error(error.code().name, str(error.details() or ""), timeout)
    return judge_answer(answer)


def _where(target: Target) -> str:
    try:
        version = ipaddress.ip_address(target.host).version
    except ValueError:
        return f"dns:///{target.host}:{target.port}"
    return f"ipv4:{target.host}:{target.port}" if version == 4 else f"ipv6:[{target.host}]:{target.port}"


def request(key: bytes) -> bytes:
    """FetchRequest: field 1, the key. Raises ValueError for a key of more than 127 bytes."""
    if len(key) > 127:
        raise ValueError("a lock's key has at most 127 bytes here")
    return b"\x0a" + bytes([len(key)]) + key


def judge_answer(answer: bytes) -> LockReading:
    """Read a FetchResponse: field 1 is the resource, whose field 2 is the owner."""
    try:
        resource = last_bytes(answer, 1)
        owner = last_text(resource, 2) if resource is not None else ""
    except ProtobufError as error:
        return LockReading(None, answered=True, detail=f"answered with what is no lock: {error}")
    if not owner:
        return LockReading(None, answered=True, detail="answered with a lock that has no owner")
    return LockReading(one_line(owner), answered=True, detail="")


def _judge_error(code: str, details: str, timeout: float) -> LockReading:
    said = one_line(f"{code}: {details}")
    match code:
        case "NOT_FOUND":
            return LockReading(None, answered=True, detail="nobody holds the lock")
        case "DEADLINE_EXCEEDED":
            return LockReading(None, answered=False, detail=f"no answer within {timeout:g} s", timed_out=True)
        case "UNAVAILABLE" | "CANCELLED":
            return LockReading(None, answered=False, detail=said)
        case _:
            return LockReading(None, answered=True, detail=said)
