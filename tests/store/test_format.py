"""What `store/FORMAT.md` says is so: a second reader, written from it, and the store agree on every run."""

from __future__ import annotations

import ast
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstui_store import Store, iso_time, to_json
from dstui_store.schema import RUN_ENTRIES, STATES
from tests.store import second_reader
from tests.store.ended_runs import committed_run, dead_run, ended_run, write_journal
from tests.store.git_projects import commit_all, files_on_disk, git, write_files
from tests.store.second_reader import Reader, number

FORMAT = (Path(__file__).parents[2] / "store" / "FORMAT.md").read_text()


@pytest.fixture(params=["sha1", "sha256"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", f"--object-format={request.param}")
    write_files(folder, {"train.py": "x = 1\n", "sub/deep/mod.py": "y = 2\n"})
    commit_all(folder)
    with Store.open(folder, create=True) as opened:
        yield opened


def second(store: Store) -> Reader:
    return Reader(store.layout.store_git)


def test_the_second_reader_is_a_program_of_its_own() -> None:
    source = Path(second_reader.__file__).read_text()
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")]
        )
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert not imported & {"dstui", "dstui_store", "tests"}


def test_both_read_the_same_of_a_run_with_everything(store: Store) -> None:
    project = store.layout.project
    write_files(project, {"train.py": "edited\n", "new file\n.py": b"\r\n\xff", "run.sh": "#!/bin/sh\n"})
    (project / "run.sh").chmod(0o755)
    (project / "link").symlink_to("train.py")
    snapshot = store.snapshot()
    run = ended_run(
        store,
        snapshot,
        name="a name, caf\u00e9 \U0001f4a9",
        log=b"hello\r\n\xff",
        notes="two\nlines",
        tags=["b", "a"],
        config={"lr": 0.1, "nan": math.nan, "inf": -math.inf, "list": [1, 2.5, "x", None, True], "text": "\u00e9"},
        metrics={"loss": [1.0, math.nan, math.inf, -0.0, 5e-324, 1 / 3], "val/acc \u00e9": [0.1] * 6},
    )
    write_journal(store.layout.live / run, {"other": [7.0]})
    record = store.commit_ended(run)
    assert record is not None
    (theirs,) = second(store).runs().values()
    assert theirs.commit == record.commit
    assert re.fullmatch(rf"\S+ <{store.writer()}@dstui> {int(record.ended_at or 0)} \+0000", theirs.author)
    assert {key: theirs.line[key] for key in ("id", "number", "name", "tags", "state", "writer")} == {
        "id": run,
        "number": 1,
        "name": record.name,
        "tags": list(record.tags),
        "state": "finished",
        "writer": store.writer(),
    }
    assert theirs.line["started_at"] == iso_time(record.started_at) == theirs.json("meta.json")["started_at"]
    assert theirs.json("config.json") == {
        "lr": 0.1,
        "nan": "NaN",
        "inf": "-Infinity",
        "list": [1, 2.5, "x", None, True],
        "text": "\u00e9",
    }
    assert theirs.json("meta.json") == store.meta(run)
    assert theirs.json("env.json") == store.environment(run)
    assert theirs.log() == store.log(run) == b"hello\r\n\xff"
    modes = {path: (f"{mode:o}", content) for path, (mode, content) in theirs.code.items()}
    assert modes == files_on_disk(project)
    assert_same_metrics(theirs.metrics(), store, run)


def assert_same_metrics(theirs: dict[str, second_reader.Points], store: Store, run: str) -> None:
    ours = store.metrics(run)
    assert set(theirs) == set(ours)
    for name, points in theirs.items():
        series = ours[name]
        assert [step for step, _, _ in points] == series.step.tolist()
        assert [time / 1e6 for _, time, _ in points] == pytest.approx(series.time.tolist(), abs=1e-6)
        assert [repr(value) for _, _, value in points] == [repr(value) for value in series.value.tolist()]


def test_both_read_the_same_of_metrics_in_many_files(store: Store) -> None:
    run = ended_run(store)
    folder = store.layout.live / run
    write_journal(folder, {"a": [float(step) for step in range(1500)], "b": [0.5] * 1500})
    write_journal(folder, {"c": [float(step) / 3 for step in range(1200)]})
    write_journal(folder, {"rare": [1.0, 2.0]})
    store.commit_ended(run)
    assert len([name for name in store.entries(run) if name.endswith(".parquet")]) > 1
    assert_same_metrics(second(store).runs()[run].metrics(), store, run)


def test_both_read_the_same_after_operations_of_every_kind(store: Store) -> None:
    first, other, gone = (committed_run(store, tags=["x"]) for _ in range(3))
    for op, values in (
        ("tag", {"tag": "y"}),
        ("untag", {"tag": "x"}),
        ("note", {"value": "words"}),
        ("rename", {"value": "renamed"}),
        ("del", {}),
        ("undel", {}),
    ):
        store.operate(first.id, op, **values)
    store.operate(gone.id, "del")
    theirs = second(store).runs()
    ours = {record.id: record for record in store.records()}
    assert {run for run, found in theirs.items() if not found.deleted} == set(ours) == {first.id, other.id}
    for run, record in ours.items():
        line = theirs[run].line
        assert (line["name"], tuple(line["tags"]), line.get("notes", "")) == (record.name, record.tags, record.notes)


def test_the_line_is_what_the_listing_prints(store: Store) -> None:
    record = committed_run(store, metrics={"loss": [math.nan, 2.0, 1.0]}, notes="n", experiment="e")
    line = dict(second(store).runs()[record.id].line)
    assert (line.pop("v"), line.pop("op")) == (1, "run")
    printed = to_json(record)
    assert line.pop("notes") == "n"
    del printed["commit"]
    # The line says it only where it is so.
    assert printed.pop("private") is False
    assert line == printed
    assert {name: number(value) for name, value in line["summary"]["loss"].items()} == {
        "last": 1.0,
        "min": 1.0,
        "max": 2.0,
        "step": 2,
        "count": 3,
    }


def test_the_log_of_a_writer_begins_and_goes_on_as_said(store: Store) -> None:
    first, second_run = committed_run(store, name="one"), committed_run(store, name="two")
    store.operate(first.id, "tag", tag="t")
    reader = second(store)
    assert set(reader.runs()) == {first.id, second_run.id}
    assert reader.first_entries == ["ds v1"]
    ref = f"refs/ds/p/{store.writer()}"

    def ask(*words: str) -> list[str]:
        return git(store.layout.store_git, f"--git-dir={store.layout.store_git}", *words).decode().splitlines()

    titles = ask("log", "--first-parent", "--format=%s", ref)
    assert titles == [f"ds tag {first.id}", "ds run two finished", "ds run one finished", "ds v1"]
    trees = ask("log", "--first-parent", "--format=%T", ref)
    run_trees = [ask("rev-parse", f"{record.commit}^{{tree}}")[0] for record in (second_run, first)]
    assert trees == [run_trees[0], *run_trees, store.git.empty_tree]
    assert ask("rev-list", "--parents", "-1", f"{ref}~1")[0].split()[2] == second_run.commit


def test_a_lost_run_is_read_the_same(store: Store) -> None:
    run = dead_run(store)
    write_journal(store.layout.live / run, {"loss": [2.0]})
    store.recover()
    theirs = second(store).runs()[run]
    assert theirs.line["state"] == "lost"
    assert theirs.json("meta.json")["exit_code"] is None
    assert_same_metrics(theirs.metrics(), store, run)


def test_modes_of_the_store_are_as_said(store: Store) -> None:
    committed_run(store, store.snapshot(), metrics={"loss": [1.0]})
    store.records()
    for path in [store.layout.root, *store.layout.root.rglob("*")]:
        mode = path.lstat().st_mode & 0o777
        if path.is_dir():
            assert mode == 0o700, path
        elif "objects" in path.parts:
            assert mode in {0o400, 0o444 & ~0o077}, path
        else:
            assert mode == 0o600, path


def test_the_page_names_every_state_entry_and_file(store: Store) -> None:
    for name in (*RUN_ENTRIES, *STATES[1:]):
        assert re.search(rf"\b{re.escape(name)}", FORMAT), name
    committed_run(store)
    store.sync()
    known = {"index.sqlite", "lock", "tmp", "quarantine", "live", "writer", "store.git"}
    assert {name.removesuffix("-wal").removesuffix("-shm") for name in os.listdir(store.layout.root)} <= known
    assert all(name in FORMAT for name in known)
