"""The load of the machine and of the processes of a run: the one module that imports `psutil`.

Shares of the machine are percent of all its cores; those of a process are percent of one core, as `top` has them. A
process that lives for less than the time between two looks is not seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

LOOKING_SHARE = 0.003
"""Share of a core that looking for new processes may take: on a machine with thousands it is done less often."""

SLOWEST_LOOK_SECONDS = 15.0
"""But not less often than this."""


@dataclass(frozen=True)
class HostSample:
    """The machine in one moment; None is what it does not say.

    Attributes:
        cpu_percent: of all cores, since the sample before.
        memory_bytes: what is not available to a new process.
        load: processes that run or wait for a core or a disk, mean of a minute.
        sent_bytes, received_bytes: counters of all network interfaces but the loopback.
    """

    cpu_percent: float | None = None
    memory_bytes: int | None = None
    memory_total_bytes: int | None = None
    swap_bytes: int | None = None
    load: float | None = None
    sent_bytes: int | None = None
    received_bytes: int | None = None


class Host:
    """The machine that this process is on."""

    def __init__(self) -> None:
        # The first answer is about nothing.
        psutil.cpu_percent()

    def sample(self) -> HostSample:
        """The machine now."""
        memory = psutil.virtual_memory()
        try:
            swap: int | None = psutil.swap_memory().used
        except (OSError, RuntimeError):
            swap = None
        sent, received = _network()
        return HostSample(
            cpu_percent=psutil.cpu_percent(),
            memory_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            swap_bytes=swap,
            load=os.getloadavg()[0],
            sent_bytes=sent,
            received_bytes=received,
        )


@dataclass(frozen=True)
class TreeSample:
    """The processes of a run in one moment.

    Attributes:
        cpu_percent: of one core, since the sample before; None at the first.
        rss_bytes: resident memory, what processes share counted in each.
        read_bytes, written_bytes: to and from disks, since the run is sampled; None where that is not ours to see.
        pids: those processes.
    """

    cpu_percent: float | None
    rss_bytes: int
    read_bytes: int | None
    written_bytes: int | None
    pids: frozenset[int]


@dataclass
class _Known:
    """A process of a tree with its counters at the last look."""

    process: psutil.Process
    cpu_seconds: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0


@dataclass
class Tree:
    """The processes of one run, from sample to sample.

    Args:
        roots: processes whose descendants belong to it.
        outside: those of them that do not themselves belong to it, such as the keeper.
    """

    roots: frozenset[int]
    outside: frozenset[int] = frozenset()
    _known: dict[int, _Known] = field(default_factory=dict)
    _sampled_at: float | None = None
    _look_at: float = 0.0
    _read_bytes: int = 0
    _written_bytes: int = 0
    _hidden: bool = False

    def sample(self) -> TreeSample:
        """The processes now."""
        now = time.monotonic()
        if now >= self._look_at:
            began = time.thread_time()
            self._look()
            # CPU time: on a busy machine the clock would say nothing about our own work.
            cost = time.thread_time() - began
            self._look_at = now + min(cost / LOOKING_SHARE, SLOWEST_LOOK_SECONDS)
        cpu_seconds, rss = 0.0, 0
        for pid, known in list(self._known.items()):
            try:
                used, resident = self._ask(known)
            except psutil.Error:
                del self._known[pid]
                continue
            cpu_seconds += used
            rss += resident
        elapsed = None if self._sampled_at is None else now - self._sampled_at
        self._sampled_at = now
        return TreeSample(
            cpu_percent=100 * cpu_seconds / elapsed if elapsed else None,
            rss_bytes=rss,
            read_bytes=None if self._hidden else self._read_bytes,
            written_bytes=None if self._hidden else self._written_bytes,
            pids=frozenset(self._known),
        )

    def _look(self) -> None:
        """Find processes that are new, and forget those that have gone: their numbers may be given anew."""
        first = self._sampled_at is None
        members = {process.pid: process for process in self._members() if process.pid not in self.outside}
        for pid in [pid for pid, known in self._known.items() if members.get(pid) != known.process]:
            del self._known[pid]
        for pid in members.keys() - self._known.keys():
            known = _Known(members[pid])
            try:
                if first:
                    # What it did before the run was sampled is not counted.
                    self._ask(known)
                self._known[pid] = known
            except psutil.Error:
                continue
        if first:
            self._read_bytes = self._written_bytes = 0

    def _members(self) -> Iterable[psutil.Process]:
        for root in self.roots:
            try:
                process = psutil.Process(root)
                yield process
                yield from process.children(recursive=True)
            except psutil.Error:
                continue

    def _ask(self, known: _Known) -> tuple[float, int]:
        """(CPU seconds since the last look, resident bytes) of a process; its disk bytes are added to the tree's.

        Raises:
            psutil.Error: it has ended.
        """
        process = known.process
        with process.oneshot():
            times = process.cpu_times()
            rss: int = process.memory_info().rss
        cpu = times.user + times.system
        used, known.cpu_seconds = max(0.0, cpu - known.cpu_seconds), cpu
        if not self._hidden:
            try:
                moved = process.io_counters()
            except psutil.AccessDenied:
                self._hidden = True
            else:
                self._read_bytes += max(0, moved.read_bytes - known.read_bytes)
                self._written_bytes += max(0, moved.write_bytes - known.written_bytes)
                known.read_bytes, known.written_bytes = moved.read_bytes, moved.write_bytes
        return used, rss


def disk_free_bytes(path: str) -> int | None:
    """Bytes that this user may still write where `path` is; blocks as long as its disk does."""
    try:
        return int(psutil.disk_usage(path).free)
    except OSError:
        return None


def _network() -> tuple[int | None, int | None]:
    """(sent, received) over all interfaces but the loopback."""
    try:
        counters = psutil.net_io_counters(pernic=True)
    except OSError:
        return None, None
    real = [counter for name, counter in counters.items() if name != "lo"]
    return sum(counter.bytes_sent for counter in real), sum(counter.bytes_recv for counter in real)
