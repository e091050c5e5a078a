"""The quick reader of whole documents and the careful one give the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.logs.prefix import MAX_DEPTH, read_json, read_json_part
from tests.support.cc_lines import samples

TEXTS = st.text(st.sampled_from('ab"\\/{}[]:,\u00e9\u2028\x00\x1f\n \U0001f600'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


def same(text: str, keep_cut: str = "") -> bool:
    """Whether both give the same, NaN and huge numbers included."""
    quick, careful = read_json(text, keep_cut), read_json_part(text, keep_cut)
    return json.dumps(quick, sort_keys=True) == json.dumps(careful, sort_keys=True)


@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.booleans(), st.sampled_from(["", " ", "\n{", "x", '"', "}"]))
def test_whole_documents(document: dict[str, object], ascii_only: bool, after: str) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only) + after
    assert read_json(text) == read_json_part(text)


@given(st.text(st.sampled_from('{}[]":,\\u0d8ante1.-+ \n'), max_size=30))
def test_what_is_hardly_json(text: str) -> None:
    for document in (text, "{" + text, '{"a":' + text, '{"a":' + text + "}"):
        assert same(document, "a")


@pytest.mark.parametrize("one", samples(), ids=lambda one: one["id"])
def test_samples_at_every_cut(one: dict[str, str]) -> None:
    text = one["line"]
    for cut in {*range(0, min(len(text), 1500), 11), len(text)}:
        assert read_json(text[:cut], "message") == read_json_part(text[:cut], "message")


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2,"b":{"c":1,"c":{"d":1}}}',
        '{"a":"\\ud800"}',
        '{"a":"\\ud83d\\ude00"}',
        '{"a":NaN,"b":-Infinity,"c":1e999}',
        '{"a":01}',
        '{"a":' + "9" * 5000 + "}",
        '{"a":"tab\there"}',
        '{"a":' + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1) + ',"b":1}',
        '{"a":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + ',"b":1}',
        '{"a":1}{"b":2}',
        "{}",
        "[]",
        "",
    ],
)
def test_odd_documents(text: str) -> None:
    assert same(text)
