"""The dashboard's reader: one thread that watches a store and answers requests with snapshots.

The screen's thread opens no file and starts no process. It asks; the newest request of each kind counts and stands
until it is forgotten, so that it is answered again whenever its data change. Answers wait in a mailbox, one of each
kind, the newest only; `notify` says that a kind has one, and is not called again before it was taken. So a slow screen
never builds a queue.

Foreign Parquet and regular expressions go to the store's worker process. What takes long and changes the store, or
compares code, goes to a second thread with a store of its own.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dstui.sdk.views.acts import SlowThread
from dstui.sdk.views.data import KINDS, REQUEST_KINDS, CodeRequest, Request, Snapshot
from dstui.sdk.views.watch import Watch

if TYPE_CHECKING:
    from dstui.sdk.views.acts import Act

TICK_SECONDS = 0.5
"""How often the store is looked at."""

WORKER_LOOK_SECONDS = 0.05
"""How often the worker's limits are looked at while it works."""

FAILED = "failed"
"""What `notify` is told when a thread ended by a bug; `Reader.failure` holds the error."""


class Reader:
    """Watches one store for one screen. `start` and the methods below it may be called from any thread."""

    def __init__(
        self,
        start: Path | None,
        notify: Callable[[str], None],
        *,
        read_only: bool = False,
        remember: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            start: a folder of the project, the current one by default.
            notify: told the kind of each snapshot that waits; called from the reader's threads.
            read_only: never write: no index, no commit of ended runs, no last look.
            remember: count this as a look, so that the next session tells what ended since.
            clock: seconds since the epoch.
        """
        self.interval = TICK_SECONDS
        self.last_tick = 0.0
        self.failure: Exception | None = None
        self._start = start
        self._notify = notify
        self._read_only = read_only
        self._remember = remember and not read_only
        self._clock = clock
        self._lock = threading.Lock()
        self._mailbox: dict[str, Snapshot] = {}
        self._standing: dict[str, Request] = {}
        self._due: set[str] = set()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dstui-reader", daemon=True)
        self._slow = SlowThread(start, self._post, read_only=read_only)

    # For the screen

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 2.0) -> None:
        """Ends the threads and the worker."""
        self._stopping = True
        self._wake()
        self._slow.stop()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def ask(self, request: Request) -> None:
        """Asks for a snapshot; it replaces the standing request of its kind."""
        kind = REQUEST_KINDS[type(request)]
        if isinstance(request, CodeRequest):
            self._slow.ask_code(request)
            return
        with self._lock:
            self._standing[kind] = request
            self._due.add(kind)
        self._wake()

    def forget(self, *kinds: str) -> None:
        """Takes back standing requests: nobody looks any more."""
        with self._lock:
            for kind in kinds:
                self._standing.pop(kind, None)
                self._due.discard(kind)

    def take(self, kind: str) -> Snapshot | None:
        """The newest snapshot of a kind, once."""
        with self._lock:
            return self._mailbox.pop(kind, None)

    def act(self, act: Act) -> None:
        """Does something to the store, after what was asked before; the answer is an `ActDone`."""
        self._slow.act(act)

    # The thread

    def _run(self) -> None:
        watch = Watch(self._start, self._post, read_only=self._read_only, remember=self._remember, clock=self._clock)
        next_tick = 0.0
        try:
            while not self._stopping:
                if time.monotonic() >= next_tick:
                    if watch.tick():
                        with self._lock:
                            self._due |= self._standing.keys()
                    self.last_tick = time.monotonic()
                    next_tick = self.last_tick + self.interval
                for request in self._next_requests():
                    watch.answer(request)
                watch.collect()
                self._wait(watch.descriptor, WORKER_LOOK_SECONDS if watch.busy else next_tick - time.monotonic())
        except Exception as error:
            # A bug of ours: a screen that silently stays old would be worse than none.
            self.failure = error
            self._notify(FAILED)
        finally:
            watch.close()

    def _next_requests(self) -> list[Request]:
        with self._lock:
            due = [self._standing[kind] for kind in sorted(self._due, key=_urgency) if kind in self._standing]
            self._due.clear()
        return due

    def _wait(self, descriptor: int | None, seconds: float) -> None:
        if self._due:
            return
        watched = [self._wake_read] if descriptor is None else [self._wake_read, descriptor]
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _post(self, snapshot: Snapshot) -> None:
        kind = KINDS[type(snapshot)]
        with self._lock:
            waiting = kind in self._mailbox
            self._mailbox[kind] = snapshot
        if not waiting:
            self._notify(kind)


def _urgency(kind: str) -> int:
    """What the eye waits for comes first."""
    order = ("runs", "overview", "detail", "log", "charts", "preview")
    return order.index(kind) if kind in order else len(order)
