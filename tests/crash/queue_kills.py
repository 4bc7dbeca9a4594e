"""Kill the queue's daemon and its keepers at random moments, and count: lost, started twice, ended wrongly.

    python -m tests.crash.queue_kills [-n 100] [-k 50] [--seed 1]

Each job appends a byte to a file of its own, waits a moment and exits with a code of its own. A second start would be
seen there, whatever the queue says.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dstui.scheduler import waking
from tests.end_to_end.queue_kit import TestQueue

JOB = (
    "import os, sys, time; name, code = sys.argv[1:]; mark = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND); "
    "os.write(mark, b'x'); time.sleep(0.05); sys.exit(int(code))"
)
"""What a job does."""


@dataclass
class Tally:
    """What came of it; `problems` holds one line for each broken promise."""

    acknowledged: int = 0
    daemon_kills: int = 0
    keeper_kills: int = 0
    lost_attempts: int = 0
    problems: list[str] = field(default_factory=list)


def run(
    queue: TestQueue, folder: Path, daemon_kills: int, keeper_kills: int, seed: int, wait: Callable[[float], None]
) -> Tally:
    """Submit jobs and kill until both counts are reached; then let everything end, and look.

    Args:
        folder: where jobs leave their marks.
        wait: returns after so many seconds.
    """
    chance, tally = random.Random(seed), Tally()
    queue.configure("[scheduler]\ncpu_slots = 3\n")
    codes: dict[str, int] = {}
    killed_keepers: set[tuple[str, int]] = set()
    while tally.daemon_kills < daemon_kills or tally.keeper_kills < keeper_kills:
        for _ in range(3):
            mark, code = folder / f"mark{len(codes)}", chance.choice([0, 0, 1, 5, 9])
            codes[queue.one(sys.executable, "-S", "-c", JOB, str(mark), str(code))] = code
        wait(chance.uniform(0.0, 0.6))
        if tally.keeper_kills < keeper_kills and chance.random() < 0.5:
            running = [item for item in queue.queue.rows.attempts(going=True) if item.pid]
            if running:
                victim = chance.choice(running)
                try:
                    os.kill(victim.pid or 0, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed_keepers.add((victim.job, victim.number))
                tally.keeper_kills += 1
        elif tally.daemon_kills < daemon_kills:
            daemon = queue.queue.daemon()
            if daemon is not None:
                try:
                    os.kill(int(daemon["pid"]), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                tally.daemon_kills += 1
    tally.acknowledged = len(codes)
    deadline = time.monotonic() + 30 + 3 * len(codes)
    while queue.queue.rows.open_jobs() and time.monotonic() < deadline:
        if not waking.is_running(queue.queue.place):
            waking.rouse(queue.queue.place)
        wait(0.05)
    _judge(queue, folder, codes, killed_keepers, tally)
    return tally


def _judge(queue: TestQueue, folder: Path, codes: dict[str, int], killed: set[tuple[str, int]], tally: Tally) -> None:
    for number, (job, code) in enumerate(codes.items()):
        row = queue.queue.rows.job(job)
        if row is None:
            tally.problems.append(f"job {job} was acknowledged and is gone")
            continue
        if row.ended_at is None:
            tally.problems.append(f"job {job} never ended: {row.state}, {queue.queue.rows.events(job)}")
            continue
        mark = folder / f"mark{number}"
        starts = len(mark.read_bytes()) if mark.exists() else 0
        if starts > 1:
            tally.problems.append(f"job {job} was started {starts} times: {queue.queue.rows.events(job)}")
        was_killed = any(victim == job for victim, _ in killed)
        if row.state == "lost":
            tally.lost_attempts += 1
            if not was_killed:
                tally.problems.append(f"job {job} is lost, and nobody killed it: {queue.queue.rows.events(job)}")
            continue
        expected = ("finished" if code == 0 else "failed", code)
        if (row.state, row.exit_code) != expected:
            tally.problems.append(f"job {job} is {row.state} {row.exit_code}, not {expected}: {row}")
        elif starts != 1:
            tally.problems.append(f"job {job} is {row.state} and was started {starts} times")


def main() -> int:
    """The large form: prints the tally, exit code 1 with a broken promise."""
    from tests.crash.test_queue_kills import waiting

    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            os.environ[name] = str(base / name)
            (base / name).mkdir(mode=0o700)
        (base / "marks").mkdir()
        (base / "project").mkdir()
        queue = TestQueue(base / "project", waiting)
        try:
            tally = run(queue, base / "marks", options.n, options.k, options.seed, waiting_seconds)
        finally:
            queue.clean()
    sys.stdout.write(f"{tally}\n")
    return 1 if tally.problems else 0


def waiting_seconds(seconds: float) -> None:
    """Return after so many seconds."""
    import threading

    threading.Event().wait(seconds)


if __name__ == "__main__":
    sys.exit(main())
