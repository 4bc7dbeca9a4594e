"""The user's repository keeps every byte: whatever the store does, only `.git/ds` is new."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dstui_store import Store
from tests.store.ended_runs import committed_run, dead_run, ended_run
from tests.store.git_projects import commit_all, git, write_files

Seen = dict[str, object]


def look(project: Path, *, folder: Path | None = None) -> Seen:
    """Everything about a repository that a user could notice, with times; `ds/` left out."""
    git_dir = folder or project / ".git"
    seen: Seen = {}
    for path in sorted([git_dir, *git_dir.rglob("*")]):
        name = str(path.relative_to(git_dir))
        if name == "ds" or name.startswith("ds/"):
            continue
        found = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        # The git dir's own time tells of `ds`, the one new name in it.
        time = None if path == git_dir else found.st_mtime_ns
        seen[name] = (found.st_mode, found.st_size if content is not None else None, time, content)
    return seen


def ask(project: Path) -> dict[str, bytes]:
    """What the user's git says; asked without letting it refresh its index."""
    quiet = {"GIT_OPTIONAL_LOCKS": "0"}
    answers = {
        "status": git(project, "status", "--porcelain=v2", "--branch", "--ignored", "--show-stash", env=quiet),
        "log": git(project, "log", "--all", "--format=raw", env=quiet),
        "refs": git(project, "for-each-ref", env=quiet),
        "config": git(project, "config", "--list", "--show-origin", env=quiet),
        "stash": git(project, "stash", "list", env=quiet),
        "index": git(project, "ls-files", "-s", "-v", "--debug", env=quiet),
        "objects": git(project, "count-objects", "-v", env=quiet),
    }
    push = subprocess.run(
        ["git", "push", "-n", "--porcelain", "--all", "origin"], cwd=project, capture_output=True, check=False
    )
    return {**answers, "push": push.stdout + push.stderr}


def plain(project: Path) -> None:
    """Edited, staged, new and ignored files at once."""
    write_files(
        project, {"train.py": "edited\n", "staged.py": "1\n", "new.py": "2\n", ".gitignore": "*.log\n", "a.log": "x"}
    )
    git(project, "add", "staged.py", ".gitignore")


def with_stash(project: Path) -> None:
    write_files(project, {"train.py": "stashed\n"})
    git(project, "stash", "-q")
    plain(project)


def in_a_merge(project: Path) -> None:
    for branch in ("side", "main"):
        git(project, "checkout", "-q", "-B", branch, "main")
        write_files(project, {"train.py": f"{branch}\n"})
        commit_all(project)
    subprocess.run(["git", "merge", "-q", "side"], cwd=project, capture_output=True, check=False)


def with_split_index(project: Path) -> None:
    git(project, "update-index", "--split-index")
    plain(project)


def with_caches(project: Path) -> None:
    git(project, "config", "core.untrackedCache", "true")
    git(project, "config", "feature.manyFiles", "true")
    git(project, "update-index", "--index-version", "4", "--untracked-cache")
    plain(project)
    git(project, "status")


def packed(project: Path) -> None:
    git(project, "gc", "-q")
    plain(project)


SHAPES = [plain, with_stash, in_a_merge, with_split_index, with_caches, packed]


def everything(project: Path) -> None:
    """All that the store does to a project."""
    with Store.open(project, create=True) as store:
        snapshot = store.snapshot()
        record = committed_run(store, snapshot, metrics={"loss": [1.0, 0.5]})
        dead_run(store)
        ended_run(store, snapshot)
        store.recover()
        for op, values in (
            ("tag", {"tag": "good"}),
            ("untag", {"tag": "good"}),
            ("note", {"value": "words"}),
            ("rename", {"value": "other"}),
            ("del", {}),
            ("undel", {}),
        ):
            store.operate(record.id, op, **values)
        assert len(store.records()) == 3
        for run in store.records():
            store.meta(run.id)
            store.log(run.id)
        store.code_changes(record.id)
        store.code_diff(None, store.code_tree(record.id))
        store.snapshot()
        store.resolve("@")


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.__name__))
def test_the_user_s_git_keeps_every_byte_and_says_the_same(
    project: Path, tmp_path: Path, shape: Callable[[Path], None]
) -> None:
    git(tmp_path, "init", "-q", "--bare", "remote.git")
    git(project, "remote", "add", "origin", str(tmp_path / "remote.git"))
    git(project, "push", "-q", "origin", "main")
    shape(project)
    answers = ask(project)
    files = look(project)
    everything(project)
    assert look(project) == files
    assert ask(project) == answers


@pytest.mark.slow
def test_a_linked_worktree_and_its_main_one_keep_every_byte(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "worktree"
    git(project, "worktree", "add", "-q", "-b", "side", str(other))
    write_files(other, {"train.py": "edited\n", "new.py": "1\n"})
    answers = ask(project), ask(other)
    files = look(project)
    everything(other)
    assert look(project) == files
    assert (ask(project), ask(other)) == answers


def test_the_work_tree_keeps_every_byte_and_every_time(project: Path) -> None:
    plain(project)

    def work_tree() -> Seen:
        return {
            str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
            for path in sorted(project.rglob("*"))
            if ".git" not in path.parts
        }

    before = work_tree()
    everything(project)
    assert work_tree() == before


@pytest.mark.slow
def test_the_user_s_own_clean_up_leaves_the_store_alone(project: Path, tmp_path: Path) -> None:
    with Store.open(project, create=True) as store:
        run = committed_run(store, store.snapshot())
    for command in (
        ("gc", "-q", "--aggressive", "--prune=now"),
        ("repack", "-q", "-a", "-d"),
        ("prune", "--expire=now"),
        ("reflog", "expire", "--expire=now", "--all"),
        ("clean", "-q", "-ffdx"),
        ("worktree", "prune"),
        ("fsck", "--strict"),
        ("pack-refs", "--all"),
    ):
        git(project, *command)
    with Store.open(project) as store:
        assert [record.id for record in store.records()] == [run.id]
        assert "train.py" in store.code_files(run.id)


def test_a_mirror_of_the_project_carries_nothing_of_ours(project: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--mirror", str(project), "before.git")
    everything(project)
    git(tmp_path, "clone", "-q", "--mirror", str(project), "after.git")
    refs = [git(tmp_path / name, "for-each-ref") for name in ("before.git", "after.git")]
    assert refs[0] == refs[1]
    assert not (tmp_path / "after.git" / "ds").exists()


def test_only_one_folder_is_new_in_the_user_s_git_dir(project: Path) -> None:
    before = set(os.listdir(project / ".git"))
    everything(project)
    assert set(os.listdir(project / ".git")) - before == {"ds"}
    assert os.listdir(project / ".git" / "ds") == [str(os.getuid())]
