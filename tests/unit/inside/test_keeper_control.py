"""The keeper's side of its socket: nobody attached can hold it up, nonsense is ignored, nothing important is lost."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstui.inside.control import MESSAGE_BYTES, WAITING_MESSAGES, Client, Control


class Keeper:
    """A control and the messages that it got."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.left: list[Client] = []
        self.control = Control(self._on_message, lambda client: client.tell_event({"event": "hello"}), self.left.append)
        self._fronts: list[socket.socket] = []

    def _on_message(self, client: Client, message: bytes) -> None:
        if message.startswith(b"?"):
            raise KeyError(message)
        self.messages.append(message)

    def front(self) -> socket.socket:
        """The other end of an attached client."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(10)
        self._fronts.append(ours)
        self.control.adopt(theirs.detach())
        return ours

    def receive(self) -> None:
        """Take one message of each client."""
        for client in list(self.control.clients.values()):
            self.control.receive(client)

    def close(self) -> None:
        """Close everything."""
        for front in self._fronts:
            front.close()
        for client in self.control.clients.values():
            client.socket.close()
        self.control.close_listener()


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    """A keeper without a run."""
    keeper = Keeper()
    yield keeper
    keeper.close()


def events(front: socket.socket, count: int) -> list[dict[str, object]]:
    """The next events that a front gets."""
    return [json.loads(front.recv(1 << 20)) for _ in range(count)]


def test_a_front_that_does_not_read_gets_every_event_and_one_notice_of_output_later(keeper: Keeper) -> None:
    front = keeper.front()
    for number in range(2000):
        keeper.control.tell({"event": "interrupt", "signal": number})
        keeper.control.tell_output(number)
    (client,) = keeper.control.clients.values()
    assert client.events & 4  # It waits to be writable.
    received: list[dict[str, object]] = []
    while not received or received[-1] != {"event": "output", "log_bytes": 1999}:
        received += events(front, 1)
        client.flush()
    assert [event["signal"] for event in received if event["event"] == "interrupt"] == list(range(2000))
    assert sum(event["event"] == "output" for event in received) < 2000


def test_raw_output_is_dropped_for_a_front_that_does_not_read(keeper: Keeper) -> None:
    front = keeper.front()
    for _ in range(10 * WAITING_MESSAGES):
        keeper.control.tell_raw(1, b"x" * MESSAGE_BYTES)
    (client,) = keeper.control.clients.values()
    front.setblocking(False)
    size = 0
    while True:
        client.flush()
        try:
            size += len(front.recv(1 << 20))
        except BlockingIOError:
            break
    assert 0 < size < 3 * WAITING_MESSAGES * MESSAGE_BYTES


def test_raw_output_names_its_stream(keeper: Keeper) -> None:
    front = keeper.front()
    keeper.control.tell_raw(2, b"text")
    assert events(front, 1) == [{"event": "hello"}]
    assert front.recv(100) == b"T\x02text"


def test_nonsense_is_ignored_and_the_next_message_counts(keeper: Keeper) -> None:
    front = keeper.front()
    front.send(b"?")
    front.send(b"Sx")
    keeper.receive()
    keeper.receive()
    assert keeper.messages == [b"Sx"]


def test_the_last_message_of_a_front_counts_even_if_it_left_ours_unread(keeper: Keeper) -> None:
    front = keeper.front()
    front.send(b"K{}")
    front.close()
    for _ in range(3):
        keeper.receive()
    assert keeper.messages == [b"K{}"]
    assert len(keeper.left) == 1
    assert keeper.control.attached() == []


def test_segments_stay_for_the_slowest_of_those_attached(keeper: Keeper) -> None:
    assert keeper.control.oldest_segment() is None
    keeper.front()
    keeper.front()
    first, second = keeper.control.clients.values()
    first.segment, second.segment = 3, 2
    assert keeper.control.oldest_segment() == 2


def test_only_who_asks_is_told_of_events(keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    keeper.control.listen(directory)
    os.close(directory)
    assert (tmp_path / "control").stat().st_mode & 0o777 == 0o600
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as front:
        front.settimeout(10)
        front.connect("control")
        keeper.control.accept()
        keeper.control.tell({"event": "exit"})
        assert keeper.control.oldest_segment() is None
        front.send(b"A")
        keeper.receive()
        keeper.control.tell({"event": "suspended"})
        assert events(front, 2) == [{"event": "hello"}, {"event": "suspended"}]
