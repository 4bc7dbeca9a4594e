"""The journal's writer: its bytes, its one write per call, and what it does when things go wrong."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import pytest

from dstui.inside import journal as writer_module
from dstui.inside.journal import KEY_LIMIT, NO_STEP, RECORD_BYTES, JournalWriter
from dstui_store import journal, limits

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def interrupt() -> Iterator[Callable[[Callable[[], object]], None]]:
    """`interrupt(handler)`: from now on a second thread makes this one run `handler` again and again.

    The second thread gets its turn when this one waits in `write()`, so the signal comes at the worst of moments.
    """
    stop = threading.Event()
    threads: list[threading.Thread] = []
    before = signal.getsignal(signal.SIGUSR1)
    main = threading.get_ident()

    def send() -> None:
        while not stop.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)
            stop.wait(1e-6)

    def start(handler: Callable[[], object]) -> None:
        signal.signal(signal.SIGUSR1, lambda _number, _frame: handler())
        threads.append(threading.Thread(target=send))
        threads[0].start()

    yield start
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    stop.set()
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGUSR1, before)


def run_script(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_records_have_the_bytes_that_the_format_says(folder: Path) -> None:
    writer = JournalWriter(str(folder), 3, "77")
    writer.log({"loss": 0.5, "train/acc": 0.75}, step=10, time=1_700_000_000.25)
    writer.log({"train/acc": float("inf")}, time=1_700_000_001.0)
    writer.close()
    data = (folder / "3-77.dsj").read_bytes()
    assert len(data) == 4 * RECORD_BYTES
    head, magic, version, rank, pid, _, check = struct.unpack("<I4sIIIdI", data[:32])
    assert (head, magic, version, rank, pid) == (0, b"DSJ1", 1, 3, os.getpid())
    assert check == crc32(data[:28], 0)
    expected = [(1 << 24, 10, 1_700_000_000.25, 0.5), (1 << 24 | 1, 10, 1_700_000_000.25, 0.75)]
    expected += [(1 << 24 | 1, NO_STEP, 1_700_000_001.0, float("inf"))]
    for number, fields in enumerate(expected, start=1):
        body = struct.pack("<Iqdd", *fields)
        assert data[32 * number : 32 * number + 32] == body + struct.pack("<I", crc32(body, number))
    assert (folder / "3-77.keys").read_text() == '"loss"\n"train/acc"\n'


def test_format_example(folder: Path) -> None:
    """The record that the format's page prints."""
    body = struct.pack("<Iqdd", 1 << 24, 10, 1_700_000_000.25, 0.5)
    assert (body + struct.pack("<I", crc32(body, 1))).hex() == (
        "000000010a0000000000000000001040fc54d941000000000000e03fa92752ff"
    )


def test_one_write_per_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(descriptor: int, data: bytes) -> int:
        sizes.append(len(data))
        return os.write(descriptor, data)

    monkeypatch.setattr(writer_module, "_write", counted)
    writer = JournalWriter(str(folder), 0, "1")
    for number in range(1, 12):
        writer.log({f"metric {index}": 1.0 for index in range(number)})
    writer.close()
    assert sizes == [RECORD_BYTES * number for number in range(1, 12)]


def test_files_are_private_and_closed_at_exec(folder: Path) -> None:
    before = os.umask(0)
    try:
        writer = JournalWriter(str(folder), 0, "1")
        writer.log({"loss": 1.0})
        writer.config({"lr": 0.1})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not any(os.get_inheritable(descriptor) for descriptor in (writer._data, writer._keys, writer._config))


def test_nothing_is_written_before_the_first_point(folder: Path) -> None:
    JournalWriter(str(folder), 0, "1").close()
    assert not folder.exists()


def test_wrong_value_leaves_no_trace_and_the_next_call_works(folder: Path) -> None:
    writer = JournalWriter(str(folder), 0, "1")
    for wrong in ("text", None, 1 + 2j, 2**53 + 1, object()):
        with pytest.raises(TypeError):
            writer.log({"good": 1.0, "bad": wrong})  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        writer.log({1: 1.0})  # type: ignore[dict-item]
    for step in (2**63, -(2**63) - 1, 1.5):
        with pytest.raises(struct.error):
            writer.log({"good": 1.0}, step)  # type: ignore[arg-type]
    writer.log({"good": 2.0, "whole": 3, "true": True})
    writer.close()
    data = journal.read(folder)
    assert data.bad_records == 0
    assert {name: series.value.tolist() for name, series in data.series().items()} == {
        "good": [2.0],
        "whole": [3.0],
        "true": [1.0],
    }


