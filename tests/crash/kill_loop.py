"""SIGKILL of a whole group at random moments, and the count of promises broken.

python -m tests.crash.kill_loop [KILLS] [SEED] [PLANTED]
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path

from tests.crash.planted import NOTHING
from tests.crash.writers import Verdict, Writer, judge, make_project

RUNS_A_PROJECT = 25
"""Kills on one project before a fresh one is taken, so that a first commit is hit too."""


def kill_loop(folder: Path, kills: int, *, plant: str = NOTHING, seed: int = 1) -> Verdict:
    """Kills the writer after a random number of acknowledgements and a random moment more; checks after each."""
    verdict, chance = Verdict(), random.Random(seed)
    project, promises, earlier = Path(), Path(), 0
    for number in range(kills):
        if number % RUNS_A_PROJECT == 0:
            here = folder / f"p{number}"
            project, promises, earlier = make_project(here), here / "promises", verdict.promised
        writer = Writer(project, promises, 0, plant)
        writer.wait_for("READY", number % RUNS_A_PROJECT + 1)
        said = writer.words("ACK")
        writer.go()
        writer.wait_for("ACK", said + chance.randrange(0, 5))
        # A commit takes about so long: the kill may come at any point of the next one.
        threading.Event().wait(chance.random() * 0.1)
        os.killpg(writer.pid, signal.SIGKILL)
        writer.end()
        judge(project, promises, f"kill {number}", verdict, plant)
        verdict.promised += earlier
    return verdict


def main() -> int:
    """Exit code 1 when a promise was broken."""
    words = [*sys.argv[1:], *("300", "1", NOTHING)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        verdict = kill_loop(Path(folder), int(words[0]), seed=int(words[1]), plant=words[2])
    sys.stdout.write(json.dumps(asdict(verdict)) + "\n")
    return 0 if verdict.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
