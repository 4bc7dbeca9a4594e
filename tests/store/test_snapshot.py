"""A snapshot is the work tree byte for byte: edited, new, deleted and odd files alike; what it leaves out it names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstui_store import Snapshot, Store, StoreError
from dstui_store import snapshot as snapshot_module
from dstui_store.snapshot import without_outputs
from tests.store.ended_runs import committed_run
from tests.store.git_projects import (
    commit_all,
    files_on_disk,
    fsck,
    git,
    store_git,
    stored_files,
    write_files,
)

MIB = 1 << 20


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    with Store.open(project, create=True) as opened:
        yield opened


def assert_whole(store: Store, snapshot: Snapshot, *, without: tuple[str, ...] = ()) -> None:
    """The stored tree equals the work tree, but for the named paths."""
    stored, expected = stored_files(store, snapshot.tree), files_on_disk(store.layout.project, without=without)
    assert sorted(stored) == sorted(expected)
    assert stored == expected


def reasons(snapshot: Snapshot) -> dict[str, str]:
    return {item.path: item.reason for item in snapshot.skipped}


def test_a_clean_project_is_stored_as_git_has_it(store: Store) -> None:
    snapshot = store.snapshot()
    project = store.layout.project
    assert snapshot.tree == git(project, "rev-parse", "HEAD^{tree}").decode().strip()
    assert snapshot.commit == git(project, "rev-parse", "HEAD").decode().strip()
    assert (snapshot.branch, snapshot.dirty, snapshot.edited, snapshot.added) == ("main", False, (), ())
    assert snapshot.skipped == ()
    assert_whole(store, snapshot)


def test_edited_new_deleted_and_changed_modes_are_stored_as_they_are(store: Store) -> None:
    project = store.layout.project
    write_files(project, {"keep.py": "1\n", "edit.py": "1\n", "gone.py": "1\n", "sub/run.sh": "#!/bin/sh\n"})
    commit_all(project)
    write_files(project, {"edit.py": "2\n", "new.py": "3\n", "sub/deeper/new.txt": "4\r\n"})
    (project / "gone.py").unlink()
    (project / "sub" / "run.sh").chmod(0o755)
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert snapshot.edited == ("edit.py", "gone.py", "sub/run.sh")
    assert snapshot.added == ("new.py", "sub/deeper/new.txt")
    assert snapshot.dirty


def test_links_are_stored_as_links_whatever_they_point_at(store: Store, tmp_path: Path) -> None:
    project = store.layout.project
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("not ours")
    (project / "inside").symlink_to("train.py")
    (project / "out").symlink_to(tmp_path / "outside" / "secret")
    (project / "folder").symlink_to(tmp_path / "outside")
    (project / "dangling").symlink_to("nowhere")
    (project / "loop").symlink_to("loop")
    (project / "self").symlink_to(".")
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert stored_files(store, snapshot.tree)[b"out"] == ("120000", os.fsencode(tmp_path / "outside" / "secret"))
    assert snapshot.skipped == ()


def test_a_tracked_link_that_was_turned_elsewhere_is_stored_as_it_is(store: Store) -> None:
    project = store.layout.project
    (project / "link").symlink_to("train.py")
    commit_all(project)
    (project / "link").unlink()
    (project / "link").symlink_to("README.md")
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert snapshot.edited == ("link",)


def test_names_that_need_quoting_are_stored_byte_for_byte(store: Store) -> None:
    project = os.fsencode(store.layout.project)
    names = [
        b"new\nline",
        b"tab\there",
        b'quo"te',
        b"back\\slash",
        b"sp ace ",
        b" leading",
        b"-dash",
        b"--option=x",
        b":colon",
        b":(glob)*",
        b"*star?[a]",
        b"#hash",
        b"!bang",
        b"$HOME",
        b"`id`",
        b"caf\xc3\xa9",
        b"latin1-\xe9",
        b"\xff\xfe\xfd",
        b"control-\x01\x1b[31m\x7f",
        b"x" * 255,
        b"\xf0\x9f\x92\xa9",
        b"0 blob",
        b"a" * 40,
        b"HEAD",
    ]
    for number, name in enumerate(names):
        with open(os.path.join(project, name), "wb") as file:
            file.write(b"%d" % number)
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    # The same again as tracked files, then edited ones.
    commit_all(store.layout.project)
    assert_whole(store, store.snapshot())
    for name in names:
        with open(os.path.join(project, name), "ab") as file:
            file.write(b" edited")
    edited = store.snapshot()
    assert_whole(store, edited)
    assert {os.fsencode(path) for path in edited.edited} == set(names)
    record = committed_run(store, edited)
    assert set(store.code_files(record.id)) >= {os.fsdecode(name) for name in names}


@pytest.mark.parametrize("name", [".GIT", ".Git", "git~1", ".git ", ".git.", ".git::$INDEX_ALLOCATION", ".g\u200cit"])
def test_a_name_that_other_systems_take_for_git_s_own_is_left_out_and_named(store: Store, name: str) -> None:
    write_files(store.layout.project, {f"{name}/config": "[core]\n", f"sub/{name}": "x\n", "new.py": "1\n"})
    snapshot = store.snapshot()
    assert_whole(store, snapshot, without=(name, f"sub/{name}"))
    assert set(reasons(snapshot)) == {f"{name}/config", f"sub/{name}"}
    assert snapshot.added == ("new.py",)


def test_tracked_files_that_no_reader_would_take_are_left_out_and_named(store: Store) -> None:
    project = store.layout.project
    long = "/".join(["d" * 200] * 6) + "/x.py"
    # Git on Linux tracks the first one; on a Mac it would be the git dir itself.
    write_files(project, {"sub/.g\u200cit/x": "1\n", "fine.py": "1\n"})
    make_long_path(project, long, b"1\n")
    commit_all(project)
    snapshot = store.snapshot()
    assert_whole(store, snapshot, without=("sub/.g\u200cit", long))
    assert set(reasons(snapshot)) == {"sub/.g\u200cit/x", long}
    record = committed_run(store, snapshot)
    assert "fine.py" in store.code_files(record.id)


def make_long_path(project: Path, name: str, content: bytes) -> None:
    *folders, file = name.split("/")
    here = os.open(project, os.O_RDONLY)
    for folder in folders:
        os.mkdir(folder, dir_fd=here)
        deeper = os.open(folder, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here)
    os.write(descriptor, content)
    os.close(descriptor)
    os.close(here)


def test_staged_changes_count_as_they_are_on_disk(store: Store) -> None:
    project = store.layout.project
    write_files(project, {"a.py": "committed\n", "b.py": "committed\n", "c.py": "committed\n"})
    commit_all(project)
    write_files(project, {"a.py": "staged\n", "b.py": "staged\n", "new.py": "staged\n"})
    git(project, "add", "-A")
    write_files(project, {"b.py": "on disk\n", "new.py": "on disk\n"})
    git(project, "rm", "-q", "--cached", "c.py")
    git(project, "mv", "README.md", "MOVED.md")
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    # `c.py` is in no index, but it is on disk and its bytes are those of HEAD.
    assert snapshot.edited == ("README.md", "a.py", "b.py")
    assert snapshot.added == ("MOVED.md", "new.py")


def test_a_file_staged_as_deleted_and_written_again_is_stored(store: Store) -> None:
    project = store.layout.project
    git(project, "rm", "-q", "train.py")
    write_files(project, {"train.py": "back again\n"})
    assert_whole(store, store.snapshot())


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_an_edit_that_the_user_hides_from_git_is_stored(store: Store, flag: str) -> None:
    project = store.layout.project
    git(project, "update-index", flag, "train.py")
    write_files(project, {"train.py": "hidden edit\n"})
    assert git(project, "status", "--porcelain") == b""
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert snapshot.edited == ("train.py",)


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_a_deletion_that_the_user_hides_from_git_is_stored(store: Store, flag: str) -> None:
    project = store.layout.project
    git(project, "update-index", flag, "train.py")
    (project / "train.py").unlink()
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert snapshot.edited == ("train.py",)


@pytest.mark.parametrize("sparse_index", [False, True], ids=["plain", "sparse index"])
def test_a_sparse_checkout_is_stored_as_far_as_it_is_on_disk(store: Store, sparse_index: bool) -> None:
    project = store.layout.project
    write_files(project, {"in/a.py": "1\n", "out/b.py": "2\n", "out/deep/c.py": "3\n"})
    commit_all(project)
    git(project, "sparse-checkout", "init", "--cone", *(["--sparse-index"] if sparse_index else []))
    git(project, "sparse-checkout", "set", "in")
    write_files(project, {"in/a.py": "edited\n"})
    assert not (project / "out").exists()
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert snapshot.skipped == ()


@pytest.mark.parametrize("content", ["", "x = 1\n"])
def test_a_file_that_is_only_intended_to_be_added_is_stored(store: Store, content: str) -> None:
    project = store.layout.project
    write_files(project, {"pkg/__init__.py": content})
    git(project, "add", "-N", "pkg/__init__.py")
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert snapshot.added == ("pkg/__init__.py",)
    assert snapshot.skipped == ()


def test_a_merge_that_stopped_is_stored_with_its_marks(store: Store) -> None:
    project = store.layout.project
    for branch, content in (("side", "side\n"), ("main", "main\n")):
        git(project, "checkout", "-q", "-B", branch, "main")
        write_files(project, {"train.py": content, f"only-{branch}.py": "1\n"})
        if branch == "side":
            git(project, "rm", "-q", "README.md")
        else:
            write_files(project, {"README.md": "edited here, deleted there\n"})
        commit_all(project)
    merge = subprocess.run(["git", "merge", "side"], cwd=project, capture_output=True, check=False)
    assert merge.returncode != 0
    assert b"UU train.py" in git(project, "status", "--porcelain")
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert b"<<<<<<<" in stored_files(store, snapshot.tree)[b"train.py"][1]
    (project / "train.py").unlink()
    assert_whole(store, store.snapshot())


def test_a_split_index_is_read_whole(store: Store) -> None:
    project = store.layout.project
    write_files(project, {f"f{number}.py": f"{number}\n" for number in range(30)})
    commit_all(project)
    git(project, "update-index", "--split-index")
    write_files(project, {"f3.py": "edited\n", "new.py": "1\n"})
    git(project, "add", "f3.py")
    before = {path.name: path.read_bytes() for path in (project / ".git").glob("*index*")}
    assert len(before) == 2
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert (snapshot.edited, snapshot.added) == (("f3.py",), ("new.py",))
    assert {path.name: path.read_bytes() for path in (project / ".git").glob("*index*")} == before


def test_shared_parts_of_an_index_do_not_pile_up(store: Store) -> None:
    project = store.layout.project
    git(project, "update-index", "--split-index")
    store.snapshot()
    old = store.layout.store_git / f"sharedindex.{'0' * 40}"
    old.touch()
    write_files(project, {"train.py": "edited\n"})
    assert_whole(store, store.snapshot())
    kept = {path.name for path in store.layout.store_git.glob("sharedindex.*")}
    assert kept == {path.name for path in (project / ".git").glob("sharedindex.*")}


def test_a_sha256_repository_is_stored_in_its_own_format(tmp_path: Path) -> None:
    folder = tmp_path / "modern"
    folder.mkdir()
    git(folder, "init", "-q", "--object-format=sha256")
    write_files(folder, {"train.py": "1\n", "old.py": "1\n"})
    commit_all(folder)
    write_files(folder, {"train.py": "2\n", "new.py": "3\n"})
    with Store.open(folder, create=True) as store:
        snapshot = store.snapshot()
        assert snapshot.tree is not None
        assert len(snapshot.tree) == 64
        assert_whole(store, snapshot)
        assert (snapshot.edited, snapshot.added) == (("train.py",), ("new.py",))
        record = committed_run(store, snapshot, metrics={"loss": [1.0, 0.5]})
        assert record.commit is not None
        assert len(record.commit) == 64
        assert [found.id for found in store.records()] == [record.id]
        assert fsck(store) == ""


def test_a_repository_without_a_commit_is_stored(tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    folder.mkdir()
    git(folder, "init", "-q")
    with Store.open(folder, create=True) as store:
        empty = store.snapshot()
        assert empty.tree == store.git.empty_tree
        assert (empty.commit, empty.branch) == (None, "main")
        write_files(folder, {"train.py": "1\n", "staged.py": "2\n"})
        git(folder, "add", "staged.py")
        snapshot = store.snapshot()
        assert_whole(store, snapshot)
        assert snapshot.added == ("staged.py", "train.py")


def test_without_git_every_file_is_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    write_files(folder, {"train.py": "1\n", "pkg/mod.py": "2\n", ".gitignore": "*.log\n", "out.log": "noise\n"})
    with Store.open(folder, create=True) as store:
        snapshot = store.snapshot()
        assert_whole(store, snapshot, without=("out.log",))
        assert (snapshot.commit, snapshot.branch) == (None, None)


def test_a_detached_head_has_a_commit_and_no_branch(store: Store) -> None:
    project = store.layout.project
    git(project, "checkout", "-q", "--detach")
    snapshot = store.snapshot()
    assert snapshot.commit == git(project, "rev-parse", "HEAD").decode().strip()
    assert snapshot.branch is None
    assert not snapshot.dirty


def test_a_branch_whose_ref_is_packed_is_found(store: Store) -> None:
    project = store.layout.project
    git(project, "checkout", "-q", "-b", "feature/deep/name")
    git(project, "pack-refs", "--all", "--prune")
    snapshot = store.snapshot()
    assert snapshot.branch == "feature/deep/name"
    assert snapshot.commit == git(project, "rev-parse", "HEAD").decode().strip()


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Another repository, with two commits."""
    folder = tmp_path / "library"
    folder.mkdir()
    git(folder, "init", "-q")
    for number in range(2):
        write_files(folder, {"lib.py": f"version = {number}\n"})
        commit_all(folder)
    return folder