def test_limits_of_writer_and_reader_are_the_same() -> None:
    assert limits.MAX_METRIC_KEYS == KEY_LIMIT
    assert limits.MAX_METRIC_KEYS_BYTES >= writer_module.KEY_BYTES + 2
    assert (journal.MAGIC, journal.VERSION, journal.RECORD_BYTES) == (writer_module.MAGIC, writer_module.VERSION, 32)
    assert (journal.NO_STEP, journal.KIND_SCALAR) == (NO_STEP, writer_module.KIND_SCALAR)


@pytest.mark.slow
def test_names_over_the_limit_are_refused_once_and_the_others_go_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = JournalWriter(str(folder), 0, "1")
    for number in range(KEY_LIMIT + 50):
        writer.log({f"m{number}": float(number), "m0": 0.5})
    writer.close()
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "16,384" in told
    series = journal.read(folder).series()
    assert len(series) == KEY_LIMIT
    assert len(series["m0"].value) == KEY_LIMIT + 50 - 1 + 1
    assert series[f"m{KEY_LIMIT - 1}"].value.tolist() == [KEY_LIMIT - 1]


def test_long_names_are_limited_by_bytes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = JournalWriter(str(folder), 0, "1")
    for number in range(20):
        writer.log({f"{number:02d}" + "x" * 100_000: 1.0})
    writer.log({"short": 1.0})
    writer.close()
    assert capsys.readouterr().err.count("\n") == 1
    assert (folder / "0-1.keys").stat().st_size <= 1 << 20
    assert len(journal.read(folder).series()) == 11


