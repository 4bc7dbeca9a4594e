"""The command of a run as a process: its streams, its terminal, its start and the signals it gets.

`streams` is one letter each for stdin, stdout and stderr: `t` the terminal, `p` a pipe that the keeper reads, `=` the
pipe of stdout (stderr only), `i` what the keeper inherited (stdin only), `-` closed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

STDOUT, STDERR = 1, 2
"""Streams of output."""

TERMINAL_ONLY = 0
"""Output of a terminal on which neither stdout nor stderr stands: echo, and what was written to `/dev/tty`."""

GROUP_SIGNALS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP})
"""Signals that a terminal sends to the whole foreground group; all others go to the leader alone."""

CHUNK_BYTES = 1 << 16
"""Most bytes taken from one output at a time."""

TERMINAL_SIZE = (24, 80, 0, 0)
"""Rows, columns and pixels of a terminal that nobody looks at."""


ONE_STREAM = frozenset({"tt", "p=", "t-", "p-", "--"})
"""Letters of stdout and stderr with which all output counts as stdout."""


NEWLINES = termios.OPOST | termios.ONLCR
"""Both are needed for a carriage return before each newline."""


class StartError(Exception):
    """The command was not started; `code` is 125 (our fault), 126 (not executable) or 127 (not found)."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class TerminalModes:
    """What of a terminal's settings matters outside it.

    Attributes:
        newlines: whether output gets a carriage return before each newline; a full-screen program turns that off.
        isig: whether the interrupt key sends a signal.
        canonical: whether input is taken by lines, not by a line editor or a full-screen program.
        interrupt: the interrupt key, one byte.
    """

    __slots__ = ("canonical", "interrupt", "isig", "newlines")

    def __init__(self, descriptor: int) -> None:
        _, output, _, local, _, _, keys = termios.tcgetattr(descriptor)
        self.newlines = output & NEWLINES == NEWLINES
        self.isig = bool(local & termios.ISIG)
        self.canonical = bool(local & termios.ICANON)
        self.interrupt: bytes = keys[termios.VINTR]


class Child:
    """A started command.

    Attributes:
        pid: process id of its leader, also its process group.
        outputs: stream by the descriptor to read it from; reading never blocks.
        master: the keeper's end of the terminal, or None.
        ended: True once the leader was reaped; from then on its pid may be another's, so no signal is sent.
    """

    def __init__(self, pid: int, outputs: dict[int, int], master: int | None, slave: int | None) -> None:
        self.pid = pid
        self.outputs = outputs
        self.master = master
        self.ended = False
        # Held so that reading the terminal does not fail while no process of the command has it open.
        self._slave = slave
        self._typed = b""

    @property
    def typed(self) -> int:
        """Bytes of input that the terminal has not taken yet."""
        return len(self._typed)

    def modes(self) -> TerminalModes | None:
        """Present settings of its terminal."""
        try:
            return None if self.master is None else TerminalModes(self.master)
        except termios.error:
            return None

    def signal(self, number: int) -> None:
        """Send a signal as a terminal or `kill` would: to the foreground group or to the leader."""
        if number in GROUP_SIGNALS:
            self._signal_group(self._foreground(), number)
        elif not self.ended:
            _quietly(os.kill, self.pid, number)

    def resume(self) -> None:
        """Let a stopped command go on, wherever in its groups the stop was."""
        for group in {self.pid, self._foreground()}:
            self._signal_group(group, signal.SIGCONT)

    def resize(self, size: bytes) -> None:
        """Set the terminal's size: four u16, rows, columns, pixels across and down."""
        if self.master is not None:
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def type(self, data: bytes) -> None:
        """Input from a person; dropped when there is no terminal."""
        if self.master is not None:
            self._typed += data
            self.flush()

    def flush(self) -> None:
        """Hand the terminal as much of the waiting input as it takes now."""
        if self.master is None or not self._typed:
            return
        try:
            self._typed = self._typed[os.write(self.master, self._typed) :]
        except BlockingIOError:
            pass
        except OSError:
            self._typed = b""

    def read(self, descriptor: int) -> bytes | None:
        """What an output holds, up to 64 KiB; empty when nothing is there now, None when nothing will come."""
        data = b""
        try:
            # A terminal gives 4 KiB at a time. It writes a carriage return and its newline at once, so the end of what
            # there is never lies between them; the end of what we take must not either.
            while len(data) < CHUNK_BYTES or data.endswith(b"\r"):
                piece = os.read(descriptor, CHUNK_BYTES)
                if not piece:
                    return data or None
                data += piece
        except BlockingIOError:
            pass
        except OSError:
            return data or None
        return data

    def close(self, stream: int) -> None:
        """Close the pipe of a stream, so that the command gets SIGPIPE for writing to it."""
        for descriptor, of_stream in list(self.outputs.items()):
            if of_stream == stream and descriptor != self.master:
                self.forget(descriptor)

    def forget(self, descriptor: int) -> None:
        """Close an output that has ended."""
        del self.outputs[descriptor]
        if descriptor == self.master:
            self.master = None
        os.close(descriptor)

    def let_go_of_terminal(self) -> None:
        """From here on reading the terminal ends once the last process has closed it."""
        if self._slave is not None:
            os.close(self._slave)
            self._slave = None

    def _foreground(self) -> int:
        try:
            return (self.master is not None and os.tcgetpgrp(self.master)) or self.pid
        except OSError:
            return self.pid

    def _signal_group(self, group: int, number: int) -> None:
        if not (self.ended and group == self.pid):
            _quietly(os.killpg, group, number)


