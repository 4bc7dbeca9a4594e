"""The foreground of a run: show its output, pass on keys and signals, and tell how it ended.

`ds run` and `ds attach` are the same code: the front follows the files of the run and speaks with the keeper over a
socket (`inside/supervisor.py` has the protocol). The command does not depend on it: a front that is slow, stopped or
dead changes nothing for the training.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dstui.errors import LaunchError
from dstui.execution.keepers import (
    CAUGHT_SIGNALS,
    KeeperHandle,
    connect,
    request_stop,
    start_keeper,
    start_watcher,
)
from dstui.execution.pump import STDERR, STDOUT, TERMINAL_ONLY, LogPump
from dstui.execution.terminal import UserTerminal

__all__ = [
    "FrontResult",
    "KeeperHandle",
    "connect",
    "end_like",
    "follow",
    "request_stop",
    "start_keeper",
    "start_watcher",
]

MESSAGE_BYTES = 1 << 17
"""Above the longest message of a keeper."""

INPUT_BYTES = 1 << 12
"""Keys taken from the terminal at a time."""

LOOK_SECONDS = 0.25
"""How often a terminal that we do not hold is looked at: moving a running job to the foreground sends no signal."""

PAGER_SECONDS = 1.0
"""In a pipeline a pager may be about to take the terminal; it goes first. Keys typed meanwhile wait there."""

QUIET_SECONDS = 1.0
"""The first Ctrl-C is only spoken about when the command is still there after this time."""

SILENT_SECONDS = 10.0
"""The same is not said again within this time, however often the key is pressed."""

ECHO_SECONDS = 0.2
"""How long a stop waits for the output before it, such as the echo of the key, to be shown."""

ENDING_SIGNALS = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
"""Signals that end a front when its run has ended before."""

STREAM_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
"""How a person calls the streams."""


@dataclass(frozen=True)
class FrontResult:
    """Why the front has nothing more to do.

    Attributes:
        outcome: `exited`; `detached`, the run goes on; `lost`, the keeper is gone without an exit record.
        record: what `exit.json` holds, only for `exited`.
    """

    outcome: str
    record: Mapping[str, Any] | None = None

    @property
    def signal(self) -> int | None:
        """The signal that ended the command, None when it exited or when that is not known."""
        return None if self.record is None else self.record["signal"]

    @property
    def code(self) -> int:
        """Exit code as a shell would give it: the command's own, 128 + signal, 0 after a detach, 1 when not known."""
        if self.record is None:
            return 0 if self.outcome == "detached" else 1
        if self.signal is not None:
            return 128 + self.signal
        exit_code: int | None = self.record["exit_code"]
        return 1 if exit_code is None else exit_code


def follow(
    front: socket.socket,
    live: Path,
    *,
    name: str,
    viewer: bool = False,
    tail_bytes: int | None = None,
    stop_on_hangup: bool = False,
    on_start: Callable[[int], None] | None = None,
    on_exit: Callable[[FrontResult], None] | None = None,
) -> FrontResult:
    """Be the foreground of a run until it ends or this front is detached. Main thread only; closes `front`.

    Args:
        front: of `start_keeper`, or of `connect`.
        live: the run's directory.
        name: what `ds attach` calls the run.
        viewer: attach to a run that others started. When our stdout is closed, the command does not notice.
        tail_bytes: show of the earlier output only about this much; None for all.
        stop_on_hangup: when the terminal is lost, stop the run instead of leaving it.
        on_start: called with the pid of the command once it runs.
        on_exit: called once the keeper has left, perhaps while output is still being shown to somebody slow; commits.

    Raises:
        LaunchError: the command was not started; `exit_code` is 125, 126 or 127.
    """
    return _Front(front, live, name, viewer, tail_bytes, stop_on_hangup, on_start, on_exit).run()


def end_like(result: FrontResult) -> NoReturn:
    """End this process the way the command ended: same exit code, or killed by the same signal."""
    number = result.signal
    if number is not None:
        import resource

        # One core dump, the command's, is enough.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        _flush_own()
        os.kill(os.getpid(), number)
    sys.exit(result.code)


def _flush_own() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            pass


