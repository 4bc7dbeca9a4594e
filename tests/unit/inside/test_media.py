"""What a script keeps besides numbers: every kind of image becomes a right PNG, and whatever is none is refused."""

from __future__ import annotations

import json
import math
import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dstui
from dstui.inside import client, images, media, values

ROOT = Path(__file__).parents[3]
SMALL = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10


@pytest.fixture(autouse=True)
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The live folder of a run that this process is in."""
    folder = tmp_path / "store" / "live" / "k3f9c0123456789a"
    folder.mkdir(parents=True)
    monkeypatch.setenv("DSTUI_RUN_DIR", str(folder))
    monkeypatch.setenv("DSTUI_RUN_ID", folder.name)
    for name, value in (("_run", None), ("_write", None), ("_outside_told", False), ("_hooked", True)):
        monkeypatch.setattr(client, name, value)
    monkeypatch.setattr(values, "_refused", set())
    yield folder
    if client._run is not None and client._run._journal is not None:
        client._run._journal.close()


def lines(live: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in b"".join(path.read_bytes() for path in sorted((live / "media").glob("*.jsonl"))).splitlines()
    ]


def content(live: Path) -> bytes:
    """The bytes of what was kept last."""
    return (live / "media" / str(lines(live)[-1]["sha256"])).read_bytes()


def pixels(png: bytes) -> tuple[tuple[int, int, int], list[list[int]]]:
    """((width, height, colour type), rows) of a PNG that uses the filters 0 and 2."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(png):
        (size,) = struct.unpack_from(">I", png, place)
        name, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        assert struct.unpack_from(">I", png, place + 8 + size) == (zlib.crc32(name + data),)
        chunks[name], place = data, place + 12 + size
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert depth == 8
    raw = zlib.decompress(chunks[b"IDAT"])
    length = len(raw) // height
    rows: list[list[int]] = []
    for start in range(0, len(raw), length):
        row = list(raw[start + 1 : start + length])
        if raw[start] == 2:
            row = [(part + above) & 255 for part, above in zip(row, rows[-1] if rows else [0] * len(row), strict=True)]
        rows.append(row)
    return (width, height, colour), rows


@pytest.mark.parametrize(
    ("image", "array", "colour"),
    [
        (SMALL, SMALL, 2),
        (SMALL[:, :, :1], SMALL[:, :, :1], 0),
        (SMALL[:, :, 0], SMALL[:, :, 0], 0),
        (np.dstack([SMALL, SMALL[:, :, 0]]), np.dstack([SMALL, SMALL[:, :, 0]]), 6),
        (SMALL.astype(np.int64), SMALL, 2),
        (SMALL / np.float32(255), SMALL, 2),
        (SMALL > 100, (SMALL > 100) * 255, 2),
        (np.array([[0.0, math.nan, math.inf, 1.05]]), np.array([[0, 0, 255, 255]]), 0),
        (torch.from_numpy(SMALL.copy()).permute(2, 0, 1), SMALL, 2),
        (torch.from_numpy(SMALL[:, :, :1].copy()).permute(2, 0, 1).float() / 255, SMALL[:, :, :1], 0),
        (torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True), np.full((2, 3), 255), 0),
        (SMALL[::-1, ::2], SMALL[::-1, ::2], 2),
        (SMALL.tolist(), SMALL, 2),
        ([[0.0, 0.5], [1.0, math.nan]], np.array([[0, 128], [255, 0]]), 0),
    ],
    ids="bytes plane grey alpha int64 float bool extremes tensor tensor-plane bfloat16 view lists floats".split(),
)
def test_every_kind_of_image_becomes_its_pixels(live: Path, image: Any, array: Any, colour: int) -> None:
    dstui.log_image("x", image, step=3)
    (width, height, found), rows = pixels(content(live))
    assert (height, width, found) == (*array.shape[:2], colour)
    assert rows == array.reshape(height, -1).tolist()
    (line,) = lines(live)
    assert (line["kind"], line["name"], line["step"], line["type"]) == ("image", "x", 3, "image/png")


def test_files_and_bytes_are_kept_as_they_are(live: Path, tmp_path: Path) -> None:
    png, jpeg = images.encode(SMALL, 1 << 20)[0], b"\xff\xd8\xff\xe0 whatever"
    (tmp_path / "a.png").write_bytes(png)
    for image in (str(tmp_path / "a.png"), tmp_path / "a.png", png, bytearray(png), jpeg):
        dstui.log_image("x", image)
        assert content(live) == (jpeg if image is jpeg else png)
    assert [line["type"] for line in lines(live)] == ["image/png"] * 4 + ["image/jpeg"]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((2, 3, 3, 3)), "has the shape (2, 3, 3, 3)"),
        (torch.zeros(3, 3, 7, 2), "has the shape"),
        (np.zeros((0, 3)), "has the shape"),
        (SMALL.astype(float), "has values from 0 to 230, and floats of an image go from 0 to 1"),
        (np.array([[256]]), "go from 0 to 255"),
        (np.array([["a"]]), "an image holds numbers"),
        (np.broadcast_to(np.uint8(0), (10_000, 10_000)), "10,000 x 10,000 pixels"),
        ("nowhere.png", "cannot be read: No such file"),
        ("/dev/zero", "is a path to something that is no file"),
        (b"GIF89a", "neither a PNG nor a JPEG"),
        (object(), "is of type object"),
        ([[1, 2], [3]], "different lengths"),
        (None, "is of type NoneType"),
    ],
    ids="batch tensor empty unit large-int text huge missing device gif object ragged none".split(),
)
def test_what_is_no_image_is_refused_with_a_sentence(
    live: Path, capsys: pytest.CaptureFixture[str], image: Any, said: str
) -> None:
    dstui.log_image("x", image)
    dstui.log_image("x", image)
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (live / "media").exists()


