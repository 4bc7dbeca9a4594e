"""Whether a run lives is told by its lock and its process, on its own machine only; whatever lies in its folder."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dstui_store import Liveness, Store, StoreError, machine_id, new_run_id, start_ticks
from dstui_store import live as live_module
from dstui_store.live import read_json, write_json
from tests.store.ended_runs import (
    STARTED_AT,
    begun_run,
    dead_run,
    ended_run,
    exit_record,
    launch_record,
    write_state,
)


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    with Store.open(project, create=True) as opened:
        yield opened


def liveness(store: Store, run: str) -> Liveness:
    found = store.live_run(run)
    assert found is not None
    return found.liveness()


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@contextmanager
def another_process(*, name: str = "python") -> Iterator[int]:
    """A process that lives until the block ends; gives its pid."""
    program = "import sys\nopen('/proc/self/comm', 'w').write(sys.argv[1])\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", program, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_held_lock_means_alive_whatever_else_is_written(store: Store) -> None:
    new = begun_run(store)
    write_state(new.folder, boot="another boot", pid=1, heartbeat_at=0)
    assert liveness(store, new.id) is Liveness.ALIVE
    os.close(new.alive)
    assert liveness(store, new.id) is Liveness.DEAD


def test_a_free_lock_and_a_written_end_mean_ended(store: Store) -> None:
    assert liveness(store, ended_run(store)) is Liveness.ENDED


def test_an_end_written_between_our_reading_and_our_asking_is_seen(store: Store) -> None:
    run = dead_run(store)
    found = store.live_run(run)
    assert found is not None
    (found.folder / "exit.json").write_text(json.dumps(exit_record(run)))
    assert found.liveness() is Liveness.ENDED


def test_the_command_that_outlives_its_keeper_is_alive(store: Store) -> None:
    with another_process() as pid:
        run = dead_run(store, state={"pid": pid, "start_ticks": start_ticks(pid)})
        assert liveness(store, run) is Liveness.ALIVE
    assert liveness(store, run) is Liveness.DEAD


def test_a_pid_given_to_another_process_is_not_the_command(store: Store) -> None:
    with another_process() as pid:
        ticks = start_ticks(pid)
        assert ticks is not None
        run = dead_run(store, state={"pid": pid, "start_ticks": ticks - 1})
        assert liveness(store, run) is Liveness.DEAD


def test_a_zombie_is_dead(store: Store) -> None:
    process = subprocess.Popen(["true"])
    ticks = start_ticks(process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    run = dead_run(store, state={"pid": process.pid, "start_ticks": ticks or 1})
    assert Path(f"/proc/{process.pid}").exists()
    assert start_ticks(process.pid) is None
    assert liveness(store, run) is Liveness.DEAD
    process.wait()


@pytest.mark.parametrize("name", ["a b", "x) Z 9 (", ") R 1 2 3", "((((", "\u00e9)", "))))))))))))))"])
def test_a_process_is_known_by_its_start_whatever_it_calls_itself(name: str) -> None:
    with another_process(name=name) as pid:
        ticks = start_ticks(pid)
        assert ticks is not None
        # It started within the life of this test's own process.
        own = start_ticks(os.getpid())
        assert own is not None
        assert own <= ticks < own + 100 * 3600


def test_another_boot_means_dead_even_where_the_pid_is_taken(store: Store) -> None:
    with another_process() as pid:
        run = dead_run(store, state={"pid": pid, "start_ticks": start_ticks(pid), "boot": "before the power cut"})
        assert liveness(store, run) is Liveness.DEAD


def test_another_machine_s_run_is_not_for_us_to_judge(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = begun_run(store)
    ids = [dead_run(store), ended_run(store), begun.id]
    monkeypatch.setenv("DSTUI_MACHINE_ID", "another machine")
    machine_id.cache_clear()
    try:
        assert [liveness(store, run) for run in ids] == [Liveness.ELSEWHERE] * 3
        assert store.recover() == []
        assert [store.commit_ended(run) for run in ids] == [None, None, None]
        assert {record.id for record in store.records()} == set(ids)
    finally:
        machine_id.cache_clear()
    os.close(begun.alive)
    monkeypatch.delenv("DSTUI_MACHINE_ID")
    assert {record.id for record in store.recover()} == set(ids[:2])


def test_what_the_state_says_of_the_machine_counts_more_than_the_launch_record(store: Store) -> None:
    run = dead_run(store, state={"machine": "f" * 16})
    assert liveness(store, run) is Liveness.ELSEWHERE


def test_a_run_of_another_pid_namespace_is_not_judged_by_its_pid(store: Store) -> None:
    assert liveness(store, dead_run(store, state={"pid_namespace": 1})) is Liveness.ELSEWHERE
    # Its end, once written, needs no pid.
    run = dead_run(store, state={"pid_namespace": 1})
    (store.layout.live / run / "exit.json").write_text(json.dumps(exit_record(run)))
    assert liveness(store, run) is Liveness.ENDED
    # Nor does a boot that is over.
    assert liveness(store, dead_run(store, state={"pid_namespace": 1, "boot": "over"})) is Liveness.DEAD


def test_a_run_in_a_container_of_this_machine_is_seen_and_not_judged(store: Store, project: Path) -> None:
    script = (
        "import os, sys\nsys.path.insert(0, sys.argv[2])\nfrom pathlib import Path\n"
        "from dstui_store import Store\nfrom tests.store.ended_runs import dead_run\n"
        "with Store.open(Path(sys.argv[1])) as store: print(dead_run(store, state={'pid': 1, 'start_ticks': 1}))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(project), str(Path(__file__).parents[2])]
    inside = subprocess.run(
        ["unshare", "-p", "-f", "--mount-proc", *command], capture_output=True, text=True, check=False
    )
    if inside.returncode == 0:
        run = inside.stdout.strip()
    else:
        # Not allowed here: the same record by hand.
        run = dead_run(store, state={"pid": 1, "start_ticks": 1, "pid_namespace": 4_026_532_999})
    assert liveness(store, run) is Liveness.ELSEWHERE
    assert store.recover() == []
    assert [record.state for record in store.records()] == ["running"]
    assert store.commit_gone(run).state == "lost"


def test_before_the_keeper_speaks_the_launcher_s_life_counts(store: Store) -> None:
    new = begun_run(store)
    assert liveness(store, new.id) is Liveness.STARTING
    os.close(new.alive)
    # The launcher, this process, lives on.
    assert liveness(store, new.id) is Liveness.STARTING
    edit(new.folder / "launch.json", launcher_start_ticks=1)
    assert liveness(store, new.id) is Liveness.NEVER


def test_a_keeper_that_has_the_lock_and_has_not_spoken_is_starting(store: Store) -> None:
    new = begun_run(store)
    edit(new.folder / "launch.json", launcher_start_ticks=1)
    assert liveness(store, new.id) is Liveness.STARTING
    os.close(new.alive)
    assert liveness(store, new.id) is Liveness.NEVER


def test_a_launcher_of_another_boot_never_started_anything(store: Store) -> None:
    new = begun_run(store)
    edit(new.folder / "launch.json", boot="over")
    os.close(new.alive)
    assert liveness(store, new.id) is Liveness.NEVER
    assert store.commit_ended(new.id) is None
    assert store.live_runs() == []


def test_a_launcher_of_another_pid_namespace_is_not_judged(store: Store) -> None:
    new = begun_run(store)
    edit(new.folder / "launch.json", pid_namespace=1)
    os.close(new.alive)
    assert liveness(store, new.id) is Liveness.ELSEWHERE


@pytest.mark.slow
def test_a_launcher_that_is_killed_before_the_keeper_leaves_nothing(store: Store, project: Path) -> None:
    script = (
        "import os, signal, sys\nsys.path.insert(0, sys.argv[2])\nfrom pathlib import Path\n"
        "from dstui_store import Store\nfrom tests.store.ended_runs import begun_run\n"
        "store = Store.open(Path(sys.argv[1]))\nnew = begun_run(store)\nprint(new.id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", script, str(project), str(Path(__file__).parents[2])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    run = done.stdout.strip()
    assert liveness(store, run) is Liveness.NEVER
    assert store.recover() == []
    assert store.live_runs() == []
    assert store.records() == []
    assert list((store.layout.root / "tmp").iterdir()) == []


def test_a_folder_is_locked_from_the_first_moment_it_can_be_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.rename
    seen: list[bool] = []

    def look_meanwhile(self: Path, target: Path) -> Path:
        moved = real(self, target)
        if moved.parent == store.layout.live:
            with live_module.lock_alive(moved / "alive") as free:
                seen.append(free)
        return moved

    monkeypatch.setattr(Path, "rename", look_meanwhile)
    new = begun_run(store)
    os.close(new.alive)
    assert seen == [False]


def test_a_folder_that_is_still_being_made_is_no_run_and_goes_when_its_maker_is_dead(store: Store) -> None:
    new = begun_run(store)
    by_us, by_the_dead = (store.layout.live / f".{new.id}.{pid}" for pid in (os.getpid(), 4194301))
    new.folder.rename(by_us)
    assert store.live_runs() == []
    os.close(new.alive)
    store.recover()
    assert by_us.exists()
    by_us.rename(by_the_dead)
    with live_module.lock_alive(by_the_dead / "alive"):
        store.recover()
        # Its lock is held, so somebody is at it.
        assert by_the_dead.exists()
    store.recover()
    assert not by_the_dead.exists()


def test_a_folder_whose_maker_died_before_its_first_word_goes_too(store: Store) -> None:
    hidden = store.layout.live / f".{new_run_id()}"
    (hidden / "journal").mkdir(parents=True)
    (hidden / "alive").touch()
    (hidden / "launch.json.4194300").write_text('{"half')
    store.recover()
    assert not hidden.exists()


def test_what_a_crash_left_of_a_removal_goes(store: Store) -> None:
    gone = store.layout.root / "tmp" / f"{new_run_id()}.4194301"
    (gone / "journal").mkdir(parents=True)
    left = store.layout.root / "tmp" / "big-log.4194301"
    left.write_bytes(b"x")
    mine = store.layout.root / "tmp" / f"{new_run_id()}.{os.getpid()}"
    mine.mkdir()
    store.recover()
    assert not gone.exists()
    assert not left.exists()
    assert mine.exists()


def test_what_a_crash_left_of_a_record_or_of_a_store_being_made_goes(store: Store) -> None:
    writer = store.layout.writer_file
    left = [writer.with_name(f"{writer.name}.4194301"), store.layout.root / "store.git.4194301"]
    left[0].write_text('{"half')
    (left[1] / "objects").mkdir(parents=True)
    new = begun_run(store)
    os.close(new.alive)
    store.recover()
    assert [path for path in left if path.exists()] == []
    again = begun_run(store)
    os.close(again.alive)
    assert again.number == new.number + 1


BROKEN = (b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'"text"', b"{" + b" " * (5 << 20))


@pytest.mark.parametrize("name", ["launch.json", "state.json", "exit.json"])
def test_a_broken_record_stops_nobody(store: Store, name: str) -> None:
    fine = ended_run(store)
    for content in BROKEN:
        (store.layout.live / ended_run(store) / name).write_bytes(content)
    assert fine in {record.id for record in store.records()}
    assert fine in {record.id for record in store.recover()}
    assert fine in {record.id for record in store.records()}


WRONG: list[dict[str, Any]] = [
    {"number": "seven"},
    {"number": 10**30},
    {"number": None},
    {"name": 7},
    {"name": ["a"]},
    {"command": "train.py"},
    {"command": [1, None]},
    {"command": {"a": 1}},
    {"config": "lr=1"},
    {"config": [1]},
    {"config": {"a": {"b": {"c": 1}}}},
    {
        "config": {
            "big": 10**40,
            "nan": float("nan"),
            "inf": float("-inf"),
            "none": None,
            "list": [1, [2, [float("nan")]]],
        }
    },
    {"tags": "abc"},
    {"tags": [1, {}]},
    {"notes": 7},
    {"experiment": 7},
    {"created_at": "yesterday"},
    {"created_at": float("nan")},
    {"created_at": 1e300},
    {"created_at": -1e300},
    {"created_at": -1},
    {"code": "x"},
    {"code": {"tree": 7}},
    {"code": {"tree": "not an id"}},
    {"code": {"tree": "ab" * 20}},
    {"skipped": "x"},
    {"environment": []},
    {"parent_run": 7},
    {"user": 7, "host": {}},
    {"machine": 7},
    {"seed": 10**30},
    {"writer": "../../x"},
    {"name": "\ud800", "experiment": "\udcff", "config": {"\udc80": "\udcff"}, "tags": ["\ud801"], "notes": "\ud802"},
]


def test_launch_records_with_odd_values_stop_nobody(store: Store) -> None:
    fine = ended_run(store)
    for wrong in WRONG:
        edit(store.layout.live / ended_run(store) / "launch.json", **wrong)
    look_at_everything(store)
    assert len(store.records()) == len(WRONG) + 1
    # One says that it is another machine's, so it is left alone.
    assert len(store.recover()) == len(WRONG)
    look_at_everything(store)
    assert fine in {record.id for record in store.records()}
    assert len(store.records()) == len(WRONG) + 1
    assert store.index.damages() == []


WRONG_ENDS: list[dict[str, Any]] = [
    {"state": "exploded"},
    {"state": 7},
    {"state": None},
    {"exit_code": "zero"},
    {"exit_code": 10**30},
    {"signal": 1.5},
    {"ended_at": "now"},
    {"ended_at": float("nan")},
    {"ended_at": 1e300},
    {"ended_at": -5},
    {"started_at": 1e300},
    {"duration_seconds": float("inf")},
    {"duration_seconds": "long"},
    {"user_seconds": float("nan")},
    {"log_bytes": "many"},
    {"stop_reason": ["x"]},
]


def test_exit_records_with_odd_values_are_committed_all_the_same(store: Store) -> None:
    runs = {ended_run(store, end=wrong) for wrong in WRONG_ENDS}
    look_at_everything(store)
    assert {record.id for record in store.recover()} == runs
    look_at_everything(store)
    assert {record.id for record in store.records()} == runs
    assert store.index.damages() == []
    assert store.live_runs() == []


def look_at_everything(store: Store) -> None:
    """Reads all that a user could ask of each run; a run may be refused, by an error of the store."""
    for record in store.records():
        for ask in (
            store.meta,
            store.config,
            store.environment,
            store.log,
            store.skipped,
            store.code_entries,
            store.metrics,
        ):
            try:
                ask(record.id)
            except StoreError:
                continue


def test_lines_of_a_script_s_config_that_make_no_sense_are_passed_over(store: Store) -> None:
    run = ended_run(store)
    lines = [
        b'{"time": 1, "values": {"a": 1, "b": 2}}',
        b"",
        b"{",
        b"[1]",
        b'{"values": 7}',
        b'{"values": [["x", 1]]}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"values": {"b": 3, "seed": 340282366920938463463374607431768211455}}',
        b'{"values": {"nested": {"x": [1, {"y": NaN}]}, "inf": 1e999}}',
        b'{"values": {"half": ',
    ]
    (store.layout.live / run / "journal" / "0-1.config").write_bytes(b"\n".join(lines))
    before = store.record(run).config
    assert (before["a"], before["b"], before["lr"]) == (1, 3, 0.1)
    record = store.commit_ended(run)
    assert record is not None
    assert [found.id for found in store.records()] == [run]
    assert store.config(run)["seed"] == "340282366920938463463374607431768211455"
    assert store.record(run).config["b"] == 3


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "name",
    [
        "launch.json",
        "state.json",
        "exit.json",
        "log",
        "errors",
        "journal/0-1.config",
        "journal/0-1.dsj",
        "journal/0-1.keys",
    ],
)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(store: Store, name: str) -> None:
    fine, odd = ended_run(store), ended_run(store, metrics={"loss": [1.0]})
    path = store.layout.live / odd / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    look_at_everything(store)
    assert fine in {record.id for record in store.recover()}
    assert fine in {record.id for record in store.records()}


@pytest.mark.parametrize("name", ["launch.json", "state.json", "exit.json", "log", "errors", "journal/0-1.config"])
def test_a_folder_in_place_of_a_file_stops_nobody(store: Store, name: str) -> None:
    fine, odd = ended_run(store), ended_run(store)
    path = store.layout.live / odd / name
    path.unlink(missing_ok=True)
    path.mkdir()
    look_at_everything(store)
    assert fine in {record.id for record in store.recover()}
    assert fine in {record.id for record in store.records()}


@pytest.mark.parametrize("name", ["launch.json", "log", "errors", "alive", "journal/0-1.config"])
def test_a_link_in_place_of_a_file_is_not_followed(store: Store, tmp_path: Path, name: str) -> None:
    fine, odd = ended_run(store), ended_run(store)
    secret = tmp_path / "secret"
    secret.write_text(json.dumps({"name": "TOPSECRET", "values": {"TOPSECRET": 1}, "machine": machine_id()}))
    path = store.layout.live / odd / name
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    look_at_everything(store)
    store.recover()
    assert fine in {record.id for record in store.records()}
    for record in store.records():
        assert "TOPSECRET" not in repr(record)
        assert b"TOPSECRET" not in store.log(record.id)
        assert "TOPSECRET" not in repr(store.meta(record.id))


def test_folders_with_other_names_are_no_runs(store: Store, tmp_path: Path) -> None:
    live = store.layout.live
    for name in ("short", "A" * 16, "i" * 16, new_run_id() + "x", "\n" * 16):
        (live / name).mkdir()
        (live / name / "launch.json").write_text("{}")
    (live / new_run_id()).write_text("a file")
    (live / new_run_id()).mkdir()
    (live / new_run_id()).symlink_to(tmp_path)
    assert store.live_runs() == []
    assert store.recover() == []
    assert store.records() == []


def test_a_link_in_place_of_a_live_folder_is_not_followed(store: Store, tmp_path: Path) -> None:
    run = ended_run(store)
    moved = (store.layout.live / run).rename(tmp_path / run)
    (store.layout.live / run).symlink_to(moved)
    assert store.live_runs() == []
    assert store.recover() == []
    assert (moved / "exit.json").exists()


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"old": True})
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # The disk takes the first thousand bytes of it and no more.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
        with pytest.raises(StoreError, match="File too large"):
            write_json(path, {"new": "x" * 5_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert read_json(path) == {"old": True}
    assert os.listdir(tmp_path) == ["record.json"]


def test_json_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_json(tmp_path / "record.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o600


def test_a_launch_record_too_large_to_be_read_is_refused_aloud(store: Store) -> None:
    with pytest.raises(StoreError, match="over the limit"):
        store.begin(new_run_id(), launch_record(store, config={"blob": "x" * (5 << 20)}))
    assert store.live_runs() == []
    assert list(store.layout.live.iterdir()) == []
    new = begun_run(store)
    os.close(new.alive)
    assert [run.id for run in store.live_runs()] == [new.id]


def test_the_last_sign_is_the_keeper_s_else_the_launcher_s(store: Store) -> None:
    new = begun_run(store)
    run = store.live_run(new.id)
    assert run is not None
    assert run.last_sign == STARTED_AT
    write_state(new.folder, heartbeat_at=STARTED_AT + 99)
    run = store.live_run(new.id)
    assert run is not None
    assert run.last_sign == STARTED_AT + 99
    os.close(new.alive)


def test_a_lock_can_be_shared_by_those_who_only_look(store: Store) -> None:
    run = ended_run(store)
    path = store.layout.alive(run)
    with live_module.lock_alive(path, shared=True) as first, live_module.lock_alive(path, shared=True) as second:
        assert first
        assert second
        with live_module.lock_alive(path) as third:
            assert not third
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
