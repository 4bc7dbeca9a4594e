"""What reading a metric out of a file costs: one scalar of an event file, CSV and JSON lines, and an idle project.

The peer for event files is TensorBoard's own reader where it is installed, else `json.loads` of as many lines; for JSON
lines it is `json.loads`. CPU time of this process; the idle project has 2,000 entries and is walked every ten seconds.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Report, scratch, take_turns
from dstui.inside.events import EventReader, masked_crc
from dstui.inside.files import WALK_SECONDS, Files
from dstui.inside.live import LiveDirectory
from dstui.inside.rows import CsvReader, JsonLinesReader

SCALARS = 20_000
ENTRIES = 2_000
REPEATS = 5


def record(body: bytes) -> bytes:
    """One TFRecord."""
    length = struct.pack("<Q", len(body))
    return length + struct.pack("<I", masked_crc(length)) + body + struct.pack("<I", masked_crc(body))


def event(tag: bytes, value: float, step: int, at: float) -> bytes:
    """One scalar as `torch.utils.tensorboard` writes it."""
    inner = b"\x0a" + bytes([len(tag)]) + tag + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + bytes([len(inner)]) + inner
    low, high = step & 0x7F, step >> 7
    varint = bytes([low | 0x80, high & 0x7F | 0x80, high >> 7]) if step >= 1 << 14 else bytes([low | 0x80, high])
    return b"\x09" + struct.pack("<d", at) + b"\x10" + varint + b"\x2a" + bytes([len(summary)]) + summary


def write_files(folder: Path) -> tuple[Path, Path, Path]:
    """The same 20,000 scalars in three forms, two a step."""
    now = time.time()
    steps = range(128, 128 + SCALARS // 2)
    version = b"\x09" + struct.pack("<d", now) + b"\x1a\x0dbrain.Event:2"
    events, table, lines = folder / "events.out.tfevents.1", folder / "metrics.csv", folder / "metrics.jsonl"
    with events.open("wb") as file:
        file.write(record(version))
        for step in steps:
            file.write(record(event(b"train/loss", 1 / step, step, now)) + record(event(b"lr", 1e-3, step, now)))
    table.write_text("step,train/loss,lr\n" + "".join(f"{step},{1 / step},0.001\n" for step in steps))
    lines.write_text("".join(json.dumps({"step": step, "train/loss": 1 / step, "lr": 1e-3}) + "\n" for step in steps))
    return events, table, lines


def microseconds_of(read: Callable[[], int]) -> Callable[[], float]:
    """CPU microseconds per scalar of a function that says how many it has read."""

    def measure() -> float:
        started = time.process_time()
        count = read()
        spent = time.process_time() - started
        if count != SCALARS:
            raise RuntimeError(f"{count} scalars were read, not {SCALARS}")
        return spent / SCALARS * 1e6

    return measure


def read_events(path: Path) -> int:
    found: list[float] = []
    EventReader(lambda name, value, step, at: found.append(value), lambda settings: None).take(path.read_bytes(), 0)
    return len(found)


def read_rows(reader: type[CsvReader | JsonLinesReader], path: Path) -> int:
    counts: list[int] = []
    reader(lambda step, values, at: counts.append(len(values))).take(path.read_bytes(), 0)
    return sum(counts)


def load_lines(path: Path) -> int:
    return sum(len(json.loads(line)) - 1 for line in path.read_text().splitlines())


def tensorboard_reader(path: Path) -> Callable[[], int] | None:
    """TensorBoard's reader of one event file, or None where it is not installed."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import (  # type: ignore[import-not-found, unused-ignore]
            EventFileLoader,
        )
    except ImportError:
        return None

    def read() -> int:
        events = EventFileLoader(str(path)).Load()
        return len([value.tensor.float_val[0] for event in events for value in event.summary.value])

    return read


def idle_project(folder: Path) -> Files:
    """The tail of a run in a project of 2,000 entries that nobody writes to."""
    project = folder / "project"
    for number in range(ENTRIES // 100):
        (project / f"part{number}").mkdir(parents=True)
        for file in range(99):
            (project / f"part{number}" / f"{file}.py").touch()
    live = folder / "live" / "run"
    live.mkdir(parents=True)
    (live / "launch.json").write_text("{}")
    files = Files(LiveDirectory(str(live)), str(project), time.time() + 1)
    files.look()
    return files


def main() -> None:
    report = Report.of(__file__)
    with scratch() as folder:
        events, table, lines = write_files(folder)
        peer = tensorboard_reader(events)
        measured = {
            "event": microseconds_of(lambda: read_events(events)),
            "csv": microseconds_of(lambda: read_rows(CsvReader, table)),
            "jsonl": microseconds_of(lambda: read_rows(JsonLinesReader, lines)),
            "json_loads": microseconds_of(lambda: load_lines(lines)),
        }
        if peer is not None:
            measured["tensorboard"] = microseconds_of(peer)
        costs = take_turns(measured, REPEATS)
        for name, cost in costs.items():
            report.add(f"{name}_microseconds_per_scalar", cost, 2)
        if "tensorboard" in costs:
            report.compare("event_to_tensorboard", costs["event"], costs["tensorboard"], limit=0.35)
        else:
            report.compare("event_to_json_loads", costs["event"], costs["json_loads"], limit=6.0)
        report.compare("jsonl_to_json_loads", costs["jsonl"], costs["json_loads"], limit=4.0)

        files = idle_project(folder)
        looks = int(WALK_SECONDS)
        started = time.process_time()
        for _ in range(REPEATS):
            for _ in range(looks - 1):
                files.look()
            files.walk()
        idle = (time.process_time() - started) / (REPEATS * WALK_SECONDS)
        report.add("idle_cpu_milliseconds_per_second", idle * 1e3, 3)
        report.compare("idle_to_a_thousandth_of_a_core", idle * 1e3, 1.0, limit=2.0)
    report.print_line()


if __name__ == "__main__":
    main()
