"""Objects written by us are git's own, and nobody sees one before it is whole and synced."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dstui_store.errors import StoreError
from dstui_store.objects import (
    EXECUTABLE,
    FOLDER,
    LINK,
    REGULAR,
    Staging,
    TreeEntry,
    object_name,
    sweep_stagings,
    tree_content,
)
from tests.store.git_projects import git

AUTHOR = "Someone <someone@dstui>"


@pytest.fixture(params=["sha1", "sha256"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A bare repository of each object format; its name is the format's."""
    path = tmp_path / str(request.param)
    git(tmp_path, "init", "-q", "--bare", f"--object-format={request.param}", str(path))
    (tmp_path / "quarantine").mkdir()
    return path


@pytest.fixture
def staging(repository: Path) -> Iterator[Staging]:
    with Staging(repository.parent / "quarantine", repository / "objects", repository.name) as opened:
        yield opened


def test_ids_of_blobs_are_those_of_git(repository: Path) -> None:
    for content in (b"", b"\n", b"text\r\n", bytes(range(256)), b"x" * 3_000_000):
        theirs = git(repository, "hash-object", "--stdin", "--no-filters", stdin=content).decode().strip()
        assert object_name("blob", content, repository.name) == theirs


def test_a_published_blob_reads_back_with_git(repository: Path, staging: Staging) -> None:
    contents = [b"", b"one", os.urandom(2_000_000), b"\0" * 70_000]
    names = [staging.blob(content) for content in contents]
    staging.publish()
    assert [git(repository, "cat-file", "blob", name) for name in names] == contents


def test_a_tree_is_sorted_as_git_sorts_it(repository: Path, staging: Staging) -> None:
    blob = staging.blob(b"x")
    inner = staging.tree([TreeEntry(REGULAR, "in", blob)])
    names = ["a", "a.b", "a0", "a-", "b", "B", "\u00e9", "\udcff", "name\nwith\tthese", '"quoted"', "z" * 300]
    entries = [TreeEntry(REGULAR, name, blob) for name in names]
    entries += [TreeEntry(FOLDER, "a.c", inner), TreeEntry(FOLDER, "b0", inner), TreeEntry(FOLDER, "a0b", inner)]
    entries += [TreeEntry(EXECUTABLE, "run", blob), TreeEntry(LINK, "link", blob)]
    tree = staging.tree(reversed(entries))
    staging.publish()
    kinds = {FOLDER: b"tree"}
    lines = [
        b"%06o %s %s\t%s"
        % (entry.mode, kinds.get(entry.mode, b"blob"), entry.object_id.encode(), os.fsencode(entry.name))
        for entry in entries
    ]
    assert git(repository, "mktree", "-z", stdin=b"\0".join(lines) + b"\0").decode().strip() == tree
    git(repository, "fsck", "--strict", "--no-dangling", tree)


@given(
    st.sets(st.text(alphabet="ab./0-", min_size=1, max_size=6).filter(lambda name: "/" not in name), max_size=12),
    st.data(),
)
@settings(max_examples=200, deadline=None)
def test_the_order_in_a_tree_is_that_of_full_paths(names: set[str], data: st.DataObject) -> None:
    folders = {name for name in names if data.draw(st.booleans())}
    entries = [TreeEntry(FOLDER if name in folders else REGULAR, name, "00" * 20) for name in names]
    content = tree_content(entries)
    order = sorted(names, key=lambda name: f"{name}/" if name in folders else name)
    positions = [content.index(b" %s\0" % name.encode()) for name in order]
    assert positions == sorted(positions)


def test_a_commit_with_hostile_words_is_sound_and_says_what_it_should(repository: Path, staging: Staging) -> None:
    tree = staging.tree([])
    first = staging.commit(tree, [], "title\n\nbody\n", AUTHOR, 0)
    words = "nul \0 in it, a lone \udcff, no newline at the end, tree 0000\nparent 0000"
    second = staging.commit(tree, [first, first], words, AUTHOR, 1_790_000_000)
    staging.publish()
    git(repository, "fsck", "--no-dangling", second)
    text = git(repository, "cat-file", "commit", second)
    head, _, body = text.partition(b"\n\n")
    assert head.count(b"\n") == 4
    assert b"\0" not in body
    assert body.endswith(b"tree 0000\nparent 0000")
    assert git(repository, "rev-list", "--count", second).strip() == b"2"


def test_nothing_is_seen_before_it_is_published(repository: Path, staging: Staging) -> None:
    name = staging.blob(b"not yet")
    assert subprocess.run(["git", "cat-file", "-e", name], cwd=repository, check=False).returncode != 0
    staging.publish()
    assert subprocess.run(["git", "cat-file", "-e", name], cwd=repository, check=False).returncode == 0