def test_a_submodule_is_a_link_to_the_commit_that_was_checked_out(store: Store, library: Path) -> None:
    project = store.layout.project
    git(project, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "lib")
    commit_all(project)
    recorded = git(library, "rev-parse", "HEAD").decode().strip()
    clean = store.snapshot()
    assert clean.submodules == {"lib": recorded}
    assert clean.edited == clean.added == ()
    assert stored_files(store, clean.tree)[b"lib"] == ("160000", recorded.encode())
    git(project / "lib", "checkout", "-q", "HEAD~1")
    older = git(library, "rev-parse", "HEAD~1").decode().strip()
    moved = store.snapshot()
    assert moved.submodules == {"lib": older}
    assert stored_files(store, moved.tree)[b"lib"] == ("160000", older.encode())
    assert moved.edited == ("lib",)


def test_a_submodule_that_is_not_checked_out_keeps_the_recorded_commit(store: Store, library: Path) -> None:
    project = store.layout.project
    git(project, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "lib")
    commit_all(project)
    git(project, "submodule", "deinit", "-q", "-f", "lib")
    snapshot = store.snapshot()
    assert snapshot.submodules == {"lib": git(library, "rev-parse", "HEAD").decode().strip()}
    assert snapshot.edited == ()


def test_a_nested_repository_is_its_commit_and_never_its_files(store: Store, library: Path) -> None:
    project = store.layout.project
    shutil.copytree(library, project / "vendor" / "lib")
    (project / "fresh").mkdir()
    git(project / "fresh", "init", "-q")
    write_files(project, {"fresh/x.py": "1\n"})
    snapshot = store.snapshot()
    commit = git(library, "rev-parse", "HEAD").decode().strip()
    assert snapshot.submodules == {"vendor/lib": commit}
    stored = stored_files(store, snapshot.tree)
    assert stored[b"vendor/lib"] == ("160000", commit.encode())
    assert not any(path.startswith((b"vendor/lib/", b"fresh/")) for path in stored)
    assert "without a commit" in reasons(snapshot)["fresh"]
    record = committed_run(store, snapshot)
    assert "vendor/lib" not in store.code_files(record.id)
    assert store.code_entries(record.id)["vendor/lib"] == (0o160000, commit)


