"""The exec source against real `tail`, `wc`, `head` and `timeout`: rotations and lost connections lose nothing."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Self

import pytest

from exporter.logs.sources.base import PodSeen, RealPace
from exporter.logs.sources.exec import ExecTail
from exporter.logs.sources.marks import MARK_BYTES, Mark
from foundation.kube.backoff import Backoff
from foundation.kube.errors import Forbidden, Target, Unreachable
from tests.support.log_feeds import JumpingPace, Machine, RecordingSink, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNREACHABLE = Unreachable("connection refused", target=Target("get", "pods/exec"), retry=True)


def line(number: int) -> bytes:
    return b'{"timestamp":15491%05d.25,"message":"line %d of the Cloud Controller"}' % (number, number)


class Tailed:
    """A file on this machine, tailed by a source in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.machine = Machine()
        self.sink = RecordingSink()
        self.stop = threading.Event()
        self.source: ExecTail | None = None
        self.thread: threading.Thread | None = None
        self.written = 0

    def start(self, *, from_start: bool = False, life: int = 60) -> None:
        self.source = ExecTail(
            pod="api-0",
            container="api",
            path=str(self.path),
            from_start=from_start,
            open_exec=self.machine,
            sink=self.sink,
            pace=RealPace(),
            backoff=Backoff(0.02, 0.05, rng=random.Random(1)),
            life=life,
        )
        self.thread = threading.Thread(target=self.source.run, args=(self.stop,))
        self.thread.start()

    def end(self) -> None:
        self.stop.set()
        if self.source is not None and self.thread is not None:
            self.source.close()
            self.thread.join(10)
            assert not self.thread.is_alive()

    def write(self, count: int = 1) -> None:
        with self.path.open("ab") as file:
            for _ in range(count):
                file.write(line(self.written) + b"\n")
                self.written += 1

    def lose_connection(self) -> None:
        """Every command's connection breaks, and no new one comes about."""
        self.machine.unreachable = UNREACHABLE
        for command in list(self.machine.live):
            command.close()
        assert self.source is not None
        source = self.source
        eventually(lambda: "connection refused" in source.pulse.problem)

    def reconnect(self) -> None:
        self.machine.unreachable = None

    @property
    def got(self) -> list[bytes]:
        return self.sink.got("exec", "api-0")

    def expect(self, first: int = 0) -> None:
        expected = [line(number) for number in range(first, self.written)]
        eventually(lambda: len(self.got) >= len(expected))
        assert self.got == expected


@pytest.fixture
def tailed(tmp_path: Path) -> Iterator[Tailed]:
    made = Tailed(tmp_path / "cloud_controller_ng.log")
    yield made
    made.end()


def opened(tailed: Tailed, times: int = 1) -> None:
    """The `tail` runs, and has given what it must give again."""
    eventually(lambda: tailed.sink.lifes["exec", "api-0"] >= times)


def test_it_begins_at_the_end_and_follows(tailed: Tailed) -> None:
    tailed.write(100)
    tailed.start()
    opened(tailed)
    tailed.write(3)
    tailed.expect(first=100)


def test_a_line_that_is_unfinished_at_the_start_is_given_whole(tailed: Tailed) -> None:
    tailed.write(5)
    whole = line(5) + b"\n"
    tailed.path.write_bytes(tailed.path.read_bytes() + whole[:20])
    tailed.start()
    opened(tailed)
    with tailed.path.open("ab") as file:
        file.write(whole[20:])
    tailed.written = 6
    tailed.expect(first=5)


def test_the_gap_of_a_lost_connection_is_read_and_nothing_twice(tailed: Tailed) -> None:
    tailed.write(100)
    tailed.start()
    opened(tailed)
    tailed.write(50)
    tailed.expect(first=100)
    tailed.lose_connection()
    tailed.write(50)
    tailed.reconnect()
    tailed.expect(first=100)
    assert tailed.sink.reconnects["exec", "api-0"] >= 1


