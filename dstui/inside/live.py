"""The live directory of a run, as its keeper writes it: the lock, the state, the end, and what went wrong."""

from __future__ import annotations

import _thread
import errno
import fcntl
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RESERVED_BYTES = 4096
"""Kept free for the exit record and for the first error, so that a full disk can hide neither."""


class LiveDirectory:
    """One `live/<run>/`. Paths stay right when the folder is renamed. `complain` is safe in threads, the rest is not.

    Raises:
        OSError: the directory or its `launch.json` cannot be read.
        ValueError: `launch.json` is no JSON object.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.launch = self.read("launch.json") or {}
        self._lock = -1
        self._untold: list[str] = []
        self._telling = _thread.allocate_lock()

    def open(self, name: str, flags: int) -> int:
        """A descriptor of a file in here; a new one gets mode 0600 whatever the umask."""
        descriptor = os.open(name, flags | os.O_CLOEXEC, 0o600, dir_fd=self.descriptor)
        if flags & os.O_CREAT:
            os.fchmod(descriptor, 0o600)
        return descriptor

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON object, or None when the file does not exist.

        Raises:
            ValueError: it holds something else.
        """
        try:
            descriptor = self.open(name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            content = json.loads(file.read())
        if not isinstance(content, dict):
            raise ValueError(f"`{name}` holds no JSON object")
        return content

    def claim(self, inherited: int | None) -> None:
        """Hold the lock on `alive` for the life of this process; `inherited` is a descriptor that has it already."""
        if inherited is None:
            inherited = self.open("alive", os.O_RDWR | os.O_CREAT)
            fcntl.flock(inherited, fcntl.LOCK_EX)
        self._lock = inherited

    def release(self) -> None:
        """Let go of the lock: the run is over."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def reserve(self) -> None:
        """Take the disk space of the exit record and of the first error now, while there is some."""
        for name in ("exit.reserve", "errors.reserve"):
            descriptor = self.open(name, os.O_WRONLY | os.O_CREAT)
            try:
                os.posix_fallocate(descriptor, 0, RESERVED_BYTES)
            finally:
                os.close(descriptor)

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace `state.json`."""
        descriptor = self.open("state.json.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            os.write(descriptor, json.dumps(state).encode())
        finally:
            os.close(descriptor)
        os.rename("state.json.new", "state.json", src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def write_exit(self, record: dict[str, Any]) -> None:
        """Write `exit.json`, durably: once this returns, the end is known even after a power cut."""
        self._publish("exit.reserve", "exit.json", json.dumps(record).encode())

    def complain(self, line: str) -> None:
        """Add a line to `errors`, or remember it for `complain_again` while that fails."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self._telling:
            self._untold.append(f"{stamp} {' '.join(line.split())}\n")
        self.complain_again()

    def complain_again(self) -> None:
        """Write the lines that could not be written so far."""
        with self._telling:
            if not self._untold:
                return
            text = "".join(self._untold).encode()
            try:
                self._append_error(text)
            except OSError:
                return
            self._untold.clear()

    def _append_error(self, text: bytes) -> None:
        try:
            descriptor = self.open("errors", os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            self._publish("errors.reserve", "errors", text)
            return
        try:
            size = os.fstat(descriptor).st_size
            if os.write(descriptor, text) < len(text):
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)

    def _publish(self, reserve: str, name: str, content: bytes) -> None:
        """Write into the blocks of `reserve`, then give it its name: that takes no new space."""
        descriptor = self.open(reserve, os.O_WRONLY | os.O_CREAT)
        try:
            os.write(descriptor, content)
            os.ftruncate(descriptor, len(content))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(reserve, name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        os.fsync(self.descriptor)
