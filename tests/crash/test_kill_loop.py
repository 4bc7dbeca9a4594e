"""Whatever moment a commit is killed at: what was acknowledged is there, and the next commit succeeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.kill_loop import kill_loop


@pytest.mark.slow
def test_no_acknowledged_run_is_lost_in_ten_kills(tmp_path: Path) -> None:
    verdict = kill_loop(tmp_path, 10)
    assert verdict.broken == []
    assert verdict.faults == 10
    assert verdict.promised > 10


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_acknowledged_run_is_lost_in_three_hundred_kills(tmp_path: Path) -> None:
    verdict = kill_loop(tmp_path, 300, seed=2)
    assert verdict.broken == []
    assert verdict.faults == 300
