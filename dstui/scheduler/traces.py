"""Job traces: made from a seed, or read from the CSV tables in which public clusters were published.

The readers take the columns of Philly (`jobid, vc, submitted_time, start, end, gpus`), Helios (`job_id, vc, gpu_num,
submit_time, duration`) and Alibaba (`job_name, group, submit_time, duration, plan_gpu` with 100 = one GPU), by the
names of their columns. What a line does not say or says wrongly is left out and counted, never guessed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from dstui.errors import UsageError
from dstui.scheduler.jobs import Demand

MAX_LINES = 5_000_000
"""Of a trace file."""

_IDS = ("jobid", "job_id", "job_name", "id")
_SUBMITTED = ("submitted_time", "submit_time", "submitted_at", "submit")
_DURATIONS = ("duration", "run_time", "runtime", "duration_seconds")
_STARTS, _ENDS = ("start_time", "start", "started_at"), ("end_time", "end", "ended_at", "finish")
_GPUS = ("gpu_num", "gpus", "num_gpus", "gpu")
_HUNDREDTHS = ("plan_gpu",)
_ACCOUNTS = ("vc", "account", "group", "user")


@dataclass(frozen=True, slots=True)
class TraceJob:
    """A job of a trace.

    Attributes:
        submitted_at: seconds after the start of the trace.
        duration_seconds: how long it works on the devices that it asks for.
        tier: `high`, `normal` or `low`.
    """

    id: str
    submitted_at: float
    duration_seconds: float
    demand: Demand
    tier: str = "normal"
    account: str = "one"


def generate(
    seed: int,
    jobs: int,
    gpus: int,
    *,
    load: float = 1.2,
    accounts: Sequence[str] = ("vision", "speech", "language", "robots"),
    tiers: Mapping[str, float] | None = None,
    largest_gang: int = 8,
    limited_fraction: float = 0.9,
    median_seconds: float = 900.0,
) -> list[TraceJob]:
    """A trace like those of shared clusters: many short single-GPU jobs, few long gangs, arrivals in bursts.

    Args:
        load: work that arrives over what the GPUs can do; above 1 the queue grows until the arrivals end.
        tiers: share of each tier; all `normal` by default.
        limited_fraction: of the jobs that declare a time limit, 1 to 3 times their duration.
        median_seconds: of the durations, which are lognormal with a long tail, 10 s to 2 days.
    """
    random = Random(seed)
    sizes = [size for size in (1, 2, 4, 8, 16) if size <= min(largest_gang, gpus)]
    weights = [0.6, 0.15, 0.13, 0.12, 0.02][: len(sizes)]
    names = list((tiers or {"normal": 1.0}).items())
    drafts = []
    for _ in range(jobs):
        size = random.choices(sizes, weights)[0]
        duration = min(max(random.lognormvariate(math.log(median_seconds), 1.3), 10.0), 172_800.0)
        drafts.append((size, duration))
    work = sum(size * duration for size, duration in drafts)
    span = work / (gpus * load)
    found, at = [], 0.0
    for number, (size, duration) in enumerate(drafts):
        # Bursts: one gap in five is long.
        at += random.expovariate(1.0) * span / jobs * (4.0 if random.random() < 0.2 else 0.25)
        limit = duration * random.uniform(1.0, 3.0) if random.random() < limited_fraction else None
        tier = random.choices([name for name, _ in names], [part for _, part in names])[0]
        demand = Demand(gpus=size, gpus_max=size, cpus=0, time_limit_seconds=limit)
        found.append(TraceJob(f"job{number:06}", at, duration, demand, tier, random.choice(accounts)))
    return found


def read_csv(path: Path) -> tuple[list[TraceJob], int]:
    """The jobs of a CSV table with a header, in order of their submission, and how many lines were left out.

    Raises:
        UsageError: it cannot be read, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = csv.DictReader(file)
            return _jobs(rows, rows.fieldnames or ())
    except (OSError, csv.Error) as error:
        raise UsageError(
            f"The trace `{path}` cannot be read: {error}", hint="it is a CSV table with a header"
        ) from error


def _jobs(rows: Iterable[Mapping[str, str | None]], columns: Sequence[str]) -> tuple[list[TraceJob], int]:
    submitted = _column(columns, _SUBMITTED, "when a job was submitted")
    gpus, unit = _found(columns, _GPUS), 1.0
    if gpus is None:
        gpus, unit = _column(columns, _HUNDREDTHS, "how many GPUs it had"), 100.0
    duration, start, end = _found(columns, _DURATIONS), _found(columns, _STARTS), _found(columns, _ENDS)
    if duration is None and (start is None or end is None):
        raise UsageError(
            "The trace does not say how long a job took", hint=f"a column `{_DURATIONS[0]}`, or `start` and `end`"
        )
    identity, account = _found(columns, _IDS), _found(columns, _ACCOUNTS)
    drafts: list[tuple[float, float, int, str, str]] = []
    left_out = 0
    for number, row in enumerate(rows):
        if number >= MAX_LINES:
            raise UsageError(f"The trace has more than {MAX_LINES:,} lines", hint="cut it")
        at = _moment(row.get(submitted))
        if duration is not None:
            took = _number(row.get(duration))
        else:
            began, ended = _moment(row.get(start or "")), _moment(row.get(end or ""))
            took = None if began is None or ended is None else ended - began
        count = _number(row.get(gpus))
        if at is None or took is None or count is None or took <= 0 or not 0 < count / unit <= 4096:
            left_out += 1
            continue
        drafts.append(
            (
                at,
                took,
                math.ceil(count / unit),
                (row.get(identity or "") or f"job{number}")[:64],
                (row.get(account or "") or "one")[:64],
            )
        )
    drafts.sort(key=lambda draft: draft[0])
    first = drafts[0][0] if drafts else 0.0
    return [
        TraceJob(f"{name}#{number}", at - first, took, Demand(gpus=size, gpus_max=size, cpus=0), account=owner)
        for number, (at, took, size, name, owner) in enumerate(drafts)
    ], left_out


def _found(columns: Sequence[str], names: Sequence[str]) -> str | None:
    known = {column.strip().lower(): column for column in columns}
    return next((known[name] for name in names if name in known), None)


def _column(columns: Sequence[str], names: Sequence[str], what: str) -> str:
    found = _found(columns, names)
    if found is None:
        raise UsageError(
            f"The trace does not say {what}: its columns are {', '.join(columns)[:200]}",
            hint=f"one of {', '.join(names)}",
        )
    return found


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _moment(text: str | None) -> float | None:
    """Seconds, of a number or of a date with a time."""
    number = _number(text)
    if number is not None or not text:
        return number
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
