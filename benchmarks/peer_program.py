"""One training that logs, for each tracker that is measured: run by the Python of that tracker's own environment.

`peer_program.py TRACKER calls|smallest|acknowledge|readable FOLDER [COUNT]` writes its answer as JSON to the file that
`$ANSWER` names; `acknowledge` adds its pid and then a line for each call that came back to `$ACKNOWLEDGED`, until it is
killed. Each call logs two numbers of one step. Standard library and the tracker only.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Log = Callable[[int], None]
PACE_SECONDS = 0.001
"""Between two calls of `acknowledge`: a training does something else as well."""


def dstui(folder: Path) -> tuple[Log, Callable[[], None]]:
    import dstui

    return lambda step: dstui.log({"loss": 1 / (step + 1), "acc": step / 3}, step=step), lambda: None


def wandb(folder: Path) -> tuple[Log, Callable[[], None]]:
    import wandb  # type: ignore[import-not-found, unused-ignore]

    run = wandb.init(project="peers", mode="offline", dir=str(folder))
    return lambda step: run.log({"loss": 1 / (step + 1), "acc": step / 3}, step=step), run.finish


def trackio(folder: Path) -> tuple[Log, Callable[[], None]]:
    os.environ["TRACKIO_DIR"] = str(folder)
    import trackio  # type: ignore[import-not-found, unused-ignore]

    trackio.init(project="peers", name="run")
    return lambda step: trackio.log({"loss": 1 / (step + 1), "acc": step / 3}, step=step), trackio.finish


def tensorboardX(folder: Path) -> tuple[Log, Callable[[], None]]:
    from tensorboardX import SummaryWriter  # type: ignore[import-not-found, unused-ignore]

    writer = SummaryWriter(str(folder))

    def log(step: int) -> None:
        writer.add_scalar("loss", 1 / (step + 1), step)
        writer.add_scalar("acc", step / 3, step)

    return log, writer.close


def mlflow(folder: Path) -> tuple[Log, Callable[[], None]]:
    import mlflow  # type: ignore[import-not-found, unused-ignore]

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.start_run()
    return lambda step: mlflow.log_metrics({"loss": 1 / (step + 1), "acc": step / 3}, step=step), mlflow.end_run


def dvclive(folder: Path) -> tuple[Log, Callable[[], None]]:
    from dvclive import Live  # type: ignore[import-not-found, unused-ignore]

    live = Live(str(folder / "live"), save_dvc_exp=False, report=None, monitor_system=False)

    def log(step: int) -> None:
        live.log_metric("loss", 1 / (step + 1))
        live.log_metric("acc", step / 3)
        live.next_step()

    return log, live.end


def wandb_points(folder: Path) -> int:
    from wandb.proto import wandb_internal_pb2  # type: ignore[import-not-found, unused-ignore]

    points = 0
    for data in wandb_records(next(folder.rglob("run-*.wandb")).read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        keys = [item.key or item.nested_key[0] for item in record.history.item]
        points += sum(key in ("loss", "acc") for key in keys)
    return points


def wandb_records(data: bytes) -> Iterator[bytes]:
    """Whole records of an offline file: a head of 7 bytes, then the log format of LevelDB in blocks of 32 KiB."""
    place, parts = 7, b""
    while place + 7 <= len(data):
        left = (32 << 10) - place % (32 << 10)
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        if not kind or place + 7 + length > len(data):
            return
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def trackio_points(folder: Path) -> int:
    os.environ["TRACKIO_DIR"] = str(folder)
    from trackio.sqlite_storage import SQLiteStorage  # type: ignore[import-not-found, unused-ignore]

    return sum(("loss" in row) + ("acc" in row) for row in SQLiteStorage.get_logs("peers", "run"))


def tensorboardX_points(folder: Path) -> int:
    from tensorboard.backend.event_processing.event_file_loader import (  # type: ignore[import-not-found, unused-ignore]
        EventFileLoader,
    )

    events = EventFileLoader(str(next(folder.glob("*tfevents*")))).Load()
    return sum(len(event.summary.value) for event in events)


def mlflow_points(folder: Path) -> int:
    from mlflow import MlflowClient  # type: ignore[import-not-found, unused-ignore]

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    run = client.search_runs(["0"])[0].info.run_id
    return sum(len(client.get_metric_history(run, name)) for name in ("loss", "acc"))


def dvclive_points(folder: Path) -> int:
    return sum(max(0, path.read_text().count("\n") - 1) for path in folder.glob("live/plots/metrics/*.tsv"))


TRACKERS: dict[str, Callable[[Path], tuple[Log, Callable[[], None]]]] = {
    function.__name__: function for function in (dstui, wandb, trackio, tensorboardX, mlflow, dvclive)
}
READABLE: dict[str, Callable[[Path], int]] = {
    "wandb": wandb_points,
    "trackio": trackio_points,
    "tensorboardX": tensorboardX_points,
    "mlflow": mlflow_points,
    "dvclive": dvclive_points,
}


def calls(log: Log, count: int) -> dict[str, float]:
    """Wall time of each call in microseconds."""
    clock = time.perf_counter_ns
    spent: list[int] = []
    for step in range(count):
        start = clock()
        log(step)
        spent.append(clock() - start)
    spent.sort()
    return {"p50": spent[count // 2] / 1e3, "p99": spent[count * 99 // 100] / 1e3}


def main(tracker: str, task: str, folder: Path, count: int = 0) -> None:
    result: Any = None
    if task == "readable":
        result = READABLE[tracker](folder)
    else:
        log, finish = TRACKERS[tracker](folder)
        if task == "acknowledge":
            acknowledged = os.open(os.environ["ACKNOWLEDGED"], os.O_WRONLY | os.O_APPEND)
            os.write(acknowledged, b"%d\n" % os.getpid())
            step = 0
            while True:
                log(step)
                os.write(acknowledged, b"\n")
                step += 1
                time.sleep(PACE_SECONDS)
        result = calls(log, count) if task == "calls" else log(0)
        finish()
    Path(os.environ["ANSWER"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:]))
