"""Follows a local file, or reads standard input to its end.

The file is read from its end on (an unfinished last line from that line's start). After a rename the old file is read
to its end first, then those rotated in between (`FILE.2`, `FILE.1`), then the new one from its start. After
`copytruncate` what was copied is read from `FILE.1`. The file may be missing and may come later; it is then read from
its start.

Not guaranteed: bytes written between a copy and its cut, files compressed at once, and lines written while this process
did not run. There is no inotify: the file is looked at every quarter of a second. Only regular files are followed: a
pipe or a directory in the file's place is told as a problem and looked at again.
"""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.logs.lines import LineSplitter
from exporter.logs.sources.base import Pulse
from exporter.logs.sources.marks import MARK_BYTES, Mark

if TYPE_CHECKING:
    import threading

    from exporter.logs.sources.base import Pace, Sink, SourceStatus

LOOK_EVERY = 0.25
"""Seconds between looks at the file."""
WRITER_LETS_GO = 2.0
"""Seconds without a byte after which nobody is thought to write to a renamed file any more."""
PIECE = 256 * 1024
MOST_ROTATED = 20


class FileTail:
    """One file, or `-` for standard input; the pod is the file's name unless the line names another."""

    kind = "file"

    def __init__(self, *, path: str, sink: Sink, pace: Pace, stdin: int = 0) -> None:
        self.name = f"file {path}"
        self._path = Path(path)
        self._is_stdin = path == "-"
        self._stdin = stdin
        self.pulse = Pulse(sink, pace, "file", self.name, "stdin" if self._is_stdin else self._path.name)
        self._pace = pace
        self._splitter = LineSplitter()
        self._mark = Mark()
        self._descriptor: int | None = None
        self._first_look = True
        self._last_read = 0.0

    @property
    def problem(self) -> str:
        """What failed last."""
        return self.pulse.problem

    def failed(self, problem: str) -> None:
        """See `Source`."""
        self.pulse.failed(problem)

    def deaf_for(self) -> float | None:
        """Seconds since the last byte, or since the file was last seen where it is."""
        return self.pulse.deaf_for()

    def statuses(self) -> list[SourceStatus]:
        """One row."""
        return [self.pulse.status()]

    def close(self) -> None:
        """Nothing waits longer than a quarter of a second."""

    def run(self, stop: threading.Event) -> None:
        """Follow until stopped; standard input until its end. Raises OSError where reading fails."""
        if self._is_stdin:
            self._read_stdin(stop)
            return
        try:
            while not stop.is_set():
                if not self.look(stop):
                    self._pace.wait(stop, LOOK_EVERY)
        finally:
            self._let_go()
            self.pulse.down()

    def look(self, stop: threading.Event) -> bool:
        """One look at the file; whether it may be worth to look again at once. Raises OSError."""
        if self._descriptor is None:
            return self._take_up(stop)
        if self._was_cut():
            self._after_cut(stop)
            return True
        if self._read(self._descriptor, stop):
            return False
        found = self._found()
        if found is None or _identity(found) == _identity(os.fstat(self._descriptor)):
            if found is not None:
                self.pulse.alive()
            return False
        if self._pace.monotonic() - self._last_read < WRITER_LETS_GO:
            return False
        self._after_rename(self._descriptor, stop)
        return True

    def _found(self) -> os.stat_result | None:
        """What is at the path now; None, with the problem told, where there is nothing to follow."""
        try:
            found = self._path.stat()
        except OSError as problem:
            self.pulse.problem = self._words(problem)
            return None
        if not stat.S_ISREG(found.st_mode):
            self.pulse.problem = f"{self.name}: it is not a regular file; one is waited for"
            return None
        self.pulse.problem = ""
        return found

    def _words(self, problem: OSError) -> str:
        if isinstance(problem, FileNotFoundError):
            return f"{self.name}: no such file; it is waited for"
        return f"{self.name}: can't be read: {problem.strerror or problem}"

    def _take_up(self, stop: threading.Event) -> bool:
        try:
            descriptor = self._open()
        except OSError as problem:
            # What comes later is new; what cannot be read yet is not.
            self._first_look = self._first_look and not isinstance(problem, FileNotFoundError)
            self.pulse.down(self._words(problem))
            return False
        if descriptor is None:
            self._first_look = False
            self.pulse.down(f"{self.name}: it is not a regular file; one is waited for")
            return False
        self._descriptor = descriptor
        self._last_read = self._pace.monotonic()
        if self._first_look:
            self._first_look = False
            size = os.fstat(descriptor).st_size
            tail = os.pread(descriptor, MARK_BYTES, max(0, size - MARK_BYTES))
            end = tail.rfind(b"\n") + 1 or len(tail)
            self._mark = Mark(max(0, size - MARK_BYTES) + end, tail[:end])
        elif self._was_cut():
            self._after_cut(stop)  # reading had failed, and another file came in the meantime
        self.pulse.opened()
        return True

    def _read(self, descriptor: int, stop: threading.Event) -> bool:
        """Read to the present end; whether there was anything."""
        some = False
        while data := os.pread(descriptor, PIECE, self._mark.offset):
            some = True
            self._mark.advance(data)
            self._last_read = self._pace.monotonic()
            self.pulse.alive()
            self.pulse.feed_chunk(self._splitter.push_whole(data))
            if stop.is_set():
                break
        return some

    def _was_cut(self) -> bool:
        """Whether the bytes before our place are no longer those that were read."""
        if self._descriptor is None:
            return False
        mark = self._mark
        return os.pread(self._descriptor, len(mark.tail), mark.checked_from) != mark.tail

    def _after_cut(self, stop: threading.Event) -> None:
        """The rest may be in the copy; then from the start."""
        copy = self._open_rotated(self._rotated(1))
        if copy is not None:
            try:
                mark = self._mark
                if os.pread(copy, len(mark.tail), mark.checked_from) == mark.tail:
                    self._read(copy, stop)
            finally:
                os.close(copy)
        self._next_file()

    def _after_rename(self, old: int, stop: threading.Event) -> None:
        """The old file is at its end: read what was rotated in between whole, then take up the new one."""
        try:
            new = self._open()
        except OSError as problem:
            self.pulse.problem = self._words(problem)
            return
        if new is None:
            return
        self._descriptor = new
        between = self._between(_identity(os.fstat(old)), _identity(os.fstat(new)))
        os.close(old)
        self._last_read = self._pace.monotonic()
        self._next_file()
        for path in between:
            descriptor = self._open_rotated(path)
            if descriptor is None:
                continue
            try:
                self._read(descriptor, stop)
            finally:
                os.close(descriptor)
            self._next_file()
        self.pulse.opened()

    def _between(self, old: tuple[int, int], new: tuple[int, int]) -> list[Path]:
        """The files rotated after the old and before the new one, oldest first; none if the old one is gone."""
        between: list[Path] = []
        for number in range(1, MOST_ROTATED):
            path = self._rotated(number)
            try:
                identity = _identity(path.stat())
            except OSError:
                break
            if identity == old:
                return between[::-1]
            if identity != new:
                between.append(path)
        return []

    def _open(self) -> int | None:
        """The file; None where something else than a regular file is there. Raises OSError."""
        return _regular(self._path)

    def _open_rotated(self, path: Path) -> int | None:
        """A rotated file; None where it cannot be had: what was in it is lost then."""
        try:
            return _regular(path)
        except OSError:
            return None

    def _rotated(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _next_file(self) -> None:
        """Another file begins: no line reaches from one into the other."""
        rest = self._splitter.flush()
        if rest:
            self.pulse.feed_chunk(rest + b"\n")
        self._mark = Mark()

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read_stdin(self, stop: threading.Event) -> None:
        self.pulse.opened()
        while not stop.is_set():
            ready, _, _ = select.select([self._stdin], [], [], LOOK_EVERY)
            if not ready:
                continue
            data = os.read(self._stdin, PIECE)
            if not data:
                break
            self.pulse.alive()
            self.pulse.feed_chunk(self._splitter.push_whole(data))
        self._next_file()
        self.pulse.down()


def _regular(path: Path) -> int | None:
    # Without waiting: a pipe that nobody writes to would hold the thread.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
