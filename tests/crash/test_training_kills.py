from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash.training_kills import TARGETS, Tally, judge, kill_once, make_project


def kills(folder: Path, count: int) -> Tally:
    chance, tally = random.Random(7), Tally()
    project = make_project(folder)
    for number in range(count):
        kill_once(project, TARGETS[number % 3], chance.randrange(1, 3000), tally)
    return tally


@pytest.mark.slow
def test_no_returned_point_is_lost_when_anything_is_killed(tmp_path: Path) -> None:
    tally = kills(tmp_path, 6)
    assert tally.is_clean, tally
    assert tally.acknowledged > 1000


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_no_returned_point_is_lost_in_three_hundred_kills(tmp_path: Path) -> None:
    tally = kills(tmp_path, 300)
    assert tally.is_clean, tally


@pytest.mark.slow
def test_the_harness_sees_a_point_that_was_promised_and_is_not_there(tmp_path: Path) -> None:
    tally = Tally()
    project = make_project(tmp_path)
    kill_once(project, "process", 10, tally)
    acknowledged = tmp_path / "acknowledged-0"
    with acknowledged.open("a") as promises:
        promises.write("999999999\n")
    judge(project, "process", acknowledged, tally)
    assert tally.lost == 2