@pytest.mark.timeout(30)
def test_special_files_are_left_out_without_being_opened(store: Store) -> None:
    project = store.layout.project
    write_files(project, {"tracked": "1\n", "sub/tracked": "1\n"})
    commit_all(project)
    for name in ("tracked", "sub/tracked"):
        (project / name).unlink()
        os.mkfifo(project / name)
    os.mkfifo(project / "new-pipe")
    with contextless_socket(project / "socket"):
        snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert set(reasons(snapshot)) >= {"tracked", "sub/tracked"}
    assert set(reasons(snapshot).values()) == {"not a regular file"}


class contextless_socket:
    """A unix socket in the file system for as long as the block lasts."""

    def __init__(self, path: Path) -> None:
        import socket

        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> None:
        here = os.getcwd()
        # A socket's path has at most 108 bytes.
        os.chdir(self._path.parent)
        try:
            self._socket.bind(self._path.name)
        finally:
            os.chdir(here)

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def test_a_file_turned_into_a_folder_and_a_folder_into_a_file(store: Store) -> None:
    project = store.layout.project
    write_files(project, {"file": "1\n", "folder/a": "2\n", "folder/b": "3\n"})
    commit_all(project)
    (project / "file").unlink()
    shutil.rmtree(project / "folder")
    write_files(project, {"file/inside": "4\n", "folder": "5\n"})
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert snapshot.skipped == ()
    assert snapshot.edited == ("file", "folder/a", "folder/b")
    assert snapshot.added == ("file/inside", "folder")


