"""A person at a real terminal: types keys, reads the screen, resizes the window, hangs up."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

DEADLINE_SECONDS = 20.0
"""How long anything may take before the test fails."""

LOGIN = """
import os, sys
terminal = os.open(sys.argv[1], os.O_RDWR)  # the first one opened by a session's leader becomes its own
for number in range(3):
    os.dup2(terminal, number)
if terminal > 2:
    os.close(terminal)
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Person:
    """Runs a program as the leader of a session on a new terminal of 30 rows and 100 columns.

    Args:
        argv: the program.
        env: its whole environment.
        cwd: where it runs.
        settings: changes the terminal's settings, as `tcgetattr` lists them, before the program starts.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        settings: Mapping[int, bytes] | None = None,
    ) -> None:
        self.master, slave = os.openpty()
        self.resize(30, 100)
        modes = termios.tcgetattr(slave)
        for place, key in (settings or {}).items():
            modes[6][place] = key
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        self._seen = b""
        self._all = b""
        self._news = threading.Condition()
        command = [sys.executable, "-I", "-S", "-c", LOGIN, os.ttyname(slave), *map(str, argv)]
        self.process = subprocess.Popen(command, env=dict(env), cwd=cwd, start_new_session=True)
        # Held, so that the settings can be asked for after the end.
        self._slave = slave
        self._closing, self._close = os.pipe()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Person:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.hang_up()

    def _read(self) -> None:
        while self._closing not in select.select([self.master, self._closing], [], [])[0]:
            data = os.read(self.master, 65536)
            with self._news:
                self._all += data
                self._seen += data
                self._news.notify_all()

    @property
    def screen(self) -> bytes:
        """All bytes that came to the terminal."""
        with self._news:
            return self._all

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def expect(self, pattern: bytes) -> re.Match[bytes]:
        """Wait until what came since the last `expect` matches, and consume it."""
        end = time.monotonic() + DEADLINE_SECONDS
        with self._news:
            while not (found := re.search(pattern, self._seen, re.DOTALL)):
                if not self._news.wait(end - time.monotonic()):
                    pytest.fail(f"{pattern!r} did not come; the terminal shows {self._seen!r}")
            self._seen = self._seen[found.end() :]
            return found

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, columns * 8, rows * 16))

    def settings(self) -> list[Any]:
        """The terminal's present settings."""
        return termios.tcgetattr(self._slave)

    def is_raw(self) -> bool:
        """Whether keys go to the program one by one and without echo."""
        return not self.settings()[3] & (termios.ICANON | termios.ECHO)

    def wait(self) -> int:
        """The exit code of the program, negative for a signal."""
        return self.process.wait(DEADLINE_SECONDS)

    def hang_up(self) -> None:
        """Close the window."""
        if self.master < 0:
            return
        # A thread that reads holds the terminal open: it must be gone before the closing means anything.
        os.write(self._close, b"x")
        self._reader.join()
        for descriptor in (self.master, self._slave, self._closing, self._close):
            os.close(descriptor)
        self.master = -1
