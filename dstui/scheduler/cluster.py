"""What the plan looks at: devices, jobs that run, jobs that wait. Plain values; the edges fill them in."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dstui.scheduler.jobs import Demand

GroupKey = tuple[str, str, str, int, int, int | None, int, int | None, bool]
"""Jobs with the same one can stand for each other: tier, account, array, demand, class of time limit, any hour."""

LIMIT_STEP = 2.0
"""Time limits within such a factor count as alike."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job that may start.

    Attributes:
        estimate_seconds: how long such jobs have taken, None = unknown; only for forecasts, never for a promise.
        anytime: it starts outside `scheduler.hours` too, because somebody released it by hand.
    """

    id: str
    tier: str
    account: str
    demand: Demand
    sequence: int
    submitted_at: float
    array: str = ""
    rank: float = 0.0
    estimate_seconds: float | None = None
    anytime: bool = False

    @property
    def place(self) -> tuple[float, int]:
        """Its place among jobs of the same standing."""
        return self.rank, self.sequence

    @property
    def group(self) -> GroupKey:
        """The jobs that it can stand for."""
        demand, limit = self.demand, self.demand.time_limit_seconds
        step = None if limit is None else math.ceil(math.log(max(limit, 1.0), LIMIT_STEP))
        return (
            self.tier,
            self.account,
            self.array,
            demand.gpus,
            demand.gpus_max,
            demand.memory_bytes,
            demand.cpus,
            step,
            self.anytime,
        )


@dataclass(frozen=True, slots=True)
class Running:
    """A job that holds something.

    Attributes:
        devices: ids of its GPUs.
        memory_bytes: of each of them that is its own; None = all of it.
        used_bytes: what its processes are seen to use of one, where that is known.
        saved_at: when it last wrote a checkpoint, None = never.
        preempted_at: when this job was last made to yield, None = never.
        ends_at: when its time limit ends it, None = no limit.
        estimate_at: when such jobs are usually done, None = unknown.
        stopping_for: it has been asked to yield to this job.
        stopping: it has been asked to end.
    """

    id: str
    tier: str
    account: str
    cpus: int
    devices: tuple[str, ...]
    started_at: float
    memory_bytes: int | None = None
    used_bytes: int | None = None
    array: str = ""
    saved_at: float | None = None
    preempted_at: float | None = None
    ends_at: float | None = None
    estimate_at: float | None = None
    stopping_for: str | None = None
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class Foreign:
    """A process of nobody's job on a GPU."""

    pid: int
    user: str | None
    name: str | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A GPU as far as placing jobs goes.

    Attributes:
        problem: why nothing starts there: `drained`, `unhealthy`, `foreign`, `claimed`, `stalled`; None = it may.
        why: the same in words.
        foreign_bytes: memory in use by others.
        foreign: the processes that use it.
    """

    id: str
    index: int
    memory_bytes: int | None = None
    problem: str | None = None
    why: str = ""
    foreign_bytes: int = 0
    foreign: tuple[Foreign, ...] = ()


@dataclass(slots=True)
class Group:
    """Waiting jobs that can stand for each other, in order."""

    key: GroupKey
    jobs: list[tuple[tuple[float, int], Candidate]] = field(default_factory=list)


class Waiting:
    """The jobs that may start, grouped; made once and kept up, so that a plan need not look at each of thousands."""

    def __init__(self, candidates: Sequence[Candidate] = ()) -> None:
        self._groups: dict[GroupKey, Group] = {}
        self._by_id: dict[str, Candidate] = {}
        for candidate in candidates:
            self.add(candidate)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._by_id.values())

    def __contains__(self, job: object) -> bool:
        return job in self._by_id

    def get(self, job: str) -> Candidate | None:
        """A job by its id."""
        return self._by_id.get(job)

    def add(self, candidate: Candidate) -> None:
        """Take a job in, or anew."""
        self.remove(candidate.id)
        key = candidate.group
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key)
        entry = (candidate.place, candidate)
        if not group.jobs or group.jobs[-1][0] < candidate.place:
            group.jobs.append(entry)
        else:
            insort(group.jobs, entry, key=lambda item: item[0])
        self._by_id[candidate.id] = candidate

    def remove(self, job: str) -> None:
        """Forget a job, if it is here."""
        candidate = self._by_id.pop(job, None)
        if candidate is None:
            return
        group = self._groups[candidate.group]
        place = bisect_left(group.jobs, candidate.place, key=lambda item: item[0])
        while group.jobs[place][1].id != job:
            place += 1
        del group.jobs[place]
        if not group.jobs:
            del self._groups[group.key]

    def groups(self) -> list[Group]:
        """All groups; none is empty. Not to be changed by who asks."""
        return list(self._groups.values())


@dataclass(slots=True)
class Cluster:
    """All that a plan depends on, besides the time and the policy.

    Attributes:
        devices: in the order of their index.
        cpu_slots: how many CPU slots there are.
        usage: what each account has used, decayed until now: shares of the machine x seconds.
        promised: devices that were made free for a job.
        paused: who paused the queue, in words; None = nobody.
        driver: why there are no GPUs to be seen where there should be, in words.
        utc_offset_seconds: of local time, for `scheduler.hours`.
    """

    devices: Sequence[DeviceState]
    cpu_slots: int
    running: Sequence[Running]
    waiting: Waiting
    usage: Mapping[str, float] = field(default_factory=dict)
    promised: Mapping[str, str] = field(default_factory=dict)
    paused: str | None = None
    driver: str | None = None
    utc_offset_seconds: float = 0.0


def share(gpus: float, cpus: float, device_count: int, cpu_slots: int) -> float:
    """The part of the machine that a job holds: that of the resource of which it holds most.

    Source: dominant resource fairness (Ghodsi and others, NSDI 2011).
    """
    return max(gpus / device_count if device_count else 0.0, cpus / cpu_slots if cpu_slots else 0.0)


def decayed(used: float, seconds: float, half_life_seconds: float) -> float:
    """What earlier use still counts after some time."""
    return used * math.pow(0.5, max(0.0, seconds) / half_life_seconds)


def automatic_memory(peak_bytes: int | None, runs: int, least_runs: int = 3) -> int | None:
    """The GPU memory to set aside for a job of which earlier runs are known; None = whole GPUs."""
    if peak_bytes is None or runs < least_runs:
        return None
    return int(peak_bytes * 1.15) + (512 << 20)