def test_a_folder_turned_into_a_link_is_a_link_and_what_it_leads_to_is_not_read(store: Store, tmp_path: Path) -> None:
    project = store.layout.project
    write_files(project, {"data/a.txt": "ours\n", "data/b.txt": "ours\n"})
    commit_all(project)
    write_files(tmp_path, {"outside/a.txt": "theirs\n", "outside/b.txt": "ours\n"})
    shutil.rmtree(project / "data")
    (project / "data").symlink_to(tmp_path / "outside")
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert snapshot.edited == ("data/a.txt", "data/b.txt")
    assert snapshot.added == ("data",)


def test_files_that_may_not_be_read_are_named_and_the_rest_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = store.layout.project
    write_files(project, {"closed.py": "1\n", "open.py": "2\n"})
    real = os.open

    def as_for_another_user(path: str, *arguments: int, **options: int) -> int:
        if path == "closed.py":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", as_for_another_user)
    snapshot = store.snapshot()
    monkeypatch.undo()
    assert_whole(store, snapshot, without=("closed.py",))
    assert reasons(snapshot) == {"closed.py": "cannot be read: Permission denied"}


def test_a_link_swapped_in_for_a_folder_is_not_followed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = store.layout.project
    write_files(project, {"sub/config.py": "ours\n"})
    write_files(tmp_path, {"victim/config.py": "secret of somebody else\n"})
    real = os.lstat

    def swap_after_looking(path: str | Path, **options: int) -> os.stat_result:
        found = real(path, **options)
        if path == "sub/config.py" and not (project / "sub").is_symlink():
            shutil.rmtree(project / "sub")
            (project / "sub").symlink_to(tmp_path / "victim")
        return found

    monkeypatch.setattr(os, "lstat", swap_after_looking)
    snapshot = store.snapshot()
    monkeypatch.undo()
    assert (project / "sub").is_symlink()
    assert b"sub/config.py" not in stored_files(store, snapshot.tree)
    assert "sub/config.py" in reasons(snapshot)


