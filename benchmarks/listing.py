"""What listing costs with 1,000 and 10,000 runs of 10 params and 5 metrics.

`ds ls` stands against `ds --help`; the index against walking the log and reading each line of it, which is what a
listing would do without an index. The runs are written by the store's own code, all in one go and without syncing,
since their making is not measured.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from unittest import mock

from benchmarks.measure import DS, Report, cost_of, cost_of_call, make_project, scratch, take_turns
from dstui_store import MetricSummary, RunRecord, Store, new_run_id
from dstui_store.commit import RunFiles, stage, stage_first, stage_log_entry
from dstui_store.schema import from_json

SIZES = {1000: 2.0, 10_000: 6.0}
"""Number of runs, and how many times `ds --help` a listing of them may cost."""
WALK_LIMIT = 0.5
"""Reading all runs from the index may cost this much of walking the log."""
REPEATS = 5
AUTHOR = "someone <someone@localhost>"


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        for runs, limit in SIZES.items():
            project = make_project(folder / f"project{runs}", 100)
            fill_store(project, runs)
            measure_listing(report, project, runs, limit)
    report.print_line()


def fill_store(project: Path, runs: int) -> None:
    """Adds that many runs to the log of a project's store."""
    chance = random.Random(runs)
    now = time.time()
    with Store.open(project, create=True) as store, mock.patch("os.fsync", return_value=None):
        code_tree = store.snapshot().to_json()["tree"]
        writer = store.writer()
        with store.git.staging() as staging:
            tip, _ = stage_first(staging, AUTHOR, now)
            for number in range(1, runs + 1):
                record = made_up_run(chance, number, writer, now - (runs - number) * 60)
                files = {"config.json": b"{}\n", "meta.json": f'{{"number":{number}}}\n'.encode()}
                commit, tree = stage(staging, RunFiles(record, code_tree, files), AUTHOR)
                tip = stage_log_entry(staging, record.replace(commit=commit), commit, tree, tip, AUTHOR)
            staging.publish()
        with store.layout.lock.open("w") as lock:
            store.git.update_ref(f"refs/ds/p/{writer}", tip, None, lock.fileno())


def made_up_run(chance: random.Random, number: int, writer: str, started_at: float) -> RunRecord:
    """One finished run with values of the usual kinds."""
    config: dict[str, object] = {f"optimizer.param{index}": round(chance.random(), 4) for index in range(8)}
    return RunRecord(
        id=new_run_id(),
        number=number,
        name=f"train lr={chance.random():.3g}",
        experiment=f"experiment{number % 7}",
        state="finished" if chance.random() < 0.9 else "failed",
        exit_code=0,
        command=("python", "train.py", "--lr", "0.1"),
        started_at=started_at,
        ended_at=started_at + 50,
        duration_seconds=50.0,
        user="someone",
        host="localhost",
        writer=writer,
        config={**config, "model": "resnet18", "augment": True},
        summary={
            name: MetricSummary(last=chance.random(), min=0.0, max=1.0, step=1000, count=1000)
            for name in ("loss", "acc", "val_loss", "val_acc", "grad_norm")
        },
        tags=("baseline",) if number % 10 == 0 else (),
        size_bytes=20_000,
    )


def measure_listing(report: Report, project: Path, runs: int, limit: float) -> None:
    """Adds the numbers of one store."""
    report.add(f"index_build_{runs}_seconds", cost_of([*DS, "ls"], cwd=project).cpu_seconds)
    cpu = take_turns(
        {
            "help": lambda: cost_of([*DS, "--help"], cwd=project).cpu_seconds,
            "ls": lambda: cost_of([*DS, "ls"], cwd=project).cpu_seconds,
            "ls_screenful": lambda: cost_of([*DS, "ls", "--limit", "50"], cwd=project).cpu_seconds,
            "ls_json": lambda: cost_of([*DS, "ls", "--json"], cwd=project).cpu_seconds,
            "ls_query": lambda: cost_of([*DS, "ls", "val_acc>0.9 state:finished"], cwd=project).cpu_seconds,
        },
        REPEATS,
    )
    with Store.open(project) as store:

        def rebuild() -> float:
            store.close()
            store.layout.index.unlink()
            return cost_of_call(lambda: store.index.sync()).cpu_seconds

        inside = take_turns(
            {
                "index_read": lambda: cost_of_call(lambda: list(store.index.records())).cpu_seconds,
                "index_rebuild": rebuild,
                "raw_walk": lambda: cost_of_call(lambda: walk_log(store)).cpu_seconds,
            },
            REPEATS,
        )
    for name, seconds in {**cpu, **inside}.items():
        report.add(f"{name}_{runs}_cpu_seconds", seconds)
    report.compare(f"ls_{runs}_to_help", cpu["ls"], cpu["help"], limit)
    report.compare(f"ls_screenful_{runs}_to_help", cpu["ls_screenful"], cpu["help"])
    report.compare(f"ls_json_{runs}_to_help", cpu["ls_json"], cpu["help"])
    report.compare(f"ls_query_{runs}_to_help", cpu["ls_query"], cpu["help"])
    report.compare(f"index_read_{runs}_to_raw_walk", inside["index_read"], inside["raw_walk"], WALK_LIMIT)
    report.compare(f"index_rebuild_{runs}_to_raw_walk", inside["index_rebuild"], inside["raw_walk"])


def walk_log(store: Store) -> list[RunRecord]:
    """All runs, read from the messages of the log."""
    output = store.git.run("rev-list", "--first-parent", "--format=%B", f"refs/ds/p/{store.writer()}")
    return [from_json(json.loads(line)) for line in output.splitlines() if line.startswith(b"{")]


if __name__ == "__main__":
    main()
