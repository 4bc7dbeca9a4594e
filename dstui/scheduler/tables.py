"""The tables of the queue, and how a row of them becomes a job."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from dstui.scheduler.jobs import OPEN, Demand, Hold, JobRow

VERSION = 1
"""Of the tables."""

TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE submit(id TEXT PRIMARY KEY, at REAL NOT NULL, project TEXT NOT NULL, cwd TEXT NOT NULL,
    spec TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE array(id TEXT PRIMARY KEY, submit TEXT NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE account(name TEXT PRIMARY KEY, used REAL NOT NULL, used_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE job(
    sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, submit TEXT NOT NULL, state TEXT NOT NULL,
    tier TEXT NOT NULL, account TEXT NOT NULL, user TEXT NOT NULL, name TEXT NOT NULL,
    words TEXT NOT NULL, params TEXT NOT NULL,
    gpus INTEGER NOT NULL, gpus_max INTEGER NOT NULL, memory_bytes INTEGER, cpus INTEGER NOT NULL,
    time_limit_seconds REAL, array TEXT, rank REAL NOT NULL DEFAULT 0, retries INTEGER NOT NULL,
    retried INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0, run TEXT, hold TEXT, stop TEXT,
    memory_automatic INTEGER NOT NULL, learned TEXT NOT NULL, submitted_at REAL NOT NULL, started_at REAL,
    ended_at REAL, exit_code INTEGER, spare TEXT NOT NULL DEFAULT '{}');
CREATE INDEX job_open ON job(state) WHERE ended_at IS NULL;
CREATE INDEX job_ended ON job(ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX job_submit ON job(submit);
CREATE INDEX job_submit_open ON job(submit) WHERE ended_at IS NULL;
CREATE TABLE dependency(job TEXT NOT NULL, needs TEXT NOT NULL, PRIMARY KEY(job, needs)) WITHOUT ROWID;
CREATE INDEX dependency_needs ON dependency(needs);
CREATE TABLE attempt(job TEXT NOT NULL, number INTEGER NOT NULL, run TEXT, state TEXT NOT NULL, pid INTEGER,
    ticks INTEGER, boot TEXT, devices TEXT NOT NULL, live TEXT, started_at REAL NOT NULL, ended_at REAL,
    PRIMARY KEY(job, number)) WITHOUT ROWID;
CREATE INDEX attempt_run ON attempt(run);
CREATE TABLE lease(device TEXT NOT NULL, job TEXT NOT NULL, attempt INTEGER NOT NULL, memory_bytes INTEGER,
    since REAL NOT NULL, PRIMARY KEY(device, job)) WITHOUT ROWID;
CREATE TABLE device(id TEXT PRIMARY KEY, drained TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE learned(key TEXT PRIMARY KEY, runs INTEGER NOT NULL, peak_bytes INTEGER, durations TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE event(at REAL NOT NULL, job TEXT NOT NULL, state TEXT NOT NULL, detail TEXT);
CREATE TABLE request(number INTEGER PRIMARY KEY AUTOINCREMENT, verb TEXT NOT NULL, arguments TEXT NOT NULL,
    answer TEXT);
"""

JOB_COLUMNS = (
    "job.sequence, job.id, job.submit, job.state, job.tier, job.account, job.user, submit.project, submit.cwd, "
    "job.name, job.words, job.params, job.gpus, job.gpus_max, job.memory_bytes, job.cpus, job.time_limit_seconds, "
    "job.array, job.rank, job.retries, job.retried, job.attempt, job.run, job.hold, job.stop, job.memory_automatic, "
    "job.learned, job.submitted_at, job.started_at, job.ended_at, job.exit_code, job.spare"
)
CHANGEABLE = frozenset(
    "state tier rank retried attempt run hold stop memory_bytes started_at ended_at exit_code spare time_limit_seconds "
    "memory_automatic".split()
)
OPEN_STATES = ", ".join(f"'{state}'" for state in sorted(OPEN))


def job_of(row: Sequence[Any], after: Iterable[str]) -> JobRow:
    """A row of `JOB_COLUMNS` as a job.

    Args:
        after: jobs that it waits for.
    """
    first, demand, second, third = row[:10], row[12:17], row[17:23], row[26:31]
    values: list[Any] = [
        *first,
        tuple(json.loads(row[10])),
        {} if row[11] == "{}" else json.loads(row[11]),
        Demand(*demand),
        *second,
        None if row[23] is None else Hold(**json.loads(row[23])),
        row[24],
        bool(row[25]),
        *third,
        {} if row[31] == "{}" else json.loads(row[31]),
        tuple(after),
    ]
    return JobRow(*values)


def hold_to_text(hold: Hold) -> str:
    """A hold as its column keeps it."""
    return json.dumps({"code": hold.code, "sentence": hold.sentence, "since": hold.since, "until": hold.until})
