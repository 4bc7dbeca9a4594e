"""The index is only a cache: deleted, damaged or behind, it gives what the chains say, and nothing else."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dstui_store import RunRecord, Store, StoreError
from dstui_store.index import INDEX_VERSION
from tests.store.chains import THEIRS, append, append_line, append_operation, append_run, run_line, tip_of, write_commit
from tests.store.ended_runs import STARTED_AT, committed_run
from tests.store.git_projects import store_git

if TYPE_CHECKING:
    from dstui_store.git import LogEntry


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    with Store.open(project, create=True) as opened:
        yield opened


def own(store: Store) -> str:
    return f"refs/ds/p/{store.writer()}"


def everything_in(store: Store) -> dict[str, Any]:
    """All that the index tells, ids of rows and versions left out."""
    store.sync()
    index = store.index
    rows = index.query("SELECT row, id FROM run")
    names = dict(rows)
    return {
        "records": list(index.records()),
        "all": {run: index.record(run) for run in names.values()},
        "operations": {run: index.operations(run, owner) for run, owner in index.query("SELECT id, writer FROM run")},
        "params": sorted(
            (names[row], name, number, text)
            for name, row, number, text in index.query(
                "SELECT name, row, num, text FROM param JOIN key ON key.id = param.key"
            )
        ),
        "metrics": sorted(
            (names[row], name, last, count)
            for name, row, last, count in index.query(
                "SELECT name, row, last, count FROM metric JOIN key ON key.id = metric.key"
            )
        ),
        "tags": sorted((names[row], tag) for row, tag in index.query("SELECT row, tag FROM tag")),
        "damages": sorted(index.damages()),
        "keys": index.keys(),
        "count": index.count(),
    }


def rebuilt(store: Store) -> dict[str, Any]:
    """The same from an index that is made anew."""
    store.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{store.layout.index}{suffix}").unlink(missing_ok=True)
    return everything_in(store)


def filled(store: Store) -> list[RunRecord]:
    """Five runs of ours and two of others, with operations of every kind."""
    runs = [
        committed_run(store, name=f"n{number}", config={"lr": number / 10, "s": "x"}, tags=["t"]) for number in range(5)
    ]
    theirs = [append_run(store, name="their run"), append_run(store)]
    for op, values in (
        ("tag", {"tag": "good"}),
        ("untag", {"tag": "t"}),
        ("note", {"value": "a note\nof two lines"}),
        ("rename", {"value": "renamed"}),
        ("del", {}),
    ):
        store.operate(runs[0].id, op, **values)
        store.operate(theirs[0], op, **values)
    store.operate(runs[0].id, "undel")
    store.operate(runs[1].id, "del")
    append_operation(store, THEIRS, runs[2].id, "tag", tag="praised")
    append_line(store, THEIRS, "{")
    return runs


def test_a_rebuilt_index_gives_the_same_answer(store: Store) -> None:
    filled(store)
    before = everything_in(store)
    assert before["count"] == 6
    assert len(before["damages"]) == 1
    assert rebuilt(store) == before


def test_reading_step_by_step_gives_the_same_as_reading_at_once(store: Store) -> None:
    steps = random.Random(5)
    run = committed_run(store)
    ours, chains = own(store), (own(store), THEIRS, "refs/ds/r/0123abcd/oscar", "refs/ds/r/fedc9876/mallory")
    runs = [run.id]
    for number in range(60):
        chain = steps.choice(chains)
        what = steps.choice(["run", "tag", "untag", "note", "rename", "del", "undel", "bad", "unknown"])
        time = STARTED_AT + steps.randrange(5)
        if what == "run":
            runs.append(append_run(store, chain, writer=chain.rsplit("/", 1)[-1], number=number))
        elif what == "bad":
            append_line(store, chain, '{"v":1,"op":')
        elif what == "unknown":
            append_operation(store, chain, steps.choice(runs), "celebrate")
        else:
            values = {"tag": steps.choice("ab")} if "tag" in what else {"value": f"v{number}"}
            append_operation(store, chain, steps.choice(runs), what, time=time, **values)
        if steps.random() < 0.4:
            store.sync()
    before = everything_in(store)
    assert before["count"] > 3
    assert tip_of(store, ours)
    assert rebuilt(store) == before


@pytest.mark.parametrize("chain", [True, False], ids=["by the owner", "by another"])
def test_operations_that_come_before_their_run_are_kept_for_it(store: Store, chain: bool) -> None:
    line = run_line()
    ref = THEIRS if chain else "refs/ds/r/0123abcd/oscar"
    append_operation(store, ref, line["id"], "tag", tag="early")
    append_operation(store, ref, line["id"], "rename", value="early name")
    store.sync()
    commit = write_commit(store, "R")
    append_line(store, THEIRS, line, run_commit=commit)
    record = store.record(line["id"])
    assert record.tags == ("early",)
    assert record.name == ("early name" if chain else "theirs")


def corrupt_header(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 100)


def corrupt_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 2000] = b"\xa5" * 2000
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def older_version(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 0")
    database.close()


def newer_version(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {INDEX_VERSION + 1}")
        database.execute("CREATE TABLE later(x)")
    database.close()


def other_schema(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE run(x)")
        database.execute("CREATE VIEW tip AS SELECT 1")
        database.execute("CREATE TRIGGER t AFTER INSERT ON run BEGIN SELECT 1; END")
        database.execute(f"PRAGMA user_version = {INDEX_VERSION}")
    database.close()


def rows_gone(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE run")
    database.close()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").touch()


DAMAGES = [
    corrupt_header,
    corrupt_middle,
    empty,
    cut_short,
    older_version,
    newer_version,
    other_schema,
    rows_gone,
    a_folder,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: str(damage.__name__))
def test_a_damaged_index_is_made_anew(store: Store, damage: Callable[[Path], None]) -> None:
    filled(store)
    before = everything_in(store)
    store.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{store.layout.index}{suffix}").unlink(missing_ok=True)
    damage(store.layout.index)
    if damage is a_folder:
        # Not a file of ours: it is named, not removed.
        with pytest.raises(StoreError):
            store.sync()
        return
    assert everything_in(store) == before


@pytest.mark.parametrize(
    "damage", [corrupt_header, corrupt_middle, cut_short, rows_gone], ids=lambda f: str(f.__name__)
)
def test_an_index_that_is_damaged_under_us_is_made_anew(store: Store, damage: Callable[[Path], None]) -> None:
    filled(store)
    before = everything_in(store)
    store.index.query("PRAGMA wal_checkpoint(TRUNCATE)")
    with Store.open(store.layout.project) as other:
        other.sync()
        damage(other.layout.index)
    committed = committed_run_somehow(store)
    after = everything_in(store)
    assert {record.id for record in after["records"]} == {*(record.id for record in before["records"]), committed}


def committed_run_somehow(store: Store) -> str:
    """A run committed by a process with an index of its own, then seen by the damaged one."""
    with Store.open(store.layout.project) as other:
        return committed_run(other).id


def test_a_link_in_place_of_the_index_is_not_followed(store: Store, tmp_path: Path) -> None:
    committed_run(store)
    store.close()
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    store.layout.index.unlink()
    store.layout.index.symlink_to(precious)
    with pytest.raises(StoreError):
        store.sync()
    assert precious.read_text() == "keep me"


def test_a_pipe_in_place_of_the_index_stops_nobody(store: Store) -> None:
    run = committed_run(store)
    store.close()
    store.layout.index.unlink()
    os.mkfifo(store.layout.index)
    assert [record.id for record in store.records()] == [run.id]


def test_without_a_moved_ref_git_is_not_started(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    committed_run(store)
    before = everything_in(store)

    def refuse(*_: object, **__: object) -> bytes:
        raise AssertionError("git was started")

    monkeypatch.setattr("dstui_store.git.Git.run", refuse)
    assert everything_in(store) == before
    with Store.open(store.layout.project) as other:
        assert everything_in(other) == before


def test_only_what_is_new_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        committed_run(store)
    store.sync()
    committed_run(store)
    from dstui_store import index

    seen: list[object] = []
    real = index._Writer.take

    def take(self: index._Writer, ref: str, entry: LogEntry) -> None:
        seen.append(entry)
        real(self, ref, entry)

    monkeypatch.setattr(index._Writer, "take", take)
    store.sync()
    assert len(seen) == 1


def test_the_version_grows_with_every_change_and_tells_what_is_new(store: Store) -> None:
    first = committed_run(store)
    version = store.sync()
    assert store.sync() == version
    second = committed_run(store)
    newer = store.sync()
    assert newer > version
    assert [record.id for record in store.index.records(since=version)] == [second.id]
    store.operate(first.id, "tag", tag="x")
    newest = store.sync()
    assert [record.id for record in store.index.records(since=newer)] == [first.id]
    assert newest > newer


def test_another_process_s_change_is_noticed(store: Store) -> None:
    run = committed_run(store)
    store.sync()
    seen = store.index.data_version()
    with Store.open(store.layout.project) as other:
        other.operate(run.id, "tag", tag="by another")
        other.sync()
    assert store.index.data_version() != seen
    assert store.record(run.id).tags == ("by another",)


def test_a_rewritten_chain_is_read_anew_and_what_it_lost_is_gone(store: Store) -> None:
    kept = committed_run(store)
    base = tip_of(store, own(store))
    lost = committed_run(store, tags=["only-here"], config={"only_here": 1}, metrics={"only_here": [1.0]})
    store.operate(kept.id, "tag", tag="lost too")
    assert {record.id for record in store.records()} == {kept.id, lost.id}
    assert base is not None
    store_git(store, "update-ref", own(store), base)
    assert [record.id for record in store.records()] == [kept.id]
    assert store.record(kept.id).tags == ()
    assert "only_here" not in store.index.keys()["param"] + store.index.keys()["metric"]
    assert rebuilt(store)["count"] == 1


def test_a_chain_rewritten_with_other_runs_is_read_anew(store: Store) -> None:
    gone = append_run(store, name="gone")
    store.sync()
    store_git(store, "update-ref", "-d", THEIRS)
    here = append_run(store, name="here")
    assert [record.id for record in store.records()] == [here]
    assert gone not in {record.id for record in store.records()}


def test_a_chain_that_is_gone_takes_its_runs_with_it(store: Store) -> None:
    ours = committed_run(store)
    append_run(store)
    assert len(store.records()) == 2
    store_git(store, "update-ref", "-d", THEIRS)
    assert [record.id for record in store.records()] == [ours.id]


def test_a_run_on_two_chains_is_one_run(store: Store) -> None:
    line = run_line()
    commit = write_commit(store, "R")
    for ref in (THEIRS, "refs/ds/r/fedc9876/mallory"):
        append_line(store, ref, line, run_commit=commit)
        append_operation(store, ref, line["id"], "tag", tag="twice")
    assert [record.id for record in store.records()] == [line["id"]]
    assert store.record(line["id"]).tags == ("twice",)
    store_git(store, "update-ref", "-d", THEIRS)
    assert [record.id for record in store.records()] == [line["id"]]


def test_our_own_run_wins_over_one_that_pretends_its_id(store: Store) -> None:
    run = committed_run(store, name="honest")
    append_run(store, "refs/ds/r/0000aaaa/mallory", id=run.id, name="pretended", writer=run.writer)
    assert store.record(run.id).name == "honest"
    assert {record.name for record in rebuilt(store)["records"]} == {"honest"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_the_newest_operation_wins_in_whatever_order_it_comes(store: Store, order: tuple[int, ...]) -> None:
    run = append_run(store)
    notes = [
        (THEIRS, STARTED_AT + 5, "oldest"),
        ("refs/ds/r/0123abcd/aaa", STARTED_AT + 7, "same time, first writer"),
        ("refs/ds/r/0123abcd/zzz", STARTED_AT + 7, "newest: same time, last writer"),
    ]
    for place in order:
        ref, time, text = notes[place]
        append_operation(store, ref, run, "note", value=text, time=time)
        store.sync()
    assert store.record(run).notes == "newest: same time, last writer"
    assert rebuilt(store)["all"][run].notes == "newest: same time, last writer"


def test_each_tag_is_a_field_of_its_own(store: Store) -> None:
    run = append_run(store, tags=["first"])
    append_operation(store, THEIRS, run, "tag", tag="a", time=STARTED_AT + 1)
    append_operation(store, THEIRS, run, "tag", tag="b", time=STARTED_AT + 2)
    append_operation(store, THEIRS, run, "untag", tag="a", time=STARTED_AT + 3)
    append_operation(store, THEIRS, run, "untag", tag="b", time=STARTED_AT + 1)
    append_operation(store, THEIRS, run, "untag", tag="first", time=STARTED_AT)
    assert store.record(run).tags == ("b",)


def test_only_a_run_s_own_writer_renames_or_deletes_it(store: Store) -> None:
    run = committed_run(store, name="honest")
    append_operation(store, THEIRS, run.id, "rename", value="defaced", time=STARTED_AT + 1e9)
    append_operation(store, THEIRS, run.id, "del", time=STARTED_AT + 1e9)
    assert [record.name for record in store.records()] == ["honest"]
    append_operation(store, THEIRS, run.id, "note", value="a remark of theirs", time=STARTED_AT + 1e9)
    assert store.record(run.id).notes == "a remark of theirs"


def test_a_later_rename_by_another_does_not_undo_the_owner_s(store: Store) -> None:
    run = committed_run(store, name="first")
    store.operate(run.id, "rename", value="second")
    append_operation(store, THEIRS, run.id, "rename", value="defaced", time=STARTED_AT + 1e9)
    assert store.record(run.id).name == "second"
    assert rebuilt(store)["all"][run.id].name == "second"


def test_a_deleted_run_does_not_come_back_by_another_s_wish(store: Store) -> None:
    run = committed_run(store)
    store.operate(run.id, "del")
    append_operation(store, THEIRS, run.id, "undel", time=STARTED_AT + 1e9)
    assert store.records() == []
    assert rebuilt(store)["records"] == []


def test_a_writer_cannot_speak_for_another(store: Store) -> None:
    run = committed_run(store, name="honest")
    pretended = {"writer": store.writer(), "time": STARTED_AT + 1e9}
    append_operation(store, THEIRS, run.id, "rename", value="defaced", **pretended)
    append_operation(store, THEIRS, run.id, "del", **pretended)
    assert [record.name for record in store.records()] == ["honest"]
    assert len(store.index.damages()) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"op": "celebrate"}, "`celebrate` is not known to this dstui"),
        ({"v": 2}, "has format version 2, this dstui reads up to 1"),
        ({"v": 10**9}, "has format version 1000000000"),
        ({"op": None}, "is not known"),
        ({"time": "yesterday"}, "lacks its run, time or writer"),
        ({"time": True}, "lacks its run, time or writer"),
        ({"writer": 7}, "lacks its run, time or writer"),
        ({"run": None}, "lacks its run, time or writer"),
        ({"run": "not an id"}, "lacks its run, time or writer"),
        ({"op": "tag", "tag": None}, "lacks"),
        ({"op": "note", "value": {"deep": 1}}, "lacks"),
        ({"op": "rename", "value": None}, "lacks"),
    ],
)
def test_an_operation_that_is_not_understood_is_named_and_passed_over(
    store: Store, line: dict[str, Any], words: str
) -> None:
    run = append_run(store)
    whole = {"v": 1, "op": "tag", "run": run, "tag": "x", "time": STARTED_AT, "writer": "mallory", **line}
    entry = append_line(store, THEIRS, whole)
    later = append_run(store, name="later")
    assert {record.id for record in store.records()} == {run, later}
    assert store.record(run).tags == ()
    assert store.record(run).notes == ""
    ((oid, ref, message),) = store.index.damages()
    assert (oid, ref) == (entry, THEIRS)
    assert words in message


def test_an_operation_at_the_end_of_time_is_named_and_passed_over(store: Store) -> None:
    run = append_run(store)
    line = f'{{"v":1,"op":"note","run":"{run}","value":"for ever","time":1e999,"writer":"mallory"}}'
    append_line(store, THEIRS, line)
    append_operation(store, THEIRS, run, "note", value="later")
    assert store.record(run).notes == "later"
    assert len(store.index.damages()) == 1


def test_unknown_fields_of_this_version_are_passed_over(store: Store) -> None:
    run = append_run(store, later_field={"a": [1, 2]}, another="x")
    assert store.record(run).name == "theirs"
    assert store.index.damages() == []


def test_a_mended_line_is_no_damage_any_more_once_its_chain_is_rewritten(store: Store) -> None:
    append_line(store, THEIRS, "{")
    store.sync()
    assert len(store.index.damages()) == 1
    store_git(store, "update-ref", "-d", THEIRS)
    run = append_run(store)
    assert [record.id for record in store.records()] == [run]
    assert store.index.damages() == []


@pytest.mark.parametrize(
    "name", ["caf\u00e9", "\U0001f4a9", "a\0b", "", "x" * 1000, "\udcff", "\u202eabc", "line\nbreak", "'; --"]
)
def test_any_name_is_kept_and_found(store: Store, name: str) -> None:
    run = append_run(store, name=name, experiment=name, tags=[name], user=name, config={name: name}, stop_reason=name)
    append_operation(store, THEIRS, run, "note", value=name)
    append_operation(store, THEIRS, run, "tag", tag=name + "2")
    record = store.record(run)
    assert (record.name, record.experiment) == (name, name)
    # The cache keeps notes as text, where a lone surrogate has no place.
    assert record.notes == name.encode("utf-8", "replace").decode()
    assert dict(record.config) == {name: name}
    assert [found.id for found in store.records()] == [run]
    if name:
        assert store.resolve(name) == run
    assert store.index.damages() == []


def test_two_processes_that_build_the_index_at_once_agree(store: Store) -> None:
    from concurrent.futures import ThreadPoolExecutor

    filled(store)
    expected = everything_in(store)
    for _ in range(3):
        store.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{store.layout.index}{suffix}").unlink(missing_ok=True)

        def build(_: int) -> dict[str, Any]:
            with Store.open(store.layout.project) as mine:
                return everything_in(mine)

        with ThreadPoolExecutor(4) as pool:
            assert all(answer == expected for answer in pool.map(build, range(4)))


def test_a_broken_chain_does_not_hide_the_others(store: Store) -> None:
    ours = committed_run(store)
    for _ in range(2):
        append_run(store)
    middle = store_git(store, "rev-parse", f"{THEIRS}~1").decode().strip()
    newest = append_run(store, name="newest")
    (store.git.objects / middle[:2] / middle[2:]).unlink()
    assert ours.id in {record.id for record in store.records()}
    assert any(ref == THEIRS for _, ref, _ in store.index.damages())
    assert newest in {record.id for record in store.records()}


@pytest.mark.parametrize("target", ["blob", "tree", "tag", "missing", "rotten"])
def test_a_chain_whose_tip_is_no_commit_is_named_and_the_others_are_read(store: Store, target: str) -> None:
    ours = committed_run(store)
    from tests.store.chains import write_object

    if target == "missing":
        oid = "12" * 20
    elif target == "tag":
        inner = write_commit(store, "x")
        oid = write_object(store, "tag", f"object {inner}\ntype commit\ntag t\ntagger A <a@b> 1 +0000\n\nx\n".encode())
    elif target == "tree":
        oid = store.git.empty_tree
    else:
        oid = write_object(store, "blob" if target == "blob" else "commit", b"tree nonsense\n\nx")
    path = store.layout.store_git / THEIRS
    path.parent.mkdir(parents=True)
    path.write_text(f"{oid}\n")
    if target == "rotten":
        loose = store.git.objects / oid[:2] / oid[2:]
        loose.chmod(0o600)
        loose.write_bytes(b"x\x9cgarbage")
    assert [record.id for record in store.records()] == [ours.id]
    assert [ref for _, ref, _ in store.index.damages()] == [THEIRS]
    # And the next commit is taken in as ever.
    more = committed_run(store)
    assert {record.id for record in store.records()} == {ours.id, more.id}


def test_a_damaged_chain_is_read_again_once_it_is_mended(store: Store) -> None:
    runs = {append_run(store), append_run(store)}
    tip = tip_of(store, THEIRS)
    assert tip is not None
    path = store.git.objects / tip[:2] / tip[2:]
    content = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(b"")
    assert len(store.records()) < 2
    path.write_bytes(content)
    append(store, THEIRS, "ds a later entry\n\n" + '{"v":1,"op":"later"}')
    assert {record.id for record in store.records()} == runs


def test_a_thousand_runs_are_listed_newest_first(store: Store) -> None:
    tip = write_commit(store, "ds v1\n")
    commit = write_commit(store, "R")
    lines = [
        run_line(number=number, started_at=f"2026-01-01T00:{number // 60:02}:{number % 60:02}.000Z")
        for number in range(200)
    ]
    import json

    for line in random.Random(1).sample(lines, len(lines)):
        tip = write_commit(store, f"t\n\n{json.dumps(line)}\n", [tip, commit])
    store_git(store, "update-ref", THEIRS, tip)
    assert [record.number for record in store.records()] == list(range(199, -1, -1))
    assert store.index.count() == 200


def test_a_read_only_store_makes_no_index_and_writes_none(store: Store, project: Path) -> None:
    committed_run(store)
    store.sync()
    store.close()
    before = {path: path.read_bytes() for path in store.layout.root.rglob("*") if path.is_file()}
    with Store.open(project, read_only=True) as reading:
        assert len(reading.records()) == 1
        assert reading.recover() == []
    after = {path: path.read_bytes() for path in store.layout.root.rglob("*") if path.is_file()}
    assert {
        path for path in after.keys() ^ before.keys() if "-wal" not in path.name and "-shm" not in path.name
    } == set()
    assert all(after[path] == content for path, content in before.items() if path in after)


def test_the_index_of_a_copied_store_is_its_own(store: Store, tmp_path: Path) -> None:
    committed_run(store)
    store.sync()
    copy = tmp_path / "copy"
    shutil.copytree(store.layout.project, copy, symlinks=True)
    with Store.open(copy) as other:
        second = committed_run(other)
        assert second.id in {record.id for record in other.records()}
    assert second.id not in {record.id for record in store.records()}
