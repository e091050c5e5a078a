"""The walker of protobuf's wire format, held against the protobuf package itself."""

from __future__ import annotations

import struct

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from foundation.probes.protobuf import ProtobufError, fields, last_bytes, last_number, last_text, read_varint
from simulator.servers.wire import number, text, varint

FIELD = st.integers(min_value=1, max_value=(1 << 29) - 1)
WIRE = st.one_of(
    st.builds(number, FIELD, st.integers(min_value=0, max_value=(1 << 64) - 1)),
    st.builds(text, FIELD, st.binary(max_size=200)),
    st.builds(lambda field, value: varint(field << 3 | 5) + value, FIELD, st.binary(min_size=4, max_size=4)),
    st.builds(lambda field, value: varint(field << 3 | 1) + value, FIELD, st.binary(min_size=8, max_size=8)),
)


def reference(data: bytes) -> list[tuple[int, int | bytes]] | None:
    """What the protobuf package finds; None where it refuses the bytes."""
    message = Empty()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    found: list[tuple[int, int | bytes]] = []
    unknown = UnknownFieldSet(message)
    for field in (unknown[at] for at in range(len(unknown))):
        assume(field.wire_type not in {3, 4})
        value = field.data
        if field.wire_type == 1:
            value = struct.pack("<Q", value)
        elif field.wire_type == 5:
            value = struct.pack("<I", value)
        found.append((field.field_number, value))
    return found


@settings(deadline=None)
@given(st.lists(WIRE, max_size=20))
def test_messages_read_as_protobuf_reads_them(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert list(fields(data)) == reference(data)


@settings(deadline=None)
@given(st.lists(WIRE, min_size=1, max_size=4), st.data())
def test_cut_messages_read_as_protobuf_reads_them(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cut = whole[: data.draw(st.integers(min_value=0, max_value=len(whole)))]
    expected = reference(cut)
    if expected is None:
        with pytest.raises(ProtobufError):
            list(fields(cut))
    else:
        assert list(fields(cut)) == expected


@settings(deadline=None, max_examples=400)
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    expected = reference(data)
    try:
        found = list(fields(data))
    except ProtobufError:
        # Also refused here, and not there: groups, and numbers beyond 64 bits.
        return
    assert found == expected


@given(st.integers(min_value=0, max_value=(1 << 64) - 1), st.binary(max_size=5))
def test_a_number_comes_back(value: int, rest: bytes) -> None:
    encoded = varint(value)
    assert read_varint(encoded + rest, 0) == (value, len(encoded))


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x08" + b"\xff" * 11, b"\x00\x01", b"\x0b", b"\x0c", b"\x0e", b"\x12\x05abc", b"\x0d\0\0\0"]
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(ProtobufError):
        list(fields(data))


def test_the_last_value_counts() -> None:
    data = number(1, 1) + text(2, "a") + number(1, 0) + text(2, "b") + number(3, 7)
    assert last_number(data, 1) == 0
    assert last_bytes(data, 2) == b"b"
    assert last_text(data, 2) == "b"
    assert last_number(data, 9) is None
    assert last_bytes(data, 9) is None
    assert last_text(data, 9) == ""
    assert last_text(text(1, b"\xff!"), 1) == "\N{REPLACEMENT CHARACTER}!"
    assert last_number(text(1, "a number?"), 1) is None
    assert last_bytes(number(1, 5), 1) is None