def test_a_histogram_is_the_same_from_an_array_and_from_numbers() -> None:
    found = [1.0, 2.5, 2.5, 4.0, math.nan, math.inf, math.inf, -math.inf]
    plain = media.histogram_of(found, 3)
    assert plain == media.histogram_of(np.array(found), 3) == media.histogram_of(torch.tensor(found), 3)
    assert plain["edges"] == [1.0, 2.0, 3.0, 4.0]
    assert plain["counts"] == [1, 2, 1]
    assert [plain[key] for key in ("count", "min", "max", "nan", "infinity", "minus_infinity")] == [
        4,
        1.0,
        4.0,
        1,
        2,
        1,
    ]


@pytest.mark.parametrize("kind", [list, np.array], ids=["list", "array"])
def test_histograms_of_extremes_count_every_value(kind: Any) -> None:
    for found in ([-1.7e308, 1.7e308, 0.0], [5e-324, 0.0], [3, 3], [True, False], [[1, 2], [3, 4]]):
        histogram = media.histogram_of(kind(found), 7)
        assert sum(histogram["counts"]) == histogram["count"] == np.size(found)
        assert len(histogram["edges"]) == len(histogram["counts"]) + 1
        assert all(map(math.isfinite, histogram["edges"]))
    assert media.histogram_of(kind([math.nan]), 7)["edges"] == []


def test_what_is_no_histogram_is_refused(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dstui.log_histogram("a", ["1"])
    dstui.log_histogram("b", np.array([1 + 2j]))
    dstui.log_histogram("c", [1], bins=0)
    dstui.log_histogram("d", 5)
    assert capsys.readouterr().err.count("(said once)") == 4
    assert not (live / "media").exists()


def test_tables_of_dicts_lists_and_arrays(live: Path) -> None:
    dstui.log_table("x", [{"a": 1, "b": np.float32(0.5)}, {"b": math.nan, "c": "t"}])
    assert json.loads(content(live)) == {"columns": ["a", "b", "c"], "rows": [[1, 0.5, None], [None, "NaN", "t"]]}
    dstui.log_table("x", [(1, None), (2,)], columns=["n", "m"])
    assert json.loads(content(live)) == {"columns": ["n", "m"], "rows": [[1, None], [2, None]]}
    dstui.log_table("x", np.eye(2))
    assert json.loads(content(live)) == {"columns": ["0", "1"], "rows": [[1.0, 0.0], [0.0, 1.0]]}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[0]] * 10_001, "has 10,001 rows, and a table has at most 10,000"),
        ([[0] * 257], "has 257 columns"),
        ([["x" * 5_000_000]], "is a table of 5,000"),
        ("text", "a table is a list of dicts or of lists"),
        ([5], "has a row of type int"),
    ],
    ids=["rows", "columns", "bytes", "text", "cells"],
)
def test_tables_too_large_and_others_are_refused(
    live: Path, capsys: pytest.CaptureFixture[str], rows: Any, said: str
) -> None:
    dstui.log_table("x", rows)
    assert said in capsys.readouterr().err
    assert not (live / "media").exists()


@pytest.mark.parametrize("name", ["", "x" * 201, 5, None])
def test_a_name_that_is_none_is_refused(live: Path, capsys: pytest.CaptureFixture[str], name: Any) -> None:
    dstui.log_text(name, "text")
    assert "is no name" in capsys.readouterr().err
    assert not (live / "media").exists()


def test_text_of_any_characters_is_kept_once(live: Path) -> None:
    dstui.log_text("a\n\x1b[31m", "h\xe9\ud800", step=1)
    dstui.log_text("b", "h\xe9?")
    first, second = lines(live)
    assert first["sha256"] == second["sha256"]
    assert first["name"] == "a\n\x1b[31m"
    assert content(live) == "h\xe9?".encode()


def test_an_artifact_is_a_copy_and_the_last_of_its_name_counts(live: Path, tmp_path: Path) -> None:
    source = tmp_path / "model.pt"
    for text in (b"first", b"second"):
        source.write_bytes(text)
        dstui.log_artifact(source)
    source.write_bytes(b"third")
    first, second = ((line["name"], *line["files"]) for line in lines(live))
    assert first[0] == second[0] == "model.pt"
    assert not (live / "media" / first[1]["file"]).exists()
    assert (live / "media" / second[1]["file"]).read_bytes() == b"second"


