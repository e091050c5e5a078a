"""The lines of the simulated Cloud Controller are those of the collected samples, byte for byte."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from simulator.cclog import CloudController, sidecar

SAMPLES = {
    sample["id"]: sample["line"]
    for sample in map(json.loads, (Path(__file__).parents[2] / "data" / "log-samples.jsonl").read_text().splitlines())
}
TIMEOUT = "execution expired"


def anonymous(line: str) -> str:
    """Take out what differs between two requests: times, guids, and which application."""
    line = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "GUID", line)
    line = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{9}Z)?", "DAY", line)
    return re.sub(r'"timestamp":[\d.]+', '"timestamp":FLOAT', line)


def push(*, v3: bool) -> list[str]:
    writer = CloudController(v3=v3, random=random.Random(1))
    return [timed.write(1549101631.2255123) for timed in writer.push(TIMEOUT, 30.0)]


@pytest.mark.parametrize(("number", "sample"), list(enumerate(["A01", "A02", "A03", "A04", "A05", "A06"])))
def test_a_failed_push_on_cfee(number: int, sample: str) -> None:
    assert anonymous(push(v3=False)[number]) == anonymous(SAMPLES[sample])


def test_a_failed_push_on_kubecf() -> None:
    # The sample has a float time of an older release; times are taken out either way.
    line = push(v3=True)[4]
    assert '"timestamp":"2019-02-02T10:00:31.2255' in line
    assert anonymous(line).replace('"DAY"', "FLOAT") == anonymous(SAMPLES["A07"])


def test_the_heartbeat() -> None:
    writer = CloudController(v3=False, random=random.Random(1), process=9)
    lines = [timed.write(1549101705.5) for timed in writer.sync_failed(TIMEOUT)]
    assert [anonymous(line) for line in lines] == [anonymous(SAMPLES["A26"]), anonymous(SAMPLES["A27"])]


def test_the_sidecar_of_kubecf() -> None:
    wrapped = SAMPLES["E04"]
    line = wrapped[wrapped.index("{") : wrapped.rindex("}") + 1]
    path = "/var/vcap/sys/log/cloud_controller_ng/cloud_controller_ng.log"
    assert sidecar(line, path, 1622541631.0) == wrapped


def test_one_line_of_a_failed_push_counts_and_none_of_another() -> None:
    writer = CloudController(v3=False, random=random.Random(1))
    assert [timed.counts for timed in writer.push(TIMEOUT, 1.0)].count(True) == 1
    assert not any(timed.counts for timed in [*writer.push(None, 1.0), *writer.ordinary_request(), *writer.sync_done()])
    assert not any("503" in timed.write(1.0) for timed in writer.push(None, 0.0))


def test_quotes_in_a_reason_are_escaped_as_ruby_does() -> None:
    writer = CloudController(v3=False, random=random.Random(1))
    text = 'Connection refused - connect(2) for "H" port 8889 (H:8889)'
    message = json.loads(writer.push(text, 0.0)[4].write(1.0))["message"]
    assert r'unavailable: Connection refused - connect(2) for \"H\" port 8889 (H:8889)"' in message
