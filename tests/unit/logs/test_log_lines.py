from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from exporter.logs.lines import MAX_LINE, LineSplitter

DATA = b"one\n\ntwo\r\n\xff\x00three\nlast"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def test_lines_are_the_same_at_every_boundary() -> None:
    for cut in range(len(DATA) + 1):
        splitter = LineSplitter()
        lines = splitter.push(DATA[:cut]) + splitter.push(DATA[cut:])
        assert lines == [b"one", b"", b"two\r", b"\xff\x00three"]
        assert splitter.flush() == b"last"
        assert splitter.flush() == b""
        assert splitter.overlong == 0


def expected(data: bytes, limit: int) -> tuple[list[bytes], bytes, int]:
    *lines, rest = data.split(b"\n")
    overlong = sum(len(line) > limit for line in [*lines, rest])
    return [line[:limit] for line in lines], rest[:limit], overlong


@given(
    st.lists(st.sampled_from([b"\n", b"a", b"bcd", b"e" * 9, b"\x00\xff"]), max_size=40), st.lists(st.integers(0, 400))
)
def test_any_pieces_with_a_small_cap(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    lines, rest, overlong = expected(data, 8)
    one, whole = LineSplitter(8), LineSplitter(8)
    got: list[bytes] = []
    joined = b""
    for piece in pieces(data, cuts):
        got += one.push(piece)
        joined += whole.push_whole(piece)
    assert got == lines
    assert joined == b"".join(line + b"\n" for line in lines)
    assert one.flush() == rest
    assert whole.flush() == rest
    assert one.overlong == whole.overlong == overlong


def test_a_line_over_one_mebibyte_is_cut_and_the_next_one_is_whole() -> None:
    splitter = LineSplitter()
    lines: list[bytes] = []
    for _ in range(20):
        lines += splitter.push(b"x" * (1 << 16))
    assert lines == []
    lines += splitter.push(b"tail\nnext\n")
    assert [len(line) for line in lines] == [MAX_LINE, 4]
    assert lines[1] == b"next"
    assert splitter.overlong == 1


def test_flush_ends_the_dropping() -> None:
    splitter = LineSplitter(4)
    splitter.push(b"abcdefgh")
    assert splitter.flush() == b"abcd"
    assert splitter.push(b"new\n") == [b"new"]


def test_single_bytes_keep_few_pieces() -> None:
    splitter = LineSplitter()
    for _ in range(5000):
        splitter.push(b"y")
    assert len(splitter._held) <= 257
    assert splitter.flush() == b"y" * 5000
