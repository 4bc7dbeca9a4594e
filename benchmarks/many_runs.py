"""A store with any number of made-up runs, in the index only: for measuring listings without making commits.

The index is filled through SQL of its own schema, and its signature says that it is fresh, so nothing is read from git.
"""

from __future__ import annotations

import argparse
import math
import random
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dstui_store import Index, MetricSummary, RunRecord, Store
from dstui_store.schema import to_cache

PARAMS = ("lr", "batch_size", "depth", "width", "dropout", "weight_decay", "seed", "optimizer", "data.name", "schedule")
METRICS = ("val_loss", "val_acc", "loss", "acc", "grad_norm")
STATES = (("finished", 80), ("failed", 8), ("stopped", 5), ("oom", 4), ("killed", 2), ("lost", 1))
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
NEWEST = 1_760_000_000.0
"""When the newest run started, seconds since the epoch."""


def make(folder: Path, count: int, *, seed: int = 0, newest: float = NEWEST) -> Path:
    """A project in `folder` whose store lists `count` runs, one an hour, each with 10 params and 5 metrics."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["git", "init", "-q", str(folder)], check=True, stdin=subprocess.DEVNULL)
    with Store.open(folder, create=True) as store:
        writer = store.writer()
        store.index.sync()
        path = store.layout.index
        Index(store.git, path).close()
    database = sqlite3.connect(path)
    with database:
        fill(database, list(records(count, writer, seed, newest)))
        database.execute("INSERT OR REPLACE INTO meta VALUES ('signature', '[]')")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return folder


def records(count: int, writer: str, seed: int, newest: float) -> Iterator[RunRecord]:
    """Runs that look like those of a small team, oldest first; the same for the same seed."""
    generator = random.Random(seed)
    for number in range(1, count + 1):
        yield _record(number, count, writer, generator, newest)


def _record(number: int, count: int, writer: str, generator: random.Random, newest: float) -> RunRecord:
    own = generator.random() < 0.7
    state = generator.choices([name for name, _ in STATES], [weight for _, weight in STATES])[0]
    rate = round(10 ** generator.uniform(-5, -1), 7)
    started = newest - (count - number) * 3_600 - generator.random() * 1_800
    seconds = generator.lognormvariate(7, 1.2) if state != "failed" else generator.uniform(2, 40)
    depth = generator.choice([18, 34, 50, 101])
    loss = 0.2 + 0.3 * abs(math.log10(rate) + 3) ** 1.3 + generator.random() * 0.1
    config = {
        "lr": rate,
        "batch_size": generator.choice([16, 32, 64, 128]),
        "depth": depth,
        "width": generator.choice([64, 128, 256]),
        "dropout": generator.choice([0.0, 0.1, 0.2]),
        "weight_decay": generator.choice([0.0, 1e-4, 1e-2]),
        "seed": generator.randrange(5),
        "optimizer": generator.choice(["adamw", "sgd", "lion"]),
        "data.name": "imagenet",
        "schedule": generator.choice(["cosine", "linear"]),
    }
    step = int(seconds * 4)
    values = (loss, 1 - loss / 2, loss * 0.8, 1 - loss / 2.2, generator.lognormvariate(0, 0.5))
    summary = {
        name: MetricSummary(last=value, min=value * 0.98, max=value * 4, step=step, count=step // 10)
        for name, value in zip(METRICS, values, strict=True)
    }
    return RunRecord(
        id="".join(generator.choices(ALPHABET, k=16)),
        number=number,
        name=f"resnet{depth}-lr{rate:.0e}",
        experiment=generator.choice(["baseline", "lr-search", "ablation", None]),
        state=state,
        stop_reason="CUDA out of memory" if state == "oom" else None,
        exit_code=0 if state == "finished" else 1,
        command=("python", "train.py", "--lr", str(rate), "--depth", str(depth)),
        started_at=started,
        ended_at=started + seconds,
        duration_seconds=seconds,
        user="alice" if own else generator.choice(["bob", "carol"]),
        host=generator.choice(["gpu01", "gpu07"]),
        writer=writer if own else "bob-0123abcd",
        commit="".join(generator.choices("0123456789abcdef", k=40)),
        config=config,
        summary={} if state == "failed" and generator.random() < 0.5 else summary,
        tags=tuple(tag for tag in ("paper", "bad", "keep") if generator.random() < 0.02),
        size_bytes=generator.randrange(8_000, 60_000),
    )


def fill(database: sqlite3.Connection, runs: list[RunRecord]) -> None:
    """Puts runs into the tables of an empty index."""
    keys = {name: index + 1 for index, name in enumerate((*PARAMS, *METRICS))}
    database.executemany(
        "INSERT INTO key VALUES (?, ?, ?)", [(index, int(name in METRICS), name) for name, index in keys.items()]
    )
    database.executemany(
        "INSERT INTO run(row, id, commit_id, writer, number, name, experiment, state, stop_reason, exit_code, user,"
        " host, started, ended, duration, size, notes, version, record)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?)",
        (_run_columns(row, run) for row, run in enumerate(runs, 1)),
    )
    for name in PARAMS:
        database.executemany(
            "INSERT INTO param VALUES (?, ?, ?, ?)",
            (
                (keys[name], row, *((None, value) if isinstance(value, str) else (value, None)))
                for row, run in enumerate(runs, 1)
                if (value := run.config[name]) is not None
            ),
        )
    for name in METRICS:
        database.executemany(
            "INSERT INTO metric VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (keys[name], row, found.last, found.min, found.max, found.step, found.count)
                for row, run in enumerate(runs, 1)
                if (found := run.summary.get(name)) is not None
            ),
        )
    database.executemany(
        "INSERT INTO tag VALUES (?, ?)", ((row, tag) for row, run in enumerate(runs, 1) for tag in run.tags)
    )


def _run_columns(row: int, run: RunRecord) -> tuple[Any, ...]:
    return (
        *(row, run.id, run.commit, run.writer, run.number, run.name, run.experiment, run.state, run.stop_reason),
        *(run.exit_code, run.user, run.host, run.started_at, run.ended_at, run.duration_seconds, run.size_bytes),
        *(1, to_cache(run)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    make(arguments.folder, arguments.count)


if __name__ == "__main__":
    main()
