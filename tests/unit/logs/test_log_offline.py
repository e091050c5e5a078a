import gzip
import io
from pathlib import Path

import pytest

from exporter.logs.offline import UsageProblem, read_files
from tests.support.cc_lines import SAMPLES_FILE, completed, failed, in_kubectl_prefix, sample, started


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(*paths: Path | str, stdin: bytes = b"", progress: io.StringIO | None = None) -> list[str]:
    out = io.StringIO()
    read_files([str(path) for path in paths], out, progress, stdin=io.BytesIO(stdin))
    return out.getvalue().splitlines()


def stager(pod: str, cause: str, value: str) -> str:
    return f'cf_cc_stager_unavailable_total{{cause="{cause}",foundation="offline",pod="{pod}"}} {value}'


DATA = (
    failed() + b"\n" + completed(503) + b"\n" + in_kubectl_prefix(failed(request_id="z")) + b"\nunfinished " + started()
)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_plain_and_packed_files(tmp_path: Path, pack: type[bytes]) -> None:
    file = tmp_path / "api.log"
    file.write_bytes(pack(DATA))
    text = run(file)
    assert stager("api.log", "timeout", "1.0") in text
    assert stager("api-0", "timeout", "1.0") in text
    assert 'stager_log_lines_total{foundation="offline",pod="api.log",source="offline"} 4.0' in text
    assert not any("_created" in line for line in text)
    live = ("timestamp", "source_up", "reconnects")
    assert not any(word in line for line in text for word in live)
    assert "# TYPE cf_cc_errors_total counter" in text


def test_standard_input_and_a_file_together(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(sample("A10"))
    text = run("-", file, stdin=gzip.compress(DATA))
    assert stager("stdin", "timeout", "1.0") in text
    assert stager("a", "dns", "1.0") in text


def test_nothing_found_is_shown_as_zero(tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    text = run(tmp_path / "empty.log")
    assert stager("empty.log", "timeout", "0.0") in text


def test_the_sample_file_itself_is_json_lines_and_counts_nothing() -> None:
    # Each sample stands inside another JSON document: text, not a log line.
    assert stager("log-samples.jsonl", "timeout", "0.0") in run(SAMPLES_FILE)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    good, packed = tmp_path / "good", tmp_path / "cut.gz"
    good.write_bytes(DATA)
    packed.write_bytes(gzip.compress(DATA * 50)[:-20])
    broken = tmp_path / "broken.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 40)
    for paths, words in (
        ((good, tmp_path / "none"), "none: cannot be read: No such file"),
        ((tmp_path,), "cannot be read: Is a directory"),
        ((packed,), "cut.gz: cannot be read to its end: "),
        ((broken,), "broken.gz: cannot be read to its end: "),
        (("a\0b",), "not a file name"),
        ((), "no log file given"),
        (("-", "-"), "only once"),
    ):
        out = io.StringIO()
        with pytest.raises(UsageProblem, match=words) as problem:
            read_files([str(path) for path in paths], out, Terminal(), stdin=io.BytesIO())
        assert "\n" not in str(problem.value)
        assert out.getvalue() == ""


def test_progress_only_on_a_terminal(tmp_path: Path) -> None:
    file = tmp_path / "api.log"
    file.write_bytes(DATA)
    terminal, plain = Terminal(), io.StringIO()
    run(file, progress=terminal)
    run(file, progress=plain)
    assert "MB read, in api.log" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert plain.getvalue() == ""


def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / b"caf\xe9.log".decode("utf-8", "surrogateescape")
    file.write_bytes(DATA)
    assert stager("caf?.log", "timeout", "1.0") in run(file)


def test_a_line_over_one_mebibyte(tmp_path: Path) -> None:
    file = tmp_path / "long.log"
    file.write_bytes(b"x" * (3 << 20) + b"\n" + failed() + b"\n")
    text = run(file)
    assert stager("long.log", "timeout", "1.0") in text
    assert 'stager_log_lines_total{foundation="offline",pod="long.log",source="offline"} 2.0' in text
