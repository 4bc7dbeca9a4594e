"""Which run a name stands for: every form of ARCHITECTURE, no guess between two, and near misses named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstui_store import AmbiguousRunError, NewRun, RunNotFoundError, RunRecord, Store
from tests.store.ended_runs import STARTED_AT, begun_run, committed_run, exit_record

IDS = ("aaaaa000000000000", "aaaaa100000000000", "bbbbb000000000000", "0123456789abcdef0")


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    with Store.open(project, create=True) as opened:
        yield opened


@pytest.fixture
def runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[RunRecord]:
    """Four committed runs with known ids, each a minute later than the one before."""
    import tests.store.ended_runs as making

    identities = iter(identity[:16] for identity in IDS)
    monkeypatch.setattr(making, "new_run_id", lambda: next(identities))
    made = []
    for number, name in enumerate(("lr0.1", "lr0.2", "lr0.2", "final")):
        times = {"started_at": STARTED_AT + 60 * number, "ended_at": STARTED_AT + 60 * number + 1}
        made.append(committed_run(store, name=name, created_at=times["started_at"], end=times))
    monkeypatch.undo()
    return made


@pytest.fixture
def running(store: Store, runs: list[RunRecord]) -> Iterator[NewRun]:
    """A fifth run that is still going on, the newest."""
    new = begun_run(store, name="going", created_at=STARTED_AT + 600)
    yield new
    os.close(new.alive)


def test_whole_ids_and_unique_prefixes_name_a_run(store: Store, runs: list[RunRecord], running: NewRun) -> None:
    assert store.resolve(runs[2].id) == runs[2].id
    assert store.resolve("bbb") == runs[2].id
    assert store.resolve("BBBBB0") == runs[2].id
    assert store.resolve("aaaaa1") == runs[1].id
    assert store.resolve(running.id) == running.id
    assert store.resolve(running.id[:8]) == running.id


def test_a_prefix_of_two_runs_is_refused_with_both_told_apart(store: Store, runs: list[RunRecord]) -> None:
    with pytest.raises(AmbiguousRunError, match="names 2 runs") as caught:
        store.resolve("aaaaa")
    assert sorted(caught.value.candidates) == ["aaaaa0", "aaaaa1"]
    for candidate in caught.value.candidates:
        assert store.resolve(candidate).startswith(candidate)


def test_a_prefix_shorter_than_three_is_no_id(store: Store, runs: list[RunRecord]) -> None:
    with pytest.raises(RunNotFoundError):
        store.resolve("bb")


def test_shown_ids_are_as_short_as_they_can_be_and_at_least_five(store: Store) -> None:
    assert store.shown_id_length() == 5
    committed_run(store)
    assert store.shown_id_length() == 5


def test_shown_ids_tell_all_runs_apart(store: Store, runs: list[RunRecord], running: NewRun) -> None:
    length = store.shown_id_length()
    assert length == 6
    assert len({run.id[:length] for run in store.records()}) == 5


def test_numbers_name_runs_of_this_clone(store: Store, runs: list[RunRecord], running: NewRun) -> None:
    assert [store.resolve(f"#{number}") for number in range(1, 6)] == [*(run.id for run in runs), running.id]
    for name in ("#0", "#6", "#999999999", "#-1", "#1x", "# 1"):
        with pytest.raises(RunNotFoundError):
            store.resolve(name)


def test_numbers_of_others_are_named_by_user_or_writer(
    store: Store, runs: list[RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSTUI_WRITER", "alice-laptop")
    theirs = committed_run(store, user="alice")
    monkeypatch.delenv("DSTUI_WRITER")
    assert theirs.number == 1
    assert store.resolve("#1") == runs[0].id
    assert store.resolve("alice#1") == theirs.id
    assert store.resolve("alice-laptop#1") == theirs.id
    assert store.resolve(f"{store.writer()}#1") == runs[0].id


def test_a_user_with_two_clones_must_name_the_writer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for writer in ("alice-a", "alice-b"):
        monkeypatch.setenv("DSTUI_WRITER", writer)
        made.append(committed_run(store, user="alice"))
    with pytest.raises(AmbiguousRunError):
        store.resolve("alice#1")
    assert store.resolve("alice-a#1") == made[0].id


def test_at_names_runs_by_age_the_running_one_first(store: Store, runs: list[RunRecord], running: NewRun) -> None:
    expected = [running.id, *(run.id for run in reversed(runs))]
    assert store.resolve("@") == expected[0]
    assert [store.resolve(f"@~{back}") for back in range(5)] == expected
    for name in ("@~5", "@~999999", "@1", "@~", "@~-1", "@@"):
        with pytest.raises(RunNotFoundError):
            store.resolve(name)


def test_a_commit_id_is_a_second_name(store: Store, runs: list[RunRecord]) -> None:
    commit = runs[3].commit
    assert commit is not None
    assert store.resolve(commit) == runs[3].id
    assert store.resolve(commit[:12]) == runs[3].id
    with pytest.raises(RunNotFoundError):
        store.resolve(commit[:6] + "z")


def test_a_name_that_one_run_has_names_it_and_one_of_two_is_refused(
    store: Store, runs: list[RunRecord], running: NewRun
) -> None:
    assert store.resolve("lr0.1") == runs[0].id
    assert store.resolve("going") == running.id
    with pytest.raises(AmbiguousRunError) as caught:
        store.resolve("lr0.2")
    assert len(caught.value.candidates) == 2


def test_near_misses_are_named(store: Store, runs: list[RunRecord]) -> None:
    with pytest.raises(RunNotFoundError, match="No run is called `fnal`") as caught:
        store.resolve("fnal")
    assert caught.value.candidates[0] == "final"
    assert caught.value.hint


def test_a_deleted_run_answers_to_no_name_and_comes_back(store: Store, runs: list[RunRecord]) -> None:
    store.operate(runs[3].id, "del")
    for name in ("final", "#4", runs[3].id, str(runs[3].commit)):
        with pytest.raises(RunNotFoundError):
            store.resolve(name)
    assert store.resolve("@") == runs[2].id
    store.operate(runs[3].id, "undel")
    assert store.resolve("final") == runs[3].id


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "'",
        '"; DROP TABLE run; --',
        "%",
        "_",
        "*",
        "~",
        "\0",
        "\udcff",
        "-h",
        "--help",
        "a" * 100_000,
        "#" * 50,
    ],
)
def test_any_text_is_a_name_that_no_run_has(store: Store, runs: list[RunRecord], name: str) -> None:
    with pytest.raises(RunNotFoundError):
        store.resolve(name)
    assert len(store.records()) == 4


def test_without_a_store_there_is_no_run_and_the_way_to_one_is_said(project: Path) -> None:
    with Store.open(project) as store, pytest.raises(RunNotFoundError) as caught:
        store.resolve("@")
    assert "ds run" in str(caught.value.hint)


def test_a_run_keeps_its_names_when_it_is_committed(store: Store, runs: list[RunRecord], running: NewRun) -> None:
    import json

    (running.folder / "exit.json").write_text(json.dumps(exit_record(running.id)))
    other = os.dup(running.alive)
    os.close(other)
    names = ("#5", "going", running.id[:9])
    before = [store.resolve(name) for name in names]
    # Its lock is free once the fixture's descriptor is: the store itself may take it up now.
    import fcntl

    fcntl.flock(running.alive, fcntl.LOCK_UN)
    assert store.commit_ended(running.id) is not None
    assert [store.resolve(name) for name in names] == before == [running.id] * 3
