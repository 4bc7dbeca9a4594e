"""The daemon: one per user and machine, from the first submission until nothing is left to do.

`python -m dstui.scheduler.daemon STATE_FOLDER [--foreground] [--idle SECONDS]`. It is the only one that changes jobs.
It has no threads, because it forks keepers; it sleeps until its socket, a keeper, a clerk or a deadline wakes it. What
goes wrong with the queue's own disk ends it: everything that matters is written down, the keepers go on, and the next
`ds` command or the end of the next job starts another one.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dstui.errors import DstuiError
from dstui.scheduler import acts, machine
from dstui.scheduler.engine import Engine
from dstui.scheduler.jobs import ACTIVE
from dstui.scheduler.mend import mended
from dstui.scheduler.place import Place
from dstui_store import StoreError

if TYPE_CHECKING:
    from dstui.scheduler.attempts import Active
    from dstui.scheduler.clerks import ClerkLink

IDLE_SECONDS = 600.0
"""Without a job it leaves."""

POLICY_SECONDS = 5.0
"""How often the configuration file is looked at while there is something to do."""

DEVICE_SECONDS = 1.0
"""How often GPUs are looked at while jobs want them."""

UNHEARD_SECONDS = 0.05
"""How often a request to a keeper that does not listen yet is repeated."""

KEPT_JOBS = 20_000
"""Ended jobs that are remembered."""

LOG_BYTES = 1 << 20
"""The log starts anew above this."""


class Daemon:
    """One life of the daemon.

    Args:
        place: the state folder; its lock is held.
        idle_seconds: leaves after so long without a job.
    """

    def __init__(self, place: Place, idle_seconds: float) -> None:
        self._place, self._idle_seconds = place, idle_seconds
        self._queue, notes = mended(place)
        for note in notes:
            self.say(note)
        self._policy_mark: object = None
        policy, slots = machine.read_policy()
        self._gpus = machine.may_have_gpus()
        self._wanted_slots = slots
        self._engine = Engine(place, self._queue, policy, machine.cpu_slots(slots, int(self._gpus)))
        self._poll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._wake: socket.socket | None = None
        self._busy_at = time.monotonic()
        self._policy_at = self._devices_at = 0.0
        self._watching: contextlib.AbstractContextManager[None] | None = None

    def run(self) -> None:
        """Serve until nothing is left to do."""
        self._listen()
        with self._queue.transaction():
            self._engine.take_new()
            self._engine.reattach()
        self._after_commit()
        self._engine.commit_again()
        # Before rows are forgotten: a file without rows counts as acknowledged and lost.
        self._engine.clear_leftovers()
        if not any(self._place.submits.iterdir()):
            self._queue.forget_ended(KEPT_JOBS)
        gc.collect()
        self._turn([])
        while True:
            self._watch_all()
            ready = self._poll.poll(self._patience())
            self._turn([descriptor for descriptor, _ in ready])
            if self._engine.leaving or self._is_idle():
                if not self._leave():
                    continue
                return

    def _turn(self, ready: list[int]) -> None:
        """Deal with what has happened, decide, write down, act: in this order."""
        with self._queue.transaction():
            for descriptor in ready:
                handler = self._watched.get(descriptor)
                if handler is not None:
                    handler()
            self._look_at_policy()
            self._look_at_devices()
            self._engine.take_new()
            for request in self._queue.requests():
                acts.carry_out(self._engine, self._queue, request)
            self._engine.decide(time.time())
        self._after_commit()
        self._engine.ask_again()

    def _after_commit(self) -> None:
        while self._engine.later:
            actions, self._engine.later = self._engine.later, []
            for action in actions:
                action()

    # --- what to wait for ---

    def _watch_all(self) -> None:
        """Wait for the present descriptors, and no others."""
        engine = self._engine
        wanted: dict[int, Callable[[], None]] = {}
        if self._wake is not None:
            wanted[self._wake.fileno()] = self._drain_wake
        for clerk in (engine.starter, engine.committer):
            if clerk.descriptor is not None:
                wanted[clerk.descriptor] = partial(_receive, clerk)
        for active in engine.active.values():
            if active.pidfd >= 0:
                wanted[active.pidfd] = partial(_when_ended, engine, active)
            if active.gate is not None:
                wanted[active.gate.fileno()] = partial(_at_gate, engine, active)
        for descriptor in self._watched.keys() - wanted.keys():
            with contextlib.suppress(OSError):
                self._poll.unregister(descriptor)
        for descriptor in wanted:
            # A number may be a new file's by now, and then it is registered no more.
            try:
                self._poll.register(descriptor, select.EPOLLIN)
            except FileExistsError:
                pass
        self._watched = wanted

    def _patience(self) -> float:
        """Seconds until there is something to do unasked."""
        engine, now = self._engine, time.time()
        ends = [max(0.0, self._busy_at + self._idle_seconds - time.monotonic())]
        if engine.wake_at is not None:
            ends.append(max(0.0, engine.wake_at - now))
        if engine.unheard:
            ends.append(UNHEARD_SECONDS)
        if self._watching is not None:
            ends.append(DEVICE_SECONDS)
        if engine.rows:
            ends.append(60.0)
        return min(ends)

    def _drain_wake(self) -> None:
        assert self._wake is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                self._wake.recv(16)

    # --- the machine ---

    def _look_at_policy(self) -> None:
        if time.monotonic() - self._policy_at < POLICY_SECONDS:
            return
        self._policy_at = time.monotonic()
        from dstui.settings import user_file

        try:
            mark: object = user_file().stat().st_mtime_ns
        except OSError:
            mark = None
        if mark == self._policy_mark:
            return
        self._policy_mark = mark
        try:
            self._engine.policy, self._wanted_slots = machine.read_policy()
            self._engine.slots = machine.cpu_slots(self._wanted_slots, len(self._engine.devices))
        except DstuiError as error:
            self.say(f"the configuration is not used: {error.message}")

    def _look_at_devices(self) -> None:
        """GPUs are looked at while a job wants one; without such jobs nothing of them is loaded."""
        engine = self._engine
        wanted = self._gpus and any(row.demand.gpus for row in engine.rows.values())
        if not wanted:
            if self._watching is not None:
                self._watching.__exit__(None, None, None)
                self._watching = None
            return
        if time.monotonic() - self._devices_at < DEVICE_SECONDS:
            return
        self._devices_at = time.monotonic()
        from dstui.devices.interest import Meeting
        from dstui.devices.samples import latest

        try:
            meeting = Meeting()
            if self._watching is None:
                watching = meeting.watching()
                watching.__enter__()
                self._watching = watching
            keepers = {active.pid for active in engine.active.values() if active.pid}
            engine.devices, engine.driver = machine.devices_of(latest(meeting), self._queue.drained(), keepers)
            engine.slots = machine.cpu_slots(self._wanted_slots, len(engine.devices))
        except DstuiError as error:
            engine.driver = error.message

    # --- coming and going ---

    def _listen(self) -> None:
        """Take the wake-up socket; it is there before anything is looked at, so that no call is missed."""
        self._place.wake.unlink(missing_ok=True)
        self._wake = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        directory = os.open(self._place.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._wake.bind(f"/proc/self/fd/{directory}/{self._place.wake.name}")
        finally:
            os.close(directory)
        self._place.wake.chmod(0o600)
        self._wake.setblocking(False)

    def _is_idle(self) -> bool:
        engine = self._engine
        if engine.rows or engine.starter.is_busy or engine.committer.is_busy:
            self._busy_at = time.monotonic()
            # Held jobs alone keep nobody up.
            waiting = any(row.state in ACTIVE or row.state == "queued" for row in engine.rows.values())
            if waiting or engine.starter.is_busy or engine.committer.is_busy:
                return False
        return time.monotonic() - self._busy_at >= self._idle_seconds

    def _leave(self) -> bool:
        """Go, unless something has come in the last moment."""
        assert self._wake is not None
        self._wake.close()
        self._place.wake.unlink(missing_ok=True)
        # Who called before the socket went has put it into the queue before.
        if not self._engine.leaving and (self._queue.open_jobs(above=self._engine.last) or self._queue.requests()):
            self._watched.clear()
            self._poll.close()
            self._poll = select.epoll()
            self._listen()
            self._busy_at = time.monotonic()
            self._turn([])
            return False
        for clerk in (self._engine.starter, self._engine.committer):
            clerk.close()
        self._queue.close()
        return True

    def say(self, line: str) -> None:
        """Note something in the daemon's log."""
        write_log(self._place, line)


