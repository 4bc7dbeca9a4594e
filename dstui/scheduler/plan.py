"""Which jobs start now, on which devices, and who yields: one pure function.

The order is by tier; then by what an account has used, weighed; then by hand, by what an array has had, by age. Each
`lift_seconds` of waiting lift the order by one tier, never the rights. The first job that does not fit gets a
reservation (one for GPUs, one for CPU slots); others pass it only with a time limit that ends before, or off its
devices (EASY backfilling: Lifka, JSSPP 1995). No clock, no disk, no process.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from dstui.scheduler.cluster import Candidate, Cluster, Group, GroupKey, Running, share
from dstui.scheduler.jobs import TIERS
from dstui.scheduler.placement import Capacity, earliest
from dstui.scheduler.policy import Policy
from dstui.scheduler.preemption import victims

PROSPECT_SECONDS = 3600.0
"""What a job holds counts in the order as if it went on for so long: of free GPUs not one account gets all."""


@dataclass(frozen=True, slots=True)
class Start:
    """A job to start now."""

    job: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preemption:
    """A job to be asked to save itself and yield."""

    victim: str
    job: str


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is kept for the first job that does not fit.

    Attributes:
        at: when it can start at the latest; None = when jobs without a known end have gone.
        cpus_beside: CPU slots that others may hold then.
    """

    job: str
    kind: str
    at: float | None
    devices: tuple[str, ...]
    cpus_beside: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the jobs of a group do not start: `hours quota gpus gpu_memory cpus order paused`, with what it was about."""

    code: str
    about: str | None = None


@dataclass(slots=True)
class Plan:
    """What to do now.

    Attributes:
        verdicts: for each group of jobs that go on waiting.
        wake_at: when time alone may change the answer.
    """

    starts: list[Start] = field(default_factory=list)
    preemptions: list[Preemption] = field(default_factory=list)
    reservations: list[Reservation] = field(default_factory=list)
    verdicts: dict[GroupKey, Verdict] = field(default_factory=dict)
    wake_at: float | None = None


def plan(cluster: Cluster, now: float, policy: Policy) -> Plan:
    """The decisions of one moment. Equal values give equal answers; nothing that is given is changed.

    Args:
        now: seconds since the epoch.
    """
    return _Pass(cluster, now, policy).run()


def tier_place(candidate: Candidate, now: float, lift_seconds: float = Policy().lift_seconds) -> int:
    """The tier of a job in the order, after ageing; negative above the highest."""
    return TIERS.index(candidate.tier) - int(max(0.0, now - candidate.submitted_at) // lift_seconds)


class _Pass:
    """One call of `plan`."""

    def __init__(self, cluster: Cluster, now: float, policy: Policy) -> None:
        self._cluster, self._now, self._policy = cluster, now, policy
        self._plan = Plan()
        self._running = list(cluster.running)
        self._capacity = Capacity(cluster)
        self._held: Counter[tuple[str, str]] = Counter()
        self._holding: dict[str, float] = {}
        self._had: dict[str, float] = {}
        for job in self._running:
            self._count(job)
        self._reserved: dict[str, Reservation] = {}
        self._elastic: list[tuple[int, Candidate]] = []
        self._yielding = {job.stopping_for for job in self._running if job.stopping_for is not None}

    def run(self) -> Plan:
        heap: list[tuple[tuple[Any, ...], int, int, Group]] = []
        opens_at = self._policy.opens_at(self._now, self._cluster.utc_offset_seconds)
        for number, group in enumerate(self._cluster.waiting.groups()):
            if self._cluster.paused is not None:
                self._plan.verdicts[group.key] = Verdict("paused", self._cluster.paused)
            elif opens_at is not None and not group.key[-1]:
                self._plan.verdicts[group.key] = Verdict("hours")
            else:
                heap.append((self._key(group.jobs[0][1]), number, 0, group))
        if opens_at is not None and self._plan.verdicts:
            self._wake(opens_at)
        heapq.heapify(heap)
        tier = len(TIERS)
        while heap:
            key, number, at, group = heapq.heappop(heap)
            candidate = group.jobs[at][1]
            fresh = self._key(candidate)
            if fresh > key and heap and fresh > heap[0][0]:
                # Its account has got something meanwhile.
                heapq.heappush(heap, (fresh, number, at, group))
                continue
            if TIERS.index(candidate.tier) > tier:
                self._enlarge()
            tier = TIERS.index(candidate.tier)
            verdict = self._try(candidate)
            if verdict is not None:
                self._plan.verdicts[group.key] = verdict
            elif at + 1 < len(group.jobs):
                heapq.heappush(heap, (self._key(group.jobs[at + 1][1]), number, at + 1, group))
        self._enlarge()
        self._plan.reservations = list(self._reserved.values())
        return self._plan

    def _key(self, candidate: Candidate) -> tuple[Any, ...]:
        account = candidate.account
        used = self._cluster.usage.get(account, 0.0) + self._holding.get(account, 0.0) * PROSPECT_SECONDS
        had = self._had.get(candidate.array, 0.0) if candidate.array else 0.0
        place = tier_place(candidate, self._now, self._policy.lift_seconds)
        return (place, used / self._policy.weight(account), candidate.rank, had, candidate.sequence)

    def _try(self, candidate: Candidate) -> Verdict | None:
        """Start a job, or say why not."""
        demand = candidate.demand
        if self._exceeds_quota(candidate, demand.gpus):
            return Verdict("quota")
        if self._capacity.choose(demand, candidate.id) is None:
            return self._wait(candidate, "gpu" if demand.gpus else "cpu")
        beside = self._beside(candidate)
        avoid = frozenset(device for item in beside or () for device in item.devices)
        devices = None if beside is None else self._capacity.choose(demand, candidate.id, avoid=avoid)
        if beside is None or devices is None:
            return Verdict("order", next((item.job for item in self._reserved.values()), None))
        for reservation in beside:
            self._reserved[reservation.kind] = replace(reservation, cpus_beside=reservation.cpus_beside - demand.cpus)
        self._start(candidate, devices)
        return None

    def _beside(self, candidate: Candidate) -> list[Reservation] | None:
        """The reservations that a job has to leave room for; None when it cannot start now without holding one up."""
        found = []
        limit = candidate.demand.time_limit_seconds
        for reservation in self._reserved.values():
            if not self._policy.backfill and reservation.kind == ("gpu" if candidate.demand.gpus else "cpu"):
                return None
            if reservation.at is not None and limit is not None and self._now + limit <= reservation.at:
                continue
            if reservation.at is None and self._gives_back(candidate):
                continue
            if candidate.demand.cpus > reservation.cpus_beside:
                return None
            found.append(reservation)
        return found

    def _gives_back(self, candidate: Candidate) -> bool:
        return self._policy.preemption and self._policy.tier(candidate.account, candidate.tier).preemptible

    def _wait(self, candidate: Candidate, kind: str) -> Verdict:
        """Why a job does not fit; the first of its kind gets a reservation, and perhaps others yield to it."""
        demand = candidate.demand
        if kind not in self._reserved:
            kept = frozenset(device for item in self._reserved.values() for device in item.devices)
            self._preempt(candidate, kept)
            found = earliest(
                self._cluster,
                self._running,
                demand,
                candidate.id,
                self._now,
                grace_seconds=self._policy.grace_seconds,
            )
            # A job that could not even start alone keeps nobody waiting.
            if found is not None:
                self._reserved[kind] = Reservation(candidate.id, kind, *found)
        if demand.cpus > self._capacity.cpus:
            return Verdict("cpus")
        return Verdict("gpus" if demand.memory_bytes is None else "gpu_memory")

    def _preempt(self, candidate: Candidate, kept: frozenset[str]) -> None:
        policy, tier = self._policy, self._policy.tier(candidate.account, candidate.tier)
        if not policy.preemption or tier.preemptible or candidate.id in self._yielding:
            return
        found = victims(self._cluster, self._running, candidate, self._now, policy, kept)
        if found is None:
            self._wake_for_victims(candidate)
            return
        for victim in found[0]:
            self._plan.preemptions.append(Preemption(victim.id, candidate.id))
            place = self._running.index(victim)
            self._running[place] = replace(victim, stopping_for=candidate.id)

    def _wake_for_victims(self, candidate: Candidate) -> None:
        """Look again when the first job that could yield has had its time."""
        for job in self._running:
            if self._policy.tier(job.account, job.tier).preemptible and job.stopping_for is None:
                may = job.started_at + self._policy.unharmed_seconds
                if job.preempted_at is not None:
                    may = max(may, job.preempted_at + self._policy.again_seconds)
                if may > self._now:
                    self._wake(may)

    def _exceeds_quota(self, candidate: Candidate, gpus: int) -> bool:
        tier = self._policy.tier(candidate.account, candidate.tier)
        if tier.quota is None or tier.borrow or not gpus:
            return False
        return self._held[candidate.account, candidate.tier] + gpus > tier.quota

    def _start(self, candidate: Candidate, devices: tuple[str, ...]) -> None:
        demand = candidate.demand
        limit = demand.time_limit_seconds
        job = Running(
            candidate.id,
            candidate.tier,
            candidate.account,
            demand.cpus,
            devices,
            self._now,
            memory_bytes=demand.memory_bytes,
            array=candidate.array,
            ends_at=None if limit is None else self._now + limit,
        )
        self._running.append(job)
        self._capacity.take(devices, demand.memory_bytes, demand.cpus)
        self._count(job)
        self._plan.starts.append(Start(candidate.id, devices))
        if demand.gpus_max > demand.gpus and demand.memory_bytes is None:
            self._elastic.append((len(self._plan.starts) - 1, candidate))

    def _enlarge(self) -> None:
        """Jobs that take what is free get more, before those of a lower tier get anything."""
        for place, candidate in self._elastic:
            start = self._plan.starts[place]
            kept = {device for item in self._reserved.values() if item.job != candidate.id for device in item.devices}
            for device in list(self._capacity.whole):
                if len(start.devices) >= candidate.demand.gpus_max or self._exceeds_quota(candidate, 1):
                    break
                if device in kept or self._cluster.promised.get(device) not in (None, candidate.id):
                    continue
                self._capacity.take((device,), None, 0)
                start = replace(start, devices=(*start.devices, device))
                self._held[candidate.account, candidate.tier] += 1
            self._plan.starts[place] = start
        self._elastic.clear()

    def _count(self, job: Running) -> None:
        self._held[job.account, job.tier] += len(job.devices)
        part = share(len(job.devices), job.cpus, len(self._cluster.devices), self._cluster.cpu_slots)
        self._holding[job.account] = self._holding.get(job.account, 0.0) + part
        if job.array:
            self._had[job.array] = self._had.get(job.array, 0.0) + max(0.0, self._now - job.started_at) * part + part

    def _wake(self, at: float) -> None:
        if self._plan.wake_at is None or at < self._plan.wake_at:
            self._plan.wake_at = at


def gpus_of_tier(policy: Policy, account: str, tier: str, device_count: int) -> tuple[int, int]:
    """(least, most) GPUs of a job that needs GPUs and does not say how many."""
    rights = policy.tier(account, tier)
    most = min(rights.gpus, device_count, *(limit for limit in (rights.max_gpus, rights.quota) if limit))
    return 1, max(1, most)
