"""The process that opens what others wrote: right answers, and no harm to us when it dies, hangs or grows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dstui.inside.journal import JournalWriter
from dstui_store import Store, StoreError, Worker, metrics
from dstui_store import worker as worker_module


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def metric_files(store: Store, run: str) -> dict[str, bytes]:
    return {name: store.blob(run, name) for name in store.entries(run) if name.endswith(".parquet")}


def child_of(worker: Worker) -> int:
    assert worker._child is not None
    return worker._child.pid


@pytest.mark.slow
def test_curves_come_from_files_that_are_sent_once(worker: Worker, store: Store) -> None:
    run = next(record.id for record in store.records() if record.name == "train lr=0.1")
    worker.ask_envelopes(run, ["val/loss", "acc", "nothing"], 30)
    assert worker.wait().missing_files
    worker.ask_envelopes(run, ["val/loss", "acc", "nothing"], 30, files=metric_files(store, run))
    curves = worker.wait().envelopes()
    assert set(curves) == {"val/loss", "acc"}
    value = store.metrics(run, ["acc"])["acc"].value
    assert curves["acc"].points == 60
    assert curves["acc"].last_y == value[-1]
    assert np.nanmax(curves["acc"].hi) == value.max()
    assert curves["acc"].x1 == 59.0
    worker.ask_envelopes(run, ["acc"], 10, x0=0.0, x1=9.0)
    again = worker.wait().envelopes()["acc"]
    assert (again.points, len(again.mean)) == (10, 10)


@pytest.mark.slow
def test_a_very_large_run_shows_its_spikes_though_its_commit_holds_buckets(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MAX_PARQUET_CELLS", 1_000)
    monkeypatch.setattr(metrics, "MAX_ENVELOPE_BUCKETS", 100)
    for folder in ("journal", "parquet"):
        (tmp_path / folder).mkdir()
    writer = JournalWriter(str(tmp_path / "journal"), 0, "1")
    for step in range(2_000):
        writer.log({"loss": 50.0 if step == 1_005 else 1.0}, step)
    writer.close()
    compacted = metrics.compact(tmp_path / "journal", tmp_path / "parquet")
    assert compacted.full, "the run is large enough"
    files = {name: path.read_bytes() for name, path in compacted.files.items()}
    worker.ask_envelopes("large", ["loss"], 20, files=files)
    curve = worker.wait().envelopes()["loss"]
    assert (curve.points, curve.x1, curve.last_y) == (2_000, 1_999.0, 1.0)
    assert curve.hi.tolist() == [1.0] * 10 + [50.0] + [1.0] * 9
    assert curve.mean[10] == pytest.approx(1.49)


@pytest.mark.slow
def test_damaged_files_are_said_to_be_and_the_next_request_works(worker: Worker, store: Store) -> None:
    worker.ask_envelopes("broken", ["loss"], 10, files={"metrics.parquet": b"PAR1 no such thing PAR1"})
    with pytest.raises(StoreError):
        worker.wait().envelopes()
    worker.ask_search("b+", b"a\nbb\nc\nab\n")
    assert worker.wait().matches() == [1, 3]


def test_a_pattern_is_searched_line_by_line_ignoring_case(worker: Worker) -> None:
    worker.ask_search(r"LOSS=\d", b"x\nloss=1\nloss=\nLoss=22\n")
    assert worker.wait().matches() == [1, 3]
    worker.ask_search("(", b"x")
    with pytest.raises(StoreError):
        worker.wait().matches()


def test_a_child_that_dies_is_an_error_and_the_next_one_works(worker: Worker) -> None:
    worker.ask_search("(a+)+$", b"a" * 40 + b"!")
    os.kill(child_of(worker), 9)
    with pytest.raises(StoreError, match="ended"):
        worker.wait()
    worker.ask_search("a", b"a")
    assert worker.wait().matches() == [0]


def test_a_request_that_hangs_is_given_up_at_its_deadline(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "DEADLINE_SECONDS", 0.2)
    worker.ask_search("(a+)+$", b"a" * 40 + b"!")
    child = child_of(worker)
    with pytest.raises(StoreError, match="longer than"):
        worker.wait()
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.slow
def test_endless_work_is_ended_by_the_kernel(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "DEADLINE_SECONDS", 60.0)
    monkeypatch.setattr(worker_module, "CPU_SECONDS", 0)
    before = time.monotonic()
    worker.ask_search("(a+)+$", b"a" * 40 + b"!")
    with pytest.raises(StoreError, match="ended"):
        worker.wait()
    assert time.monotonic() - before < 50


def test_too_much_memory_ends_it(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "RESIDENT_BYTES", 1 << 20)
    worker.ask_search("(a+)+$", b"a" * 40 + b"!")
    with pytest.raises(StoreError, match="memory"):
        worker.wait()


def test_a_new_question_replaces_the_one_under_way(worker: Worker) -> None:
    worker.ask_search("(a+)+$", b"a" * 40 + b"!")
    number = worker.ask_search("b", b"b")
    answer = worker.wait()
    assert answer.number == number
    assert answer.matches() == [0]


def test_an_idle_child_that_left_is_replaced(worker: Worker) -> None:
    worker.ask_search("a", b"a")
    worker.wait()
    child = worker._child
    assert child is not None
    child.kill()
    child.wait()
    worker.ask_search("a", b"ba")
    assert worker.wait().matches() == [0]
    assert child_of(worker) != child.pid


def test_closing_leaves_no_process(worker: Worker) -> None:
    worker.ask_search("a", b"a")
    child = child_of(worker)
    worker.close()
    assert not Path(f"/proc/{child}").exists()
