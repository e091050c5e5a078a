"""Passwords against bcrypt hashes: a right one is remembered, a wrong one costs the same for any user, known or not.

A right password is remembered by its HMAC under a key of this process, since bcrypt at cost 10 takes 50 ms. Few checks
run at a time, and when many wait the rest are turned away, so that guessing cannot take all threads.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import threading
from typing import TYPE_CHECKING, Final

import bcrypt

if TYPE_CHECKING:
    from collections.abc import Mapping

HASH: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
"""A bcrypt hash, its cost as the group."""
COSTS: Final = range(4, 16)
"""Costs that are taken: a check at 15 takes about two seconds already."""
REMEMBERED: Final = 100
CHECKS_WAITING: Final = 8
CHECKS_AT_ONCE: Final = 2


class TooBusy(Exception):  # noqa: N818  it says what happened
    """So many passwords wait to be checked that this one was not: come again."""


class Passwords:
    """Checks passwords for threads that may come at the same time."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._good: dict[bytes, None] = {}
        self._lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(CHECKS_WAITING)
        self._checking = threading.BoundedSemaphore(CHECKS_AT_ONCE)

    def right(self, users: Mapping[bytes, str], user: bytes, password: bytes) -> bool:
        """Whether this is the password of that user; `users` holds each one's hash. Raises TooBusy."""
        if not users:
            return False
        hashed = users.get(user)
        # The dearest hash of all, so that an unknown user takes as long as the slowest known one.
        against = (hashed or _dummy(users)).encode()
        key = self._digest(user, against, password)
        if hashed is not None and key in self._good:
            return True
        if not self._waiting.acquire(blocking=False):
            raise TooBusy("too many passwords wait to be checked")
        try:
            with self._checking:
                right = _matches(password, against) and hashed is not None
        finally:
            self._waiting.release()
        if right:
            with self._lock:
                if len(self._good) >= REMEMBERED:
                    self._good.pop(next(iter(self._good)))
                self._good[key] = None
        return right

    def _digest(self, *parts: bytes) -> bytes:
        # Each part goes with its length: without, user "a" + password "bc" would be user "ab" + password "c".
        joined = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self._key, joined, hashlib.sha256)


def user_and_password(encoded: str) -> tuple[bytes, bytes] | None:
    """What stands behind `Basic ` in an Authorization header; None where it cannot be read."""
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


def _dummy(users: Mapping[bytes, str]) -> str:
    cost = max(int(hashed[4:6]) for hashed in users.values())
    return f"$2b${cost:02}${'.' * 53}"


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:72], hashed)  # bcrypt reads no further than 72 bytes
    except ValueError:
        return False
