"""Keep a command: start it, keep its output, pass on what people type, and leave nothing behind."""

from __future__ import annotations

import os
import resource
import select
import signal
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from dstui.inside.control import Client
    from dstui.inside.live import LiveDirectory

if TYPE_CHECKING or __package__:
    from dstui.inside import child, processes
    from dstui.inside.hooked import LOOK_SECONDS, Hooked
    from dstui.inside.output import OutputLog
    from dstui.inside.supervisor import Supervisor
    from dstui.inside.verdict import Interrupts, judge
else:
    import child
    import processes
    from hooked import LOOK_SECONDS, Hooked
    from output import OutputLog
    from supervisor import Supervisor
    from verdict import Interrupts, judge

SETTLE_SECONDS = 0.5
"""Processes left behind may end by themselves within this time: a `tee` has a last line to write."""

STRAY_GRACE_SECONDS = 5.0
"""After SIGTERM they have this long, as a person waits for the prompt."""

LOOK_AGAIN_SECONDS = 0.1
"""A tree that is being killed may still fork, so it is looked at again."""

GIVE_UP_SECONDS = 10.0
"""A process that SIGKILL has not ended by then hangs in the kernel."""

DRAIN_SECONDS = 2.0
"""Most time spent at the end on output that a process out of reach keeps writing."""

TAIL_BYTES = 16_384
"""How much of the last output is searched for a full GPU memory."""

INPUT_BYTES = 1 << 16
"""Input waiting for the terminal above which no more is taken from a client."""

DEFAULT_LOG_BYTES = 1 << 30
"""Limit of `log` when the launch record names none."""


