"""What every keeper does: it listens to clients, keeps deadlines, stops the run, and writes how it ended.

Messages of a client, first byte and the rest (`W I C P R S` only where there is a command, see `command.py`):

| letter | data | meaning |
|---|---|---|
| `A` | | attach: be told of events |
| `I` | bytes | input for the terminal |
| `S` | u8 | send this signal |
| `W` | 4 x u16 | size of the terminal: rows, columns, pixels across and down |
| `C` | | go on after a stop |
| `K` | JSON `{"reason", "grace_seconds"}` | stop the run |
| `P` | u8 | nobody reads this stream of output any more |
| `R` | u32 | this client has read the log's segments below this one |
| `E` | | the exit was received, and this client commits the run |

Events: `started output suspended interrupt terminal warning exit error`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

    from dstui.inside.control import Client
    from dstui.inside.live import LiveDirectory

if TYPE_CHECKING or __package__:
    from dstui.inside import processes
    from dstui.inside.control import Control
    from dstui.inside.tail import Tail
    from dstui.inside.upkeep import Upkeep
else:
    import processes
    from control import Control
    from tail import Tail
    from upkeep import Upkeep

RECEIPT_SECONDS = 5.0
"""How long an attached front may take to say that it commits the run."""

FAULTS = 20
"""After so many faults of its own a keeper gives up."""

REASON_CHARACTERS = 500
"""Longest stop reason kept."""

DEFAULT_GRACE_SECONDS = 30.0
"""Time between SIGTERM and SIGKILL when the launch record names none."""

NOTICED_SIGNALS = (
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGTSTP,
)
"""Signals that do not end a keeper; of these only SIGCHLD and SIGTERM mean anything to it."""


class Supervisor:
    """One run from its start to its exit record. Subclasses say what is watched and how it is ended.

    Attributes:
        live: the run's directory.
        control: its clients.
        pid: the process whose end is the end of the run; 0 before the start.
        request: state and reason of a stop that was asked for; the first one counts.
        over: True once nothing is left to wait for.
    """

    def __init__(self, live: LiveDirectory) -> None:
        self.live = live
        self.control = Control(self._on_message, self._greet, self._on_leave)
        self.pid = 0
        self.request: tuple[str, str] | None = None
        self.over = False
        self._identity: dict[str, Any] = {}
        self._began_at, self._began = time.time(), time.monotonic()
        self._stopped = 0.0
        self._alarms: dict[str, tuple[float, Callable[[], None]]] = {}
        self._upkeep = Upkeep(live, self._state)
        self._tail = Tail(live, str(live.launch.get("cwd") or os.getcwd()), self._began_at)
        self._received = False
        self._faults = 0
        self._wake, wake = os.pipe()
        for descriptor in (self._wake, wake):
            os.set_blocking(descriptor, False)
        for number in NOTICED_SIGNALS:
            # A signal that the command should inherit as ignored (nohup) must stay so.
            if number == signal.SIGCHLD or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _notice)
        self._wake_end = wake

    # What subclasses give.

    def _begin(self) -> None:
        """Start or find what is watched, and set `pid`."""
        raise NotImplementedError

    def _sources(self) -> Iterator[tuple[int, int, Callable[[int], None]]]:
        """Descriptors to wait for besides the clients, the events to wait for, and who handles them."""
        yield from ()

    def _on_child(self) -> None:
        """A child process has changed its state."""

    def _terminate(self) -> None:
        """Ask the watched process to end."""
        raise NotImplementedError

    def _kill(self) -> None:
        """End it, now."""
        raise NotImplementedError

    def _verdict(self) -> dict[str, Any]:
        """Keys of the exit record that tell how the watched process ended."""
        raise NotImplementedError

    def _letters(self) -> dict[bytes, Callable[[Client, bytes], None]]:
        """What each letter of a message does."""
        return {b"K": self._on_stop, b"E": self._on_receipt}

    def _log_bytes(self) -> int:
        return 0

    def _greet(self, client: Client) -> None:
        """Tell a client that has just attached how things stand."""

    def _on_leave(self, client: Client) -> None:
        """A client has left."""

    # The course of a run.

    def run(self) -> bool:
        """Keep the run to its end; returns whether nobody attached commits it, so that the clerk is needed."""
        self._begin()
        _close_foreign_descriptors()
        os.chdir("/")
        self._upkeep.start()
        self._tail.start()
        while not self.over:
            try:
                self._turn()
            except Exception as error:
                self._survive(error)
        # Before the last sync, so that its points are on the disk when the run is over.
        self._tail.finish()
        self._upkeep.finish()
        self.control.close_listener()
        record = self._record()
        try:
            self.live.write_exit(record)
        except OSError as error:
            self.warn(f"the end of the run could not be written: {error.strerror}")
        self.control.tell({"event": "exit", **record})
        received = self._is_received()
        # Before the sockets close, which tells the front to go on.
        self.live.release()
        return not received

    def _survive(self, error: Exception) -> None:
        """Go on after a fault of ours: the command is worth more than what it would spoil."""
        self._faults += 1
        if self._faults > FAULTS:
            raise error
        import traceback

        place = traceback.extract_tb(error.__traceback__)[-1]
        self.live.complain(f"a fault of the keeper: {error!r} in line {place.lineno} of {place.filename}")

    def warn(self, line: str) -> None:
        """Say what went wrong with the tracking, in `errors` and to those attached."""
        self.live.complain(line)
        self.control.tell({"event": "warning", "message": line})

    def alarm(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` after this time; an earlier alarm of this name is forgotten."""
        self._alarms[name] = (time.monotonic() + seconds, action)

    def no_alarm(self, name: str) -> None:
        """Forget an alarm."""
        self._alarms.pop(name, None)

    def stop(self, state: str, reason: str, grace_seconds: float | None = None) -> None:
        """Ask the process to end, and end it after the grace; what it left behind after its end goes at once."""
        if self._stopped:
            self._kill()
            return
        if self.request is None:
            self.request = (state, reason[:REASON_CHARACTERS])
        if grace_seconds is None:
            grace_seconds = self._setting("grace_seconds", DEFAULT_GRACE_SECONDS)
        if grace_seconds <= 0:
            self._kill()
            return
        try:
            # A script that asks `should_stop` sees it even where it does not hear the signal.
            os.close(self.live.open("stop", os.O_WRONLY | os.O_CREAT))
        except OSError:
            pass
        self._terminate()
        self.alarm("kill", grace_seconds, self._kill)

    def _started(self, pid: int) -> None:
        """Note the process, and begin to count its time."""
        self.pid = pid
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        self._identity = {
            "v": 1,
            "run": self.live.launch.get("run"),
            "machine": self.live.launch.get("machine"),
            "host": os.uname().nodename,
            "boot": processes.boot_id(),
            "pid_namespace": processes.pid_namespace(),
            "keeper_pid": os.getpid(),
            "keeper_start_ticks": processes.start_ticks(os.getpid()),
            "pid": pid,
            "start_ticks": processes.start_ticks(pid),
            "started_at": self._began_at,
        }
        limit = self._setting("time_limit_seconds", None)
        if limit is not None:
            self.alarm("limit", limit, lambda: self.stop("timeout", f"time limit of {limit:g} s"))

    def _ended(self) -> None:
        """Note that the process has ended now."""
        self._stopped = time.monotonic()
        self.no_alarm("limit")

    def _state(self) -> dict[str, Any]:
        return {**self._identity, "log_bytes": self._log_bytes()}

    def _record(self) -> dict[str, Any]:
        duration = self._stopped - self._began
        return {
            "v": 1,
            "run": self.live.launch.get("run"),
            **self._verdict(),
            "started_at": self._began_at,
            # Not the clock of the wall: it may have been set meanwhile.
            "ended_at": self._began_at + duration,
            "duration_seconds": duration,
            "log_bytes": self._log_bytes(),
        }

    def _setting(self, name: str, default: Any) -> Any:
        """A number of the launch record."""
        value = self.live.launch.get(name)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else default

    def _is_received(self) -> bool:
        """Wait until an attached front says that it commits the run; False when none is left or none answers."""
        deadline = time.monotonic() + RECEIPT_SECONDS
        self._alarms = {"receipt": (deadline, lambda: None)}
        while self.control.attached() and not self._received and self._alarms:
            self._turn()
        return self._received

    # One turn of the loop.

    def _turn(self) -> None:
        """Wait for whatever comes first, and deal with it."""
        poll = select.poll()
        handlers: dict[int, Callable[[int], None]] = {}
        for descriptor, events, handler in (*self._common_sources(), *self._sources()):
            poll.register(descriptor, events)
            handlers[descriptor] = handler
        for descriptor, events in poll.poll(self._patience()):
            handlers[descriptor](events)
        self._ring()

    def _patience(self) -> float | None:
        """Milliseconds until the next alarm."""
        if not self._alarms:
            return None
        return max(0.0, min(at for at, _ in self._alarms.values()) - time.monotonic()) * 1000

    def _ring(self) -> None:
        now = time.monotonic()
        for name, (at, action) in list(self._alarms.items()):
            # An earlier action may have moved this one.
            if at <= now and self._alarms.get(name) == (at, action):
                del self._alarms[name]
                action()

    def _common_sources(self) -> Iterator[tuple[int, int, Callable[[int], None]]]:
        yield self._wake, select.POLLIN, self._on_wake
        if self.control.listener is not None:
            yield self.control.listener.fileno(), select.POLLIN, lambda _: self.control.accept()
        for descriptor, client in self.control.clients.items():
            yield descriptor, client.events, self._client_handler(client)

    def _client_handler(self, client: Client) -> Callable[[int], None]:
        def handle(events: int) -> None:
            if events & select.POLLOUT:
                client.flush()
            if events & ~select.POLLOUT:
                self.control.receive(client)

        return handle

    def _on_wake(self, _: int) -> None:
        numbers = os.read(self._wake, 512)
        if signal.SIGCHLD in numbers:
            self._on_child()
        if signal.SIGTERM in numbers:
            self.stop("stopped", "SIGTERM to its keeper")

    def _on_message(self, client: Client, message: bytes) -> None:
        letter = message[:1]
        handler = self._letters().get(letter)
        if handler is not None and (letter == b"E" or not self.over):
            handler(client, message[1:])

    def _on_stop(self, client: Client, data: bytes) -> None:
        wish = json.loads(data)
        grace = wish.get("grace_seconds")
        self.stop("stopped", str(wish["reason"]), None if grace is None else float(grace))

    def _on_receipt(self, client: Client, data: bytes) -> None:
        self._received = client.attached


def _close_foreign_descriptors() -> None:
    """Close what came from whoever started us for the command: a pipe held here would not end for its reader."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            if descriptor > 2 and os.get_inheritable(descriptor):
                os.close(descriptor)
        except OSError:
            pass  # It was the one that listed the others.


def _notice(number: int, frame: FrameType | None) -> None:
    """Handler of the signals that the loop sees through its wake-up descriptor."""
