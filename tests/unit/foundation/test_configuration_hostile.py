"""Configuration files that try to crash, to fill the memory or to be read as something else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from foundation.config import BbsConfig, FoundationConfig, LocalPath, Part, ProbeConfig
from foundation.durations import parse_duration
from foundation.layout import Layout, layouts
from foundation.yamlfile import MAX_BYTES, ConfigurationError, load, parse


class File(Part):
    foundations: tuple[FoundationConfig, ...] = ()
    probe: ProbeConfig = ProbeConfig()
    spare: object = None


def foundation(more: str) -> str:
    return f"foundations: [{{name: a, namespace: cf, {more}}}]"


def complaint(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "c.yml", File)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: !!int abc", "c.yml:1:4: is no readable int"),
        ("a: !!bool abc", "c.yml:1:4: is no readable bool"),
        ("a: !!float abc", "c.yml:1:4: is no readable float"),
        ("a: !!timestamp abc", "c.yml:1:4: is no readable timestamp"),
        ("b: 1\na: " + "9" * 5000, "c.yml:2:4: is no readable int"),
        ("{[1]: 2}", "found unhashable key"),
        ("1: 2", "c.yml:1:4: 1: expected a text as the key"),
        ('"a\\nb": 1', "c.yml:1:1: a b: there is no such setting"),
        ("3", "c.yml:1:1: expected a mapping of settings"),
        ("spare: {a: 1, a: 2}", "c.yml:1:15: the key 'a' stands twice"),
        ("spare: [[{a: 1, a: 2}]]", "the key 'a' stands twice"),
        ("spare: &a [*a]", "c.yml:1:8: an alias stands inside of what it names"),
        ("spare: &a {b: {c: *a}}", "an alias stands inside of what it names"),
        ("{a: " * 500, "c.yml:1:1: is nested too deeply"),
    ],
)
def test_a_file_that_crashes_yaml_is_a_fault_with_a_place(text: str, problem: str) -> None:
    assert problem in complaint(text)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("max_pods: 010", "expected a whole number"),
        ("max_pods: 0:5", "expected a whole number"),
        ("max_pods: true", "expected a whole number"),
        ("max_pods: '5'", "expected a whole number"),
        ("max_pods: 5.0", "expected a whole number"),
        ("max_pods: .nan", "expected a whole number"),
        ("exec: 1", "expected true or false"),
        ("exec: 'true'", "expected true or false"),
        ("exec: no", "expected true or false"),
        ("context: 3", "expected a text"),
        ("bbs: null", "expected a mapping of settings"),
        ("bbs: {ca_file: ''}", "foundations.0.bbs.ca_file: expected a path"),
        ('bbs: {ca_file: "a\\0b"}', "foundations.0.bbs.ca_file: expected a path"),
        ("bbs: {ca_file: 3}", "foundations.0.bbs.ca_file: expected a path"),
        ("bbs: {ca_file: '~no-such-user-here/a'}", "Could not determine home directory"),
        ("settle: .nan", "expected a duration with its unit"),
        ("settle: [1]", "not a list"),
        ("settle: 9999999d", "expected a duration of at most 366d"),
        (f"settle: {'9' * 400}d", "expected a duration with its unit"),
        ("layout: {base: [cfee-2]}", "expected auto, one of"),
        ("layout: {base: cfee-2, bbs_port: 99999}", "bbs_port: Input should be less than 65536"),
        ("layout: {base: cfee-2, locket_port: 0}", "locket_port: Input should be greater than 0"),
        ("layout: {base: cfee-2, active_label: {key: ''}}", "active_label.key: String should have at least 1"),
        ("layout: {base: cfee-2, restart: []}", "layout: restart: expected [bbs]"),
        ("layout: {base: cfee-2, restart: [locket, bbs]}", "layout: restart: expected [bbs]"),
        ("layout: {base: cfee-4, restart: [bbs]}", "layout: restart: expected [locket, bbs]"),
        ("layout: {base: cfee-4, restart: [bbs, locket]}", "layout: restart: expected [locket, bbs]"),
    ],
)
def test_values_that_only_look_right_are_refused(more: str, problem: str) -> None:
    assert problem in complaint(foundation(more))


@pytest.mark.parametrize("namespace", ["..", "A", "a b", "-a", "a" * 64, "", "a/b", "a\\nb"])
def test_a_namespace_that_kubernetes_would_not_take(namespace: str) -> None:
    said = complaint(f'foundations: [{{name: a, namespace: "{namespace}"}}]')
    assert "foundations.0.namespace: expected 1 to 63 lower-case letters, digits and dashes" in said


def test_a_probe_may_not_wait_for_an_hour() -> None:
    assert "probe.timeout: input should be less than or equal to 60" in complaint("probe: {timeout: 1h}")


@pytest.mark.parametrize("target", ["settle: *a8", "layout: {base: *a8}", "namespace: *a8", "bbs: *a8"])
def test_aliases_of_aliases_do_not_fill_the_memory(target: str) -> None:
    lines = ["spare:", "- &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 9)]
    began = time.process_time()
    said = complaint("\n".join([*lines, "foundations:", f"- {{name: a, {target}}}"]))
    assert "holds more than 100000 values, aliases written out" in said
    assert time.process_time() - began < 2.0


def test_merged_aliases_of_aliases_do_not_fill_the_memory() -> None:
    lines = ["spare:", "- &a0 {k: 1}"]
    lines += [f"- &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}" for level in range(1, 9)]
    assert "holds more than 100000 values" in complaint("\n".join(lines))


def test_anchors_and_merge_keys_are_read_as_they_are_meant() -> None:
    text = """
