"""What `import dstui` costs a training script in CPU, above a bare interpreter, and which heavy libraries it loads."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import Report, cost_of, scratch, take_turns

REPEATS = 15
LIMIT_SECONDS = 0.10
HEAVY = "textual typer git pyarrow skopt torch numpy".split()


def cpu_of(command: list[str], folder: Path) -> float:
    return cost_of(command, cwd=folder).cpu_seconds


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        commands = {
            "interpreter": [sys.executable, "-c", "pass"],
            "import_dstui": [sys.executable, "-c", "import dstui"],
            "import_json": [sys.executable, "-c", "import json"],
        }
        cpu = take_turns({name: partial(cpu_of, command, folder) for name, command in commands.items()}, REPEATS)
        code = f"import sys, dstui; print(sum(name in sys.modules for name in {HEAVY!r}))"
        heavy = int(subprocess.check_output([sys.executable, "-c", code], cwd=folder))
    for name, seconds in cpu.items():
        report.add(f"{name}_cpu_ms", seconds * 1000, digits=1)
    added = cpu["import_dstui"] - cpu["interpreter"]
    report.add("added_cpu_ms", added * 1000, digits=1)
    report.add("heavy_libraries_loaded", heavy)
    report.compare("added_to_limit", added, LIMIT_SECONDS, 1.0)
    report.compare("import_dstui_to_interpreter", cpu["import_dstui"], cpu["interpreter"])
    report.print_line()


if __name__ == "__main__":
    main()
