"""Clones that push at the same moment: every run is there once on every side, and every repository is sound."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.store.git_projects import fsck

if TYPE_CHECKING:
    from tests.sharing.team import Clone, Team

ROOT = Path(__file__).parents[2]


def race(clones: Sequence[Clone], count: int, writer: str = "") -> list[str]:
    """Ids of all runs that were pushed, by processes that know nothing of each other."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.sharing.racer", str(clone.path), str(count), *([writer] if writer else [])],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LOGNAME": clone.path.name},
        )
        for clone in clones
    ]
    pushed: list[str] = []
    for racer in racers:
        out, err = racer.communicate(timeout=3_000)
        assert racer.returncode == 0, err.decode(errors="replace")[-3_000:]
        pushed += out.decode().split()
    return pushed


def every_run_is_once_everywhere(team: Team, pushed: list[str]) -> None:
    for clone in team.clones:
        clone.pull()
        assert clone.ids() == sorted(pushed)
        assert clone.store.index.damages() == []
        assert fsck(clone.store) == ""
    assert "error" not in team.git("fsck", "--full", "--strict")


@pytest.mark.slow
def test_two_clones_pushing_at_once_lose_and_double_nothing(served: Team) -> None:
    clones = [served.clone("alice"), served.clone("bob")]
    pushed = race(clones, 6)
    assert len(pushed) == 12
    every_run_is_once_everywhere(served, pushed)


@pytest.mark.slow
def test_two_clones_with_one_writer_s_name_join_their_logs(served: Team) -> None:
    clones = [served.clone("alice"), served.clone("bob")]
    pushed = race(clones, 4, writer="shared-name")
    assert len(pushed) == 8
    assert list(served.refs()) == ["refs/ds/w/shared-name", "refs/heads/main"]
    every_run_is_once_everywhere(served, pushed)


@pytest.mark.soak
@pytest.mark.parametrize("writer", ["", "shared-name"])
def test_two_hundred_racing_pushes(reached: Team, writer: str) -> None:
    clones = [reached.clone("alice"), reached.clone("bob")]
    pushed = race(clones, 100, writer)
    assert len(pushed) == 200
    every_run_is_once_everywhere(reached, pushed)
