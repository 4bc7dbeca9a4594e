"""The person's own terminal while a command runs: raw for input, handed back whenever somebody else needs it.

Signals of the keyboard stay with the kernel, which sends them to everyone in the foreground group as without us (the
shell script around us, the `tee` behind us); they follow the command's own terminal when it turns them off.
"""

from __future__ import annotations

import fcntl
import os
import signal
import termios
import threading
from typing import Any

INPUT_FLAGS_OFF = (
    termios.IGNBRK
    | termios.BRKINT
    | termios.PARMRK
    | termios.ISTRIP
    | termios.INLCR
    | termios.IGNCR
    | termios.ICRNL
    | termios.IXON
)
"""Treatment of input that the command's terminal does instead."""

LOCAL_FLAGS_OFF = termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN
"""Line editing and echo, likewise."""

KEY_OF_SIGNAL: dict[int, int] = {
    signal.SIGINT: termios.VINTR,
    signal.SIGQUIT: termios.VQUIT,
    signal.SIGTSTP: termios.VSUSP,
}
"""Which of the keys makes a signal."""

INPUT, OUTPUT, LOCAL, KEYS = 0, 1, 3, 6
"""Places in the list that `tcgetattr` gives."""


class UserTerminal:
    """A terminal that may be ours to change. Thread-safe.

    Attributes:
        descriptor: an open descriptor of it.
        holding: whether it is in raw mode because of us.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.holding = False
        self._lock = threading.Lock()
        self._saved: list[Any] = []
        self._ours: list[Any] = []
        self._opost = self._isig = True

    @classmethod
    def open(cls) -> UserTerminal | None:
        """The controlling terminal of this process, None when it has none."""
        try:
            return cls(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError:
            return None

    def close(self) -> None:
        """Hand it back and let go of it."""
        self.give_back()
        os.close(self.descriptor)

    def is_foreground(self) -> bool:
        """Whether we are in its foreground group; else changing or reading it would stop us."""
        try:
            return os.tcgetpgrp(self.descriptor) == os.getpgrp()
        except OSError:
            return False

    def is_line_by_line(self) -> bool:
        """Whether it is in its usual mode: a pager or editor of the same pipeline would have changed that."""
        try:
            return bool(self._now()[LOCAL] & termios.ICANON)
        except termios.error:
            return False

    def take(self) -> bool:
        """Turn to raw mode, if we are in the foreground."""
        with self._lock:
            if not self.holding and self.is_foreground():
                try:
                    self._saved = self._now()
                    self._apply()
                    self.holding = True
                except termios.error:
                    pass
            return self.holding

    def give_back(self) -> None:
        """Restore the mode that `take` found, unless somebody has changed it since."""
        with self._lock:
            if self.holding and self.is_foreground() and self._is_as_left():
                try:
                    termios.tcsetattr(self.descriptor, termios.TCSANOW, self._saved)
                except termios.error:
                    pass
            self.holding = False

    def is_lost(self) -> bool:
        """Whether somebody else has changed the mode, or moved us to the background; then it is no longer held."""
        with self._lock:
            if self.holding and not (self.is_foreground() and self._is_as_left()):
                self.holding = False
            return not self.holding

    def follow(self, *, opost: bool | None = None, isig: bool | None = None) -> None:
        """Process output, or make signals of keys, only while the command's own terminal does."""
        with self._lock:
            self._opost = self._opost if opost is None else opost
            self._isig = self._isig if isig is None else isig
            if self.holding and self.is_foreground() and self._is_as_left():
                try:
                    self._apply()
                except termios.error:
                    pass

    def size(self) -> bytes | None:
        """Rows, columns, pixels across and down, four u16; None when it is gone."""
        try:
            return fcntl.ioctl(self.descriptor, termios.TIOCGWINSZ, bytes(8))
        except OSError:
            return None

    def key_of(self, number: int) -> bytes | None:
        """The key that makes this signal, while we hold the terminal and keys make signals."""
        place = KEY_OF_SIGNAL.get(number)
        with self._lock:
            if place is None or not self.holding or not self._isig:
                return None
            key: bytes = self._saved[KEYS][place]
            return None if key == b"\0" else key

    def _now(self) -> list[Any]:
        return termios.tcgetattr(self.descriptor)

    def _apply(self) -> None:
        wanted = list(self._saved)
        wanted[INPUT] &= ~INPUT_FLAGS_OFF
        wanted[LOCAL] &= ~LOCAL_FLAGS_OFF
        if not self._isig:
            wanted[LOCAL] &= ~termios.ISIG
        if not self._opost:
            wanted[OUTPUT] &= ~termios.OPOST
        wanted[KEYS] = list(wanted[KEYS])
        wanted[KEYS][termios.VMIN], wanted[KEYS][termios.VTIME] = 1, 0
        # Now, not after pending output: that may never drain when the person has paused it.
        termios.tcsetattr(self.descriptor, termios.TCSANOW, wanted)
        self._ours = self._now()

    def _is_as_left(self) -> bool:
        try:
            now = self._now()
        except termios.error:
            return False
        return all(now[place] == self._ours[place] for place in (INPUT, OUTPUT, LOCAL))
