"""What compaction of 1,000,000 points in 5 metrics costs, in CPU and in bytes per point, against the plain way.

The plain way is a table of (key as text, step, time, value), a row per point, written with pyarrow's defaults from the
same arrays. Ours includes reading all files again, comparing them, and the summary. Both start from points in memory;
reading the journals is a number of its own. Steps take 10 ms, give or take 5 %.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Report, cost_of_call, scratch, take_turns
from dstui.inside.journal import JournalWriter
from dstui_store import journal, metrics

NAMES = ("loss", "accuracy", "grad_norm", "learning_rate", "throughput")
ROWS = 200_000
REPEATS = 7
LIMIT_TIME = 1 / 4
LIMIT_BYTES = {"float32_exact": 4.0, "noise": 7.5}


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        for kind, limit in LIMIT_BYTES.items():
            source = write_journal(folder / kind, narrow=kind == "float32_exact")
            data = journal.read(source)
            out = folder / f"{kind} out"
            cpu = take_turns(
                {
                    "compact": cpu_of(partial(compact, data, out)),
                    "long_form": cpu_of(partial(write_long_form, data, folder / "long.parquet")),
                    "read_journals": cpu_of(partial(journal.read, source)),
                    "read_parquet": cpu_of(partial(metrics.read, {"metrics.parquet": out / "metrics.parquet"})),
                },
                REPEATS,
            )
            bytes_per_point = (out / "metrics.parquet").stat().st_size / len(data.value)
            for name, seconds in cpu.items():
                report.add(f"{kind}_{name}_cpu_seconds", seconds, digits=4)
            report.add(f"{kind}_bytes_per_point", bytes_per_point, digits=3)
            report.add(
                f"{kind}_long_form_bytes_per_point", (folder / "long.parquet").stat().st_size / len(data.value), 3
            )
            report.compare(f"{kind}_compact_to_long_form", cpu["compact"], cpu["long_form"], LIMIT_TIME)
            report.compare(f"{kind}_bytes_per_point_to_limit", bytes_per_point, limit, 1.0)
    report.print_line()


def cpu_of(call: Callable[[], object]) -> Callable[[], float]:
    return lambda: cost_of_call(call).cpu_seconds


def write_journal(folder: Path, *, narrow: bool) -> Path:
    generator = np.random.default_rng(0)
    values = generator.standard_normal((ROWS, len(NAMES)))
    if narrow:
        values = values.astype(np.float32).astype(np.float64)
    times = 1.7e9 + np.cumsum(0.01 * (1 + 0.05 * generator.standard_normal(ROWS)))
    writer = JournalWriter(str(folder), 0, "1")
    for step, (row, time) in enumerate(zip(values.tolist(), times.tolist(), strict=True)):
        writer.log(dict(zip(NAMES, row, strict=True)), step, time)
    writer.close()
    return folder


def compact(data: journal.JournalData, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    compacted = metrics.compact_points(data, out)
    assert compacted.points == ROWS * len(NAMES)
    assert list(compacted.files) == ["metrics.parquet"]


def write_long_form(data: journal.JournalData, path: Path) -> None:
    names = np.array(data.keys)[data.key]
    table = pa.table({"key": names, "step": data.step, "time": data.time / 1e6, "value": data.value})
    pq.write_table(table, path)


if __name__ == "__main__":
    main()
