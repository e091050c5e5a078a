"""Reads log files that somebody saved, and prints what the exporter would have counted.

Nothing is followed, and nothing is remembered between two runs.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TextIO, cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from exporter.logs.account import LogAccount
from exporter.logs.lines import LineSplitter
from exporter.logs.metrics import LogMetrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FOUNDATION: Final = "offline"
SOURCE: Final = "offline"
CHUNK: Final = 96 << 10
"""Bytes; from 128 KiB on, malloc would map and unmap memory for every piece."""
MAX_PODS: Final = 1000
_GZIP: Final = b"\x1f\x8b"


class UsageProblem(Exception):  # noqa: N818 - it is not a fault of the program
    """What the caller asked for cannot be done; the text is one line for that person, the exit status 2."""


def read_files(
    paths: Sequence[str], out: TextIO, progress: TextIO | None = None, *, stdin: BinaryIO | None = None
) -> None:
    """Counts the lines of files (plain or gzip; `-` is standard input) and writes the metrics' text format to `out`.

    The pod is the one that a line's wrapper names, else the file's name. `progress` is written to only if it is a
    terminal. Raises UsageProblem if a file cannot be read; nothing is written to `out` then.
    """
    if not paths:
        raise UsageProblem("no log file given: name one or more files, or - for standard input")
    if paths.count("-") > 1:
        raise UsageProblem("-: standard input can be read only once")
    for path in paths:
        # Before the first of perhaps many gigabytes is read.
        if path != "-":
            with _readable(path) as file:
                file.read(1)
    registry = CollectorRegistry()
    account = LogAccount(LogMetrics(registry), FOUNDATION, max_pods=MAX_PODS, max_errors=MAX_PODS)
    shown = _Progress(progress)
    for path in paths:
        _read_one(path, account, shown, stdin)
    shown.end()
    if not account.pods():
        for path in paths:
            account.know_pod(_pod(path))
    second = CollectorRegistry()
    second.register(_OfFiles(registry))
    out.write(generate_latest(second).decode("utf-8"))


def _read_one(path: str, account: LogAccount, shown: _Progress, stdin: BinaryIO | None) -> None:
    pod = _pod(path)
    splitter = LineSplitter()
    with ExitStack() as stack:
        raw = (stdin or sys.stdin.buffer) if path == "-" else stack.enter_context(_readable(path))
        try:
            for chunk in _chunks(raw):
                account.feed_chunk(SOURCE, pod, splitter.push_whole(chunk))
                shown.advance(path, len(chunk))
        except (OSError, EOFError, zlib.error) as error:
            shown.end()
            raise UsageProblem(f"{path}: cannot be read to its end: {_reason(error)}") from error
        if rest := splitter.flush():
            account.feed(SOURCE, pod, [rest])


def _chunks(raw: BinaryIO) -> Iterator[bytes]:
    buffered = io.BufferedReader(cast("io.RawIOBase", raw), CHUNK)
    try:
        packed = buffered.peek(2)[:2] == _GZIP
        source = cast("BinaryIO", gzip.GzipFile(fileobj=buffered, mode="rb")) if packed else buffered
        while chunk := source.read(CHUNK):
            yield chunk
    finally:
        buffered.detach()


def _readable(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be read: {_reason(error)}") from error
    except ValueError as error:
        raise UsageProblem(f"{path!r}: cannot be read: not a file name") from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _pod(path: str) -> str:
    name = "stdin" if path == "-" else Path(path).name
    # A file name may hold bytes that are no text; a label may not.
    return name.encode("utf-8", "replace").decode("utf-8")


class _Progress:
    """One line on a terminal that is written over; silent elsewhere."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None and stream.isatty() else None
        self._done = 0
        self._next = 0

    def advance(self, path: str, size: int) -> None:
        self._done += size
        if self._stream and self._done >= self._next:
            self._next = self._done + (16 << 20)
            self._stream.write(f"\r\x1b[K{self._done / 1e6:,.0f} MB read, in {_pod(path)}")
            self._stream.flush()

    def end(self) -> None:
        if self._stream and self._done:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        self._done = 0


_OF_LIVE_INPUTS: Final = frozenset(
    {
        "stager_log_reconnects",
        "stager_log_last_line_timestamp_seconds",
        "stager_log_last_sign_of_life_timestamp_seconds",
        "stager_log_source_up",
    }
)


class _OfFiles(Collector):
    """The metrics without what only says when and how this process read: nothing about the files."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            if metric.name in _OF_LIVE_INPUTS:
                continue
            kept = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            kept.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield kept
