"""What a keeper does once a second beside its work: log and journals to the disk, `state.json` renewed.

In a thread of its own, so that a disk which does not answer holds up neither the output nor the limits.
"""

from __future__ import annotations

import _thread
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from dstui.inside.live import LiveDirectory

PERIOD_SECONDS = 1.0
"""Points and output are on the disk after this time at the latest."""

HEARTBEAT_SECONDS = 10.0
"""`state.json` is renewed this often when nothing changes."""

END_SECONDS = 10.0
"""How long the end of a run waits for a write that is under way."""


class Upkeep:
    """The second thread of a keeper.

    Args:
        live: the run's directory.
        state: gives the present content of `state.json`, without `heartbeat_at`; called in both threads.
    """

    def __init__(self, live: LiveDirectory, state: Callable[[], dict[str, Any]]) -> None:
        self._live = live
        self._state = state
        self._written: dict[str, Any] = {}
        self._written_at = 0.0
        self._synced: dict[str, tuple[int, int]] = {}
        self._given_up: set[str] = set()
        self._end = _thread.allocate_lock()
        self._ended = _thread.allocate_lock()

    def start(self) -> None:
        """Write the first `state.json`, then go on in the thread. Nothing may be forked afterwards."""
        self.write_state()
        self._end.acquire()
        self._ended.acquire()
        _thread.start_new_thread(self._run, ())

    def finish(self) -> None:
        """End the thread and bring everything to the disk once more."""
        self._end.release()
        if self._ended.acquire(timeout=END_SECONDS):
            self.sync()
        self._live.complain_again()

    def write_state(self) -> None:
        """Renew `state.json`, if it would change or is old."""
        state = self._state()
        now = time.monotonic()
        if state == self._written and now - self._written_at < HEARTBEAT_SECONDS:
            return
        try:
            self._live.write_state({**state, "heartbeat_at": time.time()})
        except OSError:
            return  # The disk is full; the old state stays, and the log says why.
        self._written, self._written_at = state, now

    def sync(self) -> None:
        """Bring every file of output and metrics that has grown to the disk."""
        for path in self._files():
            if path in self._given_up:
                continue
            try:
                self._sync_one(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                # Not again: after a failure the kernel may call pages clean that never reached the disk.
                self._given_up.add(path)
                self._live.complain(f"`{path}` may not survive a power cut: fdatasync failed ({error.strerror})")

    def _run(self) -> None:
        try:
            while not self._end.acquire(timeout=PERIOD_SECONDS):
                self.sync()
                self.write_state()
                self._live.complain_again()
        except BaseException as error:
            self._live.complain(f"syncing each second has stopped: {error!r}")
        finally:
            self._ended.release()

    def _sync_one(self, path: str) -> None:
        status = os.stat(path, dir_fd=self._live.descriptor)
        mark = (status.st_size, status.st_mtime_ns)
        if self._synced.get(path) == mark:
            return
        descriptor = self._live.open(path, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        self._synced[path] = mark

    def _files(self) -> Iterator[str]:
        for folder, prefix in (("", "log"), ("journal", "")):
            try:
                names = os.listdir(os.path.join(self._live.path, folder))
            except OSError:
                continue
            yield from (os.path.join(folder, name) for name in names if name.startswith(prefix))