spare: {deeper: {still: &b {<<: &a {ca_file: /ca, connections: 2}, connections: 4}}}
foundations:
- {name: a, namespace: cf, bbs: *a}
- {name: b, namespace: cf, bbs: *b}
- {name: c, namespace: cf, bbs: {<<: *b, connections: 5}}
"""
    found = [item.bbs for item in parse(text, "c.yml", File).foundations]
    assert found == [BbsConfig(ca_file=Path("/ca"), connections=n) for n in (2, 4, 5)]


def test_a_fault_in_what_overrides_a_merged_value_has_its_own_place() -> None:
    text = "spare: &a {connections: 2}\nfoundations:\n- {name: a, namespace: cf, bbs: {<<: *a,\n  connections: 99}}"
    assert complaint(text).startswith("c.yml:4:16: foundations.0.bbs.connections: ")


def test_very_many_faults_are_not_all_told() -> None:
    lines = complaint("\n".join(f"k{n}: 1" for n in range(500))).splitlines()
    assert len(lines) == 51
    assert lines[-1] == "c.yml:51:1: and 450 more problems from here on"


def test_values_stand_for_what_they_look_like() -> None:
    text = "spare: [no, on, 1:30, 010, 2026-13-45, 1_000, 0x1F, ~, null, True, -7, 1.5, 1e3, .inf]"
    assert parse(text, "c.yml", File).spare == [
        *("no", "on", "1:30", "010", "2026-13-45", "1_000", "0x1F"),
        *(None, None, True, -7, 1.5, 1000.0, ".inf"),
    ]


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "long.yml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigurationError, match=r"long\.yml:1:1: is longer than 1048576 bytes"):
        load(tmp_path / "long.yml", File)


@pytest.mark.parametrize("text", ["366d1s", "1" * 39 + "s", "٣s", "1e3s", "nan", "inf", "1s " * 2])
def test_durations_that_no_clock_takes(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Logs(Part):
        path: LocalPath

    (tmp_path / "conf").mkdir()
    file = tmp_path / "conf" / "c.yml"
    text = "bbs: {ca_file: certs/ca.pem, cert_file: ../c.pem, key_file: /abs/k.pem}, kubeconfig: ~/kube"
    file.write_text(foundation(text))
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", "/home/x")
    found = load(file, File).foundations[0]
    conf = tmp_path / "conf"
    assert (found.bbs.ca_file, found.bbs.cert_file) == (conf / "certs/ca.pem", conf / "../c.pem")
    assert (found.bbs.key_file, found.kubeconfig) == (Path("/abs/k.pem"), Path("/home/x/kube"))
    assert parse("path: a/b", "-", Logs).path == Path("a/b")
    assert Logs(path=Path("a")).path == Path("a")


def test_what_is_known_of_the_layouts_cannot_be_changed() -> None:
    known = layouts()
    with pytest.raises(TypeError):
        known["cfee-2"] = known["cfee-1"]  # type: ignore[index]  # the point of it
    assert all(isinstance(layout, Layout) for layout in known.values())
