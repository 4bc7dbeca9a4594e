"""kill -9 of daemon and keepers: no acknowledged job lost, none started twice, every exit code true."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.queue_kills import run, waiting_seconds
from tests.end_to_end.queue_kit import TestQueue


@pytest.fixture
def queue(project: Path, wait_until: Callable[..., None]) -> Iterator[TestQueue]:
    made = TestQueue(project, wait_until)
    yield made
    made.clean()


def waiting(condition: Callable[[], object], deadline: float = 60.0) -> None:
    """`wait_until` outside a test."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"still not true after {deadline} s")
        waiting_seconds(0.01)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("daemons", "keepers", "seed"),
    [(5, 3, 1), pytest.param(100, 50, 2, marks=pytest.mark.soak), pytest.param(300, 100, 3, marks=pytest.mark.soak)],
)
def test_no_kill_loses_a_job_starts_one_twice_or_changes_its_end(
    queue: TestQueue, tmp_path: Path, daemons: int, keepers: int, seed: int
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    tally = run(queue, marks, daemons, keepers, seed, waiting_seconds)
    assert tally.problems == []
    assert (tally.daemon_kills, tally.keeper_kills) == (daemons, keepers)
    assert tally.acknowledged >= 3 * (daemons + keepers)
