"""What one call of `log` costs, against a bare 32-byte `write()` to a file of the same folder in the same process."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import dstui
from benchmarks.measure import Report, scratch
from dstui.inside.journal import JournalWriter

CALLS = 4_000
ROUNDS = 9
LIMIT_ONE = 4.0
LIMIT_FIVE = 8.0
LIMIT_ONE_MICROSECONDS = 3.0
LIMIT_TEN_MICROSECONDS = 25.0


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        calls = calls_in(folder)
        for call in calls.values():
            median_of(call)
        samples: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                samples[name].append(median_of(call))
    microseconds = {name: statistics.median(values) for name, values in samples.items()}
    for name, value in microseconds.items():
        report.add(f"{name}_p50_us", value, digits=2)
    bare = microseconds["bare_write"]
    report.compare("one_to_bare_write", microseconds["one"], bare, LIMIT_ONE)
    report.compare("five_to_bare_write", microseconds["five"], bare, LIMIT_FIVE)
    report.compare("writer_one_to_bare_write", microseconds["writer_one"], bare)
    report.compare("one_to_limit", microseconds["one"], LIMIT_ONE_MICROSECONDS, 1.0)
    report.compare("ten_to_limit", microseconds["ten"], LIMIT_TEN_MICROSECONDS, 1.0)
    report.compare("ten_numpy_to_limit", microseconds["ten_numpy"], LIMIT_TEN_MICROSECONDS, 1.0)
    report.print_line()


def calls_in(folder: Path) -> dict[str, Callable[[int], object]]:
    os.environ["DSTUI_RUN_DIR"] = str(folder)
    log = dstui.log
    writer = JournalWriter(str(folder / "writer"), 0, "1")
    bare = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    record = bytes(32)
    five = {f"metric {number}": 0.5 for number in range(5)}
    ten = {f"metric {number}": 0.5 for number in range(10)}
    ten_numpy = {f"metric {number}": np.float32(0.5) for number in range(10)}
    return {
        "bare_write": lambda step: os.write(bare, record),
        "one": lambda step: log({"loss": 0.5}, step=step),
        "five": lambda step: log(five, step=step),
        "ten": lambda step: log(ten, step=step),
        "ten_numpy": lambda step: log(ten_numpy, step=step),
        "writer_one": lambda step: writer.log({"loss": 0.5}, step),
    }


def median_of(call: Callable[[int], object]) -> float:
    """The median wall time of one call in microseconds, that of the clock taken off."""
    clock = time.perf_counter_ns
    empty, full = [], []
    for step in range(CALLS):
        start = clock()
        empty.append(clock() - start)
        start = clock()
        call(step)
        full.append(clock() - start)
    return (statistics.median(full) - statistics.median(empty)) / 1000


if __name__ == "__main__":
    main()