def test_a_connection_lost_inside_a_line(tailed: Tailed) -> None:
    tailed.start(from_start=True)
    tailed.path.write_bytes(line(0) + b"\n" + line(1)[:30])
    eventually(lambda: len(tailed.got) == 1)
    tailed.lose_connection()
    with tailed.path.open("ab") as file:
        file.write(line(1)[30:] + b"\n")
    tailed.written = 2
    tailed.reconnect()
    tailed.expect()


@pytest.mark.parametrize("how", ["rename", "copytruncate"])
@pytest.mark.parametrize("connected", [True, False])
def test_rotation(tailed: Tailed, how: str, connected: bool) -> None:
    tailed.write(100)
    tailed.start()
    opened(tailed)
    tailed.write(50)
    tailed.expect(first=100)
    if not connected:
        tailed.lose_connection()
        tailed.write(20)
    rotated = tailed.path.with_name(tailed.path.name + ".1")
    if how == "rename":
        tailed.path.rename(rotated)
    else:
        rotated.write_bytes(tailed.path.read_bytes())
        tailed.path.write_bytes(b"")
    if connected:
        # `tail` must have seen it before the file has grown beyond its former size.
        tailed.write(30)
        tailed.expect(first=100)
        tailed.lose_connection()
    tailed.write(40)
    tailed.reconnect()
    tailed.expect(first=100)
    tailed.write(5)
    tailed.expect(first=100)


def test_a_cut_file_that_has_outgrown_its_former_size(tailed: Tailed) -> None:
    tailed.write(10)
    tailed.start()
    opened(tailed)
    tailed.write(5)
    tailed.expect(first=10)
    tailed.lose_connection()
    rotated = tailed.path.with_name(tailed.path.name + ".1")
    rotated.write_bytes(tailed.path.read_bytes())
    tailed.path.write_bytes(b"")
    tailed.write(300)
    tailed.reconnect()
    tailed.expect(first=10)


def test_a_file_cut_between_the_look_and_the_command(tailed: Tailed) -> None:
    tailed.write(10)
    tailed.start()
    opened(tailed)
    tailed.write(5)
    tailed.expect(first=10)
    tailed.lose_connection()
    done: list[int] = []

    def cut(words: list[str]) -> bool:
        if "-F" in words and not done:
            done.append(1)
            tailed.path.with_name(tailed.path.name + ".1").write_bytes(tailed.path.read_bytes())
            tailed.path.write_bytes(b"")
            tailed.write(300)  # 315 in all then
        return False

    tailed.machine.killed = cut
    tailed.reconnect()
    eventually(lambda: tailed.written == 315)
    tailed.expect(first=10)


def test_a_cut_file_of_which_little_was_read_before_the_connection_was_lost(tailed: Tailed) -> None:
    tailed.write(100)
    tailed.start()
    opened(tailed)
    tailed.write(50)
    tailed.expect(first=100)
    tailed.path.write_bytes(b"")
    tailed.write(3)
    tailed.expect(first=100)
    tailed.lose_connection()
    tailed.write(4)
    tailed.reconnect()
    tailed.expect(first=100)


def test_a_file_cut_while_its_end_is_looked_for_is_looked_at_again(tailed: Tailed) -> None:
    tailed.write(100)
    done: list[int] = []

    def cut(words: list[str]) -> bool:
        if words[0] == "tail" and not done:
            done.append(1)
            tailed.path.write_bytes(b"")
        return False

    tailed.machine.killed = cut
    tailed.start()
    problem_of(tailed, "it was cut while its end was looked for")
    opened(tailed)
    tailed.write(2)
    tailed.expect(first=100)


def test_a_file_that_is_not_there_yet_is_waited_for(tailed: Tailed) -> None:
    tailed.start()
    assert tailed.source is not None
    source = tailed.source
    eventually(lambda: "no such file" in source.pulse.problem)
    assert str(tailed.path) in source.pulse.problem
    tailed.write(3)
    tailed.expect()
    assert not source.pulse.problem


