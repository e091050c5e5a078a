"""The command line: what it prints and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.config import load_config
from exporter.report import ADVICE, MEANING
from foundation.diagnosis import Restart, Verdict
from foundation.looking import if_lasting, lasting_text
from foundation.observation import Observation

VECTORS = json.loads((Path(__file__).parents[2] / "data" / "verdict_vectors.json").read_text())
SAMPLES = Path(__file__).parents[2] / "data" / "log-samples.jsonl"


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=text)


def test_every_verdict_and_restart_has_its_words() -> None:
    assert set(MEANING) == set(Verdict)
    assert set(ADVICE) == set(Restart)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["scenario"][:50])
def test_a_recorded_observation_is_judged(vector: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "o.json"
    file.write_text(json.dumps(vector))
    done = run("diagnose", "--observation", str(file), "--json")
    told = json.loads(done.stdout)
    assert {key: told[key] for key in ("verdict", "restart", "pods_to_restart")} == vector["expect"]
    assert all(isinstance(sentence, str) for sentence in told["evidence"])
    assert done.exit_code == (0 if told["verdict"] == "healthy" else 1)
    page = run("diagnose", "--observation", str(file))
    assert page.exit_code == done.exit_code
    assert page.stdout.startswith(f"o.json: {told['verdict']}, {ADVICE[told['restart']]}\n")
    assert ("delete the pods" in page.stdout) == bool(told["pods_to_restart"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "o.json: cannot be read: No such file or directory"),
        (b"{", "o.json: not JSON"),
        (b"\xff", "o.json: is not UTF-8"),
        (b'{"pods": [{"probe": "x"}]}', "o.json: pods.0.probe: 'x' is none of"),
    ],
)
def test_a_record_that_cannot_be_read(content: bytes | None, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "o.json"
    if content is not None:
        file.write_bytes(content)
    done = run("diagnose", "--observation", str(file))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1


def config(tmp_path: Path, text: str) -> str:
    file = tmp_path / "exporter.yml"
    file.write_text(text)
    return str(file)


TWO = "foundations: [{name: a, namespace: a}, {name: b, namespace: b}]\n"


def test_check_config(tmp_path: Path) -> None:
    good = run("check-config", config(tmp_path, TWO))
    assert (good.exit_code, good.stdout.strip().rpartition("/")[2]) == (0, "exporter.yml: good (2 foundations: a, b)")
    bad = run("check-config", config(tmp_path, TWO + "typo: 1\nprobe: {interval: 3}\n"))
    assert bad.exit_code == 2
    assert bad.stdout == ""
    lines = bad.stderr.splitlines()
    assert lines[0].endswith("exporter.yml:2:1: typo: there is no such setting")
    assert "exporter.yml:3:19: probe.interval: expected a duration" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("diagnose",), "give --config FILE, or --observation FILE"),
        (("diagnose", "--config", "CONFIG"), "several foundations are configured, give --foundation a|b"),
        (("diagnose", "--config", "CONFIG", "--foundation", "c"), "there is no foundation c (there are a, b)"),
        (("diagnose", "--config", "/nonexistent"), "/nonexistent:1:1: cannot be read: No such file or directory"),
        (("serve", "--config", "/nonexistent"), "/nonexistent:1:1: cannot be read"),
        (("serve", "--config", "WEB"), "web.yml"),
        (("logs", "/nonexistent"), "/nonexistent"),
        (("nosuch",), "stager-exporter: No such command 'nosuch'"),
        (("--nosuch",), "stager-exporter: No such option '--nosuch'"),
        (("serve",), "serve: Missing option '--config'"),
        (("serve", "--config", "CONFIG", "--log-level", "x"), "'x' is not one of 'debug', 'info', 'warning', 'error'"),
        (("diagnose", "--config"), "Option '--config' requires an argument"),
        (("diagnose", "extra"), "diagnose: Got unexpected extra argument"),
        (("diagnose", "--observation", "x", "--save", "y"), "give one of them"),
        (("logs",), "logs: Missing argument 'FILES...'"),
        (("check-config", "WEB"), "web.yml:1:1: cannot be read"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(arguments: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    file = config(tmp_path, TWO)
    web = tmp_path / "with-web.yml"
    web.write_text(TWO + "exporter: {web: {config_file: web.yml}}\n")
    places = {"CONFIG": file, "WEB": str(web)}
    done = run(*(places.get(word, word) for word in arguments))
    assert done.exit_code == 2
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("exporter: {web: {listen: nonsense}}\n", "exporter.web.listen: listen 'nonsense': expected HOST:PORT"),
        ("logs: [{source: syslog, listen: x, foundation: a}]\n", "expected HOST:PORT"),
        ("logs: [{source: syslog, foundation: a}]\n", "listen is required for a syslog source"),
        ("logs: [{source: file, foundation: a}]\n", "path is required for a file source"),
        ("logs: [{source: syslog, listen: ':1'}]\n", "needs `foundation` where there are several"),
        ("logs: [{source: pod, foundation: c}]\n", "there is no foundation c"),
        ("logs: [{source: exec, foundation: a}]\n", "needs `exec: true` in the foundation a"),
        ("logs: [{source: pod}, {source: pod}]\n", "the same pod source stands 2 times"),
        (
            "logs: [{source: syslog, listen: ':1', foundation: a}, {source: syslog, listen: ':1', foundation: b}]\n",
            "2 syslog sources listen on :1 (tcp)",
        ),
    ],
)
def test_settings_that_could_not_work_are_refused(more: str, problem: str, tmp_path: Path) -> None:
    done = run("check-config", config(tmp_path, TWO + more))
    assert done.exit_code == 2
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1


def test_files_of_this_machine_are_beside_the_configuration(tmp_path: Path) -> None:
    text = """
