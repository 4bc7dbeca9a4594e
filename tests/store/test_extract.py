"""Code as files again: exact, inside its directory, and refused as a whole when a name is not plain."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstui_store import Store, StoreError
from dstui_store.errors import DamagedError
from dstui_store.extract import CodeTree, Extracted
from dstui_store.objects import EXECUTABLE, FOLDER, GITLINK, LINK, REGULAR, TreeEntry


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    with Store.open(project, create=True) as opened:
        yield opened


def stored(store: Store, *entries: tuple[int, str, bytes | str]) -> str:
    """A tree of our own making; text content is an object id."""
    with store.git.staging() as staging:
        made = [
            TreeEntry(mode, name, content if isinstance(content, str) else staging.blob(content))
            for mode, name, content in entries
        ]
        tree = staging.tree(made)
        staging.publish()
    return tree


def extract(store: Store, tree: str, target: Path, *, links_out: bool = False) -> Extracted:
    return CodeTree(store.git, tree).write(target, links_out=links_out)


def test_a_snapshot_comes_back_as_it_was_with_modes_and_links(store: Store, project: Path, tmp_path: Path) -> None:
    (project / "pkg").mkdir()
    (project / "pkg" / "deep.py").write_bytes(b"x = 1\r\n\xff")
    (project / "run.sh").write_text("#!/bin/sh\n")
    (project / "run.sh").chmod(0o755)
    (project / "link.py").symlink_to("pkg/deep.py")
    tree = store.snapshot().tree
    assert tree is not None
    target = tmp_path / "out"
    done = extract(store, tree, target)
    assert (target / "pkg" / "deep.py").read_bytes() == b"x = 1\r\n\xff"
    assert (target / "train.py").read_bytes() == (project / "train.py").read_bytes()
    assert os.readlink(target / "link.py") == "pkg/deep.py"
    assert stat.S_IMODE((target / "run.sh").stat().st_mode) & 0o100
    assert not stat.S_IMODE((target / "train.py").stat().st_mode) & 0o100
    assert (done.files, done.left_out) == (5, ())


def test_a_tree_is_written_many_times_and_asked_for_once(store: Store, tmp_path: Path) -> None:
    tree = store.snapshot().tree
    assert tree is not None
    code = CodeTree(store.git, tree)
    for name in ("first", "second"):
        assert code.write(tmp_path / name).files == 2
    assert (tmp_path / "second" / "train.py").is_file()


def test_links_that_lead_out_are_left_out_unless_the_code_is_one_s_own(store: Store, tmp_path: Path) -> None:
    inner = stored(store, (LINK, "up", b"../train.py"), (LINK, "out", b"../../etc"))
    tree = stored(
        store,
        (FOLDER, "sub", inner),
        (LINK, "root", b"/etc/passwd"),
        (LINK, "git", b".git/config"),
        (REGULAR, "a", b""),
    )
    done = extract(store, tree, tmp_path / "theirs")
    assert sorted(path for path, _ in done.left_out) == ["git", "root", "sub/out"]
    assert os.readlink(tmp_path / "theirs" / "sub" / "up") == "../train.py"
    own = extract(store, tree, tmp_path / "own", links_out=True)
    assert own.left_out == ()
    assert os.readlink(tmp_path / "own" / "root") == "/etc/passwd"


def test_a_file_below_a_name_that_is_also_a_link_is_never_written_through_it(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    inner = stored(store, (REGULAR, "file", b"owned"))
    tree = stored(store, (LINK, "x", os.fsencode(victim)), (FOLDER, "x", inner))
    with pytest.raises(DamagedError, match="two names"):
        extract(store, tree, tmp_path / "out", links_out=True)
    assert list(victim.iterdir()) == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    ["..", ".", "a/b", "/abs", ".git", ".GIT", ".git ", "git~1", "a\\b", "a\nb", "a\x1bb", "con", "NUL.txt", "x" * 300],
)
def test_a_name_that_is_not_plain_refuses_the_whole_tree_by_name(store: Store, tmp_path: Path, name: str) -> None:
    tree = stored(store, (REGULAR, "fine.py", b"x"), (REGULAR, name, b"y"))
    with pytest.raises(DamagedError, match="The code holds"):
        extract(store, tree, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("one", "two"), [("A.py", "a.py"), ("\u00e9", "e\u0301"), ("straße", "STRASSE")])
def test_names_that_a_file_system_may_take_for_one_are_refused(
    store: Store, tmp_path: Path, one: str, two: str
) -> None:
    tree = stored(store, (REGULAR, one, b"1"), (REGULAR, two, b"2"))
    with pytest.raises(DamagedError, match="two names"):
        extract(store, tree, tmp_path / "out")


def test_submodules_are_named_and_odd_modes_refused(store: Store, tmp_path: Path) -> None:
    commit = store.git.empty_tree
    tree = stored(store, (GITLINK, "lib", commit), (EXECUTABLE, "a", b""))
    assert extract(store, tree, tmp_path / "out").left_out == (("lib", "submodule: its files are not stored"),)
    odd = stored(store, (0o104755, "setuid", b""))
    with pytest.raises(DamagedError, match="mode"):
        extract(store, odd, tmp_path / "odd")


def test_only_a_new_or_empty_directory_is_written_to(store: Store, tmp_path: Path) -> None:
    tree = stored(store, (REGULAR, "a", b"1"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    with pytest.raises(StoreError, match="is not empty"):
        extract(store, tree, tmp_path / "full")
    (tmp_path / "link").symlink_to(tmp_path / "full")
    with pytest.raises(StoreError, match="is no directory"):
        extract(store, tree, tmp_path / "link")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    assert extract(store, tree, tmp_path / "empty").files == 1


def test_a_missing_object_leaves_no_file_behind(store: Store, tmp_path: Path) -> None:
    tree = stored(store, (REGULAR, "a", b"1"), (REGULAR, "b", "1" * store.git.hex_length))
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError):
        extract(store, tree, tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []
