"""Many processes at once on one store: no run is lost, nothing is tried again, and the next commit succeeds."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstui_store import Store
from tests.store.ended_runs import committed_run
from tests.store.git_projects import fsck, git, write_files

ROOT = Path(__file__).parents[2]

COMMITTER = """
import sys
from pathlib import Path
from dstui_store import Store
from tests.store.ended_runs import ended_run

project, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.stdin.readline()
with Store.open(project, create=True) as store:
    snapshot = store.snapshot()
    for number in range(count):
        run = ended_run(store, snapshot, name=f"{name}-{number}", log=f"{name}-{number}\\n".encode())
        record = store.commit_ended(run)
        assert record is not None
        if number % 5 == 4:
            store.operate(run, "tag", tag=name)
        if number % 7 == 6:
            store.recover()
            store.records()
        print(run, record.commit, record.number, flush=True)
"""

OBSERVER = """
import sys
from pathlib import Path
from dstui_store import Store

seen = set()
with Store.open(Path(sys.argv[1])) as store:
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        now = {record.id for record in store.records()}
        assert seen <= now, f"{len(seen - now)} runs were seen and are gone"
        seen = now
        for run in list(now)[:3]:
            assert store.meta(run)
print(len(seen))
""".replace("import sys\n", "import select\nimport sys\n", 1)


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    with Store.open(project, create=True) as opened:
        yield opened


def start(program: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def race(store: Store, processes: int, runs: int) -> None:
    """Lets processes commit at the same time, and asserts that all of it holds."""
    project = str(store.layout.project)
    committers = [start(COMMITTER, project, f"p{number}", str(runs)) for number in range(processes)]
    for committer in committers:
        assert committer.stdin is not None
        committer.stdin.write("go\n")
        committer.stdin.flush()
    promised: dict[str, tuple[str, int]] = {}
    for committer in committers:
        output, errors = committer.communicate()
        assert committer.returncode == 0, errors
        for line in output.splitlines():
            run, commit, number = line.split()
            promised[run] = (commit, int(number))
    assert len(promised) == processes * runs
    found = {record.id: record for record in store.records()}
    assert {run: (record.commit, record.number) for run, record in found.items()} == promised
    assert sorted(number for _, number in promised.values()) == list(range(1, processes * runs + 1))
    assert all(store.log(run).decode().strip() == record.name for run, record in found.items())
    assert sum(len(record.tags) for record in found.values()) == processes * (runs // 5)
    assert fsck(store) == ""
    ref = f"refs/ds/p/{store.writer()}"
    entries = git(store.layout.store_git, f"--git-dir={store.layout.store_git}", "rev-list", "--first-parent", ref)
    assert len(entries.split()) == 1 + len(promised) + processes * (runs // 5)
    assert committed_run(store).id in {record.id for record in store.records()}
    for folder in ("live", "tmp", "quarantine"):
        assert list((store.layout.root / folder).iterdir()) == []


@pytest.mark.slow
def test_four_processes_with_ten_runs_each_lose_none(store: Store) -> None:
    race(store, 4, 10)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_eight_processes_with_forty_runs_each_lose_none(store: Store) -> None:
    race(store, 8, 40)


@pytest.mark.slow
def test_whoever_looks_meanwhile_sees_runs_come_and_never_go(store: Store) -> None:
    project = str(store.layout.project)
    observer = start(OBSERVER, project)
    assert observer.stdout is not None
    assert observer.stdout.readline() == "ready\n"
    committers = [start(COMMITTER, project, f"p{number}", "8") for number in range(2)]
    for committer in committers:
        _, errors = committer.communicate("go\n")
        assert committer.returncode == 0, errors
    output, errors = observer.communicate("stop\n")
    assert observer.returncode == 0, errors
    assert int(output) <= 16
    assert len(store.records()) == 16


@pytest.mark.slow
def test_linked_worktrees_that_commit_at_once_share_the_log(store: Store, tmp_path: Path) -> None:
    other = tmp_path / "worktree"
    git(store.layout.project, "worktree", "add", "-q", "-b", "side", str(other))
    write_files(other, {"only_here.py": "1\n"})
    committers = [start(COMMITTER, str(folder), folder.name, "6") for folder in (store.layout.project, other)]
    for committer in committers:
        assert committer.stdin is not None
        committer.stdin.write("go\n")
        committer.stdin.flush()
    for committer in committers:
        _, errors = committer.communicate()
        assert committer.returncode == 0, errors
    records = store.records()
    assert sorted(record.number for record in records) == list(range(1, 13))
    with_file = {record.name for record in records if "only_here.py" in store.code_files(record.id)}
    assert with_file == {f"worktree-{number}" for number in range(6)}


def test_the_lock_is_held_for_the_last_step_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from dstui_store import commit, repository

    held: list[tuple[float, float]] = []
    worked: list[float] = []
    real_lock, real_stage = repository.Store.locked, commit.stage

    class Watched:
        def __init__(self, inner: object) -> None:
            self._inner = inner

        def __enter__(self) -> int:
            found: int = self._inner.__enter__()  # type: ignore[attr-defined]
            self._since = time.monotonic()
            return found

        def __exit__(self, *error: object) -> None:
            held.append((self._since, time.monotonic()))
            self._inner.__exit__(*error)  # type: ignore[attr-defined]

    def stage(*arguments: object) -> object:
        worked.append(time.monotonic())
        return real_stage(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(repository.Store, "locked", lambda self: Watched(real_lock(self)))
    monkeypatch.setattr(commit, "stage", stage)
    committed_run(store, metrics={"loss": [1.0]})
    assert worked
    assert not any(since <= moment <= until for moment in worked for since, until in held)
