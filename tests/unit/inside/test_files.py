"""What a run takes out of files: its own part of each, once, whatever happens to the file meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dstui.inside import curves, files
from dstui.inside.files import Files, project_of
from dstui.inside.live import LiveDirectory
from dstui_store import journal
from tests.unit.inside.event_files import scalar, version

HOUR = 3_600.0
DATA = Path(__file__).parents[2] / "data"


class Tailed:
    """A project, and one run that goes on in it.

    Attributes:
        folder: of the project.
        live: the run's live directory.
    """

    def __init__(self, folder: Path, name: str = "run", **launch: object) -> None:
        self.folder = folder / "project"
        self.folder.mkdir(exist_ok=True)
        (self.folder / "dstui.toml").touch()
        self.live = folder / "live" / name
        self.live.mkdir(parents=True)
        record = {"cwd": str(self.folder), "created_at": time.time(), "command": ["train.py"], **launch}
        (self.live / "launch.json").write_text(json.dumps(record))
        self.directory = LiveDirectory(str(self.live))
        self.directory.reserve()
        self.files = Files(self.directory, str(launch.get("cwd", self.folder)), time.time())

    def write(self, name: str, content: str | bytes, *, old: bool = False) -> Path:
        """Put a file into the project; an old one is from before the run."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if old:
            os.utime(path, (time.time() - HOUR, time.time() - HOUR))
        return path

    def append(self, name: str, content: str | bytes) -> None:
        with (self.folder / name).open("ab") as file:
            file.write(content.encode() if isinstance(content, str) else content)

    def say(self, **line: str) -> None:
        """What the hook would say."""
        with (self.live / "hello.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def look(self) -> Tailed:
        """Look through everything now, without waiting for the next walk."""
        self.files._next_walk = 0.0
        self.files.look()
        return self

    def end(self) -> dict[str, list[tuple[int, float]]]:
        """The last look; gives the curves of the run."""
        self.files.look(time.monotonic() + files.READ_SECONDS * 50)
        self.files.close()
        return self.curves()

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        series = journal.read(self.live / "journal").series()
        return {name: list(zip(one.step.tolist(), one.value.tolist(), strict=True)) for name, one in series.items()}

    def sources(self) -> dict[str, str]:
        return journal.read(self.live / "journal").sources

    def errors(self) -> str:
        path = self.live / "errors"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Tailed]]:
    made: list[Tailed] = []

    def new(name: str = "run", **launch: object) -> Tailed:
        made.append(Tailed(tmp_path, name, **launch))
        return made[-1]

    yield new
    for one in made:
        os.close(one.directory.descriptor)


@pytest.fixture
def tailed(make: Callable[..., Tailed]) -> Tailed:
    return make()


def losses(*rows: tuple[int, float]) -> str:
    return "".join(f"{step},{loss}\n" for step, loss in rows)


# Which part of a file is the run's.


def test_files_of_every_kind_are_followed_as_they_grow(tailed: Tailed) -> None:
    now = time.time()
    tailed.write("runs/a/events.out.tfevents.1", version(now) + scalar("loss", 1, 0, now))
    tailed.write("out/metrics.csv", "step,acc\n1,0.5\n")
    tailed.write("out/log.jsonl", '{"step": 1, "lr": 0.1}\n')
    tailed.look()
    tailed.append("runs/a/events.out.tfevents.1", scalar("loss", 0.5, 1, now))
    tailed.append("out/metrics.csv", "2,0.75\n")
    tailed.append("out/log.jsonl", '{"step": 2, "lr": 0.01}\n')
    assert tailed.end() == {"loss": [(0, 1), (1, 0.5)], "acc": [(1, 0.5), (2, 0.75)], "lr": [(1, 0.1), (2, 0.01)]}
    assert tailed.sources() == {
        "loss": "file:runs/a/events.out.tfevents.1",
        "acc": "file:out/metrics.csv",
        "lr": "file:out/log.jsonl",
    }
    assert tailed.errors() == ""


def test_what_lies_there_from_before_is_left_alone(tailed: Tailed) -> None:
    tailed.write("old.csv", "step,loss\n1,0.5\n", old=True)
    assert tailed.look().end() == {}