def test_a_huge_sparse_file_costs_nothing_and_is_named(store: Store) -> None:
    project = store.layout.project
    for name in ("new.bin", "tracked.bin"):
        write_files(project, {name: "small\n"})
    git(project, "add", "tracked.bin")
    git(project, "commit", "-q", "-m", "small")
    for name in ("new.bin", "tracked.bin"):
        os.truncate(project / name, 3 << 30)
    snapshot = store.snapshot()
    assert_whole(store, snapshot, without=("new.bin", "tracked.bin"))
    assert {item.path: item.size for item in snapshot.skipped} == {"new.bin": 3 << 30, "tracked.bin": 3 << 30}
    assert reasons(snapshot) == {
        "new.bin": "over 1 MiB for a new file",
        "tracked.bin": "over 10 MiB for a tracked file",
    }


def test_caps_are_exact(store: Store) -> None:
    project = store.layout.project
    write_files(project, {"at": b"a" * MIB, "over": b"b" * (MIB + 1)})
    write_files(project, {"tracked-at": b"c" * (10 * MIB), "tracked-over": b"d" * (10 * MIB + 1)})
    git(project, "add", "tracked-at", "tracked-over")
    git(project, "commit", "-q", "-m", "big")
    snapshot = store.snapshot()
    assert_whole(store, snapshot, without=("over", "tracked-over"))
    assert set(reasons(snapshot)) == {"over", "tracked-over"}


def test_new_files_have_a_cap_in_all(store: Store) -> None:
    project = store.layout.project
    write_files(project, {f"data/{number:02}": bytes([number]) * MIB for number in range(22)})
    write_files(project, {"zz-small.py": "still stored\n"})
    snapshot = store.snapshot()
    left_out = tuple(sorted(reasons(snapshot)))
    assert left_out == ("data/20", "data/21", "zz-small.py")
    assert set(reasons(snapshot).values()) == {"over 20 MiB of new files"}
    assert_whole(store, snapshot, without=left_out)


@pytest.mark.slow
def test_more_than_five_thousand_new_files_are_cut_and_the_rest_is_said_in_few_lines(store: Store) -> None:
    project = store.layout.project
    folder = project / "generated"
    folder.mkdir()
    name = "n" * 240
    for number in range(5_600):
        (folder / f"{name}{number:05}").touch()
    snapshot = store.snapshot()
    assert len(stored_files(store, snapshot.tree)) == 5_002
    assert len(snapshot.added) == 5_000
    assert snapshot.partial is None
    assert snapshot.skipped[0].reason == "over 5,000 new files"
    # One line each would make a record that nobody reads back.
    assert len(json.dumps([[item.path, item.reason] for item in snapshot.skipped])) < 1 << 18
    assert snapshot.skipped[-1].reason == f"and {600 - len(snapshot.skipped) + 1} more"
    record = committed_run(store, snapshot)
    assert len(store.skipped(record.id)) == len(snapshot.skipped)
    assert store.meta(record.id)["code"]["added"]


@pytest.mark.slow
def test_more_files_than_a_walk_may_have_name_the_folder_to_ignore(store: Store) -> None:
    project = store.layout.project
    folder = project / "crowd" / "deep"
    folder.mkdir(parents=True)
    for number in range(20_001):
        (folder / f"{number}").touch()
    write_files(project, {"new.py": "1\n", "other/new.py": "2\n"})
    snapshot = store.snapshot()
    assert snapshot.partial == "crowd"
    assert snapshot.added == ("new.py", "other/new.py")
    assert_whole(store, snapshot, without=("crowd",))


def test_every_folder_that_is_too_large_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    project = store.layout.project
    monkeypatch.setattr(snapshot_module, "MAX_WALK_ENTRIES", 20)
    write_files(project, {f"{folder}/{number}": "x" for folder in ("one", "two") for number in range(30)})
    write_files(project, {f"top{number}": "x" for number in range(15)})
    snapshot = store.snapshot()
    assert snapshot.partial == "one"
    assert reasons(snapshot) == {"two": "too many new files: add the folder to .gitignore"}
    assert_whole(store, snapshot, without=("one", "two"))


def test_a_project_with_too_many_files_at_its_top_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_module, "MAX_WALK_ENTRIES", 20)
    write_files(store.layout.project, {f"top{number:02}": "x" for number in range(30)})
    snapshot = store.snapshot()
    assert snapshot.partial == "."
    assert len(snapshot.added) == 20


def test_a_walk_that_takes_too_long_is_given_up_and_tracked_files_are_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(store.layout.project, {"train.py": "edited\n", "big/a": "1\n", "big/b": "2\n", "small/c": "3\n"})
    monkeypatch.setattr(snapshot_module, "MAX_WALK_SECONDS", 0.0)
    snapshot = store.snapshot()
    assert snapshot.partial == "big"
    assert snapshot.edited == ("train.py",)
    assert_whole(store, snapshot, without=("big", "small"))


