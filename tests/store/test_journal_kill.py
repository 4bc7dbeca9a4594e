"""SIGKILL at any moment: a point whose `log` returned is never lost.

The script writes `ACK n` to a pipe, one `write()` each, when `log` has returned; the pipe is outside the run. After the
kill a fresh reading of the journal must hold every acknowledged point, and at most one more.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dstui_store import journal

ROOT = Path(__file__).parents[2]

SCRIPT = """
import os, sys
import dstui
from dstui.inside import journal

if "planted" in sys.argv:
    waiting = []
    def in_a_buffer(descriptor, data):
        waiting.append(bytes(data))
        if len(waiting) == 8:
            os.write(descriptor, b"".join(waiting))
            waiting.clear()
        return len(data)
    journal._write = in_a_buffer

number = 0
while True:
    dstui.log({"loss": number / 7, f"key {number % 900}": 1.0}, step=number)
    os.write(1, b"ACK %d\\n" % number)
    number += 1
"""


@dataclass(frozen=True)
class Outcome:
    """What one kill left behind, in points of `loss`."""

    acknowledged: int
    lost: int
    extra: int
    bad: int


def kill_once(folder: Path, after: int, *arguments: str) -> Outcome:
    """Start the script, kill it once it has acknowledged `after` points, count."""
    (folder / "journal").mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DSTUI_RUN_DIR": str(folder), "DSTUI_RUN_ID": "0" * 16},
    )
    assert process.stdout is not None
    output = b""
    while output.count(b"\n") < after:
        part = os.read(process.stdout.fileno(), 4096)
        assert part, "the script ended by itself"
        output += part
    process.kill()
    output += process.stdout.read()
    process.stdout.close()
    process.wait()
    acknowledged = {int(line.split()[1]) for line in output.split(b"\n")[:-1]}
    data = journal.read(folder / "journal")
    series = data.series().get("loss")
    found = set() if series is None else set(series.step.tolist())
    if series is not None:
        assert series.value.tolist() == [step / 7 for step in series.step.tolist()]
        assert len(found) == len(series.step)
    return Outcome(len(acknowledged), len(acknowledged - found), len(found - acknowledged), data.bad_records)


def kill_many(folder: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(kills):
        outcome = kill_once(folder / str(number), chance.randrange(1, 6_000))
        assert outcome.acknowledged > 0
        assert (outcome.lost, outcome.bad) == (0, 0), outcome
        assert outcome.extra <= 1, outcome


@pytest.mark.slow
def test_no_returned_point_is_lost(tmp_path: Path) -> None:
    kill_many(tmp_path, 20, seed=1)


@pytest.mark.soak
def test_no_returned_point_is_lost_in_three_hundred_kills(tmp_path: Path) -> None:
    kill_many(tmp_path, 300, seed=2)


@pytest.mark.slow
def test_this_test_sees_points_that_wait_in_a_buffer(tmp_path: Path) -> None:
    """A planted bug: acknowledged out of the process's own memory."""
    lost = [kill_once(tmp_path / str(number), 101 + 8 * number + number, "planted").lost for number in range(6)]
    assert sum(lost) > 0