@pytest.mark.parametrize(
    ("after", "rows"),
    [
        ("1,0.5\n2,0.25\n3,0.125\n", [(3, 0.125)]),  # added to
        ("1,0.75\n", [(1, 0.75)]),  # written anew, shorter
        ("1,0.4\n2,0.35\n3,0.3\n", [(1, 0.4), (2, 0.35), (3, 0.3)]),  # written anew, longer
        ("1,0.5\n2,0.25\n", [(1, 0.5), (2, 0.25)]),  # written anew, the same
    ],
)
def test_of_an_older_table_the_part_of_this_run_counts(
    tailed: Tailed, after: str, rows: list[tuple[int, float]]
) -> None:
    tailed.write("old.csv", "step,loss\n1,0.5\n2,0.25\n", old=True)
    tailed.look()
    tailed.write("old.csv", "step,loss\n" + after)
    assert tailed.look().end() == {"loss": rows}


def test_of_an_older_event_file_the_part_of_this_run_counts(tailed: Tailed) -> None:
    then, now = time.time() - HOUR, time.time()
    tailed.write("events.out.tfevents.1", version(then) + scalar("loss", 1, 1, then), old=True)
    tailed.look()
    tailed.append("events.out.tfevents.1", scalar("loss", 0.5, 2, now))
    assert tailed.look().end() == {"loss": [(2, 0.5)]}


# What happens to files.


def test_a_file_that_is_cut_off_and_written_anew_is_read_again(tailed: Tailed) -> None:
    tailed.write("a.csv", "step,loss\n" + losses((1, 1.0), (2, 0.5), (3, 0.25)))
    tailed.look()
    tailed.write("a.csv", "step,loss\n" + losses((1, 2.0)))
    tailed.look()
    tailed.append("a.csv", losses((2, 1.5)))
    assert tailed.end()["loss"] == [(1, 1.0), (2, 0.5), (3, 0.25), (1, 2.0), (2, 1.5)]


def test_a_file_that_is_replaced_gives_only_what_is_new(tailed: Tailed) -> None:
    tailed.write("a.csv", "step,loss\n" + losses((1, 1.0), (2, 0.5)))
    tailed.look()
    fresh = tailed.write("new", "step,loss,acc\n1,1.0,\n2,0.5,\n3,0.25,0.9\n")
    fresh.replace(tailed.folder / "a.csv")
    assert tailed.look().end() == {"loss": [(1, 1.0), (2, 0.5), (3, 0.25)], "acc": [(3, 0.9)]}


def test_an_event_file_that_is_replaced_by_a_longer_one_goes_on(tailed: Tailed) -> None:
    now = time.time()
    data = version(now) + scalar("loss", 1, 1, now)
    tailed.write("a/events.out.tfevents.1", data)
    tailed.look()
    fresh = tailed.write("new", data + scalar("loss", 0.5, 2, now + 1))
    fresh.replace(tailed.folder / "a" / "events.out.tfevents.1")
    assert tailed.look().end() == {"loss": [(1, 1), (2, 0.5)]}


def test_a_file_that_is_gone_keeps_its_points(tailed: Tailed) -> None:
    path = tailed.write("a.csv", "step,loss\n" + losses((1, 1.0)))
    tailed.look()
    path.unlink()
    assert tailed.look().end() == {"loss": [(1, 1.0)]}
    assert tailed.errors() == ""


def test_several_event_files_of_one_folder_are_one_writer(tailed: Tailed) -> None:
    now = time.time()
    tailed.write("a/events.out.tfevents.1", version(now) + scalar("loss", 1, 1, now))
    tailed.look()
    tailed.write("a/events.out.tfevents.2", version(now) + scalar("loss", 0.5, 2, now + 1))
    assert tailed.look().end() == {"loss": [(1, 1), (2, 0.5)]}


def test_folders_of_two_trainings_do_not_mix(tailed: Tailed) -> None:
    now = time.time()
    for folder, value in (("a", 1.0), ("b", 2.0)):
        tailed.write(f"runs/{folder}/events.out.tfevents.1", version(now) + scalar("loss", value, 1, now))
    assert tailed.look().end() == {"loss": [(1, 1.0)], "b/loss": [(1, 2.0)]}


def test_files_of_real_writers_are_read_by_their_folders(tailed: Tailed) -> None:
    tailed.files._began_at = 0.0  # They were written long before this test.
    shutil.copytree(DATA / "event_files" / "keras", tailed.folder / "logs", copy_function=shutil.copyfile)
    shutil.copyfile(DATA / "keras.csv", tailed.folder / "keras.csv")
    assert {name: len(points) for name, points in tailed.look().end().items()} == {
        "train/epoch_loss": 5,
        "train/epoch_learning_rate": 5,
        "validation/epoch_loss": 5,
        "validation/evaluation_loss_vs_iterations": 5,
        "loss": 5,
        "val_loss": 5,
    }
    assert '"units": 16' in next((tailed.live / "journal").glob("*.config")).read_text()


