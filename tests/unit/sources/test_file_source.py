"""The file source on real files: rotation by rename and by cutting, files that come late, standard input."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

from exporter.logs.sources.base import RealPace
from exporter.logs.sources.file import WRITER_LETS_GO, FileTail
from tests.support.log_feeds import JumpingPace, RecordingSink, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def line(number: int) -> bytes:
    return b'{"timestamp":15491%05d.25,"message":"line %d of the Cloud Controller"}' % (number, number)


class Tailed:
    """A source that looks when told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sink = RecordingSink()
        self.pace = JumpingPace()
        self.stop = threading.Event()
        self.source = FileTail(path=str(path), sink=self.sink, pace=self.pace)
        self.written = 0

    def write(self, count: int = 1, path: Path | None = None) -> None:
        with (path or self.path).open("ab") as file:
            for _ in range(count):
                file.write(line(self.written) + b"\n")
                self.written += 1

    def look(self, times: int = 20) -> None:
        for _ in range(times):
            self.source.look(self.stop)
            self.pace.now += 0.25

    def rotate(self, keep: int = 5) -> None:
        for number in range(keep, 0, -1):
            name = f"{self.path.name}.{number}"
            if self.path.with_name(name).exists():
                self.path.with_name(name).rename(self.path.with_name(f"{self.path.name}.{number + 1}"))
        self.path.rename(self.path.with_name(self.path.name + ".1"))

    def copytruncate(self) -> None:
        self.path.with_name(self.path.name + ".1").write_bytes(self.path.read_bytes())
        os.truncate(self.path, 0)

    @property
    def got(self) -> list[bytes]:
        return self.sink.got("file", self.path.name)

    def expect(self, first: int = 0) -> None:
        assert self.got == [line(number) for number in range(first, self.written)]


@pytest.fixture
def tailed(tmp_path: Path) -> Iterator[Tailed]:
    made = Tailed(tmp_path / "cc.log")
    yield made
    made.stop.set()
    made.source.run(made.stop)


def test_it_begins_at_the_end(tailed: Tailed) -> None:
    tailed.write(10)
    tailed.look()
    assert tailed.got == []
    tailed.write(3)
    tailed.look()
    tailed.expect(first=10)


def test_a_line_unfinished_at_the_start_is_given_whole(tailed: Tailed) -> None:
    tailed.path.write_bytes(line(0) + b"\n" + line(1)[:9])
    tailed.look()
    with tailed.path.open("ab") as file:
        file.write(line(1)[9:] + b"\n")
    tailed.written = 2
    tailed.look()
    tailed.expect(first=1)


def test_a_missing_file_is_waited_for_and_read_from_its_start(tailed: Tailed) -> None:
    tailed.look()
    assert "no such file" in tailed.source.problem
    assert tailed.sink.ups["file", "cc.log"] is False
    tailed.write(3)
    tailed.look()
    tailed.expect()
    assert tailed.source.problem == ""
    assert tailed.sink.ups["file", "cc.log"] is True


def test_rename_finishes_the_old_file_first(tailed: Tailed) -> None:
    tailed.write(3)
    tailed.look(1)
    tailed.write(3)
    tailed.rotate()
    tailed.write(2, tailed.path.with_name("cc.log.1"))
    tailed.look(1)
    # The writer still has the old file open, although the new one is there.
    tailed.path.touch()
    tailed.look(2)
    tailed.write(2, tailed.path.with_name("cc.log.1"))
    tailed.look(int(WRITER_LETS_GO / 0.25) - 1)
    tailed.write(4)
    tailed.look()
    tailed.expect(first=3)
    assert tailed.sink.reconnects["file", "cc.log"] == 1


def test_three_renames_between_two_looks(tailed: Tailed) -> None:
    tailed.write(1)
    tailed.look()
    for _ in range(3):
        tailed.write(5)
        tailed.rotate()
    tailed.write(5)
    tailed.look()
    tailed.expect(first=1)


@pytest.mark.parametrize("regrown", [0, 2, 400])
def test_copytruncate(tailed: Tailed, regrown: int) -> None:
    tailed.write(50)
    tailed.look()
    tailed.write(10)
    tailed.look()
    tailed.write(5)
    tailed.copytruncate()
    tailed.write(regrown)
    tailed.look()
    tailed.write(3)
    tailed.look()
    tailed.expect(first=50)


def test_a_cut_file_without_a_copy_is_read_from_its_start(tailed: Tailed) -> None:
    tailed.write(50)
    tailed.look()
    tailed.path.write_bytes(b"")
    tailed.write(2)
    tailed.look()
    tailed.expect(first=50)


