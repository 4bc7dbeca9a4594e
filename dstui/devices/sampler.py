"""The sampler: the one process of a user on a machine that asks drivers, since such a call may never return.

`python -m dstui.devices.sampler FOLDER [--foreground]`. It goes into the background by itself: the process started
returns once the sampler holds its lock, or at once when there is another. It leaves when nobody has been interested
for a few seconds (`interest.py`).

Each second it writes one line of samples to `journal/`, where names begin with `host.` or `gpu0.`, one file an hour;
what is no number goes to `status.json` when it changes; and each run that asked gets its own samples (`tracked.py`).
A driver is asked in a thread: while a call does not return, the machine and the runs are sampled all the same.
"""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dstui.devices.interest import Meeting
from dstui.errors import DeviceError

if TYPE_CHECKING:
    from dstui.devices.backend import DeviceBackend, Problem, Reading
    from dstui.devices.machine import Host, HostSample
    from dstui.devices.tracked import TrackedRun
    from dstui.inside.journal import JournalWriter

T = TypeVar("T")

PERIOD_SECONDS = 1.0
"""Between two samples."""

LINGER_SECONDS = 3.0
"""How long a sampler stays for nobody: `ds run` in a loop need not start it each time."""

STALLED_SECONDS = 5.0
"""A driver that has not answered for so long is stalled."""

PATIENCE_SECONDS = 0.2
"""How long a tick waits for the answer of a driver; what comes later is of the next."""

LOOK_AGAIN_SECONDS = 60.0
"""How often devices are looked for anew, and a driver that failed is tried again."""

DISK_SECONDS = 10.0
"""How often free disk space is asked for."""

KEPT_HOURS = 3
"""Files of samples older than this are removed."""


