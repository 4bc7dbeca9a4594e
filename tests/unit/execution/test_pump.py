"""The copy of a growing log: complete, in order, told of its failures, and short when the person has interrupted."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dstui.execution import pump
from dstui.execution.pump import LogPump

WaitUntil = Callable[..., None]


class Copy:
    """A pump with a pipe behind each stream, and what it told."""

    def __init__(self, live: Path) -> None:
        self.live = live
        self.readers: dict[int, int] = {}
        self.writers: dict[int, int] = {}
        self.told: list[object] = []
        for stream in (1, 2):
            self.readers[stream], self.writers[stream] = os.pipe()
            os.set_blocking(self.readers[stream], False)
        self.pump = LogPump(
            live,
            dict(self.writers),
            on_opost=self._on_opost,
            on_segment=lambda segment: self.told.append(("segment", segment)),
            on_failure=lambda stream, error: self.told.append((stream, error.errno)),
            on_done=lambda: self.told.append("done"),
        )

    def _on_opost(self, opost: bool) -> None:
        self.told.append((opost, self.read(1)))

    def read(self, stream: int) -> bytes:
        """What has come so far."""
        try:
            return os.read(self.readers[stream], 1 << 20)
        except BlockingIOError:
            return b""

    def write(self, text: bytes, name: str = "log") -> None:
        """Let the log grow."""
        with (self.live / name).open("ab") as file:
            file.write(text)
        self.pump.wake()

    def close(self) -> None:
        """Let go of the pipes."""
        for end in (*self.readers.values(), *self.writers.values()):
            try:
                os.close(end)
            except OSError:
                pass


class Received:
    """What comes out for stdout, piece by piece."""

    def __init__(self, copy: Copy) -> None:
        self.text = b""
        self._copy = copy

    def has_something(self) -> bool:
        """Take what is there; whether anything has come so far."""
        self.text += self._copy.read(1)
        return bool(self.text)


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """A pump that was not started, for an empty log."""
    (tmp_path / "log").touch()
    copy = Copy(tmp_path)
    yield copy
    copy.pump.finish()
    copy.close()


def test_what_is_appended_comes_at_once(copy: Copy, wait_until: WaitUntil) -> None:
    copy.pump.start()
    for text in (b"one", b"two\n", b"\xff\0"):
        copy.write(text)
        received = Received(copy)
        wait_until(received.has_something)
        assert received.text == text


def test_a_new_segment_is_told_when_all_before_it_was_copied(copy: Copy, wait_until: WaitUntil) -> None:
    copy.pump.start()
    copy.write(b"a")
    (copy.live / "log.tail.1").touch()
    copy.write(b"b", "log.tail.1")
    copy.pump.finish()
    wait_until(lambda: "done" in copy.told)
    assert copy.told == [("segment", 1), "done"]
    assert copy.read(1) == b"ab"


def test_output_processing_changes_exactly_at_its_place(copy: Copy, wait_until: WaitUntil) -> None:
    (copy.live / "log").write_bytes(b"cooked\nraw\ncooked")
    copy.pump.switch(7, False)
    copy.pump.switch(11, True)
    copy.pump.start()
    copy.pump.finish()
    wait_until(lambda: "done" in copy.told)
    assert copy.told == [(False, b"cooked\n"), (True, b"raw\n"), "done"]
    assert copy.read(1) == b"cooked"


def test_output_that_is_not_in_the_log_comes_after_what_is(copy: Copy, wait_until: WaitUntil) -> None:
    (copy.live / "log").write_bytes(b"kept ")
    copy.pump.add(1, b"lost")
    copy.pump.start()
    copy.pump.settle(10)
    assert copy.read(1) == b"kept lost"


def test_a_reader_that_has_gone_is_told_once_and_the_other_stream_goes_on(copy: Copy, wait_until: WaitUntil) -> None:
    (copy.live / "log.streams").write_bytes(b"".join(struct.pack("<BI", n, 2) for n in (1, 2, 1, 2)))
    (copy.live / "log").write_bytes(b"aAbBcCdD")
    os.close(copy.readers[1])
    copy.pump.start()
    copy.pump.finish()
    wait_until(lambda: "done" in copy.told)
    assert copy.told == [(1, errno.EPIPE), "done"]
    assert copy.read(2) == b"bBdD"


def test_a_descriptor_that_somebody_made_non_blocking_gets_everything(copy: Copy, wait_until: WaitUntil) -> None:
    os.set_blocking(copy.writers[1], False)
    text = os.urandom(1 << 20)
    (copy.live / "log").write_bytes(text)
    copy.pump.start()
    copy.pump.finish()
    received = Received(copy)
    wait_until(lambda: received.has_something() and "done" in copy.told)
    received.has_something()
    assert received.text == text


def test_bytes_without_a_record_count_as_stdout_at_the_end(copy: Copy, wait_until: WaitUntil) -> None:
    (copy.live / "log.streams").write_bytes(struct.pack("<BI", 2, 3) + b"\x01\x00")
    (copy.live / "log").write_bytes(b"errout")
    copy.pump.start()
    copy.pump.settle(10)
    assert (copy.read(1), copy.read(2)) == (b"", b"err")
    copy.pump.finish()
    wait_until(lambda: "done" in copy.told)
    assert copy.read(1) == b"out"


@pytest.mark.parametrize(
    ("tail_bytes", "expected"),
    [(None, b"one\ntwo\nthree\n"), (100, b"one\ntwo\nthree\n"), (9, b"three\n"), (3, b""), (0, b"")],
)
def test_an_attached_copy_begins_with_a_whole_line(copy: Copy, tail_bytes: int | None, expected: bytes) -> None:
    (copy.live / "log").write_bytes(b"one\ntwo\nthree\n")
    copy.pump.start(tail_bytes=tail_bytes)
    copy.pump.settle(10)
    assert copy.read(1) == expected


def test_an_attached_copy_knows_the_stream_of_a_place_inside_a_record(copy: Copy) -> None:
    (copy.live / "log.streams").write_bytes(struct.pack("<BIBI", 1, 4, 2, 8))
    (copy.live / "log").write_bytes(b"out\nerr\nERR\n")
    copy.pump.start(tail_bytes=5)
    copy.pump.settle(10)
    assert (copy.read(1), copy.read(2)) == (b"", b"ERR\n")


def test_after_control_c_a_long_backlog_is_skipped_and_counted(
    copy: Copy, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setattr(pump, "SKIP_BYTES", 100)
    monkeypatch.setattr(pump, "SHOWN_BYTES", 12)
    (copy.live / "log").write_bytes(b"line\n" * 50)
    (copy.live / "log.tail.1").write_bytes(b"tail\n" * 10)
    copy.pump.finish(skip=True)
    copy.pump.start()
    wait_until(lambda: "done" in copy.told)
    assert copy.read(1) == b"tail\ntail\n"
    assert copy.pump.skipped == 290


def test_a_short_backlog_is_shown_whole(copy: Copy, wait_until: WaitUntil) -> None:
    (copy.live / "log").write_bytes(b"line\n" * 50)
    copy.pump.finish(skip=True)
    copy.pump.start()
    wait_until(lambda: "done" in copy.told)
    assert copy.read(1) == b"line\n" * 50
    assert copy.pump.skipped == 0
