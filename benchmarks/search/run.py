"""Runs one optimiser over all tasks and seeds: `python -m benchmarks.search.run NAME --mode seq --seeds 10 --out FILE`.

Names: ours (or ours:SAMPLER), random, optuna_tpe, optuna_gp, skopt_default. Modes: `seq`, one at a time; `rounds`, 16
batches of 8; `async`, 50 evaluations with 8 pending, told in a seeded order of finishing; `async400`, 400 of them. Each
result is one line of JSON; what is in the file already is not run again. `benchmarks.search.scores` reads it.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.search.optimisers import Optimiser, Ticket, optimiser
from benchmarks.search.scores import load
from benchmarks.search.tasks import Task, tasks

if TYPE_CHECKING:
    from collections.abc import Callable

PARALLEL = 8
SLOWNESS = 0.5
"""Deviation of the logarithm of an evaluation's duration in the asynchronous modes."""


class Record:
    """What one run gave: losses in the order they were told, and the CPU seconds of each question with its answers."""

    def __init__(self, task: Task, made: Callable[[], Optimiser]) -> None:
        self.task = task
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self.duplicates = 0
        self._seen: set[Any] = set()
        self.optimiser = made()

    def ask(self, n: int) -> list[Ticket]:
        """The next tickets."""
        started = time.process_time()
        tickets = self.optimiser.ask(n)
        self.seconds.append(time.process_time() - started)
        for ticket in tickets:
            key = tuple(ticket.params.items())
            self.duplicates += key in self._seen
            self._seen.add(key)
        return tickets

    def tell(self, tickets: list[Ticket]) -> None:
        """Evaluates and tells."""
        found = [float(self.task.loss(ticket.params)) for ticket in tickets]
        self.losses += found
        started = time.process_time()
        for ticket, loss in zip(tickets, found, strict=True):
            self.optimiser.tell(ticket, loss)
        self.seconds[-1] += time.process_time() - started


def in_rounds(record: Record, rounds: int, batch: int) -> None:
    """Batches, each told as a whole."""
    for _ in range(rounds):
        record.tell(record.ask(batch))


def asynchronously(record: Record, evaluations: int, seed: int) -> None:
    """Always `PARALLEL` pending; who finishes first is drawn from the seed."""
    rng = np.random.default_rng(seed)
    running: list[tuple[float, int, Ticket]] = []
    started, now = 0, 0.0
    while started < evaluations or running:
        while len(running) < PARALLEL and started < evaluations:
            ticket = record.ask(1)[0]
            heapq.heappush(running, (now + float(np.exp(SLOWNESS * rng.standard_normal())), started, ticket))
            started += 1
        now, _, ticket = heapq.heappop(running)
        record.tell([ticket])


def run(name: str, mode: str, task: Task, seed: int) -> dict[str, Any]:
    """One run, as the line that is written."""
    parallel = 1 if mode == "seq" else PARALLEL
    record = Record(task, lambda: optimiser(name, task.space, seed, parallel))
    error = None
    try:
        if mode == "seq":
            in_rounds(record, 50, 1)
        elif mode == "rounds":
            in_rounds(record, 16, PARALLEL)
        else:
            asynchronously(record, 50 if mode == "async" else 400, seed)
    except Exception as failure:  # an optimiser that breaks is a result too
        error = repr(failure)[:200]
    return {
        "opt": name,
        "task": task.name,
        "mode": mode,
        "seed": seed,
        "ys": record.losses,
        "lat": record.seconds,
        "dup": record.duplicates,
        "err": error,
    }


def main() -> None:
    """Runs what the file lacks, one seed of all tasks after the other."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("name")
    parser.add_argument("--mode", choices=("seq", "rounds", "async", "async400"), default="seq")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tasks", default="", help="names with commas; all by default")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    known = load([arguments.out]) if arguments.out.exists() else []
    done = {(result["opt"], result["task"], result["mode"], result["seed"]) for result in known}
    chosen = [task for task in tasks().values() if not arguments.tasks or task.name in arguments.tasks.split(",")]
    for seed in range(arguments.seeds):
        for task in chosen:
            if (arguments.name, task.name, arguments.mode, seed) in done:
                continue
            result = run(arguments.name, arguments.mode, task, seed)
            with arguments.out.open("a") as file:
                file.write(json.dumps(result) + "\n")
            best = min(result["ys"], default=float("nan"))
            sys.stderr.write(f"{arguments.name} {task.name} {arguments.mode} {seed}: {best:.6g}\n")


if __name__ == "__main__":
    main()
