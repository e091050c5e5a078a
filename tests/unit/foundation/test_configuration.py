"""The configuration file: strict, and every fault with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.config import ExporterConfig, load_config
from foundation.durations import format_duration, parse_duration
from foundation.layout import Layout
from foundation.yamlfile import ConfigurationError, parse

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
foundations:
  - name: prod
    namespace: cf
    layout: {base: cfee-2, service: {address: 127.0.0.1}}
    bbs: {depth: read, ca_file: ca.pem, cert_file: c.pem, key_file: k.pem}
    settle: 2m30s
    database: {kind: mysql, host: db}
    exec: true
  - {name: test, namespace: cf-test}
probe: {interval: 10s, timeout: 2s}
logs:
  - {source: pod, role: api, container: logs}
  - {source: syslog, listen: "127.0.0.1:0", foundation: prod}
exporter: {web: {listen: ":9717", config_file: web.yml}}
remediator: {claim: 30s}
"""


def test_a_whole_file() -> None:
    config = parse(GOOD, "c.yml", ExporterConfig)
    prod, test = config.foundations
    assert isinstance(prod.layout, Layout)
    assert prod.settle == 150.0
    assert prod.database is not None
    assert prod.database.address == ("db", 3306)
    assert test.layout == "auto"
    assert test.settle == 120.0
    assert config.probe.timeout == 2.0
    assert [log.source for log in config.logs_of("prod")] == ["pod", "syslog"]
    assert [log.source for log in config.logs_of("test")] == ["pod"]


BASE = "foundations:\n  - name: a\n    namespace: cf\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "c.yml:1:1: foundations: is required"),
        ("foundations: []", "c.yml:1:14: foundations: at least one foundation is required"),
        (BASE + "    typo: 1\n", "c.yml:4:5: foundations.0.typo: there is no such setting"),
        (BASE + "    name: b\n", "c.yml:4:5: the key 'name' stands twice"),
        (BASE + "    settle: 120\n", "c.yml:4:13: foundations.0.settle: expected a duration with its unit"),
        (BASE + "    bbs: {depth: pong}\n", "c.yml:4:18: foundations.0.bbs.depth: input should be"),
        (BASE + "    bbs: {depth: dns}\n", "c.yml:4:10: foundations.0.bbs: depth: expected tcp, tls, ping or read"),
        (BASE + "    bbs: {cert_file: a}\n", "c.yml:4:10: foundations.0.bbs: cert_file and key_file go together"),
        (BASE + "    layout: cfee-9\n", "c.yml:4:13: foundations.0.layout: 'cfee-9' is no layout"),
        (BASE + "    layout: {service: {}}\n", "c.yml:4:13: foundations.0.layout: expected auto, one of"),
        (BASE + "    layout: {base: kubecf, roles: {x: 1}}\n", "c.yml:4:13: foundations.0.layout: roles.x:"),
        (BASE + "    database: {kind: postgresql}\n", "c.yml:4:15: foundations.0.database: host is required"),
        (BASE + "  - {name: a, namespace: b}\n", "c.yml:2:3: foundations: two foundations are named a"),
        (BASE + "probe: {interval: 0s}\n", "c.yml:4:19: probe.interval: input should be greater than 0"),
        (BASE + "logs: [{source: syslog}]\n", "c.yml:4:8: logs.0: listen is required"),
        (BASE + "logs: [{source: file}]\n", "c.yml:4:8: logs.0: path is required"),
        (BASE + "logs: [{source: pod, foundation: b}]\n", "there is no foundation b"),
        (
            BASE + "  - {name: b, namespace: b}\nlogs: [{source: file, path: x}]\n",
            "needs `foundation` where there are several",
        ),
        ("foundations: [\n", "c.yml:2:1: "),
        ("a: b: c", "c.yml:1:5: mapping values are not allowed here"),
        ("- 1\n- 2\n", "c.yml:1:1: expected a mapping of settings"),
        ("[" * 1000, "c.yml:1:1: is nested too deeply"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("foundations: &a [*a]", "c.yml:"),
        ("foundations:\n  - name: Prod\n    namespace: cf\n", "c.yml:2:11: foundations.0.name:"),
    ],
)
def test_every_fault_has_its_place(text: str, line: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "c.yml", ExporterConfig)
    assert line in str(caught.value)


def test_all_faults_of_a_file_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(BASE + "    typo: 1\n    settle: 3\nprobe: {x: 1}\n", "c.yml", ExporterConfig)
    assert len(caught.value.problems) == 3
    assert str(caught.value).count("\n") == 2


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_config(tmp_path / "none.yml")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load_config(tmp_path)
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        load_config(tmp_path / "latin")


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("1d", 86400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", 30, "s", "", None, "1x", "-3s", "3 s", True])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0s"), (59, "59s"), (60, "1m"), (200, "3m20s"), (7500, "2h05m"), (90000, "1d01h"), (-5, "0s")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
