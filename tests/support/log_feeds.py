"""Doubles for the log sources: a sink that keeps what it gets, a clock that jumps, a log server, a container."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def stamp(moment: int, *, trimmed: bool = False) -> bytes:
    """Nanoseconds since 1970 as a kubelet prints them; `trimmed` as Docker does (no trailing zeros)."""
    seconds, nanos = divmod(moment, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{nanos:09}".rstrip("0") if trimmed else f"{nanos:09}"
    return f"{text}{'.' if fraction else ''}{fraction}Z".encode()


class RecordingSink:
    """Keeps every line by source and pod; kubelet timestamps are taken off where `pod` is the source."""

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], list[bytes]] = {}
        self.known: list[str] = []
        self.forgotten: list[str] = []
        self.reconnects: Counter[tuple[str, str]] = Counter()
        self.ups: dict[tuple[str, str], bool] = {}
        self.lifes: Counter[tuple[str, str]] = Counter()
        self.hold = threading.Lock()
        """Whoever has it stalls the sources that feed."""
        self.waiting = 0
        self._lock = threading.Lock()

    def feed(self, source: str, pod: str, lines: Sequence[bytes]) -> None:
        self.waiting += 1
        with self.hold, self._lock:
            self.waiting -= 1
            self.lines.setdefault((source, pod), []).extend(lines)

    def feed_chunk(self, source: str, pod: str, chunk: bytes) -> None:
        assert chunk.endswith(b"\n")
        lines = chunk[:-1].split(b"\n")
        if source == "pod":
            lines = [line.partition(b" ")[2] if line[:4].isdigit() and line[10:11] == b"T" else line for line in lines]
        self.feed(source, pod, lines)

    def know_pod(self, pod: str) -> None:
        self.known.append(pod)

    def forget_pod(self, pod: str) -> None:
        self.forgotten.append(pod)

    def reconnected(self, source: str, pod: str) -> None:
        self.reconnects[source, pod] += 1

    def up(self, source: str, pod: str, up: bool) -> None:
        self.ups[source, pod] = up

    def alive(self, source: str, pod: str) -> None:
        self.lifes[source, pod] += 1

    def got(self, source: str, pod: str = "") -> list[bytes]:
        """The lines so far."""
        with self._lock:
            return list(self.lines.get((source, pod), []))


class JumpingPace:
    """A clock that only waiting moves; `then` is called at every wait, with the seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self.then: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        self.then()
        return stop.is_set()


def eventually(what: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until `what()` is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.005)


class ScriptedStream:
    """A stream whose chunks, end or error are written down beforehand."""

    def __init__(
        self,
        chunks: Sequence[bytes] = (),
        *,
        end: str = "eof",
        error: Exception | None = None,
        refused: Exception | None = None,
        on_chunk: Callable[[int], object] | None = None,
    ) -> None:
        self._chunks = list(chunks)
        self._end = end
        self._error = error
        self._refused = refused
        self._on_chunk = on_chunk
        self._given = 0
        self.ended = ""
        self.closed = False
        self.exited = False

    def open(self) -> None:
        if self._refused is not None:
            raise self._refused

    def close(self) -> None:
        self.closed = True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self.closed:
            self.ended = "closed"
            raise StopIteration
        if self._given < len(self._chunks):
            self._given += 1
            if self._on_chunk is not None:
                self._on_chunk(self._given)
            return self._chunks[self._given - 1]
        if self._error is not None:
            raise self._error
        self.ended = self._end
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.closed = self.exited = True


@dataclass
class Entry:
    """One line of a container's log."""

    moment: int
    text: bytes

    def raw(self) -> bytes:
        return stamp(self.moment) + b" " + self.text + b"\n"


@dataclass
class ContainerLog:
    """What a kubelet has of one container: its present and its previous run, in the order written."""

    current: list[Entry] = field(default_factory=list)
    previous: list[Entry] | None = None

    def write(self, moment: int, *texts: bytes) -> None:
        self.current.extend(Entry(moment, text) for text in texts)

    def restart(self) -> None:
        self.previous, self.current = self.current, []

    def answer(self, since: datetime, *, previous: bool = False) -> bytes:
        """What it delivers: `sinceTime` is inclusive, in whole seconds."""
        assert since.microsecond == 0
        first = int(since.timestamp()) * SECOND
        entries = (self.previous or []) if previous else self.current
        return b"".join(entry.raw() for entry in entries if entry.moment >= first)


class Machine:
    """Runs the commands that `ExecTail` uses on this machine, as a container would."""

    def __init__(self) -> None:
        self.lacks: set[str] = set()
        self.killed: Callable[[list[str]], bool] = lambda words: False
        """Which commands end with status 137 before they say anything."""
        self.ran: list[list[str]] = []
        self.unreachable: Exception | None = None
        self.live: list[MachineCommand] = []

    def __call__(self, pod: str, container: str, command: Sequence[str], idle_timeout: float) -> MachineCommand:
        words = list(command)
        self.ran.append(words)
        if self.killed(words):
            words = ["sh", "-c", "exit 137"]
        made = MachineCommand(words, lacking=bool(set(words) & self.lacks), refused=self.unreachable)
        self.live.append(made)
        return made


class MachineCommand:
    """One process; `close` is how a connection breaks: what it wrote and nobody read is lost."""

    def __init__(self, words: list[str], *, lacking: bool, refused: Exception | None) -> None:
        self._words = words
        self._lacking = lacking
        self._refused = refused
        self._process: subprocess.Popen[bytes] | None = None
        self.ended = ""
        self.exit_code: int | None = None
        self.stderr = b""
        self.problem = ""

    def open(self) -> None:
        if self._refused is not None:
            raise self._refused
        if not self._lacking:
            path = shutil.which(self._words[0])
            assert path is not None
            self._process = subprocess.Popen(
                [path, *self._words[1:]],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
            )

    def close(self) -> None:
        self.ended = self.ended or "closed"
        if self._process is not None:
            self._process.kill()
            # `timeout` leaves its child behind when it is killed.
            subprocess.run(["pkill", "-KILL", "-s", str(self._process.pid)], check=False)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._process is None:
            self.ended = "eof"
            self.problem = f'exec: "{self._words[0]}": executable file not found in $PATH'
            raise StopIteration
        assert self._process.stdout is not None
        data = self._process.stdout.read1(4096)  # type: ignore[attr-defined]
        if isinstance(data, bytes) and data and not self.ended:
            return data
        if not self.ended:
            assert self._process.stderr is not None
            self.stderr = self._process.stderr.read()
            self.exit_code = self._process.wait()
            self.ended = "eof"
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        if self._process is not None:
            self._process.wait()
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe is not None
                pipe.close()
