"""What `ds run true` adds to `true`: CPU of all processes, in a project of 1,000 files that the store knows already."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.measure import DS, Cost, Report, cost_of, make_project, scratch, take_turns

FILES = 1000
REPEATS = 15


def cost_without_cache(project: Path) -> Cost:
    for folder in (project / ".git" / "ds").glob("*/cache"):
        shutil.rmtree(folder)
    return cost_of([*DS, "run", "true"], cwd=project)


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        project = make_project(folder / "project", FILES)
        first = cost_of([*DS, "run", "true"], cwd=project)
        report.add("first_run_cpu_seconds", first.cpu_seconds)
        report.add("first_run_wall_seconds", first.wall_seconds)
        cpu = take_turns(
            {
                "run": lambda: cost_of([*DS, "run", "true"], cwd=project).cpu_seconds,
                # As after `pip install`: the interpreter is asked for its packages beside the command.
                "unremembered": lambda: cost_without_cache(project).cpu_seconds,
                "true": lambda: cost_of(["true"], cwd=project).cpu_seconds,
                "help": lambda: cost_of([*DS, "--help"], cwd=project).cpu_seconds,
                "git_status": lambda: cost_of(["git", "status", "--porcelain"], cwd=project).cpu_seconds,
            },
            REPEATS,
        )
        wall = take_turns({"run": lambda: cost_of([*DS, "run", "true"], cwd=project).wall_seconds}, REPEATS)
    report.add("run_cpu_seconds", cpu["run"])
    report.add("unremembered_run_cpu_seconds", cpu["unremembered"])
    report.add("run_wall_seconds", wall["run"])
    report.add("overhead_cpu_seconds", cpu["run"] - cpu["true"])
    report.compare("run_to_help_cpu", cpu["run"], cpu["help"])
    report.compare("run_to_git_status_cpu", cpu["run"], cpu["git_status"])
    report.print_line()


if __name__ == "__main__":
    main()