def _receive(clerk: ClerkLink) -> None:
    # Something else of this turn may have closed it.
    if clerk.descriptor is not None:
        clerk.receive(time.monotonic())


def _when_ended(engine: Engine, active: Active) -> None:
    if active.pidfd >= 0:
        engine.keeper_ended(active)


def _at_gate(engine: Engine, active: Active) -> None:
    if active.gate is not None:
        engine.at_gate(active)


def write_log(place: Place, line: str) -> None:
    """Add a line to the daemon's log."""
    with contextlib.suppress(OSError):
        size = place.log.stat().st_size if place.log.exists() else 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if size > LOG_BYTES else os.O_APPEND)
        with os.fdopen(os.open(place.log, flags, 0o600), "w") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {' '.join(line.split())}\n")


def main() -> int:
    """Exit code 0 when it has served or another daemon does, 4 when it cannot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--foreground", action="store_true")
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS)
    options = parser.parse_args()
    try:
        place = Place(options.folder)
    except DstuiError as error:
        print(error.message, file=sys.stderr)
        return 4
    if not options.foreground and os.fork():
        os._exit(0)
    lock = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if not _taken(lock):
        return 0
    if not options.foreground:
        _go_into_background()
    os.chdir(os.sep)
    place.identity.write_text(json.dumps({"pid": os.getpid(), "since": time.time()}))
    place.identity.chmod(0o600)
    try:
        Daemon(place, options.idle).run()
    except (DstuiError, StoreError) as error:
        write_log(place, error.message)
        return 4
    except Exception:
        write_log(place, traceback.format_exc().replace("\n", " | "))
        raise
    return 0


def _taken(lock: int) -> bool:
    """Hold the lock; somebody who only looks may have it for a moment."""
    deadline = time.monotonic() + 0.1
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)


def _go_into_background() -> None:
    if os.getsid(0) != os.getpid():
        os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


if __name__ == "__main__":
    sys.exit(main())
