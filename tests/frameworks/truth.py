"""What a framework itself has written, read by its own reader and printed as one JSON object.

Run by the Python of the frameworks, which has those readers: `truth.py events|wandb|mlflow PATH`. Metrics are
`{name: [[step, value], ..]}`; values that JSON does not know are texts, as in `ds metrics --json`.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BLOCK = 32 << 10
WHOLE, LAST = 1, 4

Curves = dict[str, list[list[Any]]]


def events(folder: Path) -> dict[str, Any]:
    """Scalars of each folder of event files below this one, by the folder's path from here."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    found: dict[str, Curves] = {}
    for place in sorted({path.parent for path in folder.rglob("*tfevents*")}):
        reader = EventAccumulator(str(place), size_guidance={"scalars": 0, "tensors": 0})
        reader.Reload()
        tags = reader.Tags()
        curves = found.setdefault(str(place.relative_to(folder)), {})
        for tag in tags["scalars"]:
            curves[tag] = [[event.step, number(event.value)] for event in reader.Scalars(tag)]
        for tag in tags["tensors"]:
            kind = reader.SummaryMetadata(tag).plugin_data.plugin_name
            if kind == "scalars":
                curves[tag] = [
                    [event.step, number(float(tensor_util.make_ndarray(event.tensor_proto)))]
                    for event in reader.Tensors(tag)
                ]
    return found


def wandb(folder: Path) -> list[dict[str, Any]]:
    """Each offline run below a folder, oldest first: its history by row, config and summary."""
    from wandb.proto import wandb_internal_pb2

    runs = []
    for path in sorted(folder.rglob("run-*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        curves: Curves = {}
        config: dict[str, Any] = {}
        summary: dict[str, Any] = {}
        for data in records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "history":
                row = {
                    ".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item
                }
                step = row.get("_step", record.history.step.num)
                media = {name.removesuffix("_type") for name in row if name.endswith("._type")}
                for name, value in row.items():
                    if not name.startswith(("_", *media)) and isinstance(value, (int, float)):
                        curves.setdefault(name, []).append([step, number(value)])
            elif kind in ("run", "config"):
                part = record.run.config if kind == "run" else record.config
                for item in part.update:
                    config[".".join(item.nested_key) or item.key] = json.loads(item.value_json)
            elif kind == "summary":
                for item in record.summary.update:
                    summary[".".join(item.nested_key) or item.key] = json.loads(item.value_json)
        runs.append({"curves": curves, "config": config, "summary": summary})
    return runs


def records(data: bytes) -> Iterator[bytes]:
    """The records of an offline file of wandb: a head of 7 bytes, then the log format of LevelDB.

    In blocks of 32 KiB lie parts of records, each after a check word (4 bytes), a length (2) and a kind (1): whole,
    first, middle or last part. wandb itself has no reader in Python any more.
    """
    place, parts = 7, b""
    while place + 7 <= len(data):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        if not kind or place + 7 + length > len(data):
            return
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (WHOLE, LAST):
            yield parts
            parts = b""


def mlflow(folder: Path) -> list[dict[str, Any]]:
    """Each run of a store, oldest first: metrics and params."""
    from mlflow import MlflowClient

    client = MlflowClient(f"file://{folder}" if (folder / "0").is_dir() else f"sqlite:///{folder}")
    runs = []
    for run in client.search_runs([one.experiment_id for one in client.search_experiments()]):
        curves = {
            name: [[point.step, number(point.value)] for point in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        runs.append({"start": run.info.start_time, "curves": curves, "params": dict(run.data.params)})
    return sorted(runs, key=lambda run: run["start"])


def number(value: float) -> float | str:
    """A float as JSON has it."""
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


READERS: dict[str, Callable[[Path], Any]] = {"events": events, "wandb": wandb, "mlflow": mlflow}

if __name__ == "__main__":
    print(json.dumps(READERS[sys.argv[1]](Path(sys.argv[2]).resolve())))