def test_checkpoints_of_hugging_face_are_one_curve(tailed: Tailed) -> None:
    entries: list[dict[str, float]] = []
    for step in (10, 20):
        entries.append({"step": step, "loss": 1 / step})
        state = json.dumps({"global_step": step, "log_history": entries})
        tailed.write(f"out/checkpoint-{step}/trainer_state.json", state[:20])
        tailed.look()
        tailed.write(f"out/checkpoint-{step}/trainer_state.json", state)
        tailed.look()
    tailed.write("out/trainer_state.json", state)
    assert tailed.look().end() == {"loss": [(10, 0.1), (20, 0.05)]}


def test_settings_beside_the_metrics_are_read(tailed: Tailed) -> None:
    tailed.write("v/metrics.csv", "step,loss\n1,0.5\n")
    tailed.look()
    tailed.write("v/hparams.yaml", "lr: 0.1\ndata:\n  path: x\n")
    tailed.look().end()
    (path,) = (tailed.live / "journal").glob("*.config")
    assert [json.loads(line)["values"] for line in path.read_text().splitlines()] == [{"lr": 0.1}]


# Hostile and broken files.


def test_pipes_links_and_odd_names_hold_nothing_up(tailed: Tailed) -> None:
    os.mkfifo(tailed.folder / "pipe.csv")
    (tailed.folder / "loop").symlink_to(tailed.folder)
    secret = tailed.folder.parent / "secret.csv"
    secret.write_text("step,number\n1,2\n")
    (tailed.folder / "link.csv").symlink_to(secret)
    tailed.write(
        "a\nb\x1b[31m/\udcff.csv".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"), "step,x\n1,2\n"
    )
    assert tailed.look().end() == {"x": [(1, 2)]}
    assert tailed.sources() == {"x": "file:a\nb\x1b[31m/?.csv"}


def test_a_huge_file_without_lines_is_given_up_early(tailed: Tailed) -> None:
    path = tailed.write("a.csv", "step,loss\n1,0.5\n")
    os.truncate(path, 1 << 30)
    started = time.process_time()
    for _ in range(20):
        tailed.look()
    assert tailed.end() == {"loss": [(1, 0.5)]}
    assert time.process_time() - started < 10
    assert "`a.csv` is no longer read: 100 lines in a row hold no metrics" in tailed.errors()


def test_bad_lines_are_told_at_the_end(tailed: Tailed) -> None:
    tailed.write("a.jsonl", '{"step": 1, "loss": 0.5}\noops\n{"step": 2, "loss": 0.25}\n')
    assert tailed.look().end() == {"loss": [(1, 0.5), (2, 0.25)]}
    assert "1 lines of `a.jsonl` hold no metrics or are damaged" in tailed.errors()


def test_data_is_left_without_a_word(tailed: Tailed) -> None:
    tailed.write("data.csv", "name,age\na,1\n" * 1_000)
    tailed.write("prompts.jsonl", '{"prompt": "a"}\n' * 1_000)
    tailed.write("notes.csv", "")
    assert tailed.look().end() == {}
    assert tailed.errors() == ""


def test_so_many_files_are_followed_and_no_more(tailed: Tailed) -> None:
    for number in range(files.FILES + 10):
        tailed.write(f"{number}.csv", f"step,metric{number}\n1,2\n")
    assert len(tailed.look().end()) == files.FILES
    assert tailed.errors().count("more than 64 files of metrics") == 1


def test_a_run_takes_so_many_points_from_files(tailed: Tailed, monkeypatch: pytest.MonkeyPatch) -> None:
    tailed.files._budget[0] = 100
    tailed.write("a.csv", "step,loss\n" + losses(*((step, 1.0) for step in range(200))))
    assert len(tailed.look().end()["loss"]) == 100
    assert f"more than {curves.POINTS:,} points in files" in tailed.errors()


def test_what_could_not_be_read_in_time_is_told(tailed: Tailed) -> None:
    tailed.write("a.csv", "step,loss\n" + losses(*((step, 1.0) for step in range(100_000))))
    tailed.files.look(time.monotonic())
    tailed.files.look(time.monotonic() + 0.01)
    tailed.files.close()
    assert "`a.csv` was not read to its end" in tailed.errors()
    assert 0 < len(tailed.curves()["loss"]) < 100_000


# What the hook says.