@pytest.mark.parametrize("folder", snapshot_module.NEVER_FOLDERS)
def test_folders_of_other_tools_are_never_stored(store: Store, folder: str) -> None:
    # Even against the project's own wish, and at any depth.
    write_files(
        store.layout.project, {f"{folder}/x.py": "1\n", f"deep/{folder}/sub/x.py": "1\n", ".gitignore": f"!{folder}/\n"}
    )
    assert_whole(store, store.snapshot(), without=(folder, f"deep/{folder}"))


def test_a_tracked_file_in_such_a_folder_is_stored(store: Store) -> None:
    project = store.layout.project
    write_files(project, {"runs/plan.py": "1\n"})
    commit_all(project)
    write_files(project, {"runs/plan.py": "2\n", "runs/event.log": "noise\n"})
    assert_whole(store, store.snapshot(), without=("runs/event.log",))


def test_every_kind_of_ignore_file_counts(store: Store) -> None:
    project, home = store.layout.project, Path(os.environ["HOME"])
    write_files(
        project,
        {
            ".gitignore": "*.log\n!keep.log\n/only-top\n",
            "sub/.gitignore": "local\n",
            "a.log": "x",
            "keep.log": "x",
            "only-top": "x",
            "sub/only-top": "x",
            "sub/local": "x",
            "local": "x",
            "by-exclude": "x",
            "by-home": "x",
            "new.py": "x",
        },
    )
    (project / ".git" / "info").mkdir(exist_ok=True)
    (project / ".git" / "info" / "exclude").write_text("by-exclude\n")
    (home / "my-ignore").write_text("by-home\n")
    git(project, "config", "--global", "core.excludesFile", "~/my-ignore")
    snapshot = store.snapshot()
    assert_whole(store, snapshot, without=("a.log", "only-top", "sub/local", "by-exclude", "by-home"))
    theirs = git(project, "ls-files", "-z", "-o", "--exclude-standard").split(b"\0")
    assert sorted(map(os.fsencode, snapshot.added)) == sorted(path for path in theirs if path)


def test_the_default_place_of_the_user_s_ignore_file_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    project, home = store.layout.project, Path(os.environ["HOME"])
    for config_home in (Path(os.environ["XDG_CONFIG_HOME"]), home / ".config"):
        write_files(config_home, {"git/ignore": "by-default\n"})
        write_files(project, {"by-default": "x"})
        assert store.snapshot().added == ()
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.mark.parametrize("value", ["~nobody-of-that-name/x", "/dev/zero", ".", "", "no/such", "a\u00e9=b", "~"])
def test_an_odd_ignore_file_in_the_config_stops_nothing(store: Store, value: str) -> None:
    project = store.layout.project
    git(project, "config", "core.excludesFile", value)
    write_files(project, {"new.py": "1\n"})
    assert store.snapshot().added == ("new.py",)


def test_a_relative_ignore_file_is_meant_from_the_project(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = store.layout.project
    git(project, "config", "core.excludesFile", "my-ignore")
    write_files(project, {"my-ignore": "ignored\n", "ignored": "x"})
    monkeypatch.chdir(tmp_path)
    assert store.snapshot().added == ("my-ignore",)


def test_a_worktree_s_exclude_file_is_that_of_its_repository(store: Store, tmp_path: Path) -> None:
    other = tmp_path / "worktree"
    git(store.layout.project, "worktree", "add", "-q", "-b", "side", str(other))
    (store.layout.project / ".git" / "info" / "exclude").write_text("by-exclude\n")
    write_files(other, {"by-exclude": "x", "new.py": "1\n"})
    with Store.open(other) as there:
        assert there.snapshot().added == ("new.py",)


NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Titel \u00fc"]},
        {
            "cell_type": "code",
            "execution_count": 7,
            "metadata": {},
            "outputs": [{"output_type": "stream", "name": "stdout", "text": ["secret output\n"]}],
            "source": ["print(1)"],
        },
    ],
    "metadata": {"kernelspec": {"name": "python3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def test_notebooks_lose_their_outputs_and_nothing_else(store: Store) -> None:
    project = store.layout.project
    write_files(project, {"a.ipynb": json.dumps(NOTEBOOK, indent=1) + "\n"})
    stored = stored_files(store, store.snapshot().tree)[b"a.ipynb"][1]
    assert b"secret output" not in stored
    without = json.loads(json.dumps(NOTEBOOK))
    without["cells"][1].update(outputs=[], execution_count=None)
    assert json.loads(stored) == without
    assert "Titel \u00fc".encode() in stored


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'"x"', b'{"cells": 3}', b'{"cells": [3]}', b"\xff", b"[" * 100_000]
)
def test_what_is_called_a_notebook_and_is_none_is_stored_as_it_is(content: bytes) -> None:
    assert without_outputs(content) == content


