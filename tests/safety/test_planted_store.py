"""An archive may bring a `.git/ds` of its own: one not ours byte for byte is refused by name, and nothing runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dstui_store import NotAStoreError, Store, StoreError
from dstui_store import git as git_module
from tests.safety.hostile_projects import Builder
from tests.store.chains import THEIRS, append_run
from tests.store.ended_runs import committed_run
from tests.store.git_projects import store_git


@pytest.fixture
def root(project: Path) -> Path:
    """The folder of a store with one run."""
    with Store.open(project, create=True) as store:
        committed_run(store, store.snapshot())
        store.records()
        return store.layout.root


def refused(project: Path) -> str:
    """Why the store is refused, whether it is only read or written too."""
    reasons = []
    for create in (False, True):
        with pytest.raises(StoreError) as caught, Store.open(project, create=create) as store:
            store.records() if not create else committed_run(store)
        reasons.append(caught.value.message)
    assert reasons[0]
    return reasons[0]


CONFIGS: tuple[Callable[[str], str], ...] = (
    lambda _: "",
    lambda text: text + "[core]\n\tfsmonitor = /tmp/x\n",
    lambda text: text.replace("hooksPath = /dev/null", "hooksPath = /tmp/x"),
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text + "\n",
    lambda text: text.rstrip("\n"),
    lambda text: "# comment\n" + text,
    lambda text: text.replace("allow = never", "allow = always"),
    lambda text: text + "[include]\n\tpath = ../../../evil\n",
    lambda text: text + "[extensions]\n\tworktreeConfig = true\n",
)


@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_another_configuration_is_refused(project: Path, root: Path, number: int) -> None:
    config = root / "store.git" / "config"
    config.write_bytes(CONFIGS[number](config.read_text()).encode())
    assert "is not the configuration that dstui writes" in refused(project)


@pytest.mark.parametrize(
    "name",
    [
        "commondir",
        "config.worktree",
        "info/attributes",
        "info/exclude",
        "info/grafts",
        "info/sparse-checkout",
        "objects/info/alternates",
        "objects/info/http-alternates",
        "hooks/pre-commit",
        "shallow",
        "worktrees/x",
        "modules/x",
    ],
)
def test_what_gives_git_other_powers_is_refused_by_name(project: Path, root: Path, name: str) -> None:
    path = root / "store.git" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x\n")
    assert name.split("/")[0] in refused(project)
    shutil.rmtree(path.parent) if path.parent.name in {"hooks", "worktrees", "modules"} else path.unlink()
    with Store.open(project) as store:
        assert len(store.records()) == 1


@pytest.mark.parametrize(
    "name",
    ["", "store.git", "store.git/config", "store.git/objects", "store.git/refs", "store.git/refs/ds", "store.git/HEAD"],
)
def test_a_link_in_the_place_of_our_own_is_refused(project: Path, root: Path, tmp_path: Path, name: str) -> None:
    path = root / name if name else root
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    assert "is a link" in refused(project)


def test_a_link_in_place_of_the_folder_of_all_users_is_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (project / ".git" / "ds").symlink_to(tmp_path / "elsewhere")
    assert "is a link" in refused(project)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["live", "quarantine", "tmp", "writer", "lock"])
def test_a_link_in_place_of_a_working_folder_leads_nowhere(
    project: Path, root: Path, tmp_path: Path, name: str
) -> None:
    goal = tmp_path / "goal"
    path = root / name
    path.rename(goal) if path.is_dir() else goal.touch()
    before = sorted(goal.rglob("*"))
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(goal)
    with pytest.raises(StoreError), Store.open(project, create=True) as store:
        committed_run(store, store.snapshot())
    assert sorted(goal.rglob("*")) == before


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o770, 0o777, 0o701])
def test_a_repository_open_to_others_is_refused(project: Path, root: Path, mode: int) -> None:
    (root / "store.git").chmod(mode)
    assert "others" in refused(project)
    (root / "store.git").chmod(0o700)
    with Store.open(project) as store:
        assert len(store.records()) == 1


@pytest.mark.parametrize("name", ["store.git/config", "store.git/objects", "store.git/refs"])
def test_a_part_that_others_may_change_is_refused(project: Path, root: Path, name: str) -> None:
    (root / name).chmod((root / name).stat().st_mode | 0o022)
    assert "can be changed by others" in refused(project)


def test_a_store_of_another_user_is_refused(project: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The same files seen by another user, whose own folder they lie in.
    other = os.getuid() + 1
    root.rename(root.with_name(str(other)))
    monkeypatch.setattr(os, "getuid", lambda: other)
    assert f"belongs to uid {other - 1}, not to you" in refused(project)


PIPES = ("HEAD", "config", "packed-refs", "refs/ds/p/{writer}", "refs/ds/p/other", "refs/ds/r/x/y")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_in_the_repository_is_not_waited_for(
    project: Path, root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_module, "DEADLINE_SECONDS", 0.3)
    with Store.open(project) as store:
        path = root / "store.git" / name.format(writer=store.writer())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert path.name in refused(project)


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_an_object_is_that_run_s_damage(
    project: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_module, "DEADLINE_SECONDS", 0.3)
    with Store.open(project) as store:
        fine, odd = committed_run(store, log=b"fine\n"), committed_run(store, log=b"odd\n")
        name = store.entries(odd.id)["log.gz"]
        path = store.git.objects / name[:2] / name[2:]
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(StoreError):
            store.log(odd.id)
        assert store.log(fine.id) == b"fine\n"
        assert {fine.id, odd.id} < {record.id for record in store.records()}


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_the_lock_stops_nobody_for_ever(project: Path, root: Path) -> None:
    (root / "lock").unlink(missing_ok=True)
    os.mkfifo(root / "lock")
    with Store.open(project) as store:
        committed_run(store)


def test_a_link_among_the_refs_is_refused(project: Path, root: Path, tmp_path: Path) -> None:
    with Store.open(project) as store:
        tip = store_git(store, "for-each-ref", "--format=%(objectname)", "refs/ds/p").decode()
    (tmp_path / "ref").write_text(tip)
    (root / "store.git" / "refs" / "ds" / "p" / "linked").symlink_to(tmp_path / "ref")
    assert "linked" in refused(project)


def test_hooks_that_git_would_run_are_never_run(project: Path, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    builder = Builder(project, outside)
    with Store.open(project) as store:
        # Planted after it was opened: what was checked once is not safe for ever.
        for name in ("reference-transaction", "post-update", "update"):
            hook = root / "store.git" / "hooks" / name
            hook.parent.mkdir(exist_ok=True)
            hook.write_text(f"#!/bin/sh\nexec {builder.program}\n")
            hook.chmod(0o755)
        committed_run(store)
    assert not builder.canary.exists()


def test_what_was_planted_with_our_own_configuration_is_read_as_a_stranger_s(project: Path, root: Path) -> None:
    with Store.open(project) as store:
        own = store.records()[0]
        append_run(store, THEIRS, name="\x1b]0;owned\x07")
        assert len(store.records()) == 2
        assert store.record(own.id).name == "train"


def test_the_hint_says_how_to_start_afresh_and_that_works(project: Path, root: Path) -> None:
    (root / "store.git" / "config").write_text("")
    with pytest.raises(NotAStoreError) as caught:
        Store.open(project)
    assert caught.value.hint == f"move `{root}` away to start a fresh store"
    root.rename(root.with_name("old"))
    with Store.open(project, create=True) as store:
        committed_run(store)
        assert len(store.records()) == 1