def test_folders_that_the_hook_has_seen_are_not_read_again(tailed: Tailed) -> None:
    now = time.time()
    tailed.say(owned=str(tailed.folder / "runs"))
    tailed.say(owned="not absolute")
    tailed.write("runs/events.out.tfevents.1", version(now) + scalar("loss", 1, 1, now))
    tailed.write("runs/loss_train/events.out.tfevents.1", version(now) + scalar("loss", 1, 1, now))
    tailed.write("runs/metrics.csv", "step,acc\n1,2\n")
    tailed.write("other/events.out.tfevents.1", version(now))
    tailed.look()
    tailed.say(owned=str(tailed.folder / "other"))
    tailed.append("other/events.out.tfevents.1", scalar("late", 1, 1, now))
    assert tailed.look().end() == {"acc": [(1, 2)]}


def test_folders_that_the_hook_names_are_watched_wherever_they_are(tailed: Tailed, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    tailed.look()
    elsewhere.mkdir()
    (elsewhere / "a.csv").write_text("step,loss\n1,0.5\n")
    (tailed.live / "hello.jsonl").write_bytes(
        b"\xff\n[1]\n{}\n" + json.dumps({"logdir": str(elsewhere)}).encode() + b"\n"
    )
    assert tailed.look().end() == {"loss": [(1, 0.5)]}
    assert tailed.sources() == {"loss": f"file:{elsewhere}/a.csv"}


def test_the_project_is_where_git_or_the_settings_are(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert project_of(str(tmp_path / "a" / "b" / "c")) == str(tmp_path / "a" / "b" / "c")
    (tmp_path / "a" / ".git").mkdir()
    assert project_of(str(tmp_path / "a" / "b" / "c")) == str(tmp_path / "a")


# Other runs of the project at the same time.


def start_rival(make: Callable[..., Tailed], **launch: object) -> Tailed:
    """Another run that goes on: its keeper is this process."""
    from dstui.inside import processes

    rival = make("rival", **launch)
    state = {
        "keeper_pid": os.getpid(),
        "keeper_start_ticks": processes.start_ticks(os.getpid()),
        "boot": processes.boot_id(),
        "heartbeat_at": time.time(),
    }
    (rival.live / "state.json").write_text(json.dumps(state))
    return rival


def test_nobody_takes_a_file_that_may_be_another_runs(make: Callable[..., Tailed]) -> None:
    first = make()
    second = start_rival(make)
    first.write("a.csv", "step,loss\n1,0.5\n")
    assert first.look().end() == {}
    assert "metrics of 1 files (`a.csv`) were left out" in first.errors()
    assert second.look().end() == {}


def test_data_is_not_missed_beside_another_run(make: Callable[..., Tailed]) -> None:
    first = make()
    start_rival(make)
    first.write("data.csv", "name,age\na,1\n")
    assert first.look().end() == {}
    assert first.errors() == ""


@pytest.mark.parametrize("form", ["out/a", "./out/a/", "--output=out/a"])
def test_a_folder_named_in_a_command_is_that_runs(make: Callable[..., Tailed], form: str) -> None:
    first = make(command=["train.py", form])
    second = start_rival(make, command=["train.py", "--output", "out/b"])
    for name in ("a", "b"):
        first.write(f"out/{name}/x/metrics.csv", f"step,{name}\n1,0.5\n")
    assert first.look().end() == {"a": [(1, 0.5)]}
    assert first.errors() == ""
    assert second.look().end() == {"b": [(1, 0.5)]}


def test_a_folder_of_its_own_to_start_in_is_a_reason(make: Callable[..., Tailed], tmp_path: Path) -> None:
    first = make(cwd=str(tmp_path / "project" / "one"))
    second = start_rival(make)
    first.write("one/metrics.csv", "step,a\n1,0.5\n")
    first.write("two/metrics.csv", "step,b\n1,0.5\n")
    assert first.look().end() == {"a": [(1, 0.5)]}
    assert second.look().end() == {"b": [(1, 0.5)]}


def test_a_run_that_has_ended_claims_nothing_later(make: Callable[..., Tailed]) -> None:
    first = make()
    second = make("rival")
    (second.live / "exit.json").write_text("{}")
    path = first.write("a.csv", "step,loss\n1,0.5\n")
    first.files.look()
    os.utime(path, (time.time() + 10, time.time() + 10))
    assert first.look().end() == {"loss": [(1, 0.5)]}


@pytest.mark.parametrize(
    "record", ["", "[]", "{", '{"created_at": "x", "command": 3, "cwd": 7}', '{"command": ["\\u0000"]}']
)
def test_odd_records_of_other_runs_are_no_reason_to_fail(make: Callable[..., Tailed], record: str) -> None:
    first = make()
    odd = first.live.parent / "odd"
    odd.mkdir()
    (odd / "launch.json").write_text(record)
    (odd / "state.json").write_text(record)
    (odd / "hello.jsonl").write_text(record)
    first.write("a.csv", "step,loss\n1,0.5\n")
    first.look().end()
