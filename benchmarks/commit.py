"""What committing one ended run costs, with 1,000 steps of 5 metrics and without any, against `git --version`.

Durable is the product as it is. Unsynced has `fsync` made to do nothing, which shows how much of it is the disk.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from benchmarks.measure import Report, cost_of, cost_of_call, make_project, scratch, take_turns
from dstui.inside.journal import JournalWriter
from dstui_store import Store, machine_id, new_run_id

REPEATS = 15
STEPS = 1000
LIMIT_DURABLE = 90.0
LIMIT_UNSYNCED = 20.0
LIMIT_PROCESSES = 7.0


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        project = make_project(folder / "project", 300)
        with Store.open(project, create=True) as store:
            tree = store.snapshot().to_json()
            # Loads the libraries, makes the first entry of the log.
            for points in (0, STEPS):
                store.commit_ended(ended_run(store, tree, points))
            wall = take_turns(
                {
                    "durable": lambda: commit_wall(store, tree, 0),
                    "unsynced": lambda: unsynced_wall(store, tree, 0),
                    "durable_with_metrics": lambda: commit_wall(store, tree, STEPS),
                    "git_version": lambda: cost_of(["git", "--version"], cwd=project).wall_seconds,
                },
                REPEATS,
            )
            processes = count_git_processes(folder, lambda: store.commit_ended(ended_run(store, tree, 0)))
    for name, seconds in wall.items():
        report.add(f"{name}_wall_seconds", seconds)
    report.add("git_processes", processes)
    report.compare("durable_to_git_version", wall["durable"], wall["git_version"], LIMIT_DURABLE)
    report.compare("unsynced_to_git_version", wall["unsynced"], wall["git_version"], LIMIT_UNSYNCED)
    report.compare("durable_with_metrics_to_git_version", wall["durable_with_metrics"], wall["git_version"])
    report.compare("git_processes_to_limit", processes, LIMIT_PROCESSES, 1.0)
    report.print_line()


def ended_run(store: Store, code: dict[str, object], points: int) -> str:
    """A live folder as a keeper leaves it: launch record, journal, log and exit record; returns the run's id."""
    now = time.time()
    launch = {
        "name": "benchmark",
        "experiment": None,
        "command": ["python", "train.py", "--lr", "0.1"],
        "cwd": str(store.layout.project),
        "host": "localhost",
        "user": "someone",
        "created_at": now,
        "machine": machine_id(),
        "config": {f"param{number}": number / 10 for number in range(10)},
        "tags": [],
        "notes": "",
        "code": code,
    }
    new = store.begin(new_run_id(), launch)
    if points:
        journal = JournalWriter(str(new.folder / "journal"), 0, str(os.getpid()))
        for step in range(points):
            journal.log({f"metric{number}": number + 1 / (step + 1) for number in range(5)}, step, now + step)
        journal.close()
    (new.folder / "log").write_text("".join(f"step {step} loss=0.5\n" for step in range(200)))
    exit_record = (
        f'{{"v":1,"run":"{new.id}","exit_code":0,"signal":null,"state":"finished","stop_reason":null,'
        f'"started_at":{now},"ended_at":{now + 1},"duration_seconds":1.0,"log_bytes":3000}}'
    )
    (new.folder / "exit.json").write_text(exit_record)
    os.close(new.alive)
    return new.id


def commit_wall(store: Store, code: dict[str, object], points: int) -> float:
    """Seconds of one commit."""
    run = ended_run(store, code, points)
    return cost_of_call(lambda: store.commit_ended(run)).wall_seconds


def unsynced_wall(store: Store, code: dict[str, object], points: int) -> float:
    """The same with a disk that takes no time to sync."""
    with mock.patch("os.fsync", return_value=None):
        return commit_wall(store, code, points)


def count_git_processes(folder: Path, call: Callable[[], object]) -> int:
    """How many times a call starts git, counted by a stand-in on PATH."""
    with counting_git(folder) as count_file:
        call()
        return len(count_file.read_text().splitlines())


@contextmanager
def counting_git(folder: Path) -> Iterator[Path]:
    """Puts a `git` first on PATH that notes each start in a file and becomes the real one."""
    real = shutil.which("git")
    stand_in = folder / "bin" / "git"
    count_file = folder / "git-starts"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\necho start >> "{count_file}"\nexec "{real}" "$@"\n')
    stand_in.chmod(0o755)
    count_file.touch()
    with mock.patch.dict(os.environ, PATH=f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}"):
        yield count_file


if __name__ == "__main__":
    main()
