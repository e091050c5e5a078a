"""A Remediation as a story: its order, durations, Markdown, and that no shape of an object breaks it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remediator import timeline
from remediator.timeline import as_markdown, as_text, span, table, timeline_of, wrapped

if TYPE_CHECKING:
    from foundation.kube.client import Json

STEPS = [
    {"name": "confirm", "started": "2026-11-23T23:59:50Z", "finished": "2026-11-23T23:59:55Z", "result": "confirmed",
     "detail": "locked_out, restart yes: nothing serves"},
    {"name": "evidence", "started": "2026-11-23T23:59:55Z", "finished": "2026-11-23T23:59:55Z", "result": "saved",
     "detail": "ConfigMap prod.restart-diego-api.7.evidence"},
    {"name": "delete", "started": "2026-11-23T23:59:56Z", "finished": "2026-11-23T23:59:56Z", "result": "deleted",
     "detail": "diego-api-0, diego-api-1 of 2"},
    {"name": "replace", "started": "2026-11-23T23:59:56Z", "finished": "2026-11-24T00:10:56Z", "result": "failed",
     "detail": "replace: diego-api-0 is still Terminating, its grace is 10m"},
]  # fmt: skip


def failed(**status: object) -> Json:
    return {
        "name": "prod.restart-diego-api.7",
        "resourceVersion": "101",
        "uid": "u-7",
        "created": "2026-11-23T23:59:40Z",
        "spec": {
            "foundation": "prod",
            "playbook": "restart-diego-api",
            "mode": "approval",
            "trigger": {
                "alertname": "DiegoRestartWouldHelp",
                "fingerprint": "8f3c1a2b4d5e6f70",
                "startsAt": "2026-11-23T23:57:00Z",
                "labels": {"alertname": "DiegoRestartWouldHelp", "foundation": "prod"},
            },
            "approval": {"state": "approved", "by": "alice", "at": "2026-11-23T23:59:50Z"},
            "acknowledged": {"by": "bob", "at": "2026-11-24T00:30:00Z", "reason": "the node was | lost"},
        },
        "status": {
            "phase": "Failed",
            "strategy": "all",
            "approvedBy": "alice",
            "steps": STEPS,
            "pods": [
                {"name": "diego-api-0", "uid": "0a1b-0", "deletedAt": "2026-11-23T23:59:56Z"},
                {"name": "diego-api-1", "uid": "0a1b-1"},
            ],
            "verdictBefore": "locked_out",
            "verdictAfter": "pods_stuck",
            "evidence": "prod.restart-diego-api.7.evidence",
            "started": "2026-11-23T23:59:50Z",
            "finished": "2026-11-24T00:10:56Z",
            "message": "replace: diego-api-0 is still Terminating, its grace is 10m",
            **status,
        },
    }


def test_what_happened_stands_in_its_order_with_times_from_the_beginning() -> None:
    told = timeline_of(failed())
    assert [entry.what for entry in told.entries] == [
        "the alert DiegoRestartWouldHelp began",
        "accepted",
        "approved by alice",
        "looked until two looks agreed",
        "saved evidence",
        "deleted pods",
        "deleted the pod diego-api-0",
        "waited for the replacements",
        "Failed",
        "acknowledged by bob",
    ]
    assert dict(told.spans) == {
        "from the alert to accepted": 160,
        "from accepted to the first deletion": 16,
        "from the first deletion to the end": 660,
        "from the alert to the end": 836,
    }
    text = as_text(told)
    assert text.startswith("prod.restart-diego-api.7: Failed\n  replace: diego-api-0 is still Terminating")
    assert "  verdict    locked_out before, pods_stuck after\n" in text
    assert "  answered   approved by alice\n" in text
    assert "  23:59:56  +2m56s   deleted the pod diego-api-0: UID 0a1b-0\n" in text
    assert "  23:59:50  +2m50s   looked until two looks agreed (5s): locked_out, restart yes: nothing serves\n" in text
    assert "\n  2026-11-24\n  00:10:56  +13m56s  Failed: replace: diego-api-0" in text, "the day changes"
    assert "  diego-api-1  UID 0a1b-1  not deleted\n" in text
    assert "approve" not in text.splitlines()[-1], "it awaits no answer"
    assert text.endswith("deleted\n")


def test_the_result_of_a_step_is_told_where_it_is_not_the_expected_one() -> None:
    told = timeline_of(failed())
    by_name = {entry.what: entry for entry in told.entries}
    assert by_name["waited for the replacements"].detail.startswith("failed: replace: diego-api-0 is still")
    assert by_name["saved evidence"].detail == "ConfigMap prod.restart-diego-api.7.evidence"
    under_way = timeline_of(failed(phase="Running", step="replace", finished="", steps=[*STEPS[:3], STEPS[3] | {
        "finished": ""}]))  # fmt: skip
    assert under_way.entries[-2].detail == "under way"
    assert ("verdict", "locked_out before, pods_stuck after") in under_way.facts
    assert ("step", "replace") in under_way.facts


def test_what_awaits_an_answer_says_how_to_give_it() -> None:
    found = failed(phase="AwaitingApproval", expires="2026-11-24T00:59:40Z", verdictAfter="", steps=[], finished="",
                   pods=[{"name": "diego-api-0"}])  # fmt: skip
    found["spec"]["approval"] = {}  # type: ignore[index]
    text = as_text(timeline_of(found))
    assert "  expires    2026-11-24 00:59:40 UTC\n" in text
    assert "  verdict    locked_out before, not known yet after\n" in text
    assert "\nPods\n  diego-api-0\n" in text
    assert text.splitlines()[-1].startswith("It awaits an answer: stager-remediator approve prod.restart-diego-api.7")


def test_markdown_is_fit_to_paste() -> None:
    text = as_markdown(timeline_of(failed()))
    lines = text.splitlines()
    assert lines[0] == "### prod.restart-diego-api.7: Failed"
    assert "| verdict | locked_out before, pods_stuck after |" in lines
    assert "| from the alert to the end | 13m56s |" in lines
    assert (
        "| 2026-11-23 23:59:50 | 5s | looked until two looks agreed: locked_out, restart yes: nothing serves |" in lines
    )
    assert r"| 2026-11-24 00:30:00 |  | acknowledged by bob: the node was \| lost |" in lines
    assert "| diego-api-0 | 0a1b-0 | 2026-11-23 23:59:56 UTC |" in lines
    assert "| diego-api-1 | 0a1b-1 | no |" in lines
    for line in lines:
        if line.startswith("|"):
            assert line.count("|") - line.count(r"\|") in (3, 4), line


def test_what_others_wrote_neither_steers_a_terminal_nor_makes_markup() -> None:
    evil = failed(message="\x1b[2Jgone\nand | <script> `x` [a](b) *c*\u202e")
    for text in (as_text(timeline_of(evil)), table([evil], 0.0)):
        assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert r"gone and \| \<script\> \`x\` \[a\](b) \*c\*" in as_markdown(timeline_of(evil)).splitlines()[2]
    assert all(sign.isprintable() or sign == "\n" for sign in as_markdown(timeline_of(evil)))


def test_lines_are_wrapped_and_names_are_not_broken() -> None:
    lines = wrapped("word " * 40 + "a-name-of-a-pod-that-is-long", 60, "  title      ")
    assert all(len(line) <= 60 for line in lines)
    assert lines[0].startswith("  title      word")
    assert all(line.startswith(" " * 13) for line in lines[1:])
    assert lines[-1].endswith("a-name-of-a-pod-that-is-long")
    assert wrapped("", 60, "  title") == ["  title"]


def test_a_list_has_one_line_each() -> None:
    young = failed(phase="Running", step="delete", finished="", message="x" * 300)
    text = table([failed(), young], now=1_795_478_400.0, width=90)
    head, first, second = text.splitlines()
    assert head.split() == ["NAME", "PHASE", "AGE", "TOOK", "MESSAGE"]
    assert first.split()[:4] == ["prod.restart-diego-api.7", "Failed", "20s", "11m16s"]
    assert "Running (delete)" in second
    assert second.endswith("…")
    assert max(map(len, text.splitlines())) <= 90
    assert table([], 0.0) == "no Remediations\n"


@pytest.mark.parametrize(
    ("seconds", "words"), [(86400, "24h"), (3600, "1h"), (5400, "90m"), (600, "10m"), (45, "45s"), (90, "1m30s")]
)
def test_spans_read_as_they_are_configured(seconds: float, words: str) -> None:
    assert span(seconds) == words


_KEYS = (
    "phase", "steps", "pods", "name", "started", "finished", "deletedAt", "approval", "state", "by", "at", "trigger",
    "startsAt", "labels", "message", "expires", "uid",
)  # fmt: skip
_WORDS = ("Running", "2026-11-23T23:59:50Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+14:00")
_SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(_WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["name", "created", "spec", "status", "uid"]), _SHAPES, max_size=5))
def test_any_shape_is_told_as_far_as_it_goes(found: Json) -> None:
    found = json.loads(json.dumps(found))
    told = timeline_of(found)
    assert as_text(told).endswith("\n")
    assert as_markdown(told).startswith("### ")
    assert table([found], 0.0).startswith("NAME")


def test_times_that_are_none_are_left_out() -> None:
    told = timeline_of({"name": "x", "created": "yesterday", "status": {"finished": "soon", "phase": "Succeeded"}})
    assert told.entries == ()
    assert timeline.moment("never") == ""


def test_a_long_label_does_not_fill_the_screen() -> None:
    labels = {"short": "s", "long": "é" * 1000}
    spec = {"foundation": "prod", "playbook": "restart-diego-api", "trigger": {"alertname": "X", "labels": labels}}
    found = {**failed(), "spec": spec}
    text = as_text(timeline_of(found))
    assert "short=s" in text
    assert "long=" + "é" * 95 + "…" in "".join(text.split())
    assert "é" * 96 not in "".join(text.split())
