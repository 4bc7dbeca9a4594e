"""A run is begun once, committed once and numbered once, whoever is killed in between; what is written is read back."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dstui_store import (
    DamagedError,
    LimitError,
    LockedError,
    Masker,
    RunNotFoundError,
    Store,
    StoreError,
    machine_id,
    metrics,
    new_run_id,
)
from dstui_store import repository as repository_module
from tests.store.ended_runs import STARTED_AT, begun_run, committed_run, dead_run, ended_run, write_journal
from tests.store.git_projects import fsck, store_git, write_files

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    with Store.open(project, create=True) as opened:
        yield opened


def run_killed(project: Path, program: str, *words: str) -> str:
    """Runs a program that is to kill itself; gives what it printed before."""
    head = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom dstui_store import Store\nproject = Path(sys.argv[1])\n"
    )
    head += "def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", head + program, str(project), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -9, done.stderr
    return done.stdout


def test_a_run_goes_from_its_folder_into_one_commit(store: Store) -> None:
    write_files(store.layout.project, {"train.py": "edited\n"})
    snapshot = store.snapshot()
    run = ended_run(
        store,
        snapshot,
        metrics={"loss": [1.0, 0.5, 0.25], "acc": [0.1, 0.2, 0.3]},
        log=b"hello\r\n\x1b[31mred\x1b[0m\xff\n",
        name="first",
        experiment="trying",
        tags=["a"],
        notes="two\nlines",
        seed=7,
    )
    record = store.commit_ended(run)
    assert record is not None
    assert record == store.record(run)
    assert (record.state, record.exit_code, record.duration_seconds) == ("finished", 0, 60.0)
    assert record.summary["loss"] == (0.25, 0.25, 1.0, 2, 3)
    assert store.log(run) == b"hello\r\n\x1b[31mred\x1b[0m\xff\n"
    assert store.metrics(run)["acc"].value.tolist() == [0.1, 0.2, 0.3]
    assert store.config(run) == {"lr": 0.1, "model.depth": 3}
    assert store.code_tree(run) == snapshot.tree
    meta = store.meta(run)
    assert (meta["notes"], meta["seed"], meta["code"]["edited"]) == ("two\nlines", 7, ["train.py"])
    assert not (store.layout.live / run).exists()
    assert fsck(store) == ""


def test_committing_again_changes_nothing(store: Store) -> None:
    run = ended_run(store)
    first = store.commit_ended(run)
    refs = store_git(store, "for-each-ref")
    assert first is not None
    assert store.commit_ended(run) == store.commit_ended(run) == first
    assert store.recover() == []
    assert store_git(store, "for-each-ref") == refs


def test_many_processes_that_commit_the_same_run_make_one_commit(store: Store) -> None:
    run = ended_run(store, metrics={"loss": [1.0]})

    def commit(_: int) -> object:
        with Store.open(store.layout.project) as mine:
            return mine.commit_ended(run)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(commit, range(12)))
    assert any(answer is not None for answer in answers)
    assert [record.id for record in store.records()] == [run]
    assert store_git(store, "rev-list", "--first-parent", "--count", f"refs/ds/p/{store.writer()}") == b"2\n"


def test_a_run_that_is_alive_is_not_committed(store: Store) -> None:
    new = begun_run(store)
    assert store.commit_ended(new.id) is None
    assert store.recover() == []
    assert new.folder.exists()
    os.close(new.alive)


def test_a_run_that_nobody_knows_is_none(store: Store) -> None:
    assert store.commit_ended(new_run_id()) is None
    with pytest.raises(RunNotFoundError):
        store.record(new_run_id())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("dstui_store.live.remove", "committed"),
        ("dstui_store.git.Git.update_ref", "not yet"),
        ("dstui_store.commit.stage_log_entry", "not yet"),
        ("dstui_store.commit.stage", "not yet"),
        ("dstui_store.objects.Staging._link", "not yet"),
    ],
)
def test_a_kill_at_any_moment_of_a_commit_leaves_one_commit_after_the_next_look(
    store: Store, project: Path, moment: str, expected: str
) -> None:
    run = ended_run(store, store.snapshot(), metrics={"loss": [1.0, 0.5]})
    module, _, name = moment.rpartition(".")
    holder = "dstui_store.git.Git" if module.endswith(".Git") else module
    program = (
        "import dstui_store.live, dstui_store.git, dstui_store.objects, dstui_store.commit, shutil\n"
        f"store = Store.open(project)\n{holder}.{name} = die\nstore.commit_ended(sys.argv[2])\n"
    )
    run_killed(project, program, run)
    ref = f"refs/ds/p/{store.writer()}"
    before = store.git.read_ref(ref)
    assert (before is not None) == (expected == "committed")
    assert [record.id for record in store.recover()] == [run]
    assert [(record.id, record.state) for record in store.records()] == [(run, "finished")]
    assert store_git(store, "rev-list", "--first-parent", "--count", ref) == b"2\n"
    if before is not None:
        assert store.git.read_ref(ref) == before
    assert store.metrics(run)["loss"].value.tolist() == [1.0, 0.5]
    for folder in ("live", "tmp", "quarantine"):
        assert list((store.layout.root / folder).iterdir()) == []
    assert fsck(store) == ""
    committed_run(store)


@pytest.mark.slow
def test_a_kill_in_the_middle_of_git_s_own_ref_update_does_not_stop_the_next_commit(
    store: Store, project: Path
) -> None:
    run = ended_run(store)
    # As git leaves it when it dies with the lock written and not renamed.
    program = (
        "from dstui_store import git\nstore = Store.open(project)\nreal = git.Git.run\n"
        "def run(self, verb, *words, **options):\n"
        "    if verb == 'update-ref':\n"
        "        lock = self.layout.store_git / (words[1] + '.lock')\n"
        "        lock.parent.mkdir(parents=True, exist_ok=True)\n"
        "        lock.write_text(words[2])\n"
        "        die()\n"
        "    return real(self, verb, *words, **options)\n"
        "git.Git.run = run\n"
        "store.operate(sys.argv[2], 'tag', tag='x') if sys.argv[3] == 'tag' else store.commit_ended(sys.argv[2])\n"
    )
    for what in ("commit", "tag"):
        run_killed(project, program, run, what)
        locks = list(store.layout.store_git.rglob("*.lock"))
        assert len(locks) == 1
        store.recover()
        assert list(store.layout.store_git.rglob("*.lock")) == []
    store.operate(run, "tag", tag="y")
    assert store.record(run).tags == ("y",)


def test_a_dead_run_is_lost_at_its_last_sign_and_keeps_every_point(store: Store) -> None:
    run = dead_run(store, name="died")
    folder = store.layout.live / run
    write_journal(folder, {"loss": [3.0, 2.0]})
    (folder / "log").write_bytes(b"last words\n")
    for path in (folder / "log", *(folder / "journal").iterdir()):
        os.utime(path, (STARTED_AT + 100, STARTED_AT + 100))
    (record,) = store.recover()
    assert (record.id, record.state, record.exit_code, record.signal) == (run, "lost", None, None)
    assert (record.started_at, record.ended_at, record.duration_seconds) == (STARTED_AT, STARTED_AT + 100, 100.0)
    assert record.stop_reason
    assert store.metrics(run)["loss"].value.tolist() == [3.0, 2.0]
    assert store.log(run) == b"last words\n"


def test_a_journal_cut_in_the_middle_of_a_record_loses_that_record_only(store: Store) -> None:
    run = dead_run(store)
    folder = store.layout.live / run
    write_journal(folder, {"loss": [3.0, 2.0, 1.0]})
    (journal,) = (folder / "journal").glob("*.dsj")
    os.truncate(journal, journal.stat().st_size - 7)
    store.recover()
    assert store.metrics(run)["loss"].value.tolist() == [3.0, 2.0]


def test_a_run_of_a_machine_that_is_gone_is_given_up_on_request_only(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dead_run(store)
    monkeypatch.setenv("DSTUI_MACHINE_ID", "the machine that is left")
    machine_id.cache_clear()
    try:
        assert store.recover() == []
        record = store.commit_gone(run)
        assert (record.id, record.state) == (run, "lost")
        assert [found.state for found in store.records()] == ["lost"]
        assert store.live_runs() == []
    finally:
        machine_id.cache_clear()


def test_a_run_that_is_alive_here_is_not_given_up(store: Store) -> None:
    new = begun_run(store)
    with pytest.raises(StoreError, match="is alive on this machine"):
        store.commit_gone(new.id)
    os.close(new.alive)
    # Its launcher, this process, lives on.
    with pytest.raises(StoreError, match="is alive on this machine"):
        store.commit_gone(new.id)
    with pytest.raises(RunNotFoundError):
        store.commit_gone(new_run_id())


def test_a_run_of_another_pid_namespace_is_given_up_on_request(store: Store) -> None:
    run = dead_run(store, state={"pid_namespace": 1})
    assert store.recover() == []
    assert store.commit_gone(run).state == "lost"


def test_a_cancelled_run_leaves_nothing_and_its_number_is_not_given_again(store: Store) -> None:
    new = begun_run(store)
    store.cancel(new.id)
    os.close(new.alive)
    assert store.records() == []
    assert list(store.layout.live.iterdir()) == []
    again = begun_run(store)
    assert again.number == new.number + 1
    os.close(again.alive)


@pytest.mark.slow
@pytest.mark.parametrize("given", ["", "box"])
def test_a_number_is_never_given_twice(
    store: Store, project: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given:
        monkeypatch.setenv("DSTUI_WRITER", given)
    program = (
        "import sys\nfrom pathlib import Path\nfrom dstui_store import Store\n"
        "from tests.store.ended_runs import begun_run\n"
        "with Store.open(Path(sys.argv[1])) as store:\n    print(*[begun_run(store).number for _ in range(15)])\n"
    )
    makers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", program, str(project)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    numbers = [int(word) for maker in makers for word in maker.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(1, 46))
    # The launchers are dead, so nothing of the runs is left, but their numbers are gone.
    store.recover()
    shutil.rmtree(store.layout.live)
    store.layout.live.mkdir(mode=0o700)
    new = begun_run(store)
    assert new.number == 46
    os.close(new.alive)


def test_a_writer_of_that_name_on_two_machines_never_gives_a_number_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSTUI_WRITER", "box")
    numbers = []
    for machine in ("first", "second", "first", "second", "third"):
        monkeypatch.setenv("DSTUI_MACHINE_ID", machine)
        machine_id.cache_clear()
        with Store.open(store.layout.project) as there:
            new = begun_run(there)
            numbers.append(new.number)
            os.close(new.alive)
    machine_id.cache_clear()
    assert numbers == [1, 2, 3, 4, 5]


def test_a_kill_between_number_and_folder_leaves_a_gap_and_no_double(store: Store, project: Path) -> None:
    program = (
        "from dstui_store import live\nstore = Store.open(project)\nlive.create = die\nstore.begin('a' * 16, {})\n"
    )
    run_killed(project, program)
    new = begun_run(store)
    assert new.number == 2
    os.close(new.alive)


def test_the_lock_s_holder_is_named_when_it_does_not_let_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ended_run(store)
    holder = subprocess.Popen(
        ["flock", str(store.layout.lock), "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        monkeypatch.setattr(repository_module, "LOCK_SECONDS", 0.2)
        with pytest.raises(LockedError, match=r"held for 0 s by pid \d+") as caught:
            store.commit_ended(run)
        assert caught.value.hint
        assert [found.id for found in store.records()] == [run]
        assert (store.layout.live / run).exists()
    finally:
        holder.kill()
        holder.communicate()
    monkeypatch.undo()
    assert store.commit_ended(run) is not None


def test_a_full_disk_is_one_error_and_the_run_keeps_every_point(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ended_run(store, metrics={"loss": [1.0, 0.5]})

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StoreError, match="No space left on device"):
            store.commit_ended(run)
    assert [(record.id, record.summary["loss"].count) for record in store.records()] == [(run, 2)]
    assert store.recover() != []
    assert store.metrics(run)["loss"].value.tolist() == [1.0, 0.5]


def test_one_run_that_cannot_be_committed_does_not_stop_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dstui_store import commit

    bad, good = ended_run(store), ended_run(store)
    real = commit.collect

    def refuse_one(git: Any, run: Any, *rest: Any) -> Any:
        if run.id == bad:
            raise StoreError("this one does not work")
        return real(git, run, *rest)

    monkeypatch.setattr(commit, "collect", refuse_one)
    assert [record.id for record in store.recover()] == [good]
    assert {record.id for record in store.records()} == {bad, good}
    monkeypatch.undo()
    assert [record.id for record in store.recover()] == [bad]


LONG = "\u6f22" * 30_000
"""Text that JSON needs 180,000 bytes for."""


@pytest.mark.parametrize(
    "launch",
    [
        {"name": LONG},
        {"experiment": LONG},
        {"notes": LONG * 3},
        {"tags": [f"{number}{'t' * 100}" for number in range(300)]},
        {"command": ["python", *("x" * 1000 for _ in range(1500))]},
        {"command": [LONG]},
        {"config": {"text": "x" * 3_000_000, "lr": 0.5}},
        {"config": {f"key{number}": "y" * 100 for number in range(15_000)}},
        {"config": {LONG: LONG}},
        {"user": LONG, "host": LONG, "parent_run": LONG, "cwd": LONG},
        {"environment": {"variables": {"X": "x" * 2_000_000}, "python": {"version": "3.11"}}},
    ],
    ids=lambda launch: "+".join(launch),
)
def test_what_we_write_is_never_too_long_for_our_own_readers(store: Store, launch: dict[str, Any]) -> None:
    record = committed_run(store, end={"stop_reason": LONG}, **launch)
    (found,) = store.records()
    assert found.id == record.id
    assert store.index.damages() == []
    assert store.meta(record.id)["id"] == record.id
    assert isinstance(store.config(record.id), dict)
    assert isinstance(store.environment(record.id), dict)
    assert store.log(record.id) == b"step 0 loss=1.0\n"
    message = store_git(store, "log", "-1", "--format=%B", f"refs/ds/p/{store.writer()}")
    assert len(message) <= 9_000
    if "lr" in launch.get("config", {}):
        assert store.config(record.id) == {"lr": 0.5}
        assert "are not stored" in store.meta(record.id)["errors"][-1]


def test_a_thousand_metrics_are_listed_as_far_as_the_line_goes_and_shown_whole(store: Store) -> None:
    record = committed_run(store, metrics={f"metric/{number:04}": [1.0, 2.0] for number in range(1_000)})
    (found,) = store.records()
    assert 10 < len(found.summary) < 1_000
    assert len(store.metrics(record.id)) == 1_000


def test_an_operation_too_long_to_be_read_back_is_refused_aloud(store: Store) -> None:
    record = committed_run(store)
    store.operate(record.id, "note", value="n" * 7_000)
    assert store.record(record.id).notes == "n" * 7_000
    for values in ({"op": "note", "value": "n" * 9_000}, {"op": "tag", "tag": "\u6f22" * 2_000}):
        with pytest.raises(LimitError):
            store.operate(record.id, **values)
    assert store.record(record.id).notes == "n" * 7_000
    assert store.index.damages() == []


def test_many_lines_of_trouble_are_told_in_part(store: Store) -> None:
    run = ended_run(store)
    (store.layout.live / run / "errors").write_text("".join(f"{number}{'e' * 5_000}\n" for number in range(600)))
    store.commit_ended(run)
    errors = store.meta(run)["errors"]
    assert len(errors) == 100
    assert errors[0].startswith("0eee")


def segments(folder: Path, head: bytes, tails: dict[int, bytes]) -> None:
    (folder / "log").write_bytes(head)
    for number, content in tails.items():
        (folder / f"log.tail.{number}").write_bytes(content)


def test_a_log_in_two_files_is_one_log(store: Store) -> None:
    run = ended_run(store, end={"log_bytes": 3_000})
    segments(store.layout.live / run, b"a" * 1_000, {1: b"b" * 2_000})
    assert store.log(run) == b"a" * 1_000 + b"b" * 2_000
    store.commit_ended(run)
    assert store.log(run) == b"a" * 1_000 + b"b" * 2_000
    assert "artifacts.json" not in store.entries(run)


def test_tails_are_in_the_order_of_their_numbers(store: Store) -> None:
    run = ended_run(store, end={"log_bytes": 4})
    segments(store.layout.live / run, b"a", {10: b"d", 9: b"c", 2: b"b"})
    store.commit_ended(run)
    assert store.log(run) == b"abcd"


@pytest.mark.slow
def test_a_long_log_is_stored_by_its_ends_and_kept_whole_beside(store: Store) -> None:
    size = (16 << 20) + 1
    content = b"".join(b"%015d\n" % number for number in range(size // 16 + 1))[:size]
    run = ended_run(store, log=content)
    store.commit_ended(run)
    assert store.log(run) == content
    (artifact,) = json.loads(store.blob(run, "artifacts.json"))
    assert artifact["size"] == size
    stored = gzip.decompress(store.blob(run, "log.gz"))
    assert stored.startswith(content[: 1 << 20])
    assert stored.endswith(content[-14 << 20 :])
    missing = size - (15 << 20)
    assert f"{missing:,} bytes of output are not shown".encode() in stored
    shutil.rmtree(store.layout.cas)
    assert store.log(run) == stored


def test_a_log_of_which_the_keeper_let_go_a_part_says_how_much(store: Store) -> None:
    run = ended_run(store, end={"log_bytes": 100_000_000})
    segments(store.layout.live / run, b"head\n" * 10, {4: b"tail\n" * 10, 5: b"end\n"})
    store.commit_ended(run)
    stored = gzip.decompress(store.blob(run, "log.gz"))
    assert stored.startswith(b"head\n" * 10 + b"\n[dstui: 99,999,896 bytes")
    assert stored.endswith(b"]\n" + b"tail\n" * 10 + b"end\n")


def test_a_log_of_exactly_sixteen_mebibytes_is_whole(store: Store) -> None:
    run = ended_run(store, log=b"x" * (16 << 20))
    store.commit_ended(run)
    assert len(store.log(run)) == 16 << 20
    assert "artifacts.json" not in store.entries(run)


def test_an_empty_log_has_no_entry(store: Store) -> None:
    record = committed_run(store, log=b"")
    assert "log.gz" not in store.entries(record.id)
    assert store.log(record.id) == b""


def test_known_secrets_are_masked_in_log_and_config(store: Store) -> None:
    masker = Masker({"MY_API_KEY": "hunter2-hunter2", "PATH": "/usr/bin/hunter"})
    run = ended_run(
        store, log=b"key is hunter2-hunter2!\n", config={"url": "x?k=hunter2-hunter2", "api_key": "abc", "lr": 1}
    )
    store.commit_ended(run, masker)
    assert store.log(run) == b"key is <secret:MY_API_KEY>!\n"
    assert store.config(run) == {"url": "x?k=<secret:MY_API_KEY>", "api_key": "<secret:api_key>", "lr": 1}


def test_a_code_tree_that_the_store_lacks_is_said_and_the_run_is_kept(store: Store) -> None:
    run = ended_run(store, code={"tree": "ab" * 20, "commit": None})
    store.commit_ended(run)
    assert store.code_tree(run) is None
    assert "The code is not stored" in store.meta(run)["errors"][0]
    assert fsck(store) == ""


def test_operations_change_what_is_listed(store: Store) -> None:
    record = committed_run(store, name="before", tags=["a", "b"])
    store.operate(record.id, "tag", tag="c")
    store.operate(record.id, "untag", tag="a")
    store.operate(record.id, "note", value="a note")
    store.operate(record.id, "rename", value="after")
    found = store.record(record.id)
    assert (found.name, found.tags, found.notes) == ("after", ("b", "c"), "a note")
    store.operate(record.id, "untag", tag="c")
    assert store.record(record.id).tags == ("b",)


def test_operations_on_a_live_run_stay_when_it_is_committed(store: Store) -> None:
    run = ended_run(store, name="before", tags=["a"])
    store.operate(run, "rename", value="after")
    store.operate(run, "tag", tag="b")
    (live,) = store.records()
    assert (live.name, live.tags) == ("after", ("a", "b"))
    store.commit_ended(run)
    (found,) = store.records()
    assert (found.name, found.tags) == ("after", ("a", "b"))


def test_a_purged_entry_is_damage_of_that_run_only(store: Store) -> None:
    fine, damaged = committed_run(store), committed_run(store)
    name = store.entries(damaged.id)["meta.json"]
    (store.git.objects / name[:2] / name[2:]).unlink()
    with pytest.raises(DamagedError):
        store.meta(damaged.id)
    assert store.meta(fine.id)["id"] == fine.id
    assert {record.id for record in store.records()} == {fine.id, damaged.id}


def test_what_no_run_has_is_said_by_name(store: Store) -> None:
    record = committed_run(store)
    with pytest.raises(DamagedError, match=r"has no `media.parquet`"):
        store.blob(record.id, "media.parquet")
    assert store.skipped(record.id) == []
    assert store.metrics(record.id) == {}


def test_two_stores_in_one_process_see_each_other_s_runs(store: Store) -> None:
    with Store.open(store.layout.project) as other:
        first = committed_run(store)
        second = committed_run(other)
        assert {record.id for record in store.records()} == {record.id for record in other.records()}
        assert {first.id, second.id} == {record.id for record in store.records()}
        assert (first.number, second.number) == (1, 2)


def test_a_closed_store_can_be_used_again(store: Store) -> None:
    record = committed_run(store)
    store.close()
    assert store.meta(record.id)["id"] == record.id
    store.close()
    store.close()


def test_every_point_of_a_run_too_large_for_a_commit_is_kept_beside_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MAX_COMMIT_PARQUET_BYTES", 2_000)
    values = [float(number % 97) / 7 for number in range(5_000)]
    with Store.open(project, create=True) as store:
        run = ended_run(store, metrics={"loss": values})
        assert store.commit_ended(run) is not None
        assert store.metrics(run)["loss"].value.tolist() == values
        for kept in store.layout.cas.rglob("*"):
            if kept.is_file():
                kept.unlink()
        assert 0 < len(store.metrics(run)["loss"].value) <= 10_000
