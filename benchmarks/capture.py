"""What the capture hook costs: the start of an interpreter, and a training step of 5 ms that logs to TensorBoard.

A step logs two values by `SummaryWriter.add_scalar`, then walks through 8 MB of numbers until 5 ms have passed. The
writer is a real one where `make test-frameworks` or `make bench-peers` has installed one, else a stand-in that packs
and buffers a record. The median of the steps counts, so that those in which the machine did something else do not; with
and without hook take turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.measure import Report, cost_of, scratch, take_turns
from dstui.execution.capture import Capture, variables

ROOT = Path(__file__).parents[1]
REPEATS = 25
STEP_REPEATS = 9
STEPS = 400
STEP_SECONDS = 5e-3
LIMIT_START_SECONDS = 8e-3
LIMIT_STEP = 1.01

STEP = """
import statistics, sys, time
from tensorboardX import SummaryWriter
writer = SummaryWriter(sys.argv[1])
numbers = list(range(1 << 20))
steps, spans, place = int(sys.argv[2]), [], 0
clock = time.perf_counter
for step in range(steps):
    started = clock()
    writer.add_scalar("train/loss", 1 / (step + 1), step)
    writer.add_scalar("train/acc", step / steps, step)
    end = clock() + float(sys.argv[3])
    while clock() < end:
        sum(numbers[place : place + 1024])
        place = (place + 1024) % len(numbers)
    spans.append(clock() - started)
print(statistics.median(spans[20:]))
"""

STAND_IN = """
import struct, time
class SummaryWriter:
    def __init__(self, logdir):
        self.logdir, self._records = logdir, []
    def add_scalar(self, tag, scalar_value, global_step=None, walltime=None):
        name = tag.encode()
        self._records.append(struct.pack(f"<dq{len(name)}sf", walltime or time.time(), global_step, name, scalar_value))
"""


def real_python() -> Path | None:
    """An interpreter that has tensorboardX."""
    for folder in (ROOT / ".peers" / "tensorboardX", ROOT / ".frameworks"):
        if any(folder.glob("lib/python*/site-packages/tensorboardX/writer.py")):
            return folder / "bin" / "python"
    return None


def step_seconds(python: Path, folder: Path, environment: Mapping[str, str]) -> float:
    """The median step."""
    words = [str(python), "-c", STEP, str(folder / "runs"), str(STEPS), str(STEP_SECONDS)]
    done = subprocess.check_output(words, cwd=folder, env={**os.environ, **environment}, text=True)
    return float(done)


def start_seconds(environment: Mapping[str, str], folder: Path) -> float:
    return cost_of([sys.executable, "-c", "pass"], cwd=folder, env=environment).cpu_seconds


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        live = folder / "live" / "run"
        (live / "journal").mkdir(parents=True)
        hooked = {**variables(Capture(), folder / "store", {}), "DSTUI_RUN_DIR": str(live)}
        bare: dict[str, str] = {}
        start = take_turns(
            {"hooked": partial(start_seconds, hooked, folder), "bare": partial(start_seconds, bare, folder)}, REPEATS
        )
        if not (live / "hello.jsonl").exists():
            raise RuntimeError("the hook was not loaded, so nothing was measured")
        python = real_python()
        report.values["writer"] = "tensorboardX" if python else "stand-in"
        if python is None:
            python = Path(sys.executable)
            module = folder / "tensorboardX"
            module.mkdir()
            (module / "writer.py").write_text(STAND_IN)
            (module / "__init__.py").write_text("from .writer import SummaryWriter\n")
        step = take_turns(
            {
                "hooked": partial(step_seconds, python, folder, hooked),
                "bare": partial(step_seconds, python, folder, bare),
            },
            STEP_REPEATS,
        )
        if not list((live / "journal").glob("*-tensorboard.dsj")):
            raise RuntimeError("the hook recorded no point, so nothing was measured")
    added = start["hooked"] - start["bare"]
    report.add("start_bare_cpu_ms", start["bare"] * 1e3, 2)
    report.add("start_hooked_cpu_ms", start["hooked"] * 1e3, 2)
    report.add("start_added_cpu_ms", added * 1e3, 2)
    report.compare("start_added_to_limit", added, LIMIT_START_SECONDS, 1.0)
    report.add("step_bare_us", step["bare"] * 1e6, 1)
    report.add("step_hooked_us", step["hooked"] * 1e6, 1)
    report.compare("step_of_5_ms", step["hooked"], step["bare"], LIMIT_STEP)
    report.print_line()


if __name__ == "__main__":
    main()
