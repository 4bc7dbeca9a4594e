"""The reader: right answers from a real store, newest wins, and what others do is seen within three looks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from dstui.inside.journal import JournalWriter
from dstui.sdk import clean
from dstui.sdk.views import Reader
from dstui.sdk.views.data import (
    KINDS,
    ActDone,
    ChartsRequest,
    ChartsSnapshot,
    CodeRequest,
    CodeSnapshot,
    DetailRequest,
    DetailSnapshot,
    IdsRequest,
    IdsSnapshot,
    LogRequest,
    LogSnapshot,
    OverviewRequest,
    OverviewSnapshot,
    PreviewRequest,
    PreviewSnapshot,
    RunsRequest,
    RunsSnapshot,
    Snapshot,
    StatusSnapshot,
)
from dstui_store import Store
from tests.store.ended_runs import begun_run, exit_record, write_state

Kind = TypeVar("Kind", bound=Snapshot)


class Screen:
    """A screen that only waits for snapshots."""

    def __init__(self, project: Path, *, read_only: bool = False, remember: bool = True) -> None:
        self.news = threading.Condition()
        self.told: list[str] = []
        self.reader = Reader(project, self._notify, read_only=read_only, remember=remember)
        self.reader.interval = 0.02

    def _notify(self, kind: str) -> None:
        with self.news:
            self.told.append(kind)
            self.news.notify()

    def next(self, kind: type[Kind], so: Callable[[Kind], object] = bool) -> Kind:
        """The next snapshot of a kind for which `so` holds."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            snapshot = self.reader.take(KINDS[kind])
            if isinstance(snapshot, kind) and (so is bool or so(snapshot)):
                return snapshot
            if self.reader.failure is not None:
                raise self.reader.failure
            with self.news:
                self.news.wait(0.02)
        pytest.fail(f"no such {kind.__name__} within 20 s")


@contextmanager
def screen_of(project: Path, **options: bool) -> Iterator[Screen]:
    screen = Screen(project, **options)
    screen.reader.start()
    try:
        yield screen
    finally:
        screen.reader.stop()
    assert screen.reader.failure is None


@pytest.fixture
def screen(store: Store) -> Iterator[Screen]:
    with screen_of(store.layout.project) as opened:
        yield opened


def run_id(store: Store, name: str) -> str:
    return next(record.id for record in store.records() if record.name == name)


def test_every_kind_of_request_is_answered(screen: Screen, store: Store) -> None:
    ask = screen.reader.ask
    run, other = run_id(store, "train lr=0.1"), run_id(store, "train lr=0.2")
    ask(OverviewRequest())
    assert screen.next(OverviewSnapshot).total == 4
    ask(RunsRequest(1))
    runs = screen.next(RunsSnapshot)
    assert len(runs.order) == 4
    ask(IdsRequest(tuple(runs.order.tolist())))
    assert {run, other} <= set(screen.next(IdsSnapshot).ids)
    ask(DetailRequest(run, other))
    assert screen.next(DetailSnapshot).against is not None
    ask(ChartsRequest(run, 1, ("val/loss", "acc"), 50))
    charts = screen.next(ChartsSnapshot)
    assert set(charts.envelopes) == {"val/loss", "acc"}
    assert (charts.x0, charts.x1, charts.problem) == (0.0, 59.0, "")
    ask(LogRequest(run, 1, 0, 10, search="green"))
    log = screen.next(LogSnapshot)
    assert (log.count, log.hits, log.going_on) == (4, (1,), False)
    ask(LogRequest(run, 2, 0, 10, search="~^l.*line$"))
    assert screen.next(LogSnapshot, lambda log: log.number == 2).hits == (3,)
    ask(PreviewRequest(run, "acc", 20, other))
    preview = screen.next(PreviewSnapshot)
    assert preview.envelope is not None
    assert {str(item.key) for item in preview.differs} == {"lr", "depth"}
    ask(CodeRequest(run, other))
    assert screen.next(CodeSnapshot).files == ()
    assert screen.next(StatusSnapshot, lambda status: status.total == 4).trouble == ""


def test_a_curve_that_cannot_be_read_is_said_so_and_the_rest_works(
    screen: Screen, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_id(store, "train lr=0.1")
    monkeypatch.setattr(Store, "blob", lambda *_: b"PAR1 damaged PAR1")
    screen.reader.ask(ChartsRequest(run, 1, ("acc",), 50))
    damaged = screen.next(ChartsSnapshot)
    assert damaged.envelopes == {}
    assert "could not read the metrics" in damaged.problem
    screen.reader.ask(DetailRequest(run))
    assert screen.next(DetailSnapshot).line.id == run


def test_of_one_kind_only_the_newest_waits_and_is_told_once(store: Store) -> None:
    with screen_of(store.layout.project) as screen:
        screen.reader.ask(RunsRequest(1))
        screen.next(RunsSnapshot)
        screen.told.clear()
        # Nobody takes these, as on a terminal that nobody reads.
        for number in range(2, 30):
            screen.reader.ask(RunsRequest(number))
        deadline = time.monotonic() + 20
        number = 0
        while number != 29 and time.monotonic() < deadline:
            with screen.news:
                screen.news.wait(0.02)
            snapshot = screen.reader._mailbox.get("runs")
            number = snapshot.number if isinstance(snapshot, RunsSnapshot) else 0
        assert screen.told.count("runs") == 1
        assert number == 29


def test_a_run_that_another_process_commits_is_seen_though_nobody_else_opens_the_index(
    screen: Screen, store: Store
) -> None:
    screen.reader.ask(RunsRequest(1))
    before = screen.next(RunsSnapshot)
    program = (
        "from dstui_store import Store; from tests.store.ended_runs import committed_run; import sys;"
        "committed_run(Store.open(__import__('pathlib').Path(sys.argv[1])), name='theirs')"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(store.layout.project)], check=True, cwd=Path(__file__).parents[2]
    )
    after = screen.next(RunsSnapshot, lambda snapshot: snapshot.total == 5)
    assert "theirs" in [line.name for line in after.lines.values()]
    assert after.order.tolist() != before.order.tolist()


