"""What the queue holds of a job, from its submission to its end: plain values.

A job is `held`, `queued`, `starting`, `running` or `stopping`; then it has the state of its last run, or is
`cancelled` when it never started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WAITING = frozenset({"held", "queued"})
"""States before a start."""

ACTIVE = frozenset({"starting", "running", "stopping"})
"""States with an attempt under way."""

OPEN = WAITING | ACTIVE
"""States of a job that has not ended."""

TIERS = ("high", "normal", "low")
"""Priorities, the highest first."""

REQUEUE_CODE = 75
"""Exit code that means: saved, start me again."""

NEVER_RETRIED = frozenset({126, 127})
"""Exit codes of a command that cannot be started: it would fail the same way again."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a job needs at once.

    Attributes:
        gpus: the least number of GPUs it starts with.
        gpus_max: the most that it takes when they are free; at least `gpus`.
        memory_bytes: of each GPU; it is then shared with other jobs. None = whole GPUs.
        cpus: CPU slots.
        time_limit_seconds: it is ended after this long, None = no limit.
    """

    gpus: int = 0
    gpus_max: int = 0
    memory_bytes: int | None = None
    cpus: int = 1
    time_limit_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """One job of a submission.

    Attributes:
        words: the command as typed.
        params: of `-p` and of the array.
        name: what it is called.
        after: whole ids of jobs that must have finished well before.
        learned: the key under which its memory and duration are remembered.
    """

    id: str
    words: Sequence[str]
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    after: Sequence[str] = ()
    learned: str = ""


@dataclass(frozen=True, slots=True)
class Submission:
    """What one call of `ds submit` asks for; its jobs share everything but what `NewJob` holds.

    Attributes:
        project: top of the project.
        cwd: where the commands run, in the project.
        account: who is charged.
        user: who submitted.
        spec: what whoever starts a job needs besides: the code, and the options of the run. JSON.
        environment: the variables of that moment; never shown unmasked.
        array: whether the jobs are one array.
        held: they wait for `ds queue release`.
        memory_automatic: share a GPU as soon as the memory that such jobs need has been learned.
        retries: how often a job that failed is started again.
    """

    project: str
    cwd: str
    account: str
    user: str
    tier: str
    demand: Demand
    spec: Mapping[str, Any]
    environment: Mapping[str, str]
    jobs: Sequence[NewJob]
    array: bool = False
    held: bool = False
    memory_automatic: bool = False
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a job may not be planned at all.

    Attributes:
        code: `held`, `paused`, `backoff`, `brake`, `environment`, `storage`, `disk` or `start`.
        sentence: who or what, in words.
        since: seconds since the epoch.
        until: when it ends by itself, None = by an act of somebody.
    """

    code: str
    sentence: str
    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as the queue has it.

    Attributes:
        sequence: order of arrival.
        submit: the submission it came with.
        rank: place among jobs of the same standing; lower comes first. 0 unless it was moved.
        retried: how often it was started again after a failure.
        attempt: number of its last start, 0 before.
        run: its last run.
        stop: why somebody wants it to end, else None.
        spare: free starts used up: `{"lost": 1}`.
        after: jobs that it waits for.
    """

    sequence: int
    id: str
    submit: str
    state: str
    tier: str
    account: str
    user: str
    project: str
    cwd: str
    name: str
    words: tuple[str, ...]
    params: Mapping[str, Any]
    demand: Demand
    array: str | None
    rank: float
    retries: int
    retried: int
    attempt: int
    run: str | None
    hold: Hold | None
    stop: str | None
    memory_automatic: bool
    learned: str
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    exit_code: int | None
    spare: Mapping[str, int]
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a job.

    Attributes:
        number: 1 for the first.
        run: the run that it is.
        state: `starting`, `running`, then the run's.
        pid, ticks, boot: the keeper's identity; None before it has one.
        devices: ids of the GPUs it holds.
        live: the run's live folder.
    """

    job: str
    number: int
    run: str | None
    state: str
    pid: int | None
    ticks: int | None
    boot: str | None
    devices: tuple[str, ...]
    started_at: float
    ended_at: float | None = None
    live: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of a job to hold a device; `memory_bytes` None = all of it."""

    device: str
    job: str
    attempt: int
    memory_bytes: int | None
    since: float


@dataclass(frozen=True, slots=True)
class Learned:
    """What earlier runs of the same script and params have shown.

    Attributes:
        runs: how many finished.
        peak_bytes: the most GPU memory that one of them used on one GPU, None = not seen.
        durations: of the last ones, seconds, oldest first.
    """

    runs: int = 0
    peak_bytes: int | None = None
    durations: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """An act of a person that the daemon carries out."""

    number: int
    verb: str
    arguments: Mapping[str, Any]
