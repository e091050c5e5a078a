"""Follows a file inside a container with `tail -F` over the exec API, in each pod of a role.

No shell is used, only these commands with a fixed shape: `wc -c FILE` (the size), `timeout 120 tail -c +N -F FILE`
(bytes from an offset on, over rotations), and, to find the place again, `head -c SIZE FILE` and `tail -c +N FILE.1`.
`timeout` ends the command in the container even when our connection to it broke and nobody told it: a `tail` that waits
for a quiet file would stay for ever otherwise. A container without `timeout` gets plain `tail`.

Guaranteed: every byte that is in the file (or, after one rotation, in `FILE.1`) when the command runs again is given
exactly once, as the place is counted in bytes *received* and checked against the last 1024 of them. That covers
reconnects, a restart of the container that keeps or replaces the file, `copytruncate` (CF's logrotate) and renames.

Not guaranteed, and without a trace in the container: bytes rotated away twice, or compressed at once, while the command
did not run; bytes written between `logrotate`'s copy and its cut; a line written in two parts around a rotation.
"""

from __future__ import annotations

import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Protocol

from exporter.logs.lines import LineSplitter
from exporter.logs.sources.base import ByteStream, Pulse
from exporter.logs.sources.marks import MARK_BYTES, Mark
from foundation.kube.errors import KubeError, one_line

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from exporter.logs.sources.base import Pace, PodSeen, Sink
    from foundation.kube.backoff import Backoff

LIFE = 120
"""Seconds after which the command ends itself and is run again."""
QUIET_WAIT = 1.0
"""Seconds between looks while the file or the pod is not there, and between two commands."""
NO_SUCH_COMMAND = frozenset({126, 127})


class Command(ByteStream, Protocol):
    """A running command, as `foundation.kube.exec` makes it."""

    @property
    def exit_code(self) -> int | None:
        """Known after `eof` if the server said it."""

    @property
    def stderr(self) -> bytes:
        """What the command said on standard error so far."""

    @property
    def problem(self) -> str:
        """Why there is no exit code."""


class OpenExec(Protocol):
    """Makes one command."""

    def __call__(self, pod: str, container: str, command: Sequence[str], idle_timeout: float) -> Command:
        """Ends by itself after `idle_timeout` seconds without a byte."""


class CommandError(Exception):
    """A command in the container did not do what it was run for; one line for the operator."""


class MissingFileError(CommandError):
    """The command says that there is no such file."""


