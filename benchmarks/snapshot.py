"""What storing the code of a run costs, in projects of 300, 10,000 and 50,000 files, against `git status` there.

Each snapshot sees three edited files and a new one; all other code is in the store already, as after a first run.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from benchmarks.measure import Report, cost_of, cost_of_call, make_project, scratch, take_turns
from dstui_store import Store

SIZES = (300, 10_000, 50_000)
REPEATS = 7
LIMIT = 4.0
"""A snapshot of 10,000 files may cost this many `git status`."""


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        for files in SIZES:
            measure_project(report, make_project(folder / f"project{files}", files), files)
    report.print_line()


def measure_project(report: Report, project: Path, files: int) -> None:
    """Adds the numbers of one project."""
    turn = itertools.count()

    def edit() -> None:
        number = next(turn)
        for path in sorted(project.glob("part000/*.py"))[:3]:
            path.write_text(f"{path.read_text()}# edit {number}\n")
        (project / "new.py").write_text(f"NUMBER = {number}\n")

    with Store.open(project, create=True) as store:
        report.add(f"first_{files}_wall_seconds", cost_of_call(store.snapshot).wall_seconds)

        def snapshot_cpu() -> float:
            edit()
            return cost_of_call(store.snapshot).cpu_seconds

        def status_cpu() -> float:
            edit()
            return cost_of(["git", "status", "--porcelain"], cwd=project).cpu_seconds

        def snapshot_wall() -> float:
            edit()
            return cost_of_call(store.snapshot).wall_seconds

        def status_wall() -> float:
            edit()
            return cost_of(["git", "status", "--porcelain"], cwd=project).wall_seconds

        seconds = take_turns(
            {
                "snapshot_cpu": snapshot_cpu,
                "git_status_cpu": status_cpu,
                "snapshot_wall": snapshot_wall,
                "git_status_wall": status_wall,
            },
            REPEATS,
        )
    for name, value in seconds.items():
        report.add(f"{name}_{files}_seconds", value)
    limit = LIMIT if files == 10_000 else None
    report.compare(f"snapshot_to_git_status_cpu_{files}", seconds["snapshot_cpu"], seconds["git_status_cpu"], limit)
    report.compare(f"snapshot_to_git_status_wall_{files}", seconds["snapshot_wall"], seconds["git_status_wall"])


if __name__ == "__main__":
    main()
