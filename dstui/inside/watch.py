"""Keep a process that others started: the one that called `dstui.init()` outside `ds run`.

It is no child of ours, so its end is seen but its exit code is not: the process itself writes `finish.json`.
"""

from __future__ import annotations

import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from dstui.inside.control import Client
    from dstui.inside.live import LiveDirectory

if TYPE_CHECKING or __package__:
    from dstui.inside import processes
    from dstui.inside.supervisor import Supervisor
else:
    import processes
    from supervisor import Supervisor

LOOK_SECONDS = 1.0
"""How often `finish.json` is looked for: a notebook's process goes on after its run."""

STATES = frozenset({"finished", "failed", "stopped"})
"""What a process may say of its own end."""


class WatchSupervisor(Supervisor):
    """Keeps the process `pid`; signals go to it alone."""

    def __init__(self, live: LiveDirectory, pid: int) -> None:
        super().__init__(live)
        self._descriptor = -1
        self._finished_at = 0.0
        self._watched = pid

    def _begin(self) -> None:
        try:
            self._descriptor = os.pidfd_open(self._watched)
        except (AttributeError, OSError):
            pass  # It has gone, or the kernel is old: looking each second sees that too.
        # Its output is not ours to keep; who follows the run finds an empty log.
        os.close(self.live.open("log", os.O_WRONLY | os.O_CREAT))
        self._started(self._watched)
        self._look()

    def _sources(self) -> Iterator[tuple[int, int, Callable[[int], None]]]:
        if self._descriptor >= 0 and not self.over:
            yield self._descriptor, select.POLLIN, lambda _: self._finish()

    def _letters(self) -> dict[bytes, Callable[[Client, bytes], None]]:
        return {**super()._letters(), b"S": lambda _, data: self._signal(data[0])}

    def _greet(self, client: Client) -> None:
        if self.pid:
            no_output = {"log_bytes": 0, "segment": 0, "segment_start": 0}
            client.tell_event({"event": "started", "pid": self.pid, "terminal": False, **no_output})

    def _look(self) -> None:
        if self._is_gone() or self._finished_at:
            self._finish()
            return
        if self._has_finished():
            # A process that ends closes its files after it has said so: one more look, unless it is gone before.
            self._finished_at = time.monotonic()
        self.alarm("look", LOOK_SECONDS, self._look)

    def _is_gone(self) -> bool:
        ticks = self._identity["start_ticks"]
        return ticks is None or not processes.is_running(self.pid) or processes.start_ticks(self.pid) != ticks

    def _has_finished(self) -> bool:
        return os.path.exists(os.path.join(self.live.path, "finish.json"))

    def _finish(self) -> None:
        if not self.over:
            self._ended()
            self._stopped = self._finished_at or self._stopped
            self._alarms.clear()
            self.over = True

    def _terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if not self._is_gone():
            os.kill(self.pid, number)

    def _verdict(self) -> dict[str, Any]:
        try:
            said = self.live.read("finish.json") or {}
        except (OSError, ValueError):
            said = {}
        exit_code, state, reason = said.get("exit_code"), said.get("state"), said.get("stop_reason")
        if state not in STATES:
            state, reason = "killed", "it ended without a word"
        if self.request is not None:
            state, reason = self.request
        return {
            "exit_code": exit_code if isinstance(exit_code, int) else None,
            "signal": None,
            "state": state,
            "stop_reason": reason if isinstance(reason, str) else None,
            "user_seconds": None,
            "system_seconds": None,
            "peak_rss_bytes": None,
            "strays": 0,
        }