def test_what_was_published_stays_when_the_staging_goes(repository: Path, staging: Staging) -> None:
    name = staging.blob(b"stays")
    staging.publish()
    left = staging.blob(b"never published")
    staging.close()
    assert git(repository, "cat-file", "blob", name) == b"stays"
    assert subprocess.run(["git", "cat-file", "-e", left], cwd=repository, check=False).returncode != 0
    assert os.listdir(repository.parent / "quarantine") == []


def test_published_objects_cannot_be_written_by_mistake_nor_read_by_others(repository: Path, staging: Staging) -> None:
    name = staging.blob(b"mode")
    staging.publish()
    path = repository / "objects" / name[:2] / name[2:]
    assert path.stat().st_mode & 0o777 == 0o400


def test_an_empty_object_left_by_a_power_cut_is_written_anew(repository: Path, staging: Staging) -> None:
    content = b"what git believes to be there"
    name = object_name("blob", content, repository.name)
    path = repository / "objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.touch()
    # The trap: git itself answers the id, and leaves the empty file.
    assert git(repository, "hash-object", "--stdin", stdin=content).decode().strip() == name
    assert staging.blob(content) == name
    staging.publish()
    assert git(repository, "cat-file", "blob", name) == content


def test_an_object_of_zeros_left_by_a_power_cut_is_written_anew(repository: Path, staging: Staging) -> None:
    content = b"blocks that never reached the disk" * 100
    name = object_name("blob", content, repository.name)
    path = repository / "objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(512))
    staging.blob(content)
    staging.publish()
    assert git(repository, "cat-file", "blob", name) == content


def test_without_hard_links_objects_are_copied_in(
    repository: Path, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    name = staging.blob(b"copied")
    staging.publish()
    assert git(repository, "cat-file", "blob", name) == b"copied"
    assert not list((repository / "objects").rglob("tmp_obj_*"))


def test_a_disk_that_refuses_is_one_error_and_nothing_counts_as_published(
    repository: Path, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = staging.blob(b"refused")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(StoreError, match="No space left on device"):
            staging.publish()
    assert subprocess.run(["git", "cat-file", "-e", name], cwd=repository, check=False).returncode != 0
    staging.publish()
    assert git(repository, "cat-file", "blob", name) == b"refused"


def test_a_full_disk_while_writing_is_the_same_error(staging: Staging) -> None:
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(StoreError, match="could not be written"):
            staging.blob(os.urandom(50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_sweep_takes_the_folders_of_the_dead_only(repository: Path, staging: Staging) -> None:
    parent = repository.parent / "quarantine"
    name = staging.blob(b"in use")
    dead = parent / "0123456789abcdef"
    (dead / "aa").mkdir(parents=True)
    (dead / "aa" / "bb").write_bytes(b"left")
    sweep_stagings(parent)
    assert os.listdir(parent) == [staging.path.name]
    staging.publish()
    assert git(repository, "cat-file", "blob", name) == b"in use"


def test_a_sweep_does_not_follow_a_link(repository: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    (repository.parent / "quarantine" / "planted").symlink_to(precious)
    sweep_stagings(repository.parent / "quarantine")
    assert (precious / "file").read_text() == "keep"


@pytest.mark.parametrize("moment", ["after it is made", "before it is locked"])
def test_a_folder_being_made_is_not_lost_to_a_sweep(
    repository: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    parent = repository.parent / "quarantine"
    holder, name = (os, "mkdir") if moment == "after it is made" else (fcntl, "flock")
    real = getattr(holder, name)

    def sweep_meanwhile(*arguments: Any, **options: Any) -> None:
        monkeypatch.setattr(holder, name, real)
        if name == "mkdir":
            real(*arguments, **options)
        sweep_stagings(parent)
        if name == "flock":
            real(*arguments, **options)

    monkeypatch.setattr(holder, name, sweep_meanwhile)
    with Staging(parent, repository / "objects", repository.name) as staging:
        blob = staging.blob(b"kept")
        sweep_stagings(parent)
        staging.publish()
    assert git(repository, "cat-file", "blob", blob) == b"kept"


def test_the_owner_s_lock_lasts_as_long_as_its_folder(repository: Path, staging: Staging) -> None:
    descriptor = os.open(staging.path, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def test_two_threads_with_a_staging_each_write_the_same_object(repository: Path) -> None:
    def write() -> None:
        with Staging(repository.parent / "quarantine", repository / "objects", repository.name) as staging:
            for number in range(30):
                staging.blob(b"%d" % number)
            staging.publish()

    threads: list[threading.Thread] = [threading.Thread(target=write) for _ in range(4)]
    run_all(threads)
    assert git(repository, "count-objects").split()[0] == b"30"
    git(repository, "fsck", "--full", "--no-dangling")


def run_all(threads: list[threading.Thread]) -> None:
    failures: list[BaseException] = []
    hook = threading.excepthook

    def note(arguments: threading.ExceptHookArgs) -> None:
        failures.append(arguments.exc_value or RuntimeError("unknown"))

    threading.excepthook = note
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = hook
    assert failures == []