def test_threads_lose_and_double_nothing(folder: Path) -> None:
    writer = JournalWriter(str(folder), 0, "1")

    def work(number: int) -> None:
        for step in range(300):
            writer.log({f"thread {number}": float(step), "all": float(number)}, step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    data = journal.read(folder)
    assert data.bad_records == 0
    for number in range(8):
        assert data.series()[f"thread {number}"].step.tolist() == list(range(300))
    assert len(data.series()["all"].value) == 2_400


def test_child_of_a_fork_writes_its_own_journal(folder: Path) -> None:
    writer = JournalWriter(str(folder), 0, str(os.getpid()))
    writer.log({"loss": 1.0}, 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            writer.log({"in child": 2.0}, 2)
            writer.log({"in child": 2.5}, 3)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writer.log({"loss": 3.0}, 4)
    writer.close()
    assert {path.name for path in folder.glob("*.dsj")} == {f"0-{os.getpid()}.dsj", f"0-{os.getpid()}.{child}.dsj"}
    data = journal.read(folder)
    assert data.bad_records == 0
    assert data.series()["loss"].value.tolist() == [1.0, 3.0]
    assert data.series()["in child"].value.tolist() == [2.0, 2.5]


def test_fork_while_another_thread_logs_does_not_hang_the_child(folder: Path) -> None:
    writer = JournalWriter(str(folder), 0, str(os.getpid()))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            writer.log({"busy": 1.0})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # A child that hangs on the lock dies of it.
                writer.log({"in child": 1.0})
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()
    writer.close()
    data = journal.read(folder)
    assert data.bad_records == 0
    assert len(data.series()["in child"].value) == 20


Interrupt = Callable[[Callable[[], object]], None]


@pytest.mark.slow
def test_log_from_a_signal_handler_that_interrupts_log(folder: Path, interrupt: Interrupt) -> None:
    writer = JournalWriter(str(folder), 0, "1")
    # The handler is interrupted by itself too, hence a counter that gives each number once.
    numbers = itertools.count()
    returned: list[int] = []

    def handler() -> None:
        number = next(numbers)
        writer.log({"from handler": float(number)}, number)
        returned.append(number)

    interrupt(handler)
    outer = 0
    while len(returned) < 1_000:
        writer.log({"loss": float(outer), f"new {outer % 700}": 1.0}, outer)
        outer += 1
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    data = journal.read(folder)  # Before `close`: what `log` has returned from is on disk.
    writer.close()
    assert data.bad_records == 0
    assert sorted(data.series()["from handler"].step.tolist()) == sorted(returned)
    assert data.series()["loss"].step.tolist() == list(range(outer))


class Interrupted(Exception):
    """Stands for KeyboardInterrupt, which pytest wants for itself."""


@pytest.mark.slow
def test_exception_out_of_a_signal_handler_costs_at_most_the_interrupted_call(
    folder: Path, interrupt: Interrupt
) -> None:
    writer = JournalWriter(str(folder), 0, "1")
    chance = random.Random(0)
    armed = False

    def handler() -> None:
        nonlocal armed
        # Not at the first signal: it would always come in the first instructions of the loop.
        if armed and chance.random() < 0.2:
            armed = False
            raise Interrupted

    interrupt(handler)
    returned: list[int] = []
    interrupted = number = 0
    while interrupted < 400:
        try:
            armed = True
            while True:
                number += 1
                writer.log({"loss": 1.0, f"key {number % 2_000}": 2.0}, number)
                returned.append(number)
        except Interrupted:
            interrupted += 1
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    writer.log({"loss": 1.0}, number + 1)
    writer.close()
    data = journal.read(folder)
    assert data.bad_records == 0
    found = data.series()["loss"].step.tolist()
    assert len(found) == len(set(found))
    assert set(returned) <= set(found)
    assert number + 1 in found
    # A name that the writer and its file number differently would get the points of another.
    for name, series in data.series().items():
        assert name == "loss" or {f"key {step % 2_000}" for step in series.step.tolist()} == {name}


def test_timeout_error_of_the_script_is_not_taken_for_a_bad_disk(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(str(folder), 0, "1")
    writer.log({"loss": 1.0}, 1)

    def times_out(_descriptor: int, _data: bytes) -> int:
        raise TimeoutError("the script's own alarm")

    with monkeypatch.context() as patch:
        patch.setattr(writer_module, "_write", times_out)
        with pytest.raises(TimeoutError):
            writer.log({"loss": 2.0}, 2)
    writer.log({"loss": 3.0}, 3)
    writer.close()
    assert capsys.readouterr().err == ""
    assert journal.read(folder).series()["loss"].step.tolist() == [1, 3]


LIMITED = """
import resource, sys
from dstui.inside.journal import JournalWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
writer = JournalWriter(sys.argv[1], 0, "1")
for number in range(1000):
    writer.log({"a": 1.0, "b": 2.0, "c": 3.0}, number)
    writer.config({"lr": number})
print("trained to the end")
"""


@pytest.mark.parametrize("size", [320, 10_000, 10_016, 10_031])
def test_full_disk_ends_tracking_once_and_loudly_and_keeps_all_before(folder: Path, size: int) -> None:
    done = run_script(LIMITED, folder, size)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "trained to the end\n"
    assert done.stderr.count("\n") == 1
    assert "no longer recorded: File too large" in done.stderr or "no longer recorded: the disk is full" in done.stderr
    data = journal.read(folder)
    assert data.bad_records == 0
    for path in folder.glob("*.config"):
        assert all(json.loads(line) for line in path.read_text().splitlines())
    # Either the journal or the settings were full first.
    records = (folder / "0-1.dsj").stat().st_size / 32 - 1
    assert records.is_integer()
    assert len(data.value) == records
    assert size // 32 - 1 == records or (folder / "0-1.config").stat().st_size > size - 60


def test_short_write_is_continued_where_it_broke_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes a part, then has room again: nothing is lost, doubled or torn."""
    for part in range(0, 3 * 32):
        writer = JournalWriter(str(folder / str(part)), 0, "1")
        os.makedirs(folder / str(part), exist_ok=True)
        writer.log({"a": 1.0, "b": 2.0, "c": 3.0}, 1)
        with monkeypatch.context() as patch:
            patch.setattr(
                writer_module, "_write", lambda descriptor, data, part=part: os.write(descriptor, bytes(data)[:part])
            )
            writer.log({"a": 4.0, "b": 5.0, "c": 6.0}, 2)
        writer.log({"a": 7.0, "b": 8.0, "c": 9.0}, 3)
        writer.close()
        data = journal.read(folder / str(part))
        assert data.bad_records == 0
        assert data.value.tolist() == [float(number) for number in range(1, 10)]


def test_run_directory_that_is_gone_does_not_come_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = JournalWriter(str(tmp_path / "run" / "journal"), 0, "1")
    writer.log({"loss": 1.0})
    writer.log({"loss": 2.0})
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().err.count("\n") == 1


def test_journal_whose_files_are_deleted_meanwhile_does_not_fail(folder: Path) -> None:
    writer = JournalWriter(str(folder), 0, "1")
    writer.log({"loss": 1.0})
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    writer.log({"loss": 2.0, "new": 1.0})
    writer.close()
    assert not folder.exists()


def test_second_writer_of_a_name_takes_a_name_of_its_own(folder: Path) -> None:
    """A process that replaced itself by exec has its old pid."""
    for value in (1.0, 2.0, 3.0):
        writer = JournalWriter(str(folder), 0, "55")
        writer.log({"loss": value})
        writer.close()
    assert {path.name for path in folder.glob("*.dsj")} == {"0-55.dsj", "0-55-2.dsj", "0-55-3.dsj"}
    assert sorted(journal.read(folder).series()["loss"].value.tolist()) == [1.0, 2.0, 3.0]


def test_closed_writer_ignores_points(folder: Path) -> None:
    writer = JournalWriter(str(folder), 0, "1")
    writer.log({"loss": 1.0})
    writer.close()
    writer.log({"loss": 2.0})
    writer.config({"lr": 1})
    assert journal.read(folder).value.tolist() == [1.0]


def test_config_lines_are_json_whatever_the_values(folder: Path) -> None:
    writer = JournalWriter(str(folder), 0, "1")
    writer.config(
        {"lr": float("nan"), "path": Path("a"), "list": [1, float("inf")], "text": "\x1b\ud800é"}, {"name": "x"}
    )
    writer.close()
    line = json.loads((folder / "0-1.config").read_text(encoding="ascii"))
    assert line["values"] == {"lr": "NaN", "path": "a", "list": [1, "Infinity"], "text": "\x1b\ud800é"}
    assert line["run"] == {"name": "x"}
    assert isinstance(line["time"], float)


def test_many_sets_of_names_do_not_fill_the_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "PLANNED_SLOTS", 100)
    writer = JournalWriter(str(folder), 0, "1")
    for number in range(500):
        writer.log({f"m{number}": 1.0, "x": 2.0})
        assert sum(len(plan.slots) for plan in writer._plans.values()) <= 100
    writer.close()
    assert len(journal.read(folder).value) == 1_000


DAEMON = """
import os, sys
from dstui.inside.journal import JournalWriter
directory, other = sys.argv[1:]
first = JournalWriter(directory, 0, "first")
second = JournalWriter(directory, 0, "second", "hook:wandb", 1)
first.log({"loss": 1.0, "acc": 0.1}, 1)
second.log({"lr": 0.5}, 1)
first.config({"a": 1})
os.closerange(3, 4096)
files = [open(f"{other}/{number}", "w") for number in range(12)]
second.log({"lr": 0.25, "new": 3.0}, 2)
first.log({"loss": 0.5, "acc": 0.2}, 2)
first.log({"loss": 0.25, "late": 1.0}, 3)
first.config({"b": 2})
"""


def test_a_process_that_closes_every_descriptor_logs_on_and_its_own_files_stay_clean(tmp_path: Path) -> None:
    """As a program does that turns into a daemon: the numbers of our files are then those of its own."""
    other, directory = tmp_path / "other", tmp_path / "run" / "journal"
    other.mkdir()
    directory.parent.mkdir()
    subprocess.run([sys.executable, "-c", DAEMON, str(directory), str(other)], check=True)
    found = {name: series.value.tolist() for name, series in journal.read(directory).series().items()}
    assert found == {"loss": [1.0, 0.5, 0.25], "acc": [0.1, 0.2], "late": [1.0], "lr": [0.5, 0.25], "new": [3.0]}
    assert [path.stat().st_size for path in other.iterdir()] == [0] * 12
    assert "".join(path.read_text() for path in directory.glob("*.config")).count("values") == 2
