"""What a script kept is in the commit as it was, without secrets; hostile lists lead nowhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dstui.inside.media import MediaWriter
from dstui_store import DamagedError, LimitError, Masker, Store, StoreError
from tests.store.ended_runs import begun_run, dead_run, ended_run
from tests.store.git_projects import fsck

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    with Store.open(project, create=True) as opened:
        yield opened


def kept_run(store: Store, keep: Callable[[MediaWriter, Path], None], make: Callable[[Store], str] = ended_run) -> str:
    """A run that has ended, whose script kept what `keep` says; its live folder is still there."""
    run = make(store)
    folder = store.layout.live / run
    keep(MediaWriter(str(folder), 0), folder)
    return run


def by_name(store: Store, run: str) -> dict[str, bytes]:
    return {item.name: store.media_content(run, item) for item in store.media(run)}


def test_all_kinds_are_read_back_live_and_committed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "folder" / "in").mkdir(parents=True)
    (tmp_path / "folder" / "in" / "b").write_bytes(b"bytes")
    (tmp_path / "folder" / "a").write_bytes(b"")

    def keep(media: MediaWriter, _: Path) -> None:
        media.image("image", PNG + b"small", 1)
        media.image("large", PNG + bytes(100_000), 2)
        media.text("text", "line\n\x1b[31mred", None)
        media.text("again", "line\n\x1b[31mred", None)
        media.histogram("h", [1, 2], 3, 2)
        media.table("t", [[1]], None, 4)
        media.artifact(str(tmp_path / "folder"), None)

    run = kept_run(store, keep)
    before = by_name(store, run)
    names = [(file.name, file.path, file.size) for file in store.artifacts(run)]
    assert names == [("folder", "a", 0), ("folder", "in/b", 5)]
    assert store.artifact_file(run, store.artifacts(run)[1]).read_bytes() == b"bytes"
    record = store.commit_ended(run)
    assert record is not None
    assert not (store.layout.live / run).exists()
    assert by_name(store, run) == before
    assert [(item.name, item.kind, item.step) for item in store.media(run)] == [
        ("image", "image", 1),
        ("large", "image", 2),
        ("text", "text", None),
        ("again", "text", None),
        ("h", "histogram", 3),
        ("t", "table", 4),
    ]
    assert [(file.name, file.path, file.size) for file in store.artifacts(run)] == names
    kept = store.artifact_file(run, store.artifacts(run)[1])
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (b"bytes", 0o400)
    assert {"media.bin", "media.json", "artifacts.json"} <= set(store.entries(run))
    assert len(store.blob(run, "media.bin")) < 1_000
    assert store.log(run) == b"step 0 loss=1.0\n"
    assert fsck(store) == ""


def test_what_was_kept_before_a_kill_is_committed(store: Store) -> None:
    def keep(media: MediaWriter, folder: Path) -> None:
        media.text("before", "the kill", 1)
        # A copy that was cut short, and half a line.
        (folder / "media" / "file-1-1").write_bytes(b"half")
        with (folder / "media" / "0-77.jsonl").open("wb") as file:
            file.write(b'{"kind": "text", "name": "half')

    run = kept_run(store, keep, make=dead_run)
    (record,) = store.recover()
    assert (record.id, record.state) == (run, "lost")
    assert by_name(store, run) == {"before": b"the kill"}
    assert store.artifacts(run) == []


def test_secrets_are_masked_in_text_tables_and_names(store: Store) -> None:
    secret = 'hunter2"-\u00e9-0123456789'

    def keep(media: MediaWriter, _: Path) -> None:
        media.text(f"n {secret}", f"key: {secret}\n", None)
        media.table("table", [{"key": secret}], None, None)

    run = kept_run(store, keep)
    assert store.commit_ended(run, Masker({"API_KEY": secret})) is not None
    found = by_name(store, run)
    assert found["n <secret:API_KEY>"] == b"key: <secret:API_KEY>\n"
    assert json.loads(found["table"])["rows"] == [["<secret:API_KEY>"]]
    assert b"hunter2" not in store.blob(run, "media.bin") + store.blob(run, "media.json")


def test_a_commit_that_was_cut_short_finds_every_file_again(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"artifact")
    run = kept_run(store, lambda media, _: media.artifact(str(tmp_path / "a"), None))
    folder = store.layout.live / run
    shutil.copytree(folder, tmp_path / "saved")
    assert store.commit_ended(run) is not None
    ref = f"refs/ds/p/{store.writer()}"
    store.git.run("update-ref", "-d", ref)
    (tmp_path / "saved").rename(folder)
    store.index.sync()
    assert store.commit_ended(run) is not None
    (file,) = store.artifacts(run)
    assert store.artifact_file(run, file).read_bytes() == b"artifact"


def test_no_more_than_two_mebibytes_go_into_the_commit(store: Store) -> None:
    def keep(media: MediaWriter, _: Path) -> None:
        for number in range(40):
            media.image(f"image {number}", PNG + os.urandom(65_000), number)

    run = kept_run(store, keep)
    before = by_name(store, run)
    assert store.commit_ended(run) is not None
    assert len(store.blob(run, "media.bin")) <= 2 << 20
    assert by_name(store, run) == before
    assert {item.offset is None for item in store.media(run)} == {True, False}


def test_bytes_that_are_gone_or_others_are_named(store: Store) -> None:
    def keep(media: MediaWriter, _: Path) -> None:
        media.image("large", PNG + bytes(100_000), 2)

    run = kept_run(store, keep)
    store.commit_ended(run)
    (item,) = store.media(run)
    path = store.layout.cas / item.sha256[:2] / item.sha256
    path.write_bytes(b"other")
    with pytest.raises(DamagedError, match="not in this store"):
        store.media_content(run, item)


LINE = {"kind": "text", "name": "n", "step": 1, "time": 1.0, "rank": 0, "type": "text/plain", "size": 4}
DIGEST = hashlib.sha256(b"good").hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"name": 5},
        {"name": ""},
        {"name": "x" * 10_000},
        {"kind": "program"},
        {"type": "text/html"},
        {"sha256": "../../../etc/passwd"},
        {"sha256": DIGEST + "\n"},
        {"step": 2**70},
        {"step": 0.5},
        {"time": 1e300},
        {"time": "NaN"},
        {"size": -1},
        {"size": 1 << 40},
        {"rank": None},
        {"offset": -1},
        {"offset": 1 << 40},
    ],
    ids=str,
)
def test_hostile_lines_are_passed_over_live_and_refused_in_a_commit(store: Store, change: dict[str, Any]) -> None:
    from dstui_store import media

    live = begun_run(store)
    folder = live.folder / "media"
    folder.mkdir()
    (folder / DIGEST).write_bytes(b"good")
    lines = [{**LINE, "sha256": DIGEST, **change}, {**LINE, "sha256": DIGEST, "name": "good"}]
    (folder / "0-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if "offset" not in change:  # A live run has none.
        assert [item.name for item in store.media(live.id)] == ["good"]
    with pytest.raises(StoreError):
        media.parse([{**LINE, "sha256": DIGEST, "offset": 0, **change}])
    os.close(live.alive)


def test_more_media_than_a_reader_admits_are_refused() -> None:
    from dstui_store import media

    with pytest.raises(LimitError):
        media.parse([{}] * 4_001)
    with pytest.raises(DamagedError):
        media.parse({"a": 1})


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/b/", ".git/config", "a/.GIT/x", "a\0b", "\ud800"],
)
def test_artifacts_have_no_name_that_leads_elsewhere(path: str) -> None:
    from dstui_store import media

    lines = [
        {"path": f"artifacts/{path}", "size": 4, "sha256": DIGEST, "media": "x"},
        {"path": "artifacts/good/in/file", "size": 4, "sha256": DIGEST, "media": "x"},
        {"path": "log", "size": 4, "sha256": DIGEST, "media": "x"},
    ]
    assert [(file.name, file.path) for file in media.parse_artifacts([*lines, 5, None, {}])] == [("good", "in/file")]


def test_links_in_a_live_folder_are_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"good")

    def keep(media: MediaWriter, folder: Path) -> None:
        media.text("honest", "text", 1)
        (folder / "media" / DIGEST).symlink_to(tmp_path / "secret")
        (folder / "media" / "file-1-1").symlink_to(tmp_path / "secret")
        os.mkfifo(folder / "media" / "file-1-2")
        files = [{"path": f"f{number}", "size": 4, "file": f"file-1-{number}"} for number in (1, 2)]
        lines = [{**LINE, "sha256": DIGEST}, {"kind": "artifact", "name": "a", "time": 1.0, "files": files}]
        (folder / "media" / "0-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    run = kept_run(store, keep)
    assert store.commit_ended(run) is not None
    assert by_name(store, run) == {"honest": b"text"}
    assert store.artifacts(run) == []
    assert len(store.meta(run)["errors"]) == 3


def test_children_of_a_command_get_what_their_processes_kept(store: Store) -> None:
    from dstui.inside.journal import JournalWriter

    run = ended_run(store)
    folder = store.layout.live / run
    hello = [{"pid": pid, "ppid": 1, "argv": ["python", f"{pid}.py"], "time": 1_790_000_000.0} for pid in (11, 12)]
    (folder / "hello.jsonl").write_text("".join(json.dumps(line) + "\n" for line in hello))
    for pid in (11, 12):
        journal = JournalWriter(str(folder / "journal"), 0, str(pid))
        journal.log({"loss": 1.0}, 1)
        journal.close()
        media = MediaWriter(str(folder), 0)
        media.text("same", "in both", pid)
        media.text("own", f"of {pid}", pid)
        (folder / "media" / f"0-{os.getpid()}.jsonl").rename(folder / "media" / f"0-{pid}.jsonl")
    assert store.commit_ended(run) is not None
    children = [record for record in store.records() if record.parent_run == run]
    assert sorted(by_name(store, child.id)["own"] for child in children) == [b"of 11", b"of 12"]
    assert {by_name(store, child.id)["same"] for child in children} == {b"in both"}
    assert store.media(run) == []
