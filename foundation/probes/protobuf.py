"""As much of protobuf's encoding as reading BBS's and Locket's short answers needs.

The protobuf package would cost 8 MB and 60 ms to say that a body is `08 01`. Groups, which proto3 never writes, are
refused as malformed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FIELD = (1 << 29) - 1


class ProtobufError(ValueError):
    """The bytes are no protobuf message."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read one number: its value (64 bits of it) and where the next byte stands. Raises ProtobufError."""
    value = 0
    for index in range(10):
        if at + index >= len(data):
            raise ProtobufError("a number is cut off")
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at + index + 1
    raise ProtobufError("a number is longer than 10 bytes")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Walk a message: each field's number with its value, a number for varints, bytes for everything else.

    Fields come in the order of the wire, repeated ones repeatedly; where a single value is meant, the last one counts.
    Raises ProtobufError at the first byte that cannot be read.
    """
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        field, kind = tag >> 3, tag & 7
        if not 0 < field <= MAX_FIELD:
            raise ProtobufError(f"field number {field} is out of range")
        if kind == 0:
            value, at = read_varint(data, at)
            yield field, value
            continue
        if kind == 2:
            size, at = read_varint(data, at)
        elif kind in {1, 5}:
            size = 8 if kind == 1 else 4
        else:
            raise ProtobufError(f"wire type {kind} is not used in proto3")
        if size > len(data) - at:
            raise ProtobufError(f"field {field} is cut off")
        yield field, data[at : at + size]
        at += size


def last_number(data: bytes, field: int) -> int | None:
    """The value of a single varint field, None where it is absent. Raises ProtobufError."""
    found = None
    for number, value in fields(data):
        if number == field and isinstance(value, int):
            found = value
    return found


def last_bytes(data: bytes, field: int) -> bytes | None:
    """The value of a single string, bytes or message field, None where it is absent. Raises ProtobufError."""
    found = None
    for number, value in fields(data):
        if number == field and isinstance(value, bytes):
            found = value
    return found


def last_text(data: bytes, field: int) -> str:
    """The value of a single string field, empty where it is absent. Raises ProtobufError."""
    return (last_bytes(data, field) or b"").decode(errors="replace")