class Background(Generic[T]):
    """Makes a call in a thread of its own, one at a time.

    Args:
        call: may block for ever; it must not raise.

    Attributes:
        answered_at: when the last answer came, by the monotonic clock.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._wanted, self._done = threading.Semaphore(0), threading.Event()
        self._done.set()
        self._answers: list[T] = []
        self._closed = False
        self.answered_at = time.monotonic()
        threading.Thread(target=self._run, daemon=True).start()

    def ask(self, patience: float = 0.0) -> T | None:
        """An answer not given before, the late one of an earlier question too; None while there is none."""
        if self._done.is_set() and not self._answers:
            self._done.clear()
            self._wanted.release()
        self._done.wait(patience)
        return self._answers.pop() if self._answers else None

    def close(self) -> None:
        """End the thread, once its call has returned."""
        self._closed = True
        self._wanted.release()

    def _run(self) -> None:
        while True:
            self._wanted.acquire()
            if self._closed:
                return
            self._answers.append(self._call())
            self.answered_at = time.monotonic()
            self._done.set()


class Gpus:
    """The devices of one backend, asked in the background.

    Attributes:
        problem: why there is none to read, or None.
        readings: the newest, for `status.json`.
    """

    def __init__(self, backend: DeviceBackend) -> None:
        from dstui.devices import backend as words

        self._words = words
        self._backend = backend
        self._opened_at: float | None = None
        self._background = Background(self._read)
        self.problem: Problem | None = None
        self.readings: Sequence[Reading] = ()

    def ask(self) -> Sequence[Reading]:
        """What could be read at this moment; nothing while the driver does not answer."""
        answer = self._background.ask(PATIENCE_SECONDS)
        if answer is None:
            if time.monotonic() - self._background.answered_at > STALLED_SECONDS:
                self.problem = self._words.Problem(
                    self._words.State.STALLED,
                    "The GPU driver has not answered for some seconds",
                    "runs go on; `dmesg | grep -i xid` may say why",
                )
            return ()
        self.problem, self.readings = answer
        return self.readings

    def _read(self) -> tuple[Problem | None, Sequence[Reading]]:
        """(problem, readings); runs in the thread."""
        now = time.monotonic()
        try:
            if self._opened_at is None or now - self._opened_at > LOOK_AGAIN_SECONDS:
                self._opened_at = now
                self._failed: Problem | None = None
                self._backend.open()
            if self._failed is not None:
                return self._failed, ()
            return None, self._backend.read()
        except self._words.BackendError as error:
            self._failed = error.problem
            return error.problem, ()


class FreeSpace:
    """How much room a folder's disk has, asked now and then; a dead network disk never answers.

    Args:
        place: the folder.
    """

    def __init__(self, place: str) -> None:
        from dstui.devices.machine import disk_free_bytes

        self._background = Background(lambda: disk_free_bytes(place))
        self._asked_at: float | None = None
        self.bytes: int | None = None

    def look(self) -> int | None:
        """Bytes that are free, by the last answer."""
        now = time.monotonic()
        if self.bytes is None or self._asked_at is None or now - self._asked_at > DISK_SECONDS:
            self._asked_at = now
            answer = self._background.ask()
            self.bytes = self.bytes if answer is None else answer
        return self.bytes

    def close(self) -> None:
        """End its thread."""
        self._background.close()


class Sampler:
    """One process's work, tick by tick.

    Args:
        meeting: where those interested are.
        backend: the GPUs.
        host: the machine.
    """

    def __init__(self, meeting: Meeting, backend: DeviceBackend, host: Host) -> None:
        self._meeting = meeting
        self._host = host
        self._gpus = Gpus(backend)
        self._runs: dict[str, tuple[TrackedRun, FreeSpace]] = {}
        self._writer: JournalWriter | None = None
        self._told: object = None

    def tick(self, now: float) -> None:
        """Take one sample of everything.

        Raises:
            OSError: the folder is gone, or the disk fails.
        """
        self.meet(now)
        readings = self._gpus.ask()
        host = self._host.sample()
        # Before the samples: a device that has none now must have its reason there.
        self._tell(host.memory_total_bytes)
        self._log(now, host, readings)
        for run, disk in self._runs.values():
            run.add(now, host, readings, disk.look())

    def meet(self, now: float) -> None:
        """Take in runs that are new, and let go of those that have ended."""
        from dstui.devices.tracked import TrackedRun

        wanted = self._meeting.wanted_runs()
        for name in wanted.keys() - self._runs.keys():
            run = TrackedRun(name, wanted[name], self._meeting.asked_at(name))
            self._runs[name] = run, FreeSpace(run.place)
        for name in [name for name, (run, _) in self._runs.items() if name not in wanted or run.is_over(now)]:
            run, disk = self._runs.pop(name)
            run.close()
            disk.close()
            self._meeting.drop_run(name)

    def is_wanted(self) -> bool:
        """Whether a run goes on that asked for samples, or somebody looks at them."""
        return bool(self._runs) or self._meeting.is_watched()

    def close(self) -> None:
        """Close every journal."""
        for run, _ in self._runs.values():
            run.close()
        if self._writer is not None:
            self._writer.close()

    def _log(self, now: float, host: HostSample, readings: Sequence[Reading]) -> None:
        from dstui.devices.tracked import gpu_values, host_values
        from dstui.inside.journal import JournalWriter

        name = time.strftime("%Y%m%dT%H", time.gmtime(now))
        if self._writer is None or self._writer.name != name:
            if self._writer is not None:
                self._writer.close()
            self._writer = JournalWriter(str(self._meeting.journal), 0, name)
            self._remove_old(now)
        values = host_values(host)
        for reading in readings:
            values |= gpu_values(reading)
        self._writer.log(values, None, now)

    def _remove_old(self, now: float) -> None:
        for path in self._meeting.journal.iterdir():
            if path.stat().st_mtime < now - KEPT_HOURS * 3600:
                path.unlink()

    def _tell(self, memory_total_bytes: int | None) -> None:
        """Replace `status.json` when what it says changes."""
        from dstui.devices.tracked import write_whole

        gpus = self._gpus
        told = (gpus.problem, [(item.device, item.problem, item.processes) for item in gpus.readings])
        if told == self._told:
            return
        status = {
            "v": 1,
            "pid": os.getpid(),
            "memory_total_bytes": memory_total_bytes,
            "problem": None if gpus.problem is None else vars(gpus.problem),
            "devices": [_described(reading) for reading in gpus.readings],
        }
        write_whole(self._meeting.status, status)
        self._told = told


def _described(reading: Reading) -> dict[str, Any]:
    """A device for `status.json`: all but its sample."""
    processes = reading.processes
    return {
        **vars(reading.device),
        "instances": [vars(instance) for instance in reading.device.instances],
        "problem": None if reading.problem is None else vars(reading.problem),
        "processes": None if processes is None else [vars(process) for process in processes],
    }


def main(arguments: list[str]) -> int:
    """Sample until nobody is interested; exit code 0 also when another sampler runs."""
    meeting = Meeting(Path(arguments[0]))
    lock = meeting.take()
    if lock is None:
        return 0
    if "--foreground" not in arguments:
        if os.fork():
            os._exit(0)
        os.setsid()
        _let_go_of_starter(lock)
    from dstui.devices.machine import Host
    from dstui.devices.nvml import Nvml

    sampler = Sampler(meeting, Nvml(), Host())
    held: int | None = lock
    while held is not None:
        _sample(sampler, meeting)
        # By name: a thread that hangs in the driver would keep the file open beyond our end.
        fcntl.flock(held, fcntl.LOCK_UN)
        os.close(held)
        # Once more, without the lock: whoever came before it was given up counts on us (see `interest.py`).
        sampler.meet(time.time())
        held = meeting.take() if sampler.is_wanted() else None
    sampler.close()
    # Without waiting for threads.
    os._exit(0)


def _sample(sampler: Sampler, meeting: Meeting) -> None:
    """Take samples until nobody has been interested for some seconds."""
    wanted_at = time.monotonic()
    while True:
        try:
            sampler.tick(time.time())
        except OSError:
            if not meeting.runs.is_dir():
                return
        if sampler.is_wanted():
            wanted_at = time.monotonic()
        elif time.monotonic() - wanted_at > LINGER_SECONDS:
            return
        # At whole seconds, so that samples of several machines and runs lie side by side.
        time.sleep(PERIOD_SECONDS - time.time() % PERIOD_SECONDS)


def _let_go_of_starter(lock: int) -> None:
    """Close what came from whoever started us, and stand in no folder of theirs."""
    os.chdir("/")
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor != lock:
            try:
                os.close(descriptor)
            except OSError:
                pass  # It was the one that listed the others.


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DeviceError as error:
        print(f"{error.message}: {error.hint}", file=sys.stderr)
        sys.exit(4)