class ExecTail:
    """One file in one pod's container."""

    def __init__(
        self,
        *,
        pod: str,
        container: str,
        path: str,
        from_start: bool,
        open_exec: OpenExec,
        sink: Sink,
        pace: Pace,
        backoff: Backoff,
        life: int = LIFE,
    ) -> None:
        """`from_start`: the pod is newer than this source, so nothing in the file is old."""
        self.pulse = Pulse(sink, pace, "exec", f"exec {pod}/{container} {path}", pod)
        self._pod = pod
        self._container = container
        self._path = path
        self._open = open_exec
        self._pace = pace
        self._backoff = backoff
        self._life = life
        self._timeout_missing = False
        self._mark: Mark | None = Mark() if from_start else None
        self._splitter = LineSplitter()
        self._present = True
        self._guard = threading.Lock()
        self._command: Command | None = None
        self._closed = False

    def see(self, seen: PodSeen | None) -> None:
        """Whether the pod is there; the file is recognised by its content, whichever run of the container wrote it."""
        self._present = seen is not None

    def close(self) -> None:
        """End for good."""
        with self._guard:
            self._closed = True
            command = self._command
        if command is not None:
            command.close()

    def run(self, stop: threading.Event) -> None:
        """Follow until stopped, then give the unfinished line if the pod is gone."""
        while not stop.is_set():
            self._pace.wait(stop, self._step(stop))
        if not self._present:
            self._end_line()
        self.pulse.down()

    def _step(self, stop: threading.Event) -> float:
        if not self._present:
            self.pulse.down()
            return QUIET_WAIT
        try:
            size = self._size()
            if size is None:
                # The file is not there now, so whatever it will hold is new.
                self._mark = self._mark or Mark()
                self.pulse.down(f"{self.pulse.name}: no such file; it is waited for")
                return self._backoff.next()
            mark = self._place(size, stop)
            if stop.is_set():
                return 0.0
            return self._follow(mark, stop)
        except (KubeError, OSError, CommandError) as problem:
            self.pulse.down(f"{self.pulse.name}: {problem}")
            return self._backoff.next()

    def _size(self) -> int | None:
        """The file's size in bytes; None if there is none."""
        answer = b""
        with self._running(["wc", "-c", self._path]) as command:
            for piece in command:
                answer += piece[:100]
        words = answer.split()
        if command.exit_code == 0 and words and words[0].isdigit():
            return int(words[0])
        if _is_missing(command):
            return None
        raise CommandError(f"its size can't be read with `wc -c`: {_why(command)}")

    def _place(self, size: int, stop: threading.Event) -> Mark:
        """Where to go on reading; gives what is left in the rotated file on the way."""
        mark = self._mark
        if mark is None:
            return self._begin(size)
        if mark.offset == 0 or (size >= mark.offset and self._agrees(self._path, mark)):
            return mark
        found = mark.search(self._pieces(["head", "-c", str(size), self._path]))
        if not found:
            self._rest_of_rotated(mark, stop)
            self._end_line()
            self._mark = mark = Mark()
            return mark
        self._mark = mark = Mark(found, mark.tail)
        if found < len(mark.tail):
            mark.tail = mark.tail[-found:]
        return mark

    def _begin(self, size: int) -> Mark:
        """The end of the file, or the start of its unfinished last line: that one is not old yet."""
        back = min(size, MARK_BYTES)
        tail = b"".join(self._pieces(["tail", "-c", f"+{size - back + 1}", self._path]))[:back]
        if len(tail) < back:
            raise CommandError("it was cut while its end was looked for")
        end = tail.rfind(b"\n") + 1
        self._mark = Mark(size - back + end, tail[:end]) if end else Mark(size, tail)
        return self._mark

    def _agrees(self, path: str, mark: Mark) -> bool:
        count = len(mark.tail)
        seen = b""
        with closing(self._pieces(["tail", "-c", f"+{mark.checked_from + 1}", path])) as pieces:
            for piece in pieces:
                seen += piece
                if len(seen) >= count:
                    break
        return seen[:count] == mark.tail

    def _rest_of_rotated(self, mark: Mark, stop: threading.Event) -> None:
        rotated = f"{self._path}.1"
        try:
            agrees = self._agrees(rotated, mark)
        except MissingFileError:
            agrees = False
        if not agrees:
            return
        for piece in self._pieces(["tail", "-c", f"+{mark.offset + 1}", rotated]):
            mark.advance(piece)
            self._give(piece)
            if stop.is_set():
                return

    def _follow(self, mark: Mark, stop: threading.Event) -> float:
        words = ["tail", "-c", f"+{mark.checked_from + 1}", "-F", self._path]
        if not self._timeout_missing:
            words = ["timeout", str(self._life), *words]
        to_check = mark.tail
        with self._running(words, idle_timeout=self._life + 15.0) as command:
            self.pulse.opened()
            for piece in command:
                self.pulse.alive()
                if to_check:
                    known = min(len(to_check), len(piece))
                    if piece[:known] != to_check[:known]:
                        return QUIET_WAIT  # cut between the look and the command: found again with the next
                    to_check, fresh = to_check[known:], piece[known:]
                else:
                    fresh = piece
                if fresh:
                    mark.advance(fresh)
                    self._give(fresh)
                    self._backoff.reset()
                if stop.is_set():
                    return 0.0
        if command.ended == "eof" and self._lacks_timeout(command):
            self._timeout_missing = True
            return 0.0
        if command.ended == "eof" and command.exit_code not in {0, 124}:
            raise CommandError(f"`tail` ended: {_why(command)}")
        return QUIET_WAIT if command.ended == "eof" else 0.0

    def _lacks_timeout(self, command: Command) -> bool:
        """Whether the runtime could not even start `timeout`."""
        return not self._timeout_missing and (
            command.exit_code in NO_SUCH_COMMAND
            or (command.exit_code is None and "timeout" in command.problem and "found" in command.problem)
        )

    def _give(self, data: bytes) -> None:
        self.pulse.feed_chunk(self._splitter.push_whole(data))

    def _end_line(self) -> None:
        rest = self._splitter.flush()
        if rest:
            self.pulse.feed_chunk(rest + b"\n")

    def _pieces(self, words: Sequence[str]) -> Generator[bytes]:
        """The output of a command that ends by itself; one that failed or was cut off in its middle raises.

        Nothing may be concluded from what such a command gave: a file is not another one because `tail` was killed.
        """
        with self._running(words) as command:
            yield from command
        if command.ended == "eof" and command.exit_code == 0:
            return
        if _is_missing(command):
            raise MissingFileError(f"`{words[0]}`: {_why(command)}")
        raise CommandError(f"`{words[0]}` failed: {_why(command)}")

    @contextmanager
    def _running(self, words: Sequence[str], idle_timeout: float = 15.0) -> Iterator[Command]:
        command = self._open(self._pod, self._container, words, idle_timeout)
        with command:
            with self._guard:
                self._command = command
                closed = self._closed
            if closed:
                command.close()
            try:
                command.open()
                yield command
            finally:
                with self._guard:
                    self._command = None


def _is_missing(command: Command) -> bool:
    return command.exit_code not in NO_SUCH_COMMAND and b"No such file" in command.stderr


def _why(command: Command) -> str:
    said = one_line(command.stderr.decode("utf-8", "replace").split("\n")[0])
    if command.ended == "idle":
        return f"{said or command.problem or 'no answer in time'}; is it a regular file?"
    if said or command.problem:
        return said or command.problem
    return f"exit status {command.exit_code}" if command.exit_code is not None else "the connection broke"