def test_a_notebook_without_outputs_is_stored_byte_for_byte(store: Store) -> None:
    project = store.layout.project
    notebook = json.loads(json.dumps(NOTEBOOK))
    notebook["cells"][1].update(outputs=[], execution_count=None)
    write_files(project, {"compact.ipynb": json.dumps(notebook), "wide.ipynb": json.dumps(notebook, indent=4)})
    assert_whole(store, store.snapshot())


def test_an_edit_right_after_a_commit_is_seen(store: Store) -> None:
    project = store.layout.project
    for number in range(5):
        # Same size, same second: only the index's own time tells git that it cannot tell.
        write_files(project, {"train.py": f"value = {number}\n"})
        commit_all(project)
        write_files(project, {"train.py": f"value = {number + 5}\n"})
        snapshot = store.snapshot()
        assert snapshot.edited == ("train.py",)
        assert_whole(store, snapshot)


def test_a_racily_clean_edit_with_times_of_before_is_seen(store: Store) -> None:
    project = store.layout.project
    write_files(project, {"train.py": "value = 1\n"})
    commit_all(project)
    found = (project / "train.py").stat()
    index = project / ".git" / "index"
    with open(project / "train.py", "r+b") as file:
        file.write(b"value = 2\n")
    # The file's time is put back; the index was written in the same instant, so git must not trust it.
    os.utime(project / "train.py", ns=(found.st_atime_ns, found.st_mtime_ns))
    os.utime(index, ns=(found.st_mtime_ns, found.st_mtime_ns))
    git(project, "config", "core.trustctime", "false")
    assert git(project, "status", "--porcelain") == b" M train.py\n"
    os.utime(index, ns=(found.st_mtime_ns, found.st_mtime_ns))
    assert_whole(store, store.snapshot())


def test_a_touched_file_is_not_called_edited(store: Store) -> None:
    project = store.layout.project
    os.utime(project / "train.py", (1, 1))
    snapshot = store.snapshot()
    assert snapshot.edited == ()
    assert_whole(store, snapshot)


def test_line_ends_and_filters_are_never_applied(store: Store) -> None:
    project = store.layout.project
    write_files(project, {".gitattributes": "* text=auto eol=lf\n*.id ident\n*.u16 working-tree-encoding=UTF-16\n"})
    commit_all(project)
    write_files(
        project, {"dos.txt": "a\r\nb\r\n", "x.id": "$Id$\n", "train.py": "c\r\n", "x.u16": "h\u00e9".encode("utf-16")}
    )
    assert_whole(store, store.snapshot())
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "converted")
    # Unchanged files are what git has; only an edit makes bytes of the disk new.
    unchanged = store.snapshot()
    assert stored_files(store, unchanged.tree)[b"dos.txt"][1] in {b"a\r\nb\r\n", b"a\nb\n"}
    write_files(project, {"dos.txt": "a\r\nedited\r\n"})
    assert stored_files(store, store.snapshot().tree)[b"dos.txt"][1] == b"a\r\nedited\r\n"


def test_file_modes_count_only_where_the_project_says_so(store: Store) -> None:
    project = store.layout.project
    git(project, "config", "core.fileMode", "false")
    (project / "train.py").chmod(0o755)
    assert store.snapshot().edited == ()
    git(project, "config", "core.fileMode", "true")
    assert store.snapshot().edited == ("train.py",)


SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


def test_a_secret_is_masked_in_an_edited_a_new_and_a_tracked_file(store: Store) -> None:
    project = store.layout.project
    write_files(project, {"tracked.py": f"a = 1\nkey = '{SECRET}'\nb = 2\n"})
    commit_all(project)
    write_files(project, {"train.py": f"x = '{SECRET}'  # edited\n", "new.py": f"\n\ny = '{SECRET}'\n"})
    snapshot = store.snapshot()
    stored = stored_files(store, snapshot.tree)
    assert stored[b"tracked.py"][1] == b"a = 1\nkey = '<secret:github>'\nb = 2\n"
    assert stored[b"train.py"][1] == b"x = '<secret:github>'  # edited\n"
    assert stored[b"new.py"][1] == b"\n\ny = '<secret:github>'\n"
    assert reasons(snapshot) == {
        "tracked.py": "line 2 holds a secret (github): stored without it",
        "train.py": "line 1 holds a secret (github): stored without it",
        "new.py": "line 3 holds a secret (github): stored without it",
    }
    # Again, now that the store knows the rest.
    assert stored_files(store, store.snapshot().tree) == stored


def test_a_private_key_is_left_out_and_named(store: Store) -> None:
    project = store.layout.project
    key = (
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ\n"
        "-----END OPENSSH PRIVATE KEY-----\n"
    )
    write_files(project, {"tracked_key": key})
    commit_all(project)
    write_files(project, {"deploy": key})
    snapshot = store.snapshot()
    assert_whole(store, snapshot, without=("tracked_key", "deploy"))
    assert set(reasons(snapshot)) == {"tracked_key", "deploy"}
    objects = store_git(store, "cat-file", "--batch-all-objects", "--batch")
    assert b"PRIVATE KEY" not in objects