class _Front:
    """One call of `follow`."""

    def __init__(
        self,
        front: socket.socket,
        live: Path,
        name: str,
        viewer: bool,
        tail_bytes: int | None,
        stop_on_hangup: bool,
        on_start: Callable[[int], None] | None,
        on_exit: Callable[[FrontResult], None] | None,
    ) -> None:
        front.setblocking(False)
        self._socket: socket.socket | None = front
        self._live = live
        self._name = name
        self._viewer = viewer
        self._tail_bytes = tail_bytes
        self._stop_on_hangup = stop_on_hangup
        self._on_start = on_start
        self._on_exit = on_exit
        self._terminal = UserTerminal.open()
        self._outgoing: deque[bytes] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._started = False
        self._has_keys = False
        self._record: dict[str, Any] | None = None
        self._result: FrontResult | None = None
        self._interrupted = False
        # "asked" after a SIGTSTP, "undone" after a SIGCONT that followed it.
        self._stop = ""
        self._speak_at: float | None = None
        self._silent_until = 0.0
        # Streams whose reader may go away: the keeper is told at once, not at the next write.
        self._pipes = {stream: target for stream, target in self._targets().items() if stream and _is_pipe(target)}
        self._polite = bool(self._pipes)
        self._begun = 0.0
        self._wake, self._wake_end = os.pipe()
        self._on_event: dict[str, Callable[[dict[str, Any]], None]] = {
            "started": self._on_started,
            "output": self._on_output,
            "terminal": self._on_terminal,
            "interrupt": self._on_interrupt,
            "suspended": self._on_suspended,
            "warning": self._on_warning,
            "exit": self._on_ended,
            "error": self._on_error,
        }
        self._pump = LogPump(
            live,
            self._targets(),
            on_opost=self._on_opost,
            on_segment=lambda segment: self._post(lambda: self._send(b"R" + struct.pack("<I", segment))),
            on_failure=lambda stream, error: self._post(lambda: self._on_unwritable(stream, error)),
            on_done=lambda: self._post(self._on_copied),
        )

    def run(self) -> FrontResult:
        """Follow to the end."""
        _flush_own()
        with self._signals():
            try:
                if self._viewer:
                    self._send(b"A")
                    # Like `fg`: a run that was stopped goes on.
                    self._send(b"C")
                self._send_size()
                while self._result is None:
                    self._turn()
                return self._result
            finally:
                self._close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """See every signal that comes, through the wake-up descriptor; what was ignored stays ignored."""
        for descriptor in (self._wake, self._wake_end):
            os.set_blocking(descriptor, False)
        before = {number: signal.getsignal(number) for number in CAUGHT_SIGNALS}
        caught = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
        ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTTIN, signal.SIGTTOU)}
        wake_before = signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        for number in caught:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT_SIGNALS)
        try:
            yield
        finally:
            for number, handler in (caught | ignored).items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wake_before)

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._terminal is not None:
            self._terminal.close()
        if self._pump.has_ended():
            os.close(self._wake)
            os.close(self._wake_end)

    def _turn(self) -> None:
        """Wait for whatever comes first, and deal with it."""
        poll = select.poll()
        handlers: dict[int, Callable[[int], None]] = {}
        for descriptor, events, handler in self._sources():
            poll.register(descriptor, events)
            handlers[descriptor] = handler
        for descriptor, events in poll.poll(self._patience()):
            handlers[descriptor](events)
        if self._speak_at is not None and time.monotonic() >= self._speak_at:
            self._speak_at = None
            self._silent_until = time.monotonic() + SILENT_SECONDS
            self._say("SIGINT was sent; if it does not end, another Ctrl-C sends SIGTERM")
        self._take_terminal()

    def _sources(self) -> Iterator[tuple[int, int, Callable[[int], None]]]:
        yield self._wake, select.POLLIN, self._on_wake
        if self._socket is not None:
            wanted = select.POLLIN | (select.POLLOUT if self._outgoing else 0)
            yield self._socket.fileno(), wanted, self._on_socket
        # While the command does not take its input, ours waits in the terminal as it would without us.
        if self._terminal is not None and self._terminal.holding and not self._outgoing:
            yield self._terminal.descriptor, select.POLLIN, self._on_keys
        for stream, descriptor in self._pipes.items():
            yield descriptor, 0, self._reader_watcher(stream)

    def _patience(self) -> float | None:
        """Milliseconds until there is something to do unasked; None when nothing is."""
        ends = []
        if self._speak_at is not None:
            ends.append(self._speak_at - time.monotonic())
        if self._terminal is not None and self._has_keys and not self._terminal.holding:
            ends.append(LOOK_SECONDS)
        return max(0.0, min(ends)) * 1000 if ends else None

    def _post(self, errand: Callable[[], None]) -> None:
        """Have something done by the main thread; called by the pump."""
        self._errands.append(errand)
        try:
            os.write(self._wake_end, b"\0")
        except BlockingIOError:
            pass

    def _on_wake(self, _: int = 0) -> None:
        try:
            numbers = os.read(self._wake, 512)
        except BlockingIOError:
            return
        while self._errands:
            self._errands.popleft()()
        # First the hang-up: a shell that is left sends its stopped jobs SIGTERM with it.
        for number in sorted(numbers, key=lambda number: number != signal.SIGHUP):
            if number and self._result is None:
                self._on_signal(number)

    # The keeper.

    def _send(self, message: bytes) -> None:
        if self._socket is not None:
            self._outgoing.append(message)
            self._flush()

    def _flush(self) -> None:
        assert self._socket is not None
        try:
            while self._outgoing:
                self._socket.send(self._outgoing[0])
                self._outgoing.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._outgoing.clear()

    def _on_socket(self, events: int) -> None:
        assert self._socket is not None
        if events & select.POLLOUT:
            self._flush()
        try:
            message = self._socket.recv(MESSAGE_BYTES)
        except (BlockingIOError, ConnectionResetError):
            # Reset is told once, before the messages that the keeper left behind when it went without reading ours.
            return
        except OSError:
            message = b""
        if not message:
            self._on_keeper_gone()
        elif message[:1] == b"T":
            self._pump.add(message[1], message[2:])
        else:
            event = json.loads(message)
            # A keeper of a newer version may say more.
            self._on_event.get(event["event"], self._on_output)(event)

    def _on_started(self, event: dict[str, Any]) -> None:
        self._started = True
        self._begun = time.monotonic()
        self._has_keys = event["terminal"]
        # Before any output is shown: what answers a prompt must not be echoed by a terminal that is still in line mode.
        self._take_terminal()
        if self._viewer:
            self._pump.start(event["segment"], event["segment_start"], self._tail_bytes)
        else:
            self._pump.start()
        self._pump.wake()
        if self._on_start is not None:
            self._on_start(event["pid"])

    def _on_output(self, event: dict[str, Any]) -> None:
        self._pump.wake()

    def _on_terminal(self, event: dict[str, Any]) -> None:
        # Keys count from now on, output processing from this place of the output on.
        if self._terminal is not None:
            self._terminal.follow(isig=event["isig"])
        self._pump.switch(event["log_bytes"], event["opost"])

    def _on_warning(self, event: dict[str, Any]) -> None:
        self._say(event["message"])

    def _on_interrupt(self, event: dict[str, Any]) -> None:
        if event["signal"] == signal.SIGINT:
            self._speak_at = self._speak_at or max(time.monotonic() + QUIET_SECONDS, self._silent_until)
        elif event["signal"] == signal.SIGTERM:
            self._speak_at = None
            self._say("SIGTERM was sent; if it does not end, another Ctrl-C kills it and all it has started")
        else:
            self._say("killed")
        self._interrupted = True

    def _on_suspended(self, event: dict[str, Any]) -> None:
        """Stop as the command has stopped, so that the shell gives its prompt; continue it when we are continued."""
        if self._terminal is None:
            return
        self._pump.settle(ECHO_SECONDS)
        self._on_wake()
        # Somebody quick may have continued us before we could stop.
        if self._stop != "undone":
            # In the foreground the whole group, as the key would do: the shell waits for all of it.
            whom = 0 if self._terminal.is_foreground() else os.getpid()
            self._terminal.give_back()
            self._stop_ourselves(whom)
            self._on_wake()
            self._continue()
        self._stop = ""
        self._send(b"C")

    def _stop_ourselves(self, whom: int) -> None:
        """Send SIGTSTP to this process, or with 0 to its group; returns once it was continued."""
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(whom, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, before)

    def _on_error(self, event: dict[str, Any]) -> None:
        raise LaunchError(event["message"], exit_code=event["code"])

    def _on_ended(self, event: dict[str, Any]) -> None:
        self._record = {key: value for key, value in event.items() if key != "event"}
        self._send(b"E")
        # What is typed from here on is for the shell.
        self._has_keys = False
        if self._terminal is not None:
            self._terminal.give_back()

    def _on_keeper_gone(self) -> None:
        assert self._socket is not None
        self._socket.close()
        self._socket = None
        self._outgoing.clear()
        self._speak_at = None
        self._has_keys = False
        self._pipes.clear()
        if not self._started:
            raise LaunchError("The keeper ended before the command started", hint=f"`{self._live / 'errors'}` says why")
        self._pump.finish(skip=self._interrupted and os.isatty(STDOUT))
        if self._on_exit is not None and self._record is not None:
            self._on_exit(FrontResult("exited", self._record))

    def _on_copied(self) -> None:
        if self._pump.skipped:
            self._say(f"{self._pump.skipped} bytes of output were not shown; `ds logs {self._name}` has them")
        self._end()

    def _end(self) -> None:
        """The run is over for us: with its exit record, or without one."""
        if self._record is None:
            self._say(f"the keeper of {self._name} is gone; the command saw its terminal hang up")
        self._result = FrontResult("lost" if self._record is None else "exited", self._record)

    # The person.

    def _on_signal(self, number: int) -> None:
        if self._socket is None:
            # Only the output is left: whoever wants us to end need not wait for it.
            if number in ENDING_SIGNALS:
                self._end()
            elif number == signal.SIGTSTP:
                self._stop_ourselves(os.getpid())
        elif number == signal.SIGHUP:
            self._on_hangup()
        elif number == signal.SIGWINCH:
            self._send_size()
        else:
            if number == signal.SIGTSTP:
                self._stop = "asked"
            elif number == signal.SIGCONT and self._stop:
                self._stop = "undone"
            key = self._terminal.key_of(number) if self._terminal is not None else None
            self._send(b"S" + bytes([number]) if key is None else b"I" + key)
            if number == signal.SIGCONT:
                self._continue()

    def _on_hangup(self) -> None:
        if self._stop_on_hangup:
            self._send(b"K" + json.dumps({"reason": "the terminal was lost", "grace_seconds": None}).encode())
            return
        self._say(f"detached; the run goes on: ds attach {self._name}")
        self._result = FrontResult("detached")

    def _on_keys(self, events: int) -> None:
        assert self._terminal is not None
        if self._terminal.is_lost():
            self._polite = True
            return
        try:
            keys = os.read(self._terminal.descriptor, INPUT_BYTES)
        except OSError:
            keys = b""
        if keys:
            self._send(b"I" + keys)
        else:
            # It has hung up. Whether that detaches us or not is for SIGHUP to say.
            self._pump.drop(TERMINAL_ONLY)
            self._terminal.close()
            self._terminal = None

    def _take_terminal(self) -> None:
        """Take the terminal if the command has one, we are in the foreground and no pager was faster."""
        if self._terminal is None or not self._has_keys or self._terminal.holding:
            return
        waiting = time.monotonic() - self._begun < PAGER_SECONDS
        if not self._polite or (not waiting and self._terminal.is_line_by_line()):
            self._terminal.take()

    def _continue(self) -> None:
        """After a stop the terminal is as the shell left it, and perhaps of another size."""
        if self._terminal is not None:
            self._terminal.is_lost()  # If so, it is no longer held and can be taken again.
            self._take_terminal()
        self._send_size()

    def _send_size(self) -> None:
        size = self._terminal.size() if self._terminal is not None else None
        if size is not None and any(size):
            self._send(b"W" + size)

    def _say(self, text: str) -> None:
        """A line to the person: on the terminal if there is one, else on stderr."""
        if self._terminal is not None:
            target, line = self._terminal.descriptor, f"\r\nds: {text}\r\n"
        elif sys.__stderr__ is not None:
            target, line = STDERR, f"ds: {text}\n"
        else:
            return
        try:
            os.write(target, line.encode())
        except OSError:
            pass

    # Our own output.

    def _targets(self) -> dict[int, int]:
        targets = {} if self._terminal is None else {TERMINAL_ONLY: self._terminal.descriptor}
        if sys.__stdout__ is not None:
            targets[STDOUT] = STDOUT
        if sys.__stderr__ is not None:
            targets[STDERR] = STDERR
        return targets

    def _on_opost(self, opost: bool) -> None:
        if self._terminal is not None:
            self._terminal.follow(opost=opost)

    def _reader_watcher(self, stream: int) -> Callable[[int], None]:
        def watch(events: int) -> None:
            self._on_reader_gone(stream)

        return watch

    def _on_reader_gone(self, stream: int) -> None:
        """Let the command have the SIGPIPE that it would have without us."""
        self._pipes.pop(stream, None)
        self._pump.drop(stream)
        if not self._viewer:
            self._send(b"P" + bytes([stream]))
        elif stream == STDOUT:
            self._result = FrontResult("detached")

    def _on_unwritable(self, stream: int, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            self._on_reader_gone(stream)
        elif stream in STREAM_NAMES and not os.isatty(stream):
            # A full disk behind a redirection must not end the training.
            self._say(f"{STREAM_NAMES[stream]} takes no more output ({error.strerror}); `ds logs` has it")


def _is_pipe(descriptor: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
