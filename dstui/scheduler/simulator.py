"""A cluster on paper: the real plan, driven by a virtual clock over a trace of jobs.

Rivals to compare with: first come first served on all GPUs, and the fixed hand allocation that people make without a
scheduler, in which each account has GPUs of its own. No process is started and no time is waited for.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dstui.scheduler.cluster import Candidate, Cluster, DeviceState, Running, Waiting, decayed, share
from dstui.scheduler.plan import Plan, plan
from dstui.scheduler.policy import Policy

if TYPE_CHECKING:
    from dstui.scheduler.traces import TraceJob

CHECKPOINT_SECONDS = 600.0
"""How often a job of the simulation saves itself; a preempted one saves at the request."""

SAVING_SECONDS = 5.0
"""How long that takes after the request."""

RESTART_SECONDS = 20.0
"""What a start after a preemption costs before the work goes on."""

UNPLANNED = Policy(backfill=False, preemption=False, lift_seconds=1e12)
"""In strict order of arrival."""

Watch = Callable[[Cluster, Plan, float], None]
"""Sees every pass: for tests."""


@dataclass(frozen=True, slots=True)
class Report:
    """How a trace came out.

    Attributes:
        utilization: busy share of the GPUs until nothing waited any more.
        waiting_p50_seconds: between submission and first start; likewise the others.
        slowdown_mean: (waiting + running) / running, at least 60 s of running counted.
        fairness: Jain's index over the accounts' mean slowdowns; 1 = all alike.
        worst_to_mean: the worst account's mean slowdown over the mean of all.
        lost_fraction: of all GPU-seconds, those done twice or spent on restarts.
        never_started: jobs that asked for more than the machine has.
    """

    jobs: int
    utilization: float
    waiting_p50_seconds: float
    waiting_p95_seconds: float
    waiting_max_seconds: float
    slowdown_mean: float
    fairness: float
    worst_to_mean: float
    preemptions: int
    lost_fraction: float
    makespan_seconds: float
    never_started: int

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


@dataclass(slots=True)
class _Job:
    trace: TraceJob
    sequence: int
    left: float
    started_at: float | None = None
    ended_at: float | None = None
    preempted_at: float | None = None
    epoch: int = 0
    lost: float = 0.0
    overhead: float = 0.0


@dataclass(slots=True)
class _State:
    running: dict[str, Running] = field(default_factory=dict)
    usage: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    promised: dict[str, str] = field(default_factory=dict)
    used_at: float = 0.0
    busy: float = 0.0
    busy_wanted: float = 0.0
    wanted_until: float = 0.0
    preemptions: int = 0


def simulate(
    trace: Sequence[TraceJob],
    gpus: int,
    policy: Policy | None = None,
    *,
    cpu_slots: int = 1 << 20,
    memory_bytes: int = 80 << 30,
    watch: Watch | None = None,
) -> Report:
    """Run a trace through the real plan.

    Args:
        gpus: of the machine.
        memory_bytes: of each GPU.
    """
    return _Simulation(trace, gpus, policy or Policy(), cpu_slots, memory_bytes, watch).run()


def first_come_first_served(trace: Sequence[TraceJob], gpus: int) -> Report:
    """The same trace in strict order of arrival, on all GPUs."""
    alike = [replace(job, tier="normal", account="all") for job in trace]
    simulation = _Simulation(alike, gpus, UNPLANNED, 1 << 20, 0, None)
    simulation.run()
    for job in trace:
        simulation.jobs[job.id].trace = job
    return _report(list(simulation.jobs.values()), gpus, [simulation.state])


def by_hand(trace: Sequence[TraceJob], gpus: int) -> Report:
    """The same trace with GPUs divided among the accounts once and for all; gangs are cut to what an account has."""
    accounts = sorted({job.account for job in trace})
    part = max(1, gpus // len(accounts))
    parts = []
    for account in accounts:
        own = [_cut(job, part) for job in trace if job.account == account]
        simulation = _Simulation(own, part, UNPLANNED, 1 << 20, 0, None)
        simulation.run()
        parts.append(simulation)
    jobs = [job for simulation in parts for job in simulation.jobs.values()]
    return _report(jobs, gpus, [simulation.state for simulation in parts])


def _cut(job: TraceJob, gpus: int) -> TraceJob:
    if job.demand.gpus <= gpus:
        return job
    demand = replace(job.demand, gpus=gpus, gpus_max=gpus)
    return replace(job, demand=demand, duration_seconds=job.duration_seconds * job.demand.gpus / gpus)


class _Simulation:
    def __init__(
        self,
        trace: Sequence[TraceJob],
        gpus: int,
        policy: Policy,
        cpu_slots: int,
        memory_bytes: int,
        watch: Watch | None,
    ) -> None:
        self.jobs = {job.id: _Job(job, place, job.duration_seconds) for place, job in enumerate(trace)}
        self.state = _State()
        self._policy, self._watch, self._cpu_slots = policy, watch, cpu_slots
        self._devices = [DeviceState(f"gpu{index}", index, memory_bytes or None) for index in range(gpus)]
        self._waiting = Waiting()
        self._events: list[tuple[float, int, str, str, int]] = []
        self._number = 0

    def run(self) -> Report:
        for job in self.jobs.values():
            if job.trace.demand.gpus <= len(self._devices):
                self._at(job.trace.submitted_at, "submit", job.trace.id, 0)
        while self._events:
            now = self._events[0][0]
            while self._events and self._events[0][0] <= now:
                _, _, kind, name, epoch = heapq.heappop(self._events)
                self._happen(now, kind, name, epoch)
            self._decide(now)
        return _report(list(self.jobs.values()), len(self._devices), [self.state])

    def _at(self, time: float, kind: str, name: str, epoch: int) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, kind, name, epoch))

    def _happen(self, now: float, kind: str, name: str, epoch: int) -> None:
        self._account(now)
        if kind == "submit":
            self._waiting.add(self._candidate(self.jobs[name]))
        elif kind in {"end", "yielded"} and self.jobs[name].epoch == epoch:
            self._end(now, self.jobs[name], preempted=kind == "yielded")

    def _end(self, now: float, job: _Job, *, preempted: bool) -> None:
        running = self.state.running.pop(job.trace.id)
        elapsed = now - running.started_at
        done = max(0.0, elapsed - job.overhead)
        job.epoch += 1
        if not preempted:
            job.ended_at, job.left = now, 0.0
            return
        # Saved at the request; what came after it, and the restart, is lost.
        kept = max(0.0, done - SAVING_SECONDS)
        job.left = max(1.0, job.left - kept)
        job.lost += (min(done, SAVING_SECONDS) + RESTART_SECONDS) * len(running.devices)
        job.preempted_at, job.overhead = now, RESTART_SECONDS
        self.state.preemptions += 1
        if running.stopping_for is not None:
            self.state.promised.update(dict.fromkeys(running.devices, running.stopping_for))
        self._waiting.add(self._candidate(job))

    def _decide(self, now: float) -> None:
        state = self.state
        self._account(now)
        if len(self._waiting):
            state.wanted_until, state.busy_wanted = now, state.busy
        state.promised = {device: job for device, job in state.promised.items() if job in self._waiting}
        cluster = Cluster(
            self._devices, self._cpu_slots, list(state.running.values()), self._waiting, state.usage, state.promised
        )
        decided = plan(cluster, now, self._policy)
        if self._watch is not None:
            self._watch(cluster, decided, now)
        for start in decided.starts:
            self._start(now, self.jobs[start.job], start.devices)
        for item in decided.preemptions:
            state.running[item.victim] = replace(state.running[item.victim], stopping_for=item.job)
            self._at(now + SAVING_SECONDS, "yielded", item.victim, self.jobs[item.victim].epoch)
        if decided.wake_at is not None:
            self._at(max(decided.wake_at, now + 1e-3), "wake", "", 0)

    def _start(self, now: float, job: _Job, devices: tuple[str, ...]) -> None:
        trace = job.trace
        self._waiting.remove(trace.id)
        if job.started_at is None:
            job.started_at = now
        limit = trace.demand.time_limit_seconds
        self.state.running[trace.id] = Running(
            trace.id,
            trace.tier,
            trace.account,
            trace.demand.cpus,
            devices,
            now,
            memory_bytes=trace.demand.memory_bytes,
            preempted_at=job.preempted_at,
            ends_at=None if limit is None else now + limit + job.overhead,
        )
        self._at(now + job.left + job.overhead, "end", trace.id, job.epoch)

    def _candidate(self, job: _Job) -> Candidate:
        trace = job.trace
        return Candidate(trace.id, trace.tier, trace.account, trace.demand, job.sequence, trace.submitted_at)

    def _account(self, now: float) -> None:
        state = self.state
        passed = now - state.used_at
        if passed <= 0:
            return
        for account in list(state.usage):
            state.usage[account] = decayed(state.usage[account], passed, self._policy.half_life_seconds)
        for job in state.running.values():
            part = share(len(job.devices), job.cpus, len(self._devices), self._cpu_slots)
            state.usage[job.account] += part * passed
            state.busy += len(job.devices) * passed
        state.used_at = now


def _report(jobs: Sequence[_Job], gpus: int, states: Sequence[_State]) -> Report:
    done = [job for job in jobs if job.ended_at is not None]
    waits = sorted((job.started_at or 0.0) - job.trace.submitted_at for job in done)
    slowdowns: Mapping[str, list[float]] = defaultdict(list)
    for job in done:
        base = max(job.trace.duration_seconds, 60.0)
        slowdowns[job.trace.account].append(max(1.0, ((job.ended_at or 0.0) - job.trace.submitted_at) / base))
    means = [sum(values) / len(values) for values in slowdowns.values()] or [1.0]
    everyone = [value for values in slowdowns.values() for value in values] or [1.0]
    # What goes on after nothing waits any more is no fault of the plan.
    until = max(state.wanted_until for state in states)
    busy = sum(state.busy for state in states)
    wanted = sum(state.busy_wanted if state.wanted_until == until else state.busy for state in states)
    return Report(
        jobs=len(done),
        utilization=wanted / (gpus * until) if until > 0 else 0.0,
        waiting_p50_seconds=_at_fraction(waits, 0.5),
        waiting_p95_seconds=_at_fraction(waits, 0.95),
        waiting_max_seconds=waits[-1] if waits else 0.0,
        slowdown_mean=sum(everyone) / len(everyone),
        fairness=sum(means) ** 2 / (len(means) * sum(value * value for value in means)),
        worst_to_mean=max(means) * len(means) / sum(means),
        preemptions=sum(state.preemptions for state in states),
        lost_fraction=sum(job.lost for job in done) / busy if busy else 0.0,
        makespan_seconds=max((job.ended_at or 0.0 for job in done), default=0.0),
        never_started=len(jobs) - len(done),
    )


def _at_fraction(values: Sequence[float], fraction: float) -> float:
    return values[min(len(values) - 1, int(len(values) * fraction))] if values else 0.0