def test_an_old_rotated_file_is_not_taken_for_the_copy(tailed: Tailed) -> None:
    tailed.write(50, tailed.path.with_name("cc.log.1"))
    tailed.write(20)
    tailed.look()
    tailed.path.write_bytes(b"")
    tailed.write(2)
    tailed.look()
    tailed.expect(first=70)


def test_the_last_line_of_a_rotated_file_needs_no_newline(tailed: Tailed) -> None:
    tailed.write(1)
    tailed.look()
    with tailed.path.open("ab") as file:
        file.write(line(1))
    tailed.written = 2
    tailed.look()
    tailed.rotate()
    tailed.write(1)
    tailed.look()
    tailed.expect(first=1)


def test_a_mebibyte_line_and_binary_garbage(tailed: Tailed) -> None:
    tailed.path.touch()
    tailed.look()
    garbage = bytes(range(256)).replace(b"\n", b"") * 9
    tailed.path.write_bytes(b"x" * (1 << 20) + b"\n" + garbage + b"\n" + line(0) + b"\n")
    tailed.look()
    assert [len(got) for got in tailed.got] == [1 << 20, len(garbage), len(line(0))]


def test_stop_and_start_count_nothing_again(tailed: Tailed) -> None:
    tailed.path.touch()
    tailed.look()
    tailed.write(5)
    tailed.look()
    second = FileTail(path=str(tailed.path), sink=tailed.sink, pace=tailed.pace)
    second.look(tailed.stop)
    tailed.write(2)
    second.look(tailed.stop)
    tailed.stop.set()
    second.run(tailed.stop)
    tailed.expect()


@pytest.mark.parametrize("what", ["directory", "pipe"])
def test_something_else_in_the_files_place_is_told_and_waited_out(tailed: Tailed, what: str) -> None:
    tailed.write(3)
    tailed.look()
    tailed.write(2)
    tailed.path.rename(tailed.path.with_name("elsewhere"))
    if what == "directory":
        tailed.path.mkdir()
    else:
        os.mkfifo(tailed.path)
    tailed.look()
    assert "not a regular file" in tailed.source.problem
    tailed.expect(first=3)
    if what == "directory":
        tailed.path.rmdir()
    else:
        tailed.path.unlink()
    tailed.write(2)
    tailed.look()
    tailed.expect(first=3)
    assert tailed.source.problem == ""


@pytest.mark.parametrize("what", ["directory", "pipe"])
def test_something_else_from_the_beginning(tailed: Tailed, what: str) -> None:
    if what == "directory":
        tailed.path.mkdir()
    else:
        os.mkfifo(tailed.path)
    tailed.look()
    assert "not a regular file" in tailed.source.problem
    assert tailed.sink.ups["file", "cc.log"] is False
    if what == "directory":
        tailed.path.rmdir()
    else:
        tailed.path.unlink()
    tailed.write(2)
    tailed.look()
    tailed.expect()


def deny(monkeypatch: pytest.MonkeyPatch, call: str, path: Path | None = None) -> None:
    """Root may read all, so permissions can't be taken from a test's file."""
    real = getattr(os, call)

    def denied(what: object, *rest: object, **names: object) -> object:
        if path is None or str(what) == str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(what, *rest, **names)

    monkeypatch.setattr(os, call, denied)


def test_an_unreadable_file_is_told_and_what_it_holds_then_is_old(
    tailed: Tailed, monkeypatch: pytest.MonkeyPatch
) -> None:
    tailed.write(5)
    with monkeypatch.context() as patch:
        deny(patch, "open", tailed.path)
        tailed.look()
        assert tailed.source.problem == f"file {tailed.path}: can't be read: Permission denied"
        assert tailed.sink.ups["file", "cc.log"] is False
    tailed.look()
    assert tailed.got == []
    tailed.write(2)
    tailed.look()
    tailed.expect(first=5)


def test_a_rotated_file_that_becomes_unreadable(tailed: Tailed, monkeypatch: pytest.MonkeyPatch) -> None:
    tailed.write(5)
    tailed.look()
    tailed.write(5)
    tailed.rotate()
    tailed.write(5)
    with monkeypatch.context() as patch:
        deny(patch, "open", tailed.path)
        tailed.look()
        assert "can't be read: Permission denied" in tailed.source.problem
    tailed.look()
    tailed.expect(first=5)