foundations: [{name: a, namespace: a, exec: true}]
exporter: {web: {config_file: web.yml}}
logs: [{source: file, path: cc.log}, {source: file, path: "-"}, {source: exec, path: log/cc.log}]
"""
    loaded = load_config(Path(config(tmp_path, text)))
    assert loaded.exporter.web.config_file == tmp_path / "web.yml"
    assert [log.path for log in loaded.logs] == [str(tmp_path / "cc.log"), "-", "log/cc.log"]


def test_no_command_at_all_is_answered_with_the_help() -> None:
    done = run()
    assert done.exit_code == 2
    assert "check-config" in done.output


def test_a_record_tells_what_follows_if_it_lasts(tmp_path: Path) -> None:
    file = tmp_path / "o.json"
    file.write_text(json.dumps(next(vector for vector in VECTORS if "database back 5 s ago" in vector["scenario"])))
    text = run("diagnose", "--observation", str(file)).stdout
    assert (
        "If this has lasted as long as `settle` already (this command cannot know), the verdict is locked_out" in text
    )
    told = json.loads(run("diagnose", "--observation", str(file), "--json").stdout)
    assert (told["if_lasting"]["verdict"], told["if_lasting"]["restart"]) == ("locked_out", "yes")


def test_logs_of_the_samples(tmp_path: Path) -> None:
    log = tmp_path / "api-0.log"
    log.write_text("".join(json.loads(line)["line"] + "\n" for line in SAMPLES.read_text().splitlines()))
    done = run("logs", str(log))
    assert done.exit_code == 0
    assert "# TYPE cf_cc_stager_unavailable_total counter" in done.stdout
    assert 'cf_cc_stager_unavailable_total{cause="dns",foundation="offline",pod="api-0.log"} 1.0' in done.stdout
    piped = run("logs", "-", text=log.read_text())
    assert piped.exit_code == 0


def test_help_and_version() -> None:
    for command in ((), ("serve",), ("diagnose",), ("logs",), ("check-config",)):
        assert run(*command, "--help").exit_code == 0
    assert run("--version").stdout.startswith("stager-exporter, version ")


def seen(vector: dict[str, object]) -> Observation:
    return Observation.from_json(json.dumps(vector))


def test_what_follows_if_it_lasts() -> None:
    unsettled = next(vector for vector in VECTORS if "database back 5 s ago" in vector["scenario"])
    lasting = if_lasting(seen(unsettled))
    assert lasting is not None
    assert lasting.verdict is Verdict.LOCKED_OUT
    text = lasting_text(lasting, 120)
    assert text.startswith("If this has lasted for 2m already (this command cannot know), the verdict is locked_out")
    settled = next(vector for vector in VECTORS if vector["expect"]["verdict"] == "migrating")
    assert if_lasting(seen(settled)) is None
    assert if_lasting(seen(VECTORS[0])) is None