def start(argv: list[str], cwd: str, streams: str, *, terminal: bool, like: int | None) -> Child:
    """Start a command in a process group of its own, in the foreground of a new terminal if it gets one.

    Call it while there is one thread, as the leader of a session without a terminal.

    Args:
        argv: a program, looked up on PATH, and its arguments.
        cwd: where it runs.
        streams: see the module.
        terminal: whether the session gets a terminal; needed for the letter `t`.
        like: terminal whose settings and size are copied, or None for the usual ones.

    Raises:
        StartError: nothing was started.
    """
    try:
        master, slave = _open_terminal(like) if terminal else (None, None)
        ends, outputs = _open_streams(streams, master, slave)
        answer, report = os.pipe()
    except (OSError, termios.error) as error:
        raise StartError(f"no terminal or pipe for the command: {error}", 125) from error
    pid = os.fork()
    if not pid:
        _become(argv, cwd, ends, slave, report)
    os.close(report)
    for end in set(ends):
        if end == 0:
            # Whoever writes there must see the command close it.
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
        elif end is not None and end != slave:
            os.close(end)
    with os.fdopen(answer, "rb") as file:
        refusal = file.read().decode(errors="replace")
    if refusal:
        os.waitpid(pid, 0)
        code, _, message = refusal.partition(" ")
        raise StartError(message, int(code))
    for descriptor in outputs:
        os.set_blocking(descriptor, False)
    return Child(pid, outputs, master, slave)


def _open_terminal(like: int | None) -> tuple[int, int]:
    """The two ends of a new controlling terminal of this session."""
    master, slave = os.openpty()
    settings = termios.tcgetattr(slave)
    size = struct.pack("HHHH", *TERMINAL_SIZE)
    if like is not None:
        model = termios.tcgetattr(like)
        for place in (0, 1, 3, 6):
            settings[place] = model[place]
        size = fcntl.ioctl(like, termios.TIOCGWINSZ, size)
    # Of output processing only what the keeper can undo, so that the log gets what the command wrote.
    settings[1] &= NEWLINES
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    return master, slave


def _open_streams(streams: str, master: int | None, slave: int | None) -> tuple[list[int | None], dict[int, int]]:
    """What becomes the command's descriptors 0, 1 and 2, and the outputs to read with the stream of each."""
    ends: list[int | None] = []
    outputs: dict[int, int] = {}
    for number, letter in enumerate(streams):
        if letter == "p":
            source, end = os.pipe()
            outputs[source] = number
            ends.append(end)
        else:
            ends.append({"t": slave, "i": 0, "=": ends[STDOUT] if number == STDERR else None}.get(letter))
    if master is not None:
        outputs[master] = next((number for number in (STDOUT, STDERR) if streams[number] == "t"), TERMINAL_ONLY)
    return ends, outputs


def _become(argv: list[str], cwd: str, ends: list[int | None], slave: int | None, report: int) -> NoReturn:
    """In the new process: turn into the command, or say through `report` why not."""
    code, message = 125, "could not be started"
    try:
        os.setpgid(0, 0)
        if slave is not None:
            before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(slave, os.getpid())
            signal.signal(signal.SIGTTOU, before)
        for number, end in enumerate(ends):
            if end is None:
                os.close(number)
            else:
                os.dup2(end, number)
        # Python ignores these, and a program started by it would go on doing so.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(cwd)
        code, message = _execute(argv)
    except OSError as error:
        message = f"`{argv[0]}` could not be started in `{cwd}`: {error.strerror}"
    finally:
        os.write(report, f"{code} {message}".encode(errors="replace"))
        os._exit(code)


def _execute(argv: list[str]) -> tuple[int, str]:
    """Become the program, or return the exit code and the sentence of a shell that cannot."""
    name = argv[0]
    refusal: OSError | None = None
    for path in [name] if "/" in name else _candidates(name):
        try:
            os.execv(path, argv)
        except (FileNotFoundError, NotADirectoryError):
            if os.path.exists(path):
                return 126, f"`{path}` cannot be executed: the interpreter in its first line does not exist"
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                os.execv("/bin/sh", ["sh", path, *argv[1:]])
            refusal = refusal or error
    if refusal is not None:
        return 126, f"`{name}` cannot be executed: {refusal.strerror}"
    return 127, f"`{name}` was not found" + ("" if "/" in name else " on PATH")


def _candidates(name: str) -> list[str]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [os.path.join(folder, name) for folder in folders] if name else []


def _quietly(kill: Callable[[int, int], None], target: int, number: int) -> None:
    try:
        kill(target, number)
    except (OSError, ValueError):
        pass
