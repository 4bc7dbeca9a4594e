"""The harnesses are seen to fail: each planted bug is caught by one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.kill_loop import kill_loop
from tests.crash.planted import BUGS, NOTHING
from tests.crash.sync_order import traced_commits
from tests.crash.syscall_faults import fail_calls


def by_kills(folder: Path, plant: str) -> list[str]:
    return kill_loop(folder, 12, plant=plant).broken


def by_failing_syncs(folder: Path, plant: str) -> list[str]:
    # The first ones are those of the run's beginning.
    verdict = fail_calls(folder, ["fsync"], ["EIO"], points=[8], plant=plant)
    return [*verdict.silent, *verdict.broken]


def by_kills_of_git(folder: Path, plant: str) -> list[str]:
    verdict = fail_calls(folder, ["rename"], ["KILL"], points=[1], plant=plant, only="store.git/refs/ds/p/*")
    return [*verdict.silent, *verdict.broken]


def by_order(folder: Path, plant: str) -> list[str]:
    return traced_commits(folder, 3, plant=plant)[0]


CATCHERS: dict[str, Callable[[Path, str], list[str]]] = {
    "acknowledged before the commit": by_order,
    "acknowledged before the ref moved": by_order,
    "sync errors swallowed": by_failing_syncs,
    "objects not synced": by_order,
    "folders not synced": by_order,
    "folder of the ref not synced": by_order,
    "ref not synced": by_order,
    "stale locks kept": by_kills_of_git,
    "live folder removed first": by_kills,
}
"""Bug to the harness that must catch it."""

ALWAYS = ("sync errors swallowed", "acknowledged before the ref moved", "folders not synced", "ref not synced")
"""Those of every run of the tests; the others take longer."""


@pytest.fixture(autouse=True)
def strace(program: Callable[[str], str]) -> str:
    return program("strace")


def test_every_bug_has_a_harness_that_must_catch_it() -> None:
    assert set(CATCHERS) == set(BUGS) - {NOTHING}


@pytest.mark.slow
def test_everything_is_on_the_disk_before_it_is_promised(tmp_path: Path) -> None:
    wrong, promises = traced_commits(tmp_path, 3)
    assert wrong == []
    assert promises == 4


@pytest.mark.slow
@pytest.mark.parametrize("bug", ALWAYS)
def test_a_planted_bug_is_caught(tmp_path: Path, bug: str) -> None:
    assert CATCHERS[bug](tmp_path, bug) != []


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", [bug for bug in CATCHERS if bug not in ALWAYS])
def test_every_planted_bug_is_caught(tmp_path: Path, bug: str) -> None:
    assert CATCHERS[bug](tmp_path, bug) != []