def test_three_looks_are_enough_to_see_a_commit(store: Store) -> None:
    from dstui.sdk.views.watch import Watch
    from tests.store.ended_runs import committed_run

    posted: list[Snapshot] = []
    watch = Watch(store.layout.project, posted.append, read_only=False, remember=False, clock=time.time)
    watch.tick()
    watch.answer(RunsRequest(1))
    committed_run(store, name="new")
    assert any(watch.tick() for _ in range(3))
    watch.answer(RunsRequest(1))
    watch.close()
    tables = [snapshot for snapshot in posted if isinstance(snapshot, RunsSnapshot)]
    assert [table.total for table in tables] == [4, 5]


def test_a_running_run_is_followed_to_its_end(screen: Screen, store: Store) -> None:
    screen.reader.ask(OverviewRequest())
    screen.next(OverviewSnapshot)
    new = begun_run(store, name="goes on")
    overview = screen.next(OverviewSnapshot, lambda snapshot: snapshot.running)
    assert overview.running[0].name == "goes on"
    screen.reader.ask(ChartsRequest(new.id, 7, ("loss",), 20))
    screen.reader.ask(LogRequest(new.id, 7, 0, 5, follow=True))
    journal = JournalWriter(str(new.folder / "journal"), 0, "1")
    journal.log({"loss": 0.5}, 3)
    (new.folder / "log").write_bytes(b"hello\n")
    assert screen.next(ChartsSnapshot, lambda charts: charts.envelopes).envelopes["loss"].last_y == 0.5
    assert screen.next(LogSnapshot, lambda log: log.count).lines[0].text == "hello"
    journal.close()
    (new.folder / "exit.json").write_text(json.dumps(exit_record(new.id)))
    write_state(new.folder)
    os.close(new.alive)
    ended = screen.next(OverviewSnapshot, lambda snapshot: not snapshot.running)
    assert ended.recent[0].name == "goes on"


def test_what_ended_since_the_last_look_is_told_failures_first(store: Store) -> None:
    from dstui.sdk.status import remember_look
    from tests.store.ended_runs import STARTED_AT, committed_run

    remember_look(store, STARTED_AT + 1000)
    committed_run(store, name="good", end={"ended_at": STARTED_AT + 2000})
    committed_run(store, name="bad", end={"ended_at": STARTED_AT + 1500, "state": "oom"})
    with screen_of(store.layout.project) as screen:
        screen.reader.ask(OverviewRequest())
        overview = screen.next(OverviewSnapshot)
    assert [line.name for line in overview.since] == ["bad", "good"]
    assert dict(overview.counts) == {"finished": 1, "oom": 1}
    with screen_of(store.layout.project) as screen:
        screen.reader.ask(OverviewRequest())
        assert screen.next(OverviewSnapshot).since == (), "opening it was a look"


def test_an_empty_project_is_watched_until_its_first_run(project: Path) -> None:
    with screen_of(project) as screen:
        screen.reader.ask(OverviewRequest())
        assert screen.next(OverviewSnapshot).total == 0
        with Store.open(project, create=True) as store:
            new = begun_run(store, name="first")
            overview = screen.next(OverviewSnapshot, lambda snapshot: snapshot.running)
            assert overview.running[0].name == "first"
            os.close(new.alive)


def test_reading_only_writes_nothing(store: Store) -> None:
    project = store.layout.project
    store.index.sync()

    def files() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_size)
            for path in store.layout.root.rglob("*")
            if path.is_file() and not path.name.endswith(("-shm", "-wal"))
        }

    before = files()
    with screen_of(project, read_only=True) as screen:
        screen.reader.ask(RunsRequest(1))
        assert screen.next(RunsSnapshot).total == 4
        screen.reader.ask(LogRequest(run_id(store, "broken"), 1, 0, 5))
        assert screen.next(LogSnapshot).lines[0].text == "boom"
    assert files() == before


def test_an_act_says_what_it_did_and_an_error_what_to_do(screen: Screen, store: Store) -> None:
    run = run_id(store, "broken")
    screen.reader.ask(RunsRequest(1, query="tag:later"))
    assert len(screen.next(RunsSnapshot).order) == 0
    screen.reader.act(lambda project: clean(f"{project.tag(run, ['later']).number} tagged"))
    assert screen.next(ActDone) == ActDone(clean("#3 tagged"), ok=True)
    assert len(screen.next(RunsSnapshot, lambda runs: len(runs.order)).order) == 1
    screen.reader.act(lambda project: clean(str(project.stop(run))))
    done = screen.next(ActDone)
    assert not done.ok
    assert "it is failed" in done.text


def test_a_store_that_is_somebody_else_s_is_named_and_does_not_end_the_reader(store: Store) -> None:
    config = store.layout.store_git / "config"
    config.write_text("[core]\n\tfsmonitor = touch /tmp/never\n")
    with screen_of(store.layout.project) as screen:
        assert screen.next(StatusSnapshot, lambda status: status.trouble).trouble
