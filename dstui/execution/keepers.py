"""Start the keeper of a run, connect to one that runs, ask it to stop.

The keeper is a process of its own (`inside/keeper.py`); the streams that it gives the command are like ours.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dstui.errors import LaunchError
from dstui.execution.terminal import UserTerminal

STDOUT, STDERR = 1, 2
"""Our own output."""

KEEPER = Path(__file__).parents[1] / "inside" / "keeper.py"
"""The program that keeps a run."""

CAUGHT_SIGNALS = signal.valid_signals() - {
    signal.SIGCHLD,
    signal.SIGPIPE,
    signal.SIGTTIN,
    signal.SIGTTOU,
    # Faults of our own.
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    # Cannot be caught.
    signal.SIGKILL,
    signal.SIGSTOP,
}
"""Signals that the front sees and, but for SIGHUP, passes on."""


@dataclass(frozen=True)
class KeeperHandle:
    """A keeper just started.

    Attributes:
        pid: its process; a child of this one.
        socket: our end of its first front's socket.
    """

    pid: int
    socket: socket.socket


def start_keeper(
    live: Path,
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path,
    *,
    clerk: Sequence[str],
    alive: int | None = None,
) -> KeeperHandle:
    """Start the keeper of a run, which starts the command; `follow` tells whether that worked.

    Each of our own stdin, stdout and stderr that is a terminal becomes the command's own terminal, with the same
    settings and size. Another stdin is handed to the command and given up here; another stdout or stderr is fed from a
    pipe. Signals are held back from here on, until `follow` passes them on.

    Args:
        live: the run's directory, holding `launch.json`.
        argv: the command.
        environment: of the command, the keeper and the clerk.
        cwd: where the command runs.
        clerk: what the keeper becomes at the end if no front is there to commit the run; an absolute program first.
        alive: descriptor of the file `alive`, locked; closed here. Without it the lock is taken here. Either way no
            moment passes in which the run looks dead.

    Raises:
        LaunchError: the keeper could not be started.
    """
    streams = _streams()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT_SIGNALS)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs, ExitStack() as opened:
            inherited = {"--alive-fd": _closed_later(opened, _locked(live) if alive is None else alive)}
            inherited["--command-fd"] = _closed_later(opened, _words_file(argv))
            inherited["--front-fd"] = theirs.fileno()
            options = ["--streams", streams, "--cwd", str(cwd), "--clerk", json.dumps(list(clerk))]
            terminal = UserTerminal.open()
            if terminal is not None:
                opened.callback(terminal.close)
            if terminal is not None or "t" in streams:
                options.append("--terminal")
            # In the background the terminal has the settings of the shell's line editor, and not for us.
            if terminal is not None and terminal.is_foreground():
                inherited["--terminal-fd"] = terminal.descriptor
            pid = _spawn(live, options, inherited, environment, mask, keep_stdin=streams[0] == "i")
    except OSError as error:
        ours.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise LaunchError(f"The keeper could not be started: {error.strerror}", hint="`ds doctor`") from error
    if streams[0] == "i":
        # Whoever writes to it must see when the command no longer reads.
        _close_stdin()
    return KeeperHandle(pid, ours)


def start_watcher(
    live: Path, pid: int, environment: Mapping[str, str], *, clerk: Sequence[str], alive: int | None = None
) -> None:
    """Start a keeper for a process that runs already; returns once it is kept.

    Args:
        live: the run's directory, holding `launch.json`.
        pid: the process to watch.
        environment: of the keeper and the clerk.
        clerk: what the keeper becomes at the end; an absolute program first.
        alive: as for `start_keeper`.

    Raises:
        LaunchError: it could not be started.
    """
    options = ["--clerk", json.dumps(list(clerk)), "--watch", str(pid)]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with ExitStack() as opened:
            inherited = {"--alive-fd": _closed_later(opened, _locked(live) if alive is None else alive)}
            starter = _spawn(live, options, inherited, environment, mask, keep_stdin=False)
        _, status = os.waitpid(starter, 0)
    except OSError as error:
        raise LaunchError(f"The keeper could not be started: {error.strerror}", hint="`ds doctor`") from error
    if status:
        raise LaunchError(f"The keeper of process {pid} has failed", hint=f"`{live / 'errors'}` says why")


def connect(live: Path) -> socket.socket:
    """A connection to the keeper of a running run.

    Raises:
        LaunchError: nobody keeps it any more.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        directory = os.open(live, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # By descriptor, because the path of a socket must be short.
            connection.connect(f"/proc/self/fd/{directory}/control")
        finally:
            os.close(directory)
    except OSError as error:
        connection.close()
        raise LaunchError(
            f"The run in `{live}` has no keeper that answers: {error.strerror}", hint="`ds show RUN` says how it ended"
        ) from error
    return connection


def request_stop(live: Path, reason: str, grace_seconds: float | None = None) -> None:
    """Ask the keeper to stop its run: SIGTERM to the command, after the grace SIGKILL to all it has started.

    Args:
        live: the run's directory.
        reason: becomes the run's stop reason.
        grace_seconds: None for the run's own.

    Raises:
        LaunchError: nobody keeps it any more.
    """
    with connect(live) as connection:
        connection.send(b"K" + json.dumps({"reason": reason, "grace_seconds": grace_seconds}).encode())


def _streams() -> str:
    """The letters of our stdin, stdout and stderr, see `inside/child.py`."""
    kept_open = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
    letters = ""
    for number, other in enumerate("ipp"):
        # A descriptor that was closed when we started may be any file of ours by now.
        letters += "-" if kept_open[number] is None else "t" if os.isatty(number) else other
    if letters[1:] == "pp" and os.path.samestat(os.fstat(STDOUT), os.fstat(STDERR)):
        letters = letters[:2] + "="
    return letters


def _closed_later(opened: ExitStack, descriptor: int) -> int:
    opened.callback(os.close, descriptor)
    return descriptor


def _words_file(argv: Sequence[str]) -> int:
    """A file without a name that holds the words of the command, each ended by a zero byte."""
    descriptor = os.memfd_create("command")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.writelines(os.fsencode(word) + b"\0" for word in argv)
    return descriptor


def _locked(live: Path) -> int:
    descriptor = os.open(live / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _spawn(
    live: Path,
    options: list[str],
    inherited: Mapping[str, int],
    environment: Mapping[str, str],
    mask: Iterable[int],
    *,
    keep_stdin: bool,
) -> int:
    """Start the keeper in a session of its own, without our terminal; returns its pid."""
    nothing = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(int(keep_stdin), 3)]
    # Numbers above all of ours, so that no copy overwrites one still to be made.
    above = max([2, *inherited.values()]) + 1
    copies = [(os.POSIX_SPAWN_DUP2, descriptor, above + place) for place, descriptor in enumerate(inherited.values())]
    for place, option in enumerate(inherited):
        options += [option, str(above + place)]
    program = [sys.executable, "-I", "-S", str(KEEPER), str(live), *options]
    # In this order: when one of our streams was closed, its number may be that of a descriptor to be inherited.
    actions = [*copies, *nothing]
    return os.posix_spawn(program[0], program, environment, file_actions=actions, setsid=True, setsigmask=mask)


def _close_stdin() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
