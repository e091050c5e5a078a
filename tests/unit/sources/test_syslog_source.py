"""The syslog source on real sockets, and its framing on every cut of a stream."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.logs.sources.base import RealPace
from exporter.logs.sources.framing import LONGEST, Framer
from exporter.logs.sources.handover import Handover
from exporter.logs.sources.syslog import DEAF_FOR, EVICT_AFTER, RESENT_WITHIN, SyslogTCP, SyslogUDP, split_listen
from tests.support.log_feeds import RecordingSink, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = b"<190>1 2019-02-02T10:00:31.301245+00:00 api-group-0 vcap.cloud_controller_ng - - - "


def message(number: int) -> bytes:
    return HEAD + b'{"timestamp":15491%05d.25,"message":"Request failed: 503"}' % number


def counted(text: bytes) -> bytes:
    return b"%d %s" % (len(text), text)


class SetPace(RealPace):
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Listening:
    """A listener in a thread, and senders to it."""

    def __init__(self, make: Callable[[RecordingSink, SetPace], SyslogTCP | SyslogUDP]) -> None:
        self.sink, self.pace, self.stop = RecordingSink(), SetPace(), threading.Event()
        self.source = make(self.sink, self.pace)
        self.source.bind()
        address = self.source.address
        assert address is not None
        self.address = address
        self.thread = threading.Thread(target=self.source.run, args=(self.stop,))
        self.thread.start()
        self.senders: list[socket.socket] = []

    def connect(self) -> socket.socket:
        sender = socket.create_connection(self.address, 5)
        self.senders.append(sender)
        return sender

    def end(self) -> None:
        self.stop.set()
        self.source.close()
        self.thread.join(5)
        assert not self.thread.is_alive()
        self.source.dispose()
        for sender in self.senders:
            sender.close()

    @property
    def got(self) -> list[bytes]:
        return self.sink.got("syslog")

    def expect(self, *messages: bytes) -> None:
        eventually(lambda: len(self.got) >= len(messages))
        assert sorted(self.got) == sorted(messages)


@contextlib.contextmanager
def listening(make: Callable[[RecordingSink, SetPace], SyslogTCP | SyslogUDP]) -> Iterator[Listening]:
    made = Listening(make)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def tcp() -> Iterator[Listening]:
    with listening(lambda sink, pace: SyslogTCP(listen="127.0.0.1:0", sink=sink, pace=pace)) as made:
        yield made


@pytest.fixture
def udp() -> Iterator[Listening]:
    with listening(lambda sink, pace: SyslogUDP(listen="127.0.0.1:0", sink=sink, pace=pace)) as made:
        yield made


def test_both_framings_on_one_port_and_in_one_connection(tcp: Listening) -> None:
    one, two = tcp.connect(), tcp.connect()
    one.sendall(counted(message(1)) + counted(message(2)))
    two.sendall(message(3) + b"\n" + message(4) + b"\r\n")
    one.sendall(message(5) + b"\n" + counted(message(6)))
    tcp.expect(*(message(i) for i in range(1, 7)))


def test_a_message_cut_at_4_kb_does_not_disturb_the_next(tcp: Listening) -> None:
    cut = (HEAD + b'{"message":"Request failed: 503: {' + b"x" * 9000)[:4096]
    tcp.connect().sendall(counted(cut) + counted(message(1)))
    tcp.connect().sendall(cut + b"\n" + message(2) + b"\n")
    tcp.expect(cut, cut, message(1), message(2))


def test_a_connection_dropped_inside_a_line_gives_its_part_once(tcp: Listening) -> None:
    for framed in (counted(message(1)), message(2) + b"\n"):
        sender = tcp.connect()
        sender.sendall(framed[:-10])
        sender.close()
    eventually(lambda: len(tcp.source._parts) == 2)  # type: ignore[union-attr]
    assert tcp.got == []
    tcp.pace.now += RESENT_WITHIN
    tcp.connect().sendall(message(3) + b"\n")
    tcp.expect(message(1)[:-10], message(2)[:-9], message(3))
    tcp.end()
    assert len(tcp.got) == 3


def test_a_part_that_is_sent_again_whole_is_given_once(tcp: Listening) -> None:
    sender = tcp.connect()
    sender.sendall(counted(message(1))[:-10])
    sender.close()
    eventually(lambda: len(tcp.source._parts) == 1)  # type: ignore[union-attr]
    tcp.connect().sendall(counted(message(1)) + counted(message(2)))
    tcp.expect(message(1), message(2))
    tcp.end()
    assert len(tcp.got) == 2


def test_a_part_kept_back_is_given_at_the_end(tcp: Listening) -> None:
    sender = tcp.connect()
    sender.sendall(message(1)[:-10])
    sender.close()
    eventually(lambda: len(tcp.source._parts) == 1)  # type: ignore[union-attr]
    tcp.end()
    assert tcp.got == [message(1)[:-10]]


def test_a_part_of_a_connection_that_is_open_at_the_end_is_given(tcp: Listening) -> None:
    tcp.connect().sendall(message(0) + b"\n" + message(1)[:-10])
    tcp.expect(message(0))
    eventually(lambda: tcp.source._held > 0)  # type: ignore[union-attr]
    tcp.end()
    assert tcp.got == [message(0), message(1)[:-10]]


def test_silent_and_slow_senders_stall_nobody(tcp: Listening) -> None:
    for _ in range(20):
        tcp.connect()
    tcp.connect().sendall(b"<1")
    tcp.connect().sendall(b"999999 <190>1 ")
    tcp.connect().sendall(message(1) + b"\n")
    tcp.expect(message(1))


def test_many_senders_at_once(tcp: Listening) -> None:
    def send(first: int) -> None:
        with socket.create_connection(tcp.address, 5) as sender:
            for number in range(first, first + 200):
                sender.sendall(counted(message(number)) if number % 2 else message(number) + b"\n")

    threads = [threading.Thread(target=send, args=(i * 1000,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    tcp.expect(*(message(i * 1000 + k) for i in range(8) for k in range(200)))
    eventually(lambda: tcp.source.connections == 0)  # type: ignore[union-attr]
    assert tcp.source._held == 0  # type: ignore[union-attr]


def test_a_mebibyte_line_and_binary_garbage_over_tcp(tcp: Listening) -> None:
    garbage = bytes(range(14, 256)) * 40
    sender = tcp.connect()
    sender.sendall(b"<1>" + b"x" * (LONGEST * 2) + b"\n" + garbage + b"\n" + message(1) + b"\n")
    eventually(lambda: len(tcp.got) >= 3)
    assert [len(got) for got in tcp.got] == [LONGEST, len(garbage), len(message(1))]


def test_the_longest_silent_sender_makes_room() -> None:
    with listening(lambda sink, pace: SyslogTCP(listen="127.0.0.1:0", sink=sink, pace=pace, most_connections=2)) as tcp:
        silent, busy = tcp.connect(), tcp.connect()
        eventually(lambda: tcp.source.connections == 2)  # type: ignore[union-attr]
        refused = tcp.connect()
        refused.settimeout(5)
        assert refused.recv(1) == b""
        assert "refused" in tcp.source.problem
        tcp.pace.now += EVICT_AFTER
        busy.sendall(message(1) + b"\n")
        tcp.expect(message(1))
        tcp.connect().sendall(message(2) + b"\n")
        tcp.expect(message(1), message(2))
        silent.settimeout(5)
        assert silent.recv(1) == b""
        busy.sendall(message(3) + b"\n")
        tcp.expect(message(1), message(2), message(3))


def test_unfinished_messages_are_cut_where_all_together_hold_too_much() -> None:
    with listening(lambda sink, pace: SyslogTCP(listen="127.0.0.1:0", sink=sink, pace=pace, most_held=100_000)) as tcp:
        one, two = tcp.connect(), tcp.connect()
        one.sendall(b"<1>" + b"a" * 60_000)
        eventually(lambda: tcp.source._held == 60_003)  # type: ignore[union-attr]
        two.sendall(counted(b"<1>" + b"b" * 60_000)[:50_000])
        eventually(lambda: len(tcp.got) == 1)
        two.sendall(counted(b"<1>" + b"b" * 60_000)[50_000:] + message(1) + b"\n")
        one.sendall(b"\n")
        eventually(lambda: len(tcp.got) == 3)
        assert min(len(got) for got in tcp.got) == len(message(1))
        assert b"<1>" + b"a" * 60_000 in tcp.got


def test_udp_datagrams_in_any_order(udp: Listening) -> None:
    numbers = [5, 3, 9, 1, 2, 8, 4]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in numbers:
            sender.sendto(message(number) + (b"\n" if number % 2 else b""), udp.address)
        sender.sendto(b"", udp.address)
        sender.sendto(bytes(range(14, 256)) * 100, udp.address)
    udp.expect(*(message(number) for number in numbers), bytes(range(14, 256)) * 100)


def test_it_is_up_while_it_listens_and_knows_how_long_it_is_deaf(tcp: Listening) -> None:
    eventually(lambda: tcp.sink.ups.get(("syslog", "")) is True)
    tcp.pace.now += 70
    assert tcp.source.deaf_for() == 70
    [row] = tcp.source.statuses()
    assert (row.kind, row.up, row.problem) == ("syslog", True, "")
    tcp.end()
    assert tcp.sink.ups["syslog", ""] is False


def test_a_port_in_use_is_an_error_that_names_it(tcp: Listening) -> None:
    listen = f"127.0.0.1:{tcp.address[1]}"
    second = SyslogTCP(listen=listen, sink=RecordingSink(), pace=RealPace())
    with pytest.raises(OSError, match=f"can't listen on {listen}: Address already in use"):
        second.run(threading.Event())
    second.dispose()


@pytest.mark.parametrize("listen", ["", "5514", "host:", "host:port", "1.2.3.4:70000", ":-1"])
def test_a_bad_listen_address(listen: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        split_listen(listen)


def test_listen_addresses() -> None:
    assert split_listen("0.0.0.0:5514") == ("0.0.0.0", 5514)
    assert split_listen("[::1]:0") == ("::1", 0)
    assert split_listen(":514") == ("", 514)


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_reload_takes_nothing_from_connected_senders() -> None:
    handover = Handover()
    port = free_port(socket.SOCK_STREAM)

    def make(sink: RecordingSink, pace: SetPace) -> SyslogTCP:
        return SyslogTCP(listen=f"127.0.0.1:{port}", sink=sink, pace=pace, handover=handover)

    first = Listening(make)
    counting, plain, gone = first.connect(), first.connect(), first.connect()
    counting.sendall(counted(message(1)) + counted(message(2))[:50])
    plain.sendall(message(3) + b"\n" + message(4)[:50])
    gone.sendall(message(5)[:50])
    gone.close()
    first.expect(message(1), message(3))
    listener = first.source
    assert isinstance(listener, SyslogTCP)
    eventually(lambda: listener.connections == 2 and len(listener._parts) == 1 and listener._held > 90)
    first.stop.set()
    listener.close()
    first.thread.join(5)
    listener.dispose()
    # Nobody listens now: the kernel keeps what is sent, and a new sender waits to be accepted.
    counting.sendall(counted(message(2))[50:])
    plain.sendall(message(4)[50:] + b"\n")
    first.connect().sendall(message(6) + b"\n")
    second = Listening(make)
    try:
        second.expect(message(2), message(4), message(6))
        plain.sendall(message(7) + b"\n")
        second.expect(message(2), message(4), message(6), message(7))
    finally:
        second.end()
        handover.close()
        for sender in first.senders:
            sender.close()
    assert first.got == [message(1), message(3)] or first.got == [message(3), message(1)]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


def test_a_reload_takes_no_datagrams() -> None:
    handover = Handover()
    port = free_port(socket.SOCK_DGRAM)

    def make(sink: RecordingSink, pace: SetPace) -> SyslogUDP:
        return SyslogUDP(listen=f"127.0.0.1:{port}", sink=sink, pace=pace, handover=handover)

    first = Listening(make)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(message(1), first.address)
        first.expect(message(1))
        first.end()
        sender.sendto(message(2), first.address)
        second = Listening(make)
        second.expect(message(2))
        second.end()
    handover.close()


def test_sockets_that_nobody_takes_over_are_closed() -> None:
    handover = Handover(kept_for=0.05)
    port = free_port(socket.SOCK_STREAM)
    first = Listening(lambda sink, pace: SyslogTCP(listen=f"127.0.0.1:{port}", sink=sink, pace=pace, handover=handover))
    sender = first.connect()
    eventually(lambda: first.source.connections == 1)  # type: ignore[union-attr]
    first.stop.set()
    first.source.close()
    first.thread.join(5)
    sender.settimeout(5)
    assert sender.recv(1) == b""
    assert handover.take(("tcp", "127.0.0.1", port)) is None
    first.end()


def test_two_estates_at_one_address() -> None:
    class Thing:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    handover, one, two = Handover(), Thing(), Thing()
    handover.leave("here", one)
    handover.leave("here", two)
    assert (one.closed, two.closed) == (1, 0)
    handover._expire("here", one)
    assert handover.take("here") is two
    assert handover.take("here") is None
    handover.leave("here", two)
    handover.close()
    assert two.closed == 1


def test_what_has_arrived_is_read_before_the_end(tcp: Listening, udp: Listening) -> None:
    """The listener is held while messages arrive and the stop comes: they are read all the same."""
    sender = tcp.connect()
    sender.sendall(message(0) + b"\n")
    tcp.expect(message(0))
    for listening in (tcp, udp):
        listening.sink.hold.acquire()
    try:
        sender.sendall(message(1) + b"\n")  # the listener reads this one, and is held
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(message(1), udp.address)
            eventually(lambda: tcp.sink.waiting > 0 and udp.sink.waiting > 0)
            for number in range(2, 50):
                sender.sendall(counted(message(number)))
                datagrams.sendto(message(number), udp.address)
        tcp.connect().sendall(message(50) + b"\n")
        tcp.stop.set()
        udp.stop.set()
    finally:
        for listening in (tcp, udp):
            listening.sink.hold.release()
    tcp.end()
    udp.end()
    assert sorted(tcp.got) == sorted(message(number) for number in range(51))
    assert sorted(udp.got) == sorted(message(number) for number in range(1, 50))


def test_no_descriptors_left_is_told_and_stalls_nobody(tcp: Listening) -> None:
    sender = tcp.connect()
    sender.sendall(message(1) + b"\n")
    tcp.expect(message(1))
    listener = tcp.source
    assert isinstance(listener, SyslogTCP)
    bound = listener._socket
    assert bound is not None
    descriptor = bound.fileno()
    tries: list[int] = []

    class Refusing:
        """The bound socket, in a process that has no descriptors left."""

        def fileno(self) -> int:
            return descriptor

        def accept(self) -> None:
            tries.append(1)
            raise OSError(errno.EMFILE, "Too many open files")

    with selectors.DefaultSelector() as selector:
        refusing = Refusing()
        selector.register(refusing, selectors.EVENT_READ)
        listener._accept(refusing, selector)  # type: ignore[arg-type]
        assert "can't accept a connection" in listener.problem
        assert "Too many open files" in listener.problem
        assert not selector.get_map()
        listener._listen_again(refusing, selector)  # type: ignore[arg-type]
        assert not selector.get_map()
        tcp.pace.now += DEAF_FOR
        listener._listen_again(refusing, selector)  # type: ignore[arg-type]
        assert len(selector.get_map()) == 1
    sender.sendall(message(2) + b"\n")
    tcp.expect(message(1), message(2))
    assert len(tries) == 1


def test_a_sender_that_never_ends_its_message_costs_a_mebibyte_at_most() -> None:
    for start in (b"<1>", b"999999999 <1>", b"99999999999999999999 <1>"):
        framer = Framer()
        got: list[bytes] = []
        for _ in range(100):
            got += framer.push((start if not got and not framer.held else b"") + b"x" * 65536)
            assert framer.held <= LONGEST + 2 * 65536
        assert len(got) == 1
        assert len(got[0]) == LONGEST


@pytest.mark.parametrize("listen", ["[::1]:0", ":0"])
def test_other_address_families(listen: str) -> None:
    sink = RecordingSink()
    source = SyslogTCP(listen=listen, sink=sink, pace=RealPace())
    try:
        source.bind()
    except OSError:
        pytest.skip("no IPv6 here")
    else:
        assert source.address is not None
        assert source.address[1] > 0
        source.bind()
    finally:
        source.dispose()


BODIES = st.binary(max_size=40).map(lambda b: b"<1>" + b.replace(b"\n", b"").rstrip(b"\r\0"))


@given(
    framed=st.lists(st.tuples(BODIES, st.sampled_from(["count", "line", "both"])), max_size=10),
    cuts=st.lists(st.integers(0, 600), max_size=10),
)
def test_every_cut_of_a_stream_gives_the_same_messages(framed: list[tuple[bytes, str]], cuts: list[int]) -> None:
    stream = b"".join(
        {"count": counted(body), "line": body + b"\n", "both": counted(body + b"\n")}[how] for body, how in framed
    )
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    framer = Framer()
    got = [m for start, end in pairwise(places) for m in framer.push(stream[start:end])]
    assert got == [body for body, _ in framed]
    assert framer.flush() == b""
    assert framer.held == 0


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_garbage_is_framed_the_same_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    whole, cut = Framer(), Framer()
    expected = [*whole.push(data), whole.flush()]
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    got = [m for start, end in pairwise(places) for m in cut.push(data[start:end])]
    assert [*got, cut.flush()] == expected


def test_a_line_that_begins_with_a_number_is_no_count() -> None:
    framer = Framer()
    assert framer.push(b"42 is the answer\n17\n") == [b"42 is the answer", b"17"]


def test_a_count_beyond_the_cap_is_cut_and_passed_over() -> None:
    framer = Framer(longest=100)
    body = b"<1>" + b"x" * 997
    assert framer.push(counted(body)[:500]) == [body[:100]]
    assert framer.push(counted(body)[500:] + counted(b"<1>next")) == [b"<1>next"]
    assert framer.cut == 1


def test_a_line_beyond_the_cap_is_cut_and_passed_over() -> None:
    framer = Framer(longest=100)
    assert framer.push(b"<1>" + b"x" * 500) == [b"<1>" + b"x" * 97]
    assert framer.push(b"y" * 500) == []
    assert framer.flush() == b""
    assert framer.push(b"z\n<1>next\n") == [b"<1>next"]
    assert framer.push(b"<1>" + b"x" * 500 + b"\n<1>next\n") == [b"<1>" + b"x" * 97, b"<1>next"]
    assert framer.cut == 2