def test_the_command_ends_itself_and_is_run_again(tailed: Tailed) -> None:
    tailed.start(from_start=True, life=1)
    tailed.write(10)
    tailed.expect()
    eventually(lambda: sum("timeout" in command for command in tailed.machine.ran) >= 2)
    tailed.write(10)
    tailed.expect()


def test_a_container_without_timeout_gets_plain_tail(tailed: Tailed) -> None:
    tailed.machine.lacks = {"timeout"}
    tailed.start(from_start=True)
    tailed.write(3)
    tailed.expect()
    assert tailed.machine.ran[-1][:2] == ["tail", "-c"]


def test_a_container_without_wc_is_named_as_the_problem(tailed: Tailed) -> None:
    tailed.machine.lacks = {"wc"}
    tailed.write(1)
    tailed.start()
    assert tailed.source is not None
    source = tailed.source
    eventually(lambda: "`wc -c`" in source.pulse.problem)
    assert "executable file not found" in source.pulse.problem
    assert not source.pulse.is_up


def test_nothing_is_run_in_a_pod_that_is_gone_and_its_last_words_are_given(tailed: Tailed) -> None:
    tailed.start(from_start=True)
    tailed.path.write_bytes(line(0) + b"\n" + line(1))
    eventually(lambda: len(tailed.got) == 1)
    eventually(lambda: tailed.sink.lifes["exec", "api-0"] >= 2)
    assert tailed.source is not None
    tailed.source.see(None)
    for command in list(tailed.machine.live):
        command.close()
    eventually(lambda: tailed.sink.ups["exec", "api-0"] is False)
    ran = len(tailed.machine.ran)
    tailed.end()
    assert len(tailed.machine.ran) == ran
    assert tailed.got == [line(0), line(1)]
    assert tailed.sink.ups["exec", "api-0"] is False
    tailed.source.see(PodSeen("u2"))


def problem_of(tailed: Tailed, words: str) -> None:
    assert tailed.source is not None
    source = tailed.source
    eventually(lambda: words in source.pulse.problem)
    assert not source.pulse.is_up
    assert "\n" not in source.pulse.problem
    assert str(tailed.path) in source.pulse.problem


def test_a_killed_command_proves_nothing_about_the_file(tailed: Tailed) -> None:
    """The kernel may end `tail` for want of memory: the file must not be taken for another one and read again."""
    tailed.write(100)
    tailed.start()
    opened(tailed)
    tailed.write(50)
    tailed.expect(first=100)
    tailed.lose_connection()
    tailed.machine.killed = lambda words: words[0] in {"tail", "head"}
    tailed.reconnect()
    problem_of(tailed, "`tail` failed: exit status 137")
    tailed.write(5)
    tailed.machine.killed = lambda words: False
    tailed.expect(first=100)


def test_a_connection_lost_in_the_rest_of_the_rotated_file(tailed: Tailed) -> None:
    tailed.write(10)
    tailed.start()
    opened(tailed)
    tailed.write(5)
    tailed.expect(first=10)
    tailed.lose_connection()
    tailed.write(20)
    tailed.path.rename(tailed.path.with_name(tailed.path.name + ".1"))
    tailed.write(3)
    tailed.machine.killed = lambda words: words[-1].endswith(".1")
    tailed.reconnect()
    problem_of(tailed, "`tail` failed: exit status 137")
    tailed.machine.killed = lambda words: False
    tailed.expect(first=10)


def test_a_container_without_tail_is_named_as_the_problem(tailed: Tailed) -> None:
    tailed.machine.lacks = {"tail"}
    tailed.write(1)
    tailed.start()
    problem_of(tailed, "`tail` failed: exec: ")


def test_exec_denied_names_verb_and_resource(tailed: Tailed) -> None:
    target = Target("get", "pods/exec", "cf", "api-0")
    tailed.machine.unreachable = Forbidden("not allowed", target=target, status=403, reason="Forbidden")
    tailed.start(from_start=True)
    problem_of(tailed, "cannot get pods/exec api-0 in namespace cf: 403 Forbidden: not allowed")
    tailed.machine.unreachable = None
    tailed.write(2)
    tailed.expect()


