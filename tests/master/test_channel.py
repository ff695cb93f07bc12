"""Channels: what was sent arrives, with its descriptors, however the stream is cut; what nobody sends is refused."""

from __future__ import annotations

import array
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from prefork.errors import ChannelError
from prefork.master import channel as channels
from prefork.master.channel import Channel, Message
from tests.master.site import without_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = channels.pair()
    yield ours, theirs
    for end in (ours, theirs):
        if end.fileno() >= 0:
            end.close()


def file_with(content: bytes) -> int:
    """A descriptor that reads ``content``."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    return reader


def contents(messages: list[Message]) -> list[tuple[str, dict[str, Any], list[bytes]]]:
    found = []
    for message in messages:
        read = []
        for descriptor in message.descriptors:
            assert not os.get_inheritable(descriptor)
            read.append(os.read(descriptor, 100))
            os.close(descriptor)
        found.append((message.kind, message.body, read))
    return found


MESSAGES: dict[str, dict[str, Any]] = {
    'nothing': {},
    'numbers': {'pid': 4711, 'seconds': 0.25},
    'a key': {'key': ['main', 1, 0]},
    'lines': {'reason': 'Traceback\n  File "app.py"\n\nValueError: \r\n\0'},
    'beyond ASCII': {'reason': 'Fehler: \N{SNOWMAN} \udc80'},
}


@pytest.mark.parametrize('body', MESSAGES.values(), ids=MESSAGES)
def test_a_message_arrives(ends: tuple[Channel, Channel], body: dict[str, Any]) -> None:
    ours, theirs = ends
    ours.send('failed', **body)
    assert contents(theirs.receive()[0]) == [('failed', body, [])]
    assert theirs.receive() == ([], False)


def test_descriptors_arrive_with_their_messages(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    ours.send('one', [file_with(b'a')])
    ours.send('none')
    ours.send('two', [file_with(b'b'), file_with(b'c')], number=2)
    messages, ended = theirs.receive()
    assert not ended
    assert contents(messages) == [('one', {}, [b'a']), ('none', {}, []), ('two', {'number': 2}, [b'b', b'c'])]


def test_descriptors_are_closed_where_they_were_sent(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    reader, writer = os.pipe()
    ours.send('spawn', [writer])
    with pytest.raises(OSError, match='Bad file descriptor'):
        os.fstat(writer)
    os.close(reader)
    os.close(theirs.receive()[0][0].descriptors[0])


@pytest.mark.parametrize('size', [1, 2, 7])
def test_it_makes_no_difference_how_the_stream_is_cut(size: int) -> None:
    """A line in pieces, its descriptors beside the first of them."""
    sender, receiver = socket.socketpair()
    channel = Channel(receiver)
    stream = b'["one", 1, {"a": 1}]\n["none", 0, {}]\n["two", 1, {}]\n'
    starts = {0: file_with(b'x'), stream.index(b'["two"'): file_with(b'y')}
    got: list[Message] = []
    for start in range(0, len(stream), size):
        piece = stream[start : start + size]
        rights = [descriptor for at, descriptor in starts.items() if start <= at < start + size]
        sender.sendmsg([piece], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', rights))] if rights else [])
        messages, ended = channel.receive()
        assert not ended
        got += messages
    assert contents(got) == [('one', {'a': 1}, [b'x']), ('none', {}, []), ('two', {}, [b'y'])]
    for descriptor in starts.values():
        os.close(descriptor)
    sender.close()
    channel.close()


def test_what_the_kernel_does_not_take_waits(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    reason = 'x' * 900_000  # more than a socket buffer holds
    ours.send('failed', [file_with(b'first')], reason=reason)
    ours.send('last', [file_with(b'second')])
    got: list[Message] = []
    rounds = 0
    while ours.pending:
        rounds += 1
        messages, ended = theirs.receive()
        assert not ended
        got += messages
        ours.flush()
    got += theirs.receive()[0]
    assert rounds
    assert contents(got) == [('failed', {'reason': reason}, [b'first']), ('last', {}, [b'second'])]


def test_finish_waits_until_all_is_sent(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    ours.send('failed', reason='x' * 900_000)
    got: list[Message] = []

    def read() -> None:
        while not got:
            theirs.wait()
            got.extend(theirs.receive()[0])

    reader = threading.Thread(target=read)
    reader.start()
    ours.finish(30)
    assert not ours.pending
    reader.join(30)
    assert len(got[0].body['reason']) == 900_000


def test_finish_gives_up_in_time(ends: tuple[Channel, Channel]) -> None:
    ours, _ = ends
    ours.send('failed', reason='x' * 900_000)
    ours.finish(0.01)
    assert ours.pending


def test_the_end_comes_after_the_last_message(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    ours.send('failed', reason='boom')
    ours.close()
    messages, ended = theirs.receive()
    assert [message.kind for message in messages] == ['failed']
    assert ended


def test_it_is_known_to_have_an_end_before_that_is_read(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    ours.send('failed', reason='boom')
    assert not theirs.hung_up()
    ours.close()
    assert theirs.hung_up()
    assert [message.kind for message in theirs.receive()[0]] == ['failed']


def test_an_end_that_left_something_unread_is_an_end(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    theirs.send('ping')
    ours.send('bye')
    ours.close()
    messages, ended = theirs.receive()
    assert [message.kind for message in messages] == ['bye']
    assert ended


def test_sending_to_nobody_is_no_error(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    theirs.close()
    reader, writer = os.pipe()
    ours.send('spawn', [writer])
    assert not ours.pending
    assert os.read(reader, 1) == b'', 'the descriptor is closed all the same'
    os.close(reader)


def test_closing_closes_what_is_on_its_way(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    pipes = [os.pipe() for _ in range(2)]
    ours.socket.sendmsg([b'["half'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [pipes[0][1]]))])
    os.close(pipes[0][1])
    assert theirs.receive() == ([], False)
    ours.send('failed', reason='x' * 900_000)
    ours.send('spawn', [pipes[1][1]])
    theirs.close()
    ours.close()
    assert [os.read(reader, 1) for reader, _ in pipes] == [b'', b'']
    for reader, _ in pipes:
        os.close(reader)


REFUSED = {
    'not JSON': b'hello\n',
    'not a list': b'{}\n',
    'too few': b'["ready", 0]\n',
    'a kind that is no text': b'[1, 0, {}]\n',
    'a count that is no number': b'["ready", "0", {}]\n',
    'a body that is no object': b'["ready", 0, []]\n',
    'descriptors that did not come': b'["spawn", 1, {}]\n',
    'fewer than no descriptors': b'["spawn", -1, {}]\n',
    'not UTF-8': b'["\xff", 0, {}]\n',
    'without end': b'x' * (channels.LIMIT + 1),
}


@pytest.mark.parametrize('data', REFUSED.values(), ids=REFUSED)
def test_what_nobody_sends_is_refused(data: bytes) -> None:
    sender, receiver = socket.socketpair()
    channel = Channel(receiver)
    writer = threading.Thread(target=sender.sendall, args=(data,))
    writer.start()
    with pytest.raises(ChannelError):
        while True:
            channel.wait()
            assert channel.receive() == ([], False)
    writer.join(30)
    sender.close()
    channel.close()


def test_too_many_descriptors_are_refused() -> None:
    sender, receiver = socket.socketpair()
    channel = Channel(receiver)
    rights = array.array('i', [0] * 40)
    sender.sendmsg([b'["spawn", 40, {}]\n'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    with pytest.raises(ChannelError, match='descriptors'):
        channel.receive()
    sender.close()
    channel.close()


@pytest.mark.parametrize(
    ('room', 'expected'),
    [
        pytest.param(0, [('one', True), ('two', True)], id='for none'),
        pytest.param(1, [('one', True), ('two', False)], id='for one, which is free again for the next message'),
    ],
)
def test_descriptors_that_there_is_no_room_for_are_missing_from_their_message_alone(
    room: int, expected: list[tuple[str, bool]]
) -> None:
    ours, theirs = channels.pair()
    ours.send('one', [file_with(b'a'), file_with(b'b')])
    ours.send('two', [file_with(b'c')])
    with without_descriptors(os.getpid(), but=room):
        messages, _ = theirs.receive()
    assert [(each.kind, each.incomplete) for each in messages] == expected
    assert contents(messages) == [(kind, {}, [] if lost else [b'c']) for kind, lost in expected]
    ours.send('three', [file_with(b'd')])
    assert contents(theirs.receive()[0]) == [('three', {}, [b'd'])]
    ours.close()
    theirs.close()
