"""The few commands that can be run inside a simulated pod: those of the runbook and of a log reader.

They are played, not run: no process starts, and only addresses in 127.0.0.0/8 are ever connected to.
"""

from __future__ import annotations

import shlex
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from simulator.logs import LogFile

STDOUT, STDERR = 1, 2
_POLL = 0.2
"""Seconds between two looks at whether the client is gone."""
_KILLED = 137


class CommandNotFoundError(Exception):
    """The container has no such program: the runtime refuses, nothing runs."""


@dataclass(frozen=True, slots=True)
class Shell:
    """A container as a command sees it."""

    hostname: str
    files: Mapping[str, LogFile]
    resolve: Callable[[str], str | None]
    """Gives the address of a host name, or None. The empty string: known, and cut off (connecting times out)."""
    emit: Callable[[int, bytes], None]
    """Takes output: 1 for standard output, 2 for standard error. Raises OSError when nobody listens."""
    ended: threading.Event
    """Set when the client hung up."""
    killed: Callable[[], bool]
    """Tells whether the container ended."""

    def run(self, command: Sequence[str]) -> int:
        """Run a command to its end and give its exit status. Raises CommandNotFoundError."""
        known: dict[str, Callable[[Sequence[str]], int]] = {
            "nc": self._nc,
            "tail": self._tail,
            "head": self._head,
            "wc": self._wc,
            "timeout": self._timeout,
            "cat": self._cat,
            "hostname": self._hostname,
            "echo": self._echo,
            "sh": self._sh,
            "bash": self._sh,
            "true": lambda _: 0,
            "false": lambda _: 1,
        }
        name = command[0].rsplit("/", 1)[-1]
        if name not in known:
            raise CommandNotFoundError(command[0])
        return known[name](command[1:])

    def _say(self, text: str) -> None:
        self.emit(STDOUT, text.encode() + b"\n")

    def _complain(self, text: str) -> None:
        self.emit(STDERR, text.encode() + b"\n")

    def _hostname(self, _: Sequence[str]) -> int:
        self._say(self.hostname)
        return 0

    def _echo(self, arguments: Sequence[str]) -> int:
        self._say(" ".join(arguments))
        return 0

    def _sh(self, arguments: Sequence[str]) -> int:
        flags = [argument for argument in arguments if argument.startswith("-")]
        scripts = [argument for argument in arguments if not argument.startswith("-")]
        if not any("c" in flag for flag in flags) or not scripts:
            self._complain("sh: only -c is simulated")
            return 2
        code = 0
        for part in scripts[0].replace("\n", ";").split(";"):
            words = shlex.split(part)
            if not words:
                continue
            if words[0] == "exit":
                return int(words[1]) if len(words) > 1 else code
            try:
                code = self.run(words[1:] if words[0] == "exec" else words)
            except CommandNotFoundError as missing:
                self._complain(f"sh: 1: {missing}: not found")
                code = 127
        return code

    def _cat(self, arguments: Sequence[str]) -> int:
        code = 0
        for path in arguments:
            if path not in self.files:
                self._complain(f"cat: {path}: No such file or directory")
                code = 1
                continue
            for line in self.files[path].lines():
                self.emit(STDOUT, line.text + b"\n")
        return code

    def _tail(self, arguments: Sequence[str]) -> int:
        count, follow, paths, rest = 10, False, list[str](), list(arguments)
        start: int | None = None
        while rest:
            word = rest.pop(0)
            if word in ("-n", "--lines") and rest:
                count = int(rest.pop(0))
            elif word == "-c" and rest:
                start = int(rest.pop(0).removeprefix("+"))
            elif word.startswith("-n"):
                count = int(word[2:])
            elif word in ("-f", "-F", "--follow=name", "--retry", "-q"):
                follow = follow or word in ("-f", "-F", "--follow=name")
            else:
                paths.append(word)
        if len(paths) != 1:
            self._complain("tail: one file is simulated")
            return 1
        path = paths[0]
        if path not in self.files:
            self._complain(f"tail: cannot open '{path}' for reading: No such file or directory")
            while follow and not self.killed():
                if self.ended.wait(_POLL):
                    return 1
            return _KILLED if follow else 1
        log = self.files[path]
        if start is None:
            seen = log.newest
            lines = [line for line in log.lines() if line.number <= seen]
            for line in lines[len(lines) - min(count, len(lines)) :]:
                self.emit(STDOUT, line.text + b"\n")
        else:
            # The bytes before `begins` are no longer kept; a reader that goes on where it was never asks for them.
            begins, kept, seen = log.contents()
            self.emit(STDOUT, kept[max(0, start - 1 - begins) :])
        return self._follow(path, seen, follow=follow)

    def _head(self, arguments: Sequence[str]) -> int:
        if len(arguments) != 3 or arguments[0] != "-c" or arguments[2] not in self.files:
            self._complain(f"head: cannot open '{arguments[-1] if arguments else ''}' for reading")
            return 1
        _, kept, _ = self.files[arguments[2]].contents()
        self.emit(STDOUT, kept[: int(arguments[1])])
        return 0

    def _wc(self, arguments: Sequence[str]) -> int:
        path = arguments[-1] if arguments else ""
        if path not in self.files:
            self._complain(f"wc: {path}: No such file or directory")
            return 1
        begins, kept, _ = self.files[path].contents()
        self._say(f"{begins + len(kept)} {path}")
        return 0

    def _timeout(self, arguments: Sequence[str]) -> int:
        until = time.monotonic() + float(arguments[0])
        late = replace(self, killed=lambda: time.monotonic() > until or self.killed())
        code = late.run(arguments[1:])
        return 124 if time.monotonic() > until else code

    def _follow(self, path: str, seen: int, *, follow: bool) -> int:
        log = self.files[path]
        rotations = log.rotations
        while follow and not self.ended.is_set():
            for line in log.after(seen, _POLL):
                self.emit(STDOUT, line.text + b"\n")
                seen = line.number
            if log.rotations != rotations:
                rotations = log.rotations
                self._complain(f"tail: '{path}' has been replaced;  following new file")
            if log.closed or self.killed():
                return _KILLED
        return 0

    def _nc(self, arguments: Sequence[str]) -> int:
        wait, words, rest = 5.0, list[str](), list(arguments)
        while rest:
            word = rest.pop(0)
            if word == "-w" and rest:
                wait = float(rest.pop(0))
            elif not word.startswith("-"):
                words.append(word)
        if len(words) != 2 or not words[1].isdecimal():
            self._complain("nc: missing hostname and port")
            return 1
        host, port = words[0], int(words[1])
        address = self.resolve(host)
        if address is None:
            self._complain(f'nc: getaddrinfo for host "{host}" port {port}: Name or service not known')
            return 1
        failure = "Connection timed out"
        try:
            if address:
                socket.create_connection((address, port), timeout=wait).close()
                self._complain(f"Connection to {host} {port} port [tcp/*] succeeded!")
                return 0
        except ConnectionRefusedError:
            failure = "Connection refused"
        except OSError:
            failure = "Connection timed out"
        self._complain(f"nc: connect to {host} port {port} (tcp) failed: {failure}")
        return 1
