"""How long each door takes to open: CPU of the first answer, against a bare interpreter. It has no limit."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.measure import DS, Report, cost_of, make_project, scratch, take_turns

REPEATS = 11


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        project = make_project(folder / "project", 20)
        cost_of([*DS, "run", "true"], cwd=project)
        commands = {
            "interpreter": [sys.executable, "-c", "pass"],
            "import_dstui": [sys.executable, "-c", "import dstui"],
            "import_store": [sys.executable, "-c", "import dstui_store"],
            "help": [*DS, "--help"],
            "version": [*DS, "--version"],
            "run_help": [*DS, "run", "--help"],
            "ls": [*DS, "ls"],
            "status": [*DS, "status"],
            "show": [*DS, "show", "@"],
            "dashboard_once": [*DS, "--once", "runs"],
        }

        def measure(command: list[str]) -> Callable[[], float]:
            return lambda: cost_of(command, cwd=project).cpu_seconds

        cpu = take_turns({name: measure(command) for name, command in commands.items()}, REPEATS)
    for name, seconds in cpu.items():
        report.add(f"{name}_cpu_ms", seconds * 1000, digits=1)
        if name != "interpreter":
            report.compare(f"{name}_to_interpreter", seconds, cpu["interpreter"])
    report.print_line()


if __name__ == "__main__":
    main()
