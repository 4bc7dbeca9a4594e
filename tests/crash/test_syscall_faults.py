"""Whichever system call of a commit fails: the promise is kept, or not given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.syscall_faults import CALLS, ERRORS, fail_calls

SMALL = [
    ("fsync", "EIO", [1, 6]),
    ("link", "ENOSPC", [2]),
    ("rename", "EIO", [1]),
    ("write", "ENOSPC", [3]),
    ("openat", "EIO", [9]),
    ("mkdir", "ENOSPC", [1]),
    ("fsync", "KILL", [8]),
    ("rename", "KILL", [2]),
]
"""One or two points of each kind; `make soak` walks them all."""


@pytest.fixture(autouse=True)
def strace(program: Callable[[str], str]) -> str:
    return program("strace")


@pytest.mark.slow
@pytest.mark.parametrize(("call", "error", "points"), SMALL, ids=lambda value: str(value))
def test_a_call_that_fails_breaks_no_promise(tmp_path: Path, call: str, error: str, points: list[int]) -> None:
    verdict = fail_calls(tmp_path, [call], [error], points=points)
    assert verdict.silent == []
    assert verdict.broken == []
    assert verdict.faults == len(points)


@pytest.mark.slow
def test_git_killed_with_the_lock_in_its_hand_breaks_no_promise(tmp_path: Path) -> None:
    verdict = fail_calls(tmp_path, ["rename"], ["KILL"], points=[1], only="store.git/refs/ds/p/*")
    assert verdict.broken == []
    assert (verdict.faults, verdict.failed_loudly) == (1, 1)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", CALLS)
def test_no_call_at_all_breaks_a_promise(tmp_path: Path, call: str, error: str) -> None:
    verdict = fail_calls(tmp_path, [call], [error])
    assert verdict.silent == []
    assert verdict.broken == []
