"""Nothing of a project runs, whatever its git configuration says; and each trap was live for plain git."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dstui_store import Store, StoreError, locate
from dstui_store import git as git_module
from dstui_store import snapshot as snapshot_module
from tests.safety.hostile_projects import BUILDERS, Builder, Trap, planted_work_tree, replace_refs
from tests.store.ended_runs import committed_run
from tests.store.git_projects import git, store_git, stored_files, write_files

if TYPE_CHECKING:
    from tests.conftest import DsCommand


@pytest.fixture
def builder(project: Path, tmp_path: Path) -> Builder:
    outside = tmp_path / "outside"
    outside.mkdir()
    return Builder(project, outside)


def visit(start: Path) -> None:
    """All that the store does with a project: a snapshot, a run from begin to end, and every way to look at it."""
    with Store.open(start, create=True) as store:
        record = committed_run(store, store.snapshot(), metrics={"loss": [1.0, 0.5]})
        store.operate(record.id, "tag", tag="good")
        store.recover()
        assert store.resolve("@") == record.id
        for found in store.records():
            store.meta(found.id)
            store.log(found.id)
            store.skipped(found.id)
            store.metrics(found.id)
            store.code_files(found.id)
            store.code_diff(None, store.code_tree(found.id))
            with contextlib.suppress(StoreError):
                # The project's own git may lack what it compares with.
                store.code_changes(found.id)
        store.snapshot()


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: str(build.__name__))
def test_nothing_of_a_hostile_project_runs(builder: Builder, build: Callable[[Builder], Trap]) -> None:
    trap = build(builder)
    assert not builder.canary.exists(), "the trap was sprung while it was set"
    visit(trap.start or builder.project)
    assert not builder.canary.exists(), builder.canary.read_text()
    if trap.fall is not None:
        fall(builder, trap)
        assert builder.canary.exists(), "plain git does not fall into this trap, so the test shows nothing"


def fall(builder: Builder, trap: Trap) -> None:
    """Lets plain git do what a user would."""
    subprocess.run(
        ["git", *(trap.fall or ())],
        cwd=trap.where or builder.project,
        input=trap.stdin,
        capture_output=True,
        check=False,
        timeout=30,
    )


def test_a_planted_work_tree_is_not_looked_at(builder: Builder) -> None:
    planted_work_tree(builder)
    with Store.open(builder.project, create=True) as store:
        assert store.layout.project == builder.project
        assert set(stored_files(store, store.snapshot().tree)) == {b"train.py", b"README.md"}


def test_a_replaced_object_is_not_taken_for_the_real_one(builder: Builder) -> None:
    real = (builder.project / "train.py").read_bytes()
    replace_refs(builder)
    assert git(builder.project, "cat-file", "-p", "HEAD:train.py") == b"replaced\n"
    with Store.open(builder.project, create=True) as store:
        snapshot = store.snapshot()
        assert snapshot.edited == ()
        assert stored_files(store, snapshot.tree)[b"train.py"] == ("100644", real)


def test_a_missing_object_of_a_promisor_is_not_fetched_but_named(builder: Builder) -> None:
    from tests.safety.hostile_projects import promisor_remote

    promisor_remote(builder)
    with Store.open(builder.project, create=True) as store:
        (skipped,) = store.snapshot().skipped
        assert (skipped.path, skipped.reason) == ("README.md", "missing from the project's git")
    assert not builder.canary.exists()


PIPES = (
    ".gitignore",
    ".gitattributes",
    ".gitmodules",
    "sub/.gitignore",
    "dstui.toml",
    ".git/config",
    ".git/index",
    ".git/packed-refs",
    ".git/info/exclude",
    ".git/commondir",
    ".git/HEAD",
    ".git/refs/heads/main",
    ".git/objects/info/alternates",
    ".git/sharedindex.1234",
)


@pytest.mark.slow
@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_where_a_file_belongs_is_not_waited_for_without_end(
    builder: Builder, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_module, "DEADLINE_SECONDS", 0.3)
    monkeypatch.setattr(snapshot_module, "MAX_WALK_SECONDS", 0.3)
    path = builder.project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    try:
        visit(builder.project)
    except StoreError:
        # Refused is fine; what is left must still be usable.
        path.unlink()
        assert locate(builder.project).project == builder.project


@pytest.mark.timeout(30)
def test_a_pipe_called_git_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "trap"
    folder.mkdir()
    os.mkfifo(folder / ".git")
    assert locate(folder).git_dir is None


@pytest.mark.parametrize(
    "content",
    [
        "[core",
        "\0" * 1000,
        "[core]\n" + "x" * 100_000,
        "[include]\n\tpath = config\n",
        "[a]\n\tb = c" * 50_000,
        "\xff\xfe",
    ],
)
def test_a_broken_config_stops_nobody(builder: Builder, content: str) -> None:
    (builder.project / ".git" / "config").write_text(content, encoding="latin-1")
    write_files(builder.project, {"new.py": "1\n"})
    with Store.open(builder.project, create=True) as store:
        assert store.snapshot().added == ("new.py",)


@pytest.mark.parametrize(
    "head", ["", "ref: ", "ref: ../../../etc/passwd", "ref: refs/../../x", "x" * 100_000, "\0", "ref: refs/heads/\n"]
)
def test_an_odd_head_is_no_commit(builder: Builder, head: str) -> None:
    (builder.project / ".git" / "HEAD").write_text(head)
    with Store.open(builder.project, create=True) as store:
        snapshot = store.snapshot()
    assert snapshot.commit is None


def test_values_of_the_project_s_config_are_never_options(builder: Builder) -> None:
    evil = "true -c core.fsmonitor=" + builder.program
    for key in ("core.fileMode", "core.ignoreCase", "core.trustctime", "core.checkStat", "core.precomposeUnicode"):
        git(builder.project, "config", key, evil)
    git(builder.project, "config", "core.excludesFile", f"--exclude-standard={builder.program}")
    visit(builder.project)
    assert not builder.canary.exists()


def test_a_promise_about_the_network_holds_for_every_local_call(builder: Builder, tmp_path: Path) -> None:
    # Even with a store whose own configuration were an enemy's, nothing may leave.
    with Store.open(builder.project, create=True) as store:
        run = committed_run(store, store.snapshot())
        config = store.layout.store_git / "config"
        config.write_text(
            f"{config.read_text()}[extensions]\n\tpartialClone = origin\n"
            f'[remote "origin"]\n\tpromisor = true\n\turl = ext::{builder.program}\n'
            '[protocol "ext"]\n\tallow = always\n'
        )
        tree = store.entries(run.id)["code"]
        (store.git.objects / tree[:2] / tree[2:]).unlink()
        for ask in (
            lambda: store.code_files(run.id),
            lambda: store.code_diff(None, tree),
            lambda: store.git.object("ab" * 20, limit=1),
        ):
            with pytest.raises(StoreError):
                ask()
    assert not builder.canary.exists()
    subprocess.run(
        ["git", f"--git-dir={store.layout.store_git}", "cat-file", "-p", tree], capture_output=True, check=False
    )
    assert builder.canary.exists(), "plain git does not fall into this trap, so the test shows nothing"
    with pytest.raises(StoreError, match="not the configuration that dstui writes"):
        Store.open(builder.project)


COMMANDS = (
    ("run", "-n", "x", sys.executable, "-c", "print('loss=1')"),
    ("ls",),
    ("show", "@"),
    ("logs", "@"),
    ("metrics", "@"),
    ("tag", "@", "good"),
    ("diff", "@", "@"),
    ("status",),
    ("doctor",),
)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: str(build.__name__))
def test_no_command_runs_anything_of_a_hostile_project(
    builder: Builder, build: Callable[[Builder], Trap], ds: DsCommand
) -> None:
    trap = build(builder)
    start = trap.start or builder.project
    for command in COMMANDS:
        result = ds(*command, cwd=start)
        assert "Traceback" not in result.err, result.err
        assert not builder.canary.exists(), f"{command}: {builder.canary.read_text()}"


def test_nothing_of_the_project_s_objects_is_needed_to_read_a_run(builder: Builder) -> None:
    with Store.open(builder.project, create=True) as store:
        run = committed_run(store, store.snapshot())
        assert store_git(store, "rev-list", "--objects", "--all", "--quiet") == b""
        assert "train.py" in store.code_files(run.id)