def test_a_directory_in_the_files_place(tailed: Tailed) -> None:
    tailed.path.mkdir()
    tailed.start()
    problem_of(tailed, "Is a directory")
    tailed.path.rmdir()
    problem_of(tailed, "no such file")
    tailed.write(2)
    tailed.expect()


def test_a_file_behind_a_symbolic_link_that_is_turned_to_another_one(tailed: Tailed) -> None:
    first, second = tailed.path.with_name("first"), tailed.path.with_name("second")
    tailed.path.symlink_to(first)
    tailed.start(from_start=True)
    tailed.write(5)
    tailed.expect()
    tailed.path.unlink()
    tailed.path.symlink_to(second)
    tailed.write(5)
    tailed.expect()


def test_a_file_deleted_and_made_anew_while_nobody_looks(tailed: Tailed) -> None:
    tailed.start(from_start=True)
    tailed.write(5)
    tailed.expect()
    tailed.lose_connection()
    tailed.path.unlink()
    tailed.write(300)
    tailed.reconnect()
    tailed.expect()


def test_a_stop_before_the_command_was_opened(tailed: Tailed) -> None:
    tailed.write(1)
    tailed.start()
    assert tailed.source is not None
    tailed.source.close()
    opened_now = tailed.machine.live
    eventually(lambda: len(opened_now) > 2)
    assert tailed.got == []


class Unanswered:
    """A command that says nothing until it is given up, as `wc` on a pipe does."""

    ended, exit_code, stderr, problem = "", None, b"", "no output for 15 s"

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def open(self) -> None: ...

    def close(self) -> None: ...

    def __iter__(self) -> Iterator[bytes]:
        self.ended = "idle"
        self._stop.set()
        return iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_a_pipe_in_the_files_place() -> None:
    stop, sink = threading.Event(), RecordingSink()
    source = ExecTail(
        pod="api-0",
        container="api",
        path="/var/pipe",
        from_start=False,
        open_exec=lambda pod, container, command, idle_timeout: Unanswered(stop),
        sink=sink,
        pace=JumpingPace(),
        backoff=Backoff(0.02, 0.05, rng=random.Random(1)),
    )
    source.run(stop)
    assert source.pulse.problem.endswith("`wc -c`: no output for 15 s; is it a regular file?")


class TestMark:
    """Finding a place again by its content."""

    def test_the_last_place_that_ends_alike(self) -> None:
        text = b"".join(line(i) + b"\n" for i in range(100))
        mark = Mark()
        mark.advance(text[:3000])
        for size in (1, 100, 5000):
            pieces = [text[i : i + size] for i in range(0, len(text), size)]
            assert mark.search(pieces) == 3000

    def test_a_file_cut_and_read_a_little_since(self) -> None:
        mark = Mark()
        mark.advance(b"".join(line(i) + b"\n" for i in range(100)))
        new = b"".join(line(i) + b"\n" for i in range(100, 200))
        mark.advance(new[:200])
        assert mark.search([new]) == 200

    def test_another_file(self) -> None:
        mark = Mark()
        mark.advance(b"".join(line(i) + b"\n" for i in range(100)))
        assert mark.search([b"".join(line(i) + b"\n" for i in range(100, 200))]) == 0
        assert mark.search([]) == 0

    def test_too_little_is_no_proof(self) -> None:
        mark = Mark()
        mark.advance(b"\n")
        assert mark.search([b"\n\n\n"]) == 0

    def test_it_keeps_only_the_end(self) -> None:
        mark = Mark()
        for _ in range(10):
            mark.advance(b"x" * 300)
        assert (mark.offset, len(mark.tail), mark.checked_from) == (3000, MARK_BYTES, 3000 - MARK_BYTES)
        mark.advance(b"y" * 5000)
        assert (mark.offset, mark.tail) == (8000, b"y" * MARK_BYTES)
