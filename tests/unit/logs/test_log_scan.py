"""A piece of lines read by one pattern gives what its lines give one by one, whatever stands among them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.logs.scan import Found, scan, scan_lines
from tests.support import cc_lines
from tests.support.cc_lines import WRAPPERS, completed, failed, samples, steno

KUBELET = b"2026-11-23T12:00:00.123456789Z "
COLOURED = b"\x1b[94m2021/06/01 10:00:31, \x1b[3;94m/var/vcap/sys/log/cc/cc.log\x1b[0;94m, "
FORMS = (b"", KUBELET, COLOURED, KUBELET + COLOURED, b"2026-11-23T12:00:00Z ", KUBELET + b"stdout F ", b"\x1b[1m")
PLAIN = (
    *(one["line"].encode() for one in samples() if "\n" not in one["line"]),
    *(completed(status, timestamp=at) for status in (200, 503, 999) for at in (7, 7.25, "2021-06-01T10:00:31.1Z")),
    failed(),
    cc_lines.started(),
    cc_lines.stage_request(),
    cc_lines.sync_failed(),
    steno("Completed"),
    steno("Completed "),
    steno("Completed 2000 vcap-request-id: x"),
    steno("Runner is unavailable"),
    steno("x", data={"message": "stage.request"}),
    b'{"timestamp":07.5,"message":"Completed 200 vcap-request-id: x"}',
    b'{"timestamp":"\x1b","message":"Completed 200 vcap-request-id: x"}',
    b'{"timestamp":1.5,"message":"',
    b'{"timestamp":1.5,"message":"Completed 200 vcap-request-id: ',
    b'{"timestamp":1.5,"message":"Completed 200 vcap-request-id',
    COLOURED.replace(b"cc.log", b'"message":"x') + completed(200),
    b"200",
    b"2000",
    b"",
    b"\r",
    b"\xff\x00",
)
LINES = st.builds(
    lambda form, wrapper, line, cut: (form + (WRAPPERS[wrapper](line) if wrapper else line))[:cut].replace(b"\n", b""),
    st.sampled_from(FORMS),
    st.sampled_from(["", "", "", *sorted(WRAPPERS)]),
    st.sampled_from(PLAIN),
    st.one_of(st.none(), st.integers(0, 400)),
)


def told(found: Found) -> tuple[int, Counter[bytes], dict[tuple[bytes | None, bytes], int]]:
    """Candidates come in any order."""
    return found.lines, Counter(found.candidates), found.completed


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=20), st.booleans())
@example([b"200", b"200"], False)
def test_a_piece_gives_what_its_lines_give(lines: list[bytes], ends: bool) -> None:
    piece = b"\n".join(lines)
    if ends or not lines[-1]:
        piece += b"\n"
    assert told(scan(piece)) == told(scan_lines(lines))


@pytest.mark.parametrize("form", FORMS)
def test_every_line_among_usual_ones(form: bytes) -> None:
    lines = [form + cc_lines.started(), *(form + line for line in PLAIN), *PLAIN, form + completed(200)]
    assert told(scan(b"\n".join(lines))) == told(scan_lines(lines))
    assert told(scan(b"\n".join(reversed(lines)) + b"\n")) == told(scan_lines(lines))


@pytest.mark.parametrize("form", FORMS[:5])
def test_usual_lines_are_told_without_being_looked_at_one_by_one(form: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def one_by_one(lines: list[bytes]) -> Found:
        seen.extend(lines)
        return Found(len(lines), [], {})

    monkeypatch.setattr("exporter.logs.scan.scan_lines", one_by_one)
    usual = [cc_lines.started(), completed(200), completed(200), steno("Runner is unavailable"), completed(503)]
    found = scan(b"".join(form + line + b"\n" for line in usual))
    assert seen == [form + usual[0]]  # the first, which says what is usual
    assert (found.lines, found.completed) == (5, {(None, b"200"): 2, (None, b"503"): 1})