def test_a_folder_is_kept_without_what_is_no_file(live: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "inner" / "b").write_text("bb")
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(folder / "a")
    (folder / "around").symlink_to(folder)
    dstui.log_artifact(folder, name="m")
    (line,) = lines(live)
    assert [(part["path"], part["size"]) for part in line["files"]] == [("a", 1), ("link", 1), ("inner/b", 2)]


def test_artifacts_that_cannot_be_kept_are_refused(
    live: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(1_001):
        (many / str(number)).touch()
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path in (many, tmp_path / "empty", tmp_path / "pipe", tmp_path / "nowhere"):
        dstui.log_artifact(path)
    dstui.log_artifact(many / "1", name="../x")
    err = capsys.readouterr().err
    for said in ("over 1,000 files", "folder without a file", "neither a file nor a folder", "No such file", "no name"):
        assert sum("a name that is none" in line or said in line for line in err.splitlines()) >= 1, said
    assert [path for path in (live / "media").glob("*") if path.is_file()] == []


def test_a_file_of_three_gigabytes_does_not_pass_through_memory(live: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    with path.open("wb") as file:
        file.truncate(3 << 30)
        file.seek(1 << 30)
        file.write(b"middle")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dstui.log_artifact(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    copy = live / "media" / lines(live)[-1]["files"][0]["file"]
    about = copy.stat()
    assert about.st_size == 3 << 30
    assert about.st_ino != path.stat().st_ino
    with copy.open("rb") as file:
        file.seek((1 << 30) - 2)
        assert file.read(10) == b"\0\0middle\0\0"


WITHOUT_LIBRARIES = """
import os, sys
sys.path.insert(0, sys.argv[1])
import dstui
dstui.log_image("image", [[0, 255], [255, 0]])
dstui.log_histogram("histogram", [1, 2, float("nan")])
dstui.log_table("table", [{"a": 1}])
dstui.log_text("text", "t")
dstui.log_artifact(dstui.__file__, name="a")
if os.fork() == 0:
    dstui.log_text("child", "of a fork")
    os._exit(0)
os.wait()
assert "numpy" not in sys.modules
"""


def test_without_any_library_in_two_processes_of_a_rank(live: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", WITHOUT_LIBRARIES, str(ROOT)],
        env={**os.environ, "RANK": "3"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = lines(live)
    assert {line["name"] for line in found} == {"image", "histogram", "table", "text", "a", "child"}
    assert {line["rank"] for line in found if "rank" in line} == {3}
    assert len(list((live / "media").glob("3-*.jsonl"))) == 2


def test_a_run_that_is_gone_is_not_made_again(live: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dstui.log_text("x", "t")
    (live / "media").rename(live.parent / "gone")
    live.rename(live.parent / "committed")
    dstui.log_text("y", "t")
    assert "is not kept: No such file or directory" in capsys.readouterr().err
    assert not live.exists()


def test_checkpoint_dir_is_the_job_s_else_the_run_s(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path(dstui.checkpoint_dir())
    assert own == live.parents[1] / "checkpoints" / live.name
    assert own.stat().st_mode & 0o777 == own.parent.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("DSTUI_CHECKPOINT_DIR", str(tmp_path / "job"))
    assert dstui.checkpoint_dir() == str(tmp_path / "job")
    assert (tmp_path / "job").is_dir()


def test_outside_a_run_checkpoints_go_beside_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DSTUI_RUN_DIR")
    monkeypatch.chdir(tmp_path)
    assert dstui.should_stop() is False
    assert capsys.readouterr().err == ""
    assert dstui.checkpoint_dir() == str(tmp_path / "checkpoints")
    dstui.log_text("x", "t")
    assert capsys.readouterr().err.count("\n") == 1


def test_resumed_is_the_checkpoint_to_go_on_from(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSTUI_RESUME", "/somewhere/step-10")
    assert dstui.init().resumed == "/somewhere/step-10"
    monkeypatch.setattr(client, "_run", None)
    monkeypatch.setenv("DSTUI_RESUME", "")
    assert dstui.init().resumed is None


@pytest.mark.parametrize("how", ["preempted", "stopped"])
def test_should_stop_once_a_file_says_so(
    live: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, wait_until: Any
) -> None:
    monkeypatch.setattr(client, "_watch_termination", lambda: None)
    monkeypatch.setenv("DSTUI_PREEMPT_FILE", str(tmp_path / "preempt"))
    assert dstui.should_stop() is False
    (tmp_path / "preempt" if how == "preempted" else live / "stop").touch()
    wait_until(dstui.should_stop)
    (tmp_path / "preempt" if how == "preempted" else live / "stop").unlink()
    assert dstui.should_stop() is True


TERMINATED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import dstui
assert not dstui.should_stop()
if os.fork() == 0:
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(3)
print(os.wait()[1])
os.kill(os.getpid(), signal.SIGTERM)
print(dstui.should_stop())
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_should_stop_hears_sigterm_once_and_workers_die_of_it() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", TERMINATED, str(ROOT)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (-15, ["15", "True"], "")