def test_an_unreadable_file_between_two_others_is_passed_over(tailed: Tailed, monkeypatch: pytest.MonkeyPatch) -> None:
    tailed.write(1)
    tailed.look()
    tailed.rotate()
    tailed.write(2)
    tailed.rotate()
    tailed.write(3)
    deny(monkeypatch, "open", tailed.path.with_name("cc.log.1"))
    tailed.look()
    assert tailed.got == [line(number) for number in range(3, 6)]


@pytest.mark.parametrize("rotated", [False, True])
def test_a_failed_read_does_not_make_the_file_new(
    tailed: Tailed, monkeypatch: pytest.MonkeyPatch, rotated: bool
) -> None:
    """A network file system may fail for a while; nothing that was read before may be counted again."""
    tailed.write(5)
    tailed.look()
    tailed.write(5)
    tailed.look()
    tailed.pace.then = tailed.stop.set
    with monkeypatch.context() as patch:
        deny(patch, "pread")
        with pytest.raises(OSError, match="Permission denied"):
            tailed.source.run(tailed.stop)
    tailed.write(3)
    if rotated:
        tailed.rotate()
        tailed.write(3)
    tailed.look()
    tailed.expect(first=5)


def test_a_file_deleted_and_made_anew(tailed: Tailed) -> None:
    tailed.write(3)
    tailed.look()
    tailed.write(3)
    tailed.path.unlink()
    tailed.look()
    tailed.write(3)
    tailed.look()
    # What stood in the deleted file was still there for who had it open.
    tailed.expect(first=3)


def test_a_symbolic_link_that_is_turned_to_another_file(tailed: Tailed) -> None:
    first, second = tailed.path.with_name("first"), tailed.path.with_name("second")
    tailed.path.symlink_to(first)
    tailed.write(2)
    tailed.look()
    tailed.write(2)
    tailed.path.unlink()
    tailed.path.symlink_to(second)
    tailed.look()
    tailed.write(2)
    tailed.look()
    tailed.expect(first=2)


def test_a_writer_that_never_ends_its_line_costs_a_mebibyte_at_most(tailed: Tailed) -> None:
    tailed.path.touch()
    tailed.look()
    for _ in range(40):
        with tailed.path.open("ab") as file:
            file.write(b"x" * 100_000)
        tailed.look(1)
    assert sum(map(len, tailed.source._splitter._held)) <= 1 << 20
    with tailed.path.open("ab") as file:
        file.write(b"\n")
    tailed.write(1)
    tailed.look()
    assert [len(got) for got in tailed.got] == [1 << 20, len(line(0))]


def test_it_knows_how_long_it_is_deaf(tailed: Tailed) -> None:
    assert tailed.source.deaf_for() is None
    tailed.write(1)
    tailed.look(1)
    tailed.path.unlink()
    tailed.look(40)
    deaf = tailed.source.deaf_for()
    assert deaf is not None
    assert deaf >= 9
    [row] = tailed.source.statuses()
    assert (row.kind, row.pod, row.deaf_seconds) == ("file", "cc.log", deaf)


def test_rotation_while_a_thread_follows(tmp_path: Path) -> None:
    tailed = Tailed(tmp_path / "cc.log")
    source = FileTail(path=str(tailed.path), sink=tailed.sink, pace=RealPace())
    thread = threading.Thread(target=source.run, args=(tailed.stop,))
    tailed.path.touch()
    thread.start()
    eventually(lambda: tailed.sink.ups.get(("file", "cc.log"), False))
    tailed.write()
    eventually(lambda: len(tailed.got) == 1)
    for _ in range(20):
        tailed.write(500)
    tailed.copytruncate()
    tailed.write(7)
    eventually(lambda: len(tailed.got) == tailed.written)
    tailed.stop.set()
    thread.join(5)
    assert not thread.is_alive()
    tailed.expect()


def run_stdin(write: Callable[[int], object]) -> RecordingSink:
    sink, stop = RecordingSink(), threading.Event()
    reader, writer = os.pipe()
    try:
        source = FileTail(path="-", sink=sink, pace=RealPace(), stdin=reader)
        thread = threading.Thread(target=source.run, args=(stop,))
        thread.start()
        write(writer)
        os.close(writer)
        thread.join(10)
        assert not thread.is_alive()
    finally:
        stop.set()
        os.close(reader)
    return sink


def test_standard_input_is_read_to_its_end() -> None:
    sink = run_stdin(lambda fd: os.write(fd, b"one\ntwo\nthree"))
    assert sink.got("file", "stdin") == [b"one", b"two", b"three"]
    assert sink.ups["file", "stdin"] is False