@pytest.mark.parametrize(
    "name", [".env", ".env.local", "cert.pem", "sub/server.key", "id_rsa", "id_ed25519.pub", ".netrc", "kaggle.json"]
)
def test_new_files_with_names_of_secrets_are_left_out(store: Store, name: str) -> None:
    write_files(store.layout.project, {name: "anything\n", "new.py": "1\n"})
    snapshot = store.snapshot()
    assert snapshot.added == ("new.py",)
    assert reasons(snapshot) == {name: "its name is one of keys and passwords"}


def test_a_line_that_says_so_keeps_its_secret(store: Store) -> None:
    write_files(store.layout.project, {"example.py": f"demo = '{SECRET}'  # ds:allow-secret\n"})
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert snapshot.skipped == ()


@pytest.mark.slow
def test_a_thousand_tracked_files_become_one_pack_and_are_all_there(store: Store) -> None:
    project = store.layout.project
    write_files(
        project, {f"src/{number % 30}/f{number}.py": f"x = {number}\n" * (number % 50) for number in range(1_000)}
    )
    commit_all(project)
    write_files(project, {f"src/{number}/f{number}.py": "edited\n" for number in range(30)})
    write_files(project, {f"new/{number}.py": f"new {number}\n" for number in range(100)})
    snapshot = store.snapshot()
    assert_whole(store, snapshot)
    assert (len(snapshot.edited), len(snapshot.added)) == (30, 100)
    loose = [path for path in store.layout.store_git.glob("objects/??/*") if path.is_file()]
    assert len(loose) < 300
    assert store.snapshot().tree == snapshot.tree
    assert fsck(store) == ""


def test_a_project_s_pack_and_alternates_are_read(project: Path, tmp_path: Path) -> None:
    git(project, "gc", "-q")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--shared", str(project), str(clone))
    write_files(clone, {"train.py": "edited\n"})
    with Store.open(clone, create=True) as store:
        snapshot = store.snapshot()
        shutil.rmtree(project)
        assert_whole(store, snapshot)
        assert fsck(store) == ""


def test_a_shallow_clone_is_stored(project: Path, tmp_path: Path) -> None:
    write_files(project, {"more.py": "1\n"})
    commit_all(project)
    clone = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{project}", str(clone))
    write_files(clone, {"train.py": "edited\n"})
    with Store.open(clone, create=True) as store:
        snapshot = store.snapshot()
        assert_whole(store, snapshot)
        assert snapshot.edited == ("train.py",)


def test_a_blob_that_the_project_lost_is_named_and_the_rest_is_stored(store: Store) -> None:
    project = store.layout.project
    blob = git(project, "rev-parse", "HEAD:README.md").decode().strip()
    (project / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    snapshot = store.snapshot()
    assert_whole(store, snapshot, without=("README.md",))
    assert reasons(snapshot) == {"README.md": "missing from the project's git"}


def test_a_damaged_index_is_one_error_of_the_store(store: Store) -> None:
    index = store.layout.project / ".git" / "index"
    for content in (b"", b"DIRC", index.read_bytes()[:90], b"x" * 1000):
        index.write_bytes(content)
        with pytest.raises(StoreError):
            store.snapshot()
    assert list(store.layout.quarantine.iterdir()) == []


def test_the_same_work_tree_is_stored_once(store: Store) -> None:
    write_files(store.layout.project, {"new.py": "1\n"})
    first = store.snapshot()
    before = sorted(store.layout.store_git.rglob("*"))
    assert store.snapshot() == first
    assert sorted(store.layout.store_git.rglob("*")) == before


def test_an_object_of_the_project_alone_never_stands_in_for_one_of_the_store(store: Store) -> None:
    project = store.layout.project
    snapshot = store.snapshot()
    run = committed_run(store, snapshot)
    assert fsck(store) == ""
    shutil.rmtree(project / ".git" / "objects")
    assert stored_files(store, store.code_tree(run.id)) == files_on_disk(project)


def test_a_rotten_object_of_the_store_is_an_error_and_never_a_tree_without_it(store: Store) -> None:
    store.snapshot()
    for path in store.layout.store_git.glob("objects/??/*"):
        path.chmod(0o600)
        path.write_bytes(b"")
    with pytest.raises(StoreError):
        store.snapshot()


def test_a_snapshot_in_the_middle_of_another_shares_nothing_with_it(store: Store) -> None:
    from concurrent.futures import ThreadPoolExecutor

    project = store.layout.project
    write_files(project, {f"n{number}.py": f"{number}\n" for number in range(80)})
    git(project, "update-index", "--split-index")

    def take(_: int) -> Snapshot:
        with Store.open(project) as mine:
            return mine.snapshot()

    with ThreadPoolExecutor(4) as pool:
        snapshots = list(pool.map(take, range(8)))
    assert len({snapshot.tree for snapshot in snapshots}) == 1
    assert_whole(store, snapshots[0])
    assert fsck(store) == ""
