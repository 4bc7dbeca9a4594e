"""The data of a run: hashed once, in a fixed order, remembered until it changes, told from everything else opened."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from dstui.errors import LaunchError
from dstui.execution import hashing, inputs
from dstui.execution.hashing import HashCache, Stopped, hash_path
from dstui.execution.inputs import Input, OpenedFiles, Place

LONG_AGO = 1_700_000_000


def always() -> bool:
    return True


def old_file(path: Path, content: bytes) -> Path:
    """A file that was not changed a moment ago, so that its hash may be remembered."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def test_a_file_is_read_once_and_again_after_a_change(tmp_path: Path) -> None:
    path, cache = old_file(tmp_path / "data.bin", b"one"), HashCache(tmp_path / "cache")
    first = hash_path(path, cache, always)
    assert first.sha256 == hashlib.sha256(b"one").hexdigest()
    # Nothing may be read any more: each piece would ask.
    assert hash_path(path, HashCache(tmp_path / "cache"), lambda: False) == first
    old_file(path, b"two")
    with pytest.raises(Stopped):
        hash_path(path, HashCache(tmp_path / "cache"), lambda: False)
    assert hash_path(path, HashCache(tmp_path / "cache"), always).sha256 == hashlib.sha256(b"two").hexdigest()


def test_a_file_changed_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(b"one")
    hash_path(path, HashCache(tmp_path / "cache"), always)
    with pytest.raises(Stopped):
        hash_path(path, HashCache(tmp_path / "cache"), lambda: False)


def test_a_folder_is_the_hash_of_its_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name, content in (("b.txt", b"bb"), ("a/z.txt", b"z"), ("a.txt", b"a")):
        old_file(folder / name, content)
    (folder / "link.txt").symlink_to("a.txt")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "pipe")

    def line(name: str, content: bytes) -> bytes:
        return f"{name}\0{len(content)}\0{hashlib.sha256(content).hexdigest()}\n".encode()

    expected = (
        line("a.txt", b"a") + line("b.txt", b"bb") + line("link.txt", b"a") + b"up\0link\0..\n" + line("a/z.txt", b"z")
    )
    found = hash_path(folder, HashCache(tmp_path / "cache"), always)
    assert (found.sha256, found.files, found.size) == (hashlib.sha256(expected).hexdigest(), 4, 5)


def test_a_folder_is_remembered_until_one_file_changes(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for number in range(20):
        old_file(folder / str(number % 3) / str(number), bytes([number]))
    first = hash_path(folder, HashCache(tmp_path / "cache"), always)
    pieces: list[int] = []

    def count() -> bool:
        pieces.append(1)
        return True

    assert hash_path(folder, HashCache(tmp_path / "cache"), count) == first
    assert len(pieces) <= 4  # One for each folder, none for a file.
    old_file(folder / "0" / "0", b"x")
    assert hash_path(folder, HashCache(tmp_path / "cache"), always).sha256 != first.sha256


def test_a_pipe_or_device_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="neither"):
            hash_path(path, HashCache(tmp_path / "cache"), always)


def test_a_damaged_cache_costs_a_reading_only(tmp_path: Path) -> None:
    path = old_file(tmp_path / "data.bin", b"one")
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache" / "hashes").write_bytes(b"\xff" * 97 + b"\nshort\n" + b"a" * 97 + b"\n")
    assert hash_path(path, HashCache(tmp_path / "cache"), always).sha256 == hashlib.sha256(b"one").hexdigest()


def test_a_cache_keeps_its_newer_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "MAX_LINES", 10)
    cache = HashCache(tmp_path / "cache")
    for number in range(11):
        cache.put(f"{number:032x}", f"{number:064x}")
    again = HashCache(tmp_path / "cache")
    assert (again.get(f"{10:032x}"), again.get(f"{2:032x}")) == (f"{10:064x}", None)
    assert len((tmp_path / "cache" / "hashes").read_text().splitlines()) == 5


def test_what_was_named_and_is_not_there_is_an_error_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"`--data` names `missing\.csv`"):
        inputs.given([("missing.csv", "option")], tmp_path, tmp_path)
    with pytest.raises(LaunchError, match=r"setting `data.paths` names"):
        inputs.given([("missing.csv", "setting")], tmp_path, tmp_path)