class CommandSupervisor(Supervisor):
    """Keeps one command.

    Args:
        live: the run's directory.
        argv: program and arguments.
        cwd: where it runs.
        streams: letters of `child.py`.
        terminal: whether it gets a terminal.
        like: terminal whose settings that one copies, or None.
    """

    def __init__(
        self, live: LiveDirectory, argv: list[str], cwd: str, streams: str, *, terminal: bool, like: int | None
    ) -> None:
        super().__init__(live)
        self._argv = argv
        self._cwd = cwd
        self._streams = streams
        self._terminal = terminal
        self._like = like
        self._interrupts = Interrupts()
        self._metrics = Metrics(self)
        self._hooked = Hooked(live.path, argv) if (live.launch.get("capture") or {}).get("hook") is True else None
        self._status = 0
        self._strays = 0
        self._suspended = False
        self._cut_told = False
        self._modes = (True, True)

    def _begin(self) -> None:
        """Start the command.

        Raises:
            child.StartError: nothing was started.
        """
        self._is_subreaper = processes.become_subreaper()
        self._memory_kills = processes.memory_kills()
        try:
            self._log = OutputLog(
                self.live,
                self._setting("log_max_bytes", DEFAULT_LOG_BYTES),
                apart=self._streams[1:] not in child.ONE_STREAM,
                still_read=self.control.oldest_segment,
            )
        except OSError as error:
            raise child.StartError(f"the log cannot be written: {error.strerror}", 125) from error
        self._child = child.start(self._argv, self._cwd, self._streams, terminal=self._terminal, like=self._like)
        if self._like is not None:
            os.close(self._like)
        self._started(self._child.pid)
        self.control.tell(self._greeting())
        if self._hooked is not None:
            self.alarm("hook", LOOK_SECONDS, self._look_for_hook)
        # It may have ended before there was anything to wake.
        self._on_child()

    def _greeting(self) -> dict[str, Any]:
        return {
            "event": "started",
            "pid": self.pid,
            "terminal": self._child.master is not None,
            "log_bytes": self._log.total,
            "segment": self._log.segment,
            "segment_start": self._log.segment_start,
        }

    def _greet(self, client: Client) -> None:
        if self.pid:
            client.tell_event(self._greeting())
            client.tell_event(self._terminal_event())

    def _on_leave(self, client: Client) -> None:
        if not self.pid:
            return
        self._log.prune()
        if self._suspended and not self.control.attached():
            # As the kernel does for a stopped job whose shell is gone: nobody is left to continue it.
            self._resume()

    # Output.

    def _log_bytes(self) -> int:
        return self._log.total

    def _sources(self) -> Iterator[tuple[int, int, Callable[[int], None]]]:
        for descriptor in () if self.over else self._child.outputs:
            wanted = select.POLLIN
            if descriptor == self._child.master and self._child.typed:
                wanted |= select.POLLOUT
            yield descriptor, wanted, self._output_handler(descriptor)

    def _output_handler(self, descriptor: int) -> Callable[[int], None]:
        def handle(events: int) -> None:
            if events & select.POLLOUT:
                self._child.flush()
                self._take_input_again()
            if events & ~select.POLLOUT:
                self._take_output(descriptor)

        return handle

    def _take_output(self, descriptor: int | None) -> bool:
        """Keep what an output holds now; returns whether there was something."""
        if descriptor not in self._child.outputs:
            return False
        stream = self._child.outputs[descriptor]
        data = self._child.read(descriptor)
        if descriptor == self._child.master and self._mirror_modes() and data:
            # Undone here and done again by the person's terminal: the command sees the settings it expects, the log
            # has the bytes it wrote.
            data = data.replace(b"\r\n", b"\n")
        if data:
            self._keep(stream, data)
        elif data is None:
            self._child.forget(descriptor)
        return bool(data)

    def _keep(self, stream: int, data: bytes) -> None:
        if stream == child.TERMINAL_ONLY:
            self.control.tell_raw(stream, data)
            return
        dropped = self._log.append(stream, data)
        if dropped:
            self.control.tell_raw(stream, dropped)
            if not self._cut_told:
                self._cut_told = True
                self.warn(f"output is shown to those attached but not kept: {self._log.refusal}; the command goes on")
        self.control.tell_output(self._log.total)
        self._metrics.feed(data)

    def _mirror_modes(self) -> bool:
        """Tell those attached of settings that their terminals must follow; returns whether newlines are changed."""
        modes = self._child.modes()
        if modes is not None and self._modes != (modes.newlines, modes.isig):
            self._modes = (modes.newlines, modes.isig)
            self.control.tell(self._terminal_event())
        return self._modes[0]

    def _terminal_event(self) -> dict[str, Any]:
        opost, isig = self._modes
        return {"event": "terminal", "opost": opost, "isig": isig, "log_bytes": self._log.total}

    def _drain(self) -> None:
        """Take the output that is still on its way when the last process has ended."""
        self._child.let_go_of_terminal()
        deadline = time.monotonic() + DRAIN_SECONDS
        while any([self._take_output(descriptor) for descriptor in list(self._child.outputs)]):
            if time.monotonic() > deadline:
                self.warn("a process that outlived the command goes on writing; its output is not kept")
                return

    # What people do.

    def _letters(self) -> dict[bytes, Callable[[Client, bytes], None]]:
        return {
            **super()._letters(),
            b"I": self._on_input,
            b"S": self._on_signal,
            b"W": lambda _, data: self._child.resize(data),
            b"C": lambda _, data: self._resume() if self._suspended else None,
            b"P": lambda _, data: self._child.close(data[0]),
            b"R": self._on_segment_read,
        }

    def _on_input(self, client: Client, data: bytes) -> None:
        modes = self._child.modes()
        if modes is not None and modes.isig and modes.interrupt in data:
            # The kernel throws away output that nobody has read when the key comes.
            self._take_output(self._child.master)
            # In a line editor Ctrl-C only clears the line.
            if modes.canonical and self._interrupt() != signal.SIGINT:
                return
        else:
            self._interrupts.forget()
        self._child.type(data)
        client.paused = self._child.typed > INPUT_BYTES

    def _take_input_again(self) -> None:
        if self._child.typed <= INPUT_BYTES:
            for client in self.control.clients.values():
                client.paused = False

    def _on_signal(self, client: Client, data: bytes) -> None:
        number = data[0]
        if number == signal.SIGCONT:
            self._resume()
        elif number != signal.SIGINT or self._interrupt() == signal.SIGINT:
            self._child.signal(number)

    def _interrupt(self) -> int:
        """Count a Ctrl-C; returns the signal it stands for, already sent unless it is SIGINT."""
        if self._child.ended:
            self._kill()
            return signal.SIGKILL
        number = self._interrupts.press(time.monotonic())
        self.control.tell({"event": "interrupt", "signal": number})
        if number != signal.SIGINT:
            self.request = self.request or ("stopped", "Ctrl-C")
            if number == signal.SIGTERM:
                self._terminate()
            else:
                self._kill()
        return number

    def _resume(self) -> None:
        self._suspended = False
        self._child.resume()

    def _on_segment_read(self, client: Client, data: bytes) -> None:
        (client.segment,) = struct.unpack("<I", data)
        self._log.prune()

    # The end.

    def _on_child(self) -> None:
        """Notice which children have stopped or ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                break
            if not pid:
                break
            if pid == self.pid and os.WIFSTOPPED(status):
                self._suspended = True
                for descriptor in list(self._child.outputs):
                    self._take_output(descriptor)
                self.control.tell({"event": "suspended"})
            elif pid == self.pid:
                self._status = status
                self._child.ended = True
                self._ended()
                self.alarm("strays", SETTLE_SECONDS, self._end_strays)
        if self._child.ended:
            self._look_for_strays()

    def _look_for_strays(self) -> None:
        if self._is_alone():
            self._finish()
        else:
            self.alarm("look", LOOK_AGAIN_SECONDS, self._look_for_strays)

    def _look_for_hook(self) -> None:
        if self._hooked is not None:
            self._hooked.look(processes.family(os.getpid()))

    def _is_alone(self) -> bool:
        """Whether nothing is left of the command; as a subreaper we are the parent of all orphans."""
        if not self._is_subreaper:
            return not processes.family(os.getpid())
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        return False

    def _end_strays(self) -> None:
        """Ask what the command has left behind to end."""
        strays = processes.family(os.getpid())
        self._strays = len(strays)
        for number in (signal.SIGTERM, signal.SIGCONT):
            self._send(strays, number)
        grace: float = self._setting("grace_seconds", STRAY_GRACE_SECONDS)
        self.alarm("kill", min(grace, STRAY_GRACE_SECONDS), self._kill)

    def _terminate(self) -> None:
        """SIGTERM to the leader only: the group would lose its data-loading workers in the middle of a last save."""
        self._child.signal(signal.SIGTERM)
        self._resume()

    def _kill(self) -> None:
        """SIGKILL to everything below us, again and again until nothing is left."""
        self._send(processes.family(os.getpid()), signal.SIGKILL)
        self.alarm("kill", LOOK_AGAIN_SECONDS, self._kill)
        if self._child.ended and "give up" not in self._alarms:
            self.alarm("give up", GIVE_UP_SECONDS, self._give_up)

    def _give_up(self) -> None:
        left = processes.family(os.getpid())
        if left:
            self.warn(f"processes that not even SIGKILL ends: {' '.join(map(str, left))}")
        self._finish()

    def _finish(self) -> None:
        if not self.over:
            self._alarms.clear()
            self._drain()
            # The hang-up that follows reaches the leader of the session: us, and not yet the clerk.
            for descriptor in list(self._child.outputs):
                self._child.forget(descriptor)
            self._metrics.close()
            self.over = True

    @staticmethod
    def _send(pids: list[int], number: int) -> None:
        for pid in pids:
            try:
                os.kill(pid, number)
            except OSError:
                pass

    def _verdict(self) -> dict[str, Any]:
        killed_by = os.WTERMSIG(self._status) if os.WIFSIGNALED(self._status) else None
        exit_code = None if killed_by is not None else os.WEXITSTATUS(self._status)
        state, reason = judge(
            exit_code,
            killed_by,
            request=self.request,
            interrupted=self._interrupts.caused(self._stopped),
            host_memory_full=processes.memory_kills() > self._memory_kills,
            last_output=self._log.last(TAIL_BYTES),
        )
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "exit_code": exit_code,
            "signal": killed_by,
            "state": state,
            "stop_reason": reason,
            "user_seconds": usage.ru_utime,
            "system_seconds": usage.ru_stime,
            "peak_rss_bytes": usage.ru_maxrss * 1024,
            "strays": self._strays,
            "hook": None if self._hooked is None else self._hooked.verdict(),
        }


class Metrics:
    """Hands the output to the parser that finds metrics in it; a fault there is told once and ends the parsing."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._wanted = (supervisor.live.launch.get("capture") or {}).get("stdout") is True
        self._parser: Any = None

    def feed(self, data: bytes) -> None:
        """Parse a piece of output."""
        if not self._wanted:
            return
        try:
            if self._parser is None:
                self._parser = self._load()
            self._parser.feed(data, time.time())
        except Exception as error:
            self._give_up(error)

    def close(self) -> None:
        """Write what the parser still holds."""
        if self._parser is None:
            return
        try:
            self._parser.close()
            if self._parser.sampled_lines and self._parser.found:
                lines = f"{self._parser.sampled_lines:,} lines of output came too fast to be searched for metrics"
                self._supervisor.warn(f"{lines}; `dstui.log` keeps every point")
        except Exception as error:
            self._give_up(error)

    def _load(self) -> Any:
        """The parser, loaded at the first output: a command that prints nothing need not wait for it."""
        if TYPE_CHECKING or __package__:
            from dstui.inside.parse import OutputMetrics
        else:
            from parse import OutputMetrics
        return OutputMetrics(os.path.join(self._supervisor.live.path, "journal"))

    def _give_up(self, error: Exception) -> None:
        self._wanted = False
        self._parser = None
        self._supervisor.warn(f"metrics are no longer read from the output: {type(error).__name__}: {error}")
