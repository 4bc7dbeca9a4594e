"""Runs as the launcher and the keeper leave them on disk, so that a store can be tried without starting a command."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dstui.inside.journal import JournalWriter
from dstui_store import NewRun, RunRecord, Snapshot, Store, new_run_id

STARTED_AT = 1_790_000_000.0
"""When runs made here began, seconds since the epoch; the n-th point of a metric is n seconds later."""


def launch_record(store: Store, snapshot: Snapshot | None = None, **fields: Any) -> dict[str, Any]:
    """What a launcher writes before the command starts; `fields` replace its keys."""
    skipped = [] if snapshot is None else snapshot.skipped
    return {
        "name": "train",
        "experiment": None,
        "command": ["python", "train.py", "--lr", "0.1"],
        "cwd": str(store.layout.project),
        "host": "testhost",
        "user": "tester",
        "created_at": STARTED_AT,
        "config": {"lr": 0.1, "model.depth": 3},
        "tags": [],
        "notes": "",
        "private": False,
        "code": {} if snapshot is None else snapshot.to_json(),
        "skipped": [{"path": item.path, "size": item.size, "reason": item.reason} for item in skipped],
        "environment": {"schema": 1, "python": {"version": "3.11.7"}},
        **fields,
    }


def exit_record(run: str, **fields: Any) -> dict[str, Any]:
    """What a keeper writes last; `fields` replace its keys."""
    return {
        "v": 1,
        "run": run,
        "exit_code": 0,
        "signal": None,
        "state": "finished",
        "stop_reason": None,
        "started_at": STARTED_AT,
        "ended_at": STARTED_AT + 60,
        "duration_seconds": 60.0,
        "user_seconds": 1.5,
        "system_seconds": 0.5,
        "peak_rss_bytes": 1 << 20,
        "strays": 0,
        "log_bytes": 0,
        **fields,
    }


def begun_run(store: Store, snapshot: Snapshot | None = None, **launch: Any) -> NewRun:
    """A run whose launcher, this process, still holds its `alive` lock."""
    return store.begin(new_run_id(), launch_record(store, snapshot, **launch))


def ended_run(
    store: Store,
    snapshot: Snapshot | None = None,
    *,
    metrics: Mapping[str, list[float]] | None = None,
    log: bytes = b"step 0 loss=1.0\n",
    end: Mapping[str, Any] | None = None,
    **launch: Any,
) -> str:
    """A run whose keeper has written how it ended and let go; returns its id.

    Args:
        metrics: values of each metric, all of one length, logged by rank 0 one step after the other.
        end: replaces keys of the exit record.
    """
    new = begun_run(store, snapshot, **launch)
    if metrics:
        write_journal(new.folder, metrics)
    (new.folder / "log").write_bytes(log)
    record = exit_record(new.id, **{"log_bytes": len(log), **(end or {})})
    (new.folder / "exit.json").write_text(json.dumps(record))
    os.close(new.alive)
    return new.id


def committed_run(store: Store, snapshot: Snapshot | None = None, **how: Any) -> RunRecord:
    """A run that ended and is in the store; arguments as `ended_run`."""
    record = store.commit_ended(ended_run(store, snapshot, **how))
    assert record is not None
    return record


def dead_run(store: Store, state: Mapping[str, Any] | None = None, **launch: Any) -> str:
    """A run whose keeper was killed without a word: `state.json` names a process that is gone; returns its id."""
    new = begun_run(store, **launch)
    write_state(new.folder, **(state or {}))
    os.close(new.alive)
    return new.id


def write_state(folder: Path, **fields: Any) -> None:
    """`state.json` of a keeper on this machine whose command is gone; `fields` replace its keys."""
    launch = json.loads((folder / "launch.json").read_text())
    state = {
        "v": 1,
        "run": folder.name,
        "host": "testhost",
        "machine": launch["machine"],
        "boot": launch["boot"],
        "pid_namespace": launch["pid_namespace"],
        "keeper_pid": os.getpid(),
        "keeper_start_ticks": 1,
        "pid": os.getpid(),
        # A process that had this pid before: the number was given again.
        "start_ticks": 1,
        "started_at": STARTED_AT,
        "heartbeat_at": STARTED_AT + 30,
        "log_bytes": 0,
        **fields,
    }
    (folder / "state.json").write_text(json.dumps(state))


def write_journal(folder: Path, metrics: Mapping[str, list[float]]) -> None:
    """Logs metrics as a training process of rank 0 does."""
    journal = JournalWriter(str(folder / "journal"), 0, str(os.getpid()))
    for step, values in enumerate(zip(*metrics.values(), strict=True)):
        journal.log(dict(zip(metrics, values, strict=True)), step, STARTED_AT + step)
    journal.close()


def write_samples(folder: Path, samples: Sequence[Mapping[str, float]], name: str = "system", start: int = 0) -> None:
    """The load of a run as the sampler writes it, a sample a second."""
    journal = JournalWriter(str(folder / "system"), 0, name)
    for second, values in enumerate(samples, start):
        journal.log(values, second, STARTED_AT + second)
    journal.close()


def now() -> float:
    """Seconds since the epoch, for runs that must be newer than those made here."""
    return time.time()