def test_paths_are_shown_from_the_project_and_each_once(tmp_path: Path) -> None:
    project, outside = tmp_path / "project", old_file(tmp_path / "outside.csv", b"")
    old_file(project / "sub" / "in.csv", b"")
    named = [
        ("in.csv", "option"),
        ("./in.csv", "option"),
        (str(outside), "option"),
        ("s3://bucket/x", "option"),
        ("sub", "setting"),
    ]
    found = inputs.given(named, project / "sub", project)
    assert [(item.path, item.kind) for item in found] == [
        ("sub/in.csv", "file"), (str(outside), "file"), ("s3://bucket/x", "url"), ("sub", "folder"),
    ]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A run that began long after every file of `old_file` was written."""
    return Place(
        project=tmp_path / "project",
        store=tmp_path / "project" / ".git" / "ds",
        packages=[f"{tmp_path}/venv/lib/"],
        code=lambda: ["train.py"],
        started=LONG_AGO + 1_000,
        hash_max_bytes=1 << 20,
    )


def opened(tmp_path: Path, place: Place, *paths: Path | str) -> OpenedFiles:
    lines = [json.dumps({"path": str(path)}) for path in paths]
    (tmp_path / "opened.jsonl").write_text("\n".join(lines) + "\n")
    return OpenedFiles(tmp_path / "opened.jsonl", place)


def test_opened_files_are_data_when_they_are_neither_code_nor_python_nor_ours(tmp_path: Path, place: Place) -> None:
    project = tmp_path / "project"
    data, outside = old_file(project / "data.csv", b"d"), old_file(tmp_path / "big.bin", b"b")
    others: list[Path | str] = [
        old_file(project / "train.py", b""),
        old_file(tmp_path / "venv" / "lib" / "x.json", b""),
        old_file(project / ".git" / "ds" / "hashes", b""),
        old_file(project / "env" / "site-packages" / "a.txt", b""),
        "/etc/hostname",
        "/proc/self/status",
        project / "gone.csv",
        project,
        "relative.csv",
    ]
    found = opened(tmp_path, place, data, *others, outside, data).new([])
    assert [item.path for item in found] == ["data.csv", str(outside)]


def test_what_the_run_wrote_itself_or_is_too_large_has_no_hash(tmp_path: Path, place: Place) -> None:
    written, large = tmp_path / "project" / "out.csv", old_file(tmp_path / "large", b"x" * ((1 << 20) + 1))
    old_file(written, b"w")
    os.utime(written, (place.started + 5, place.started + 5))
    found = opened(tmp_path, place, written, large).new([])
    inputs.hash_inputs(found, place.project, HashCache(tmp_path / "cache"), always)
    assert [item.sha256 for item in found] == [None, None]
    assert [item.reason for item in found] == [
        inputs.WRITTEN,
        "over 1,048,576 bytes (`data.hash_max`); name it by `--data`",
    ]


def test_a_file_below_a_named_folder_is_not_listed_again(tmp_path: Path, place: Place) -> None:
    inside = old_file(tmp_path / "project" / "data" / "a.csv", b"")
    known = inputs.given([("data", "option")], place.project, place.project)
    assert opened(tmp_path, place, inside).new(known) == []


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[1]", b'{"path": 3}', b'{"path": "/a\\u0000b"}', b"\xff", b'{"path": "' + b"x" * 9_000]
)
def test_a_line_that_is_no_path_is_passed_over(line: bytes, tmp_path: Path, place: Place) -> None:
    good = old_file(tmp_path / "project" / "a.csv", b"")
    (tmp_path / "opened.jsonl").write_bytes(line + b"\n" + json.dumps({"path": str(good)}).encode() + b"\n{torn")
    found = OpenedFiles(tmp_path / "opened.jsonl", place)
    assert [item.path for item in found.new([])] == ["a.csv"]
    assert found.new([]) == []


def test_of_very_many_opened_files_the_rest_is_counted(
    tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MAX_OPENED", 5)
    paths = [old_file(tmp_path / "project" / f"{number}.csv", b"") for number in range(8)]
    found = opened(tmp_path, place, *paths)
    assert (len(found.new([])), found.more) == (5, 3)


def test_a_list_too_long_for_its_readers_is_cut_and_says_so() -> None:
    data = inputs.to_json([Input(f"{number}" + "x" * 300, "opened", "file") for number in range(4_096)], more=2)
    assert len(json.dumps(data)) < 1 << 20
    assert data["more"] + len(data["inputs"]) == 4_098


def test_a_change_while_the_command_ran_makes_it_unstable(tmp_path: Path) -> None:
    path = old_file(tmp_path / "a.csv", b"1")
    found = inputs.given([("a.csv", "option")], tmp_path, tmp_path)
    inputs.hash_inputs(found, tmp_path, HashCache(tmp_path / "cache"), always)
    inputs.check_again(found, tmp_path, always)
    assert not found[0].unstable
    old_file(path, b"22")
    inputs.check_again(found, tmp_path, always)
    assert found[0].unstable
