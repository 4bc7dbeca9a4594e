"""With sharing on, the user's `git push` and `git pull` carry runs and behave as before; off, every byte is back."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dstui.sdk import open_project
from dstui.sdk.sharing import plan_sharing, start_sharing, stop_sharing
from tests.conftest import CommandResult, run_command
from tests.sharing.team import Clone, Team, make_team
from tests.store.git_projects import git, write_files

if TYPE_CHECKING:
    from tests.conftest import DsCommand

OURS = ("post-merge", "post-rewrite", "pre-push")

Seen = dict[str, tuple[object, ...]]


def look(path: Path) -> Seen:
    """Every file of the user's git dir that we could touch: kind, mode, time, content."""
    seen: Seen = {}
    for name in ("config", "hooks"):
        place = path / ".git" / name
        for item in [place, *sorted(place.rglob("*"))] if place.exists() else []:
            found = item.lstat()
            content = os.readlink(item) if item.is_symlink() else item.read_bytes() if item.is_file() else None
            # A folder's own time tells that something was in it for a while.
            time = None if item.is_dir() else found.st_mtime_ns
            seen[str(item.relative_to(path))] = (found.st_mode, time, content)
    return seen


def share_on(clone: Clone, remote: str | None = None) -> None:
    """As `ds share on --yes`."""
    with open_project(clone.path) as project:
        start_sharing(project, plan_sharing(project, remote))


def share_off(clone: Clone) -> list[str]:
    """As `ds share off`: the names of hooks that still call us."""
    with open_project(clone.path) as project:
        return stop_sharing(project)[1]


def commit(clone: Clone, text: str) -> None:
    write_files(clone.path, {f"{text}.txt": text})
    git(clone.path, "add", "-A")
    git(clone.path, "commit", "-q", "-m", text)


def user_git(clone: Clone, *words: str) -> CommandResult:
    return run_command(["git", *words], cwd=clone.path)


@pytest.fixture
def alice(team: Team) -> Clone:
    return team.clone("alice")


@pytest.mark.slow
def test_plain_git_push_sends_new_runs_and_plain_git_pull_brings_them(served: Team) -> None:
    alice, bob = served.clone("alice"), served.clone("bob")
    older = alice.run()
    for clone in (alice, bob):
        share_on(clone)
    new, private = alice.run(), alice.run(private=True)
    commit(alice, "first")
    pushed = user_git(alice, "push")
    assert (pushed.code, pushed.out) == (0, "")
    assert "ds: 1 run sent to origin\n" in pushed.err
    pulled = user_git(bob, "pull", "-q")
    assert (pulled.code, pulled.out) == (0, "")
    assert pulled.err == f"ds: 1 new run from origin: {alice.writer} 1\n"
    assert bob.ids() == [new.id]
    whole = served.all_bytes()
    assert older.id.encode() not in whole
    assert private.id.encode() not in whole
    # A push without anything new says nothing of ours; a merge of one's own fetches nothing.
    assert "ds:" not in user_git(alice, "push").err
    alice.run()
    assert "ds: 1 run sent" in user_git(alice, "push").err
    git(bob.path, "branch", "side")
    commit(bob, "mine")
    assert "ds:" not in user_git(bob, "merge", "-q", "--no-edit", "side").err
    # Another way to pull: a commit of one's own goes on top.
    commit(alice, "second")
    user_git(alice, "push")
    assert "ds: 1 new run" in user_git(bob, "pull", "-q", "--rebase").err
    assert len(bob.ids()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["executable", "plain", "link", "none"])
def test_off_puts_back_every_byte(alice: Clone, kind: str) -> None:
    hooks = alice.path / ".git" / "hooks"
    if kind == "none":
        for item in hooks.iterdir():
            item.unlink()
        hooks.rmdir()
    elif kind == "link":
        (alice.path / "own.sh").write_text("#!/bin/sh\nexit 0\n")
        (hooks / "pre-push").symlink_to("../../own.sh")
    else:
        (hooks / "pre-push").write_text("#!/bin/sh\nexit 0\n")
        (hooks / "pre-push").chmod(0o755 if kind == "executable" else 0o644)
    before = look(alice.path)
    for _ in range(2):
        share_on(alice)
    assert set(OURS) <= set(os.listdir(hooks))
    assert before["." + "git/config"] == look(alice.path)[".git/config"]
    assert share_off(alice) == []
    assert look(alice.path) == before
    assert share_off(alice) == []
    assert look(alice.path) == before


@pytest.mark.slow
def test_an_earlier_hook_runs_first_with_its_input_and_its_failure_ends_the_push(
    alice: Clone, team: Team, tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    hook = alice.path / ".git" / "hooks" / "pre-push"
    hook.write_text(f'#!/bin/sh\necho "$@" > {heard}; cat >> {heard}; [ ! -e {tmp_path}/stop ] || exit 7\n')
    hook.chmod(0o755)
    share_on(alice)
    alice.run()
    commit(alice, "first")
    (tmp_path / "stop").touch()
    assert user_git(alice, "push").code == 1
    assert list(team.refs()) == ["refs/heads/main"]
    assert alice.writer not in str(team.refs())
    (tmp_path / "stop").unlink()
    assert user_git(alice, "push").code == 0
    first, second = heard.read_text().splitlines()
    assert first == f"origin {team.url}"
    assert second.split(" ")[0] == "refs/heads/main"
    assert f"refs/ds/w/{alice.writer}" in team.refs()


@pytest.mark.slow
def test_the_user_s_push_is_as_before_when_ours_cannot_be(alice: Clone, team: Team) -> None:
    share_on(alice, str(team.folder / "gone.git"))
    alice.run()
    commit(alice, "first")
    done = user_git(alice, "push", "--porcelain")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "Done"
    assert done.err.count("ds: ") == 1
    assert "runs were not sent" in done.err
    # Where dstui has gone away, nothing is said at all.
    hook = alice.path / ".git" / "hooks" / "pre-push"
    hook.write_text(hook.read_text().replace("/bin/python", "/bin/gone-python"))
    commit(alice, "second")
    assert "gone" not in user_git(alice, "push").err


@pytest.mark.slow
def test_a_push_to_another_remote_carries_no_runs(alice: Clone, team: Team, tmp_path: Path) -> None:
    fork = make_team(tmp_path / "fork")
    git(alice.path, "remote", "add", "fork", str(fork.bare))
    share_on(alice, "origin")
    alice.run()
    assert user_git(alice, "push", "-q", "fork", "HEAD:topic").err == ""
    assert sorted(fork.refs()) == ["refs/heads/main", "refs/heads/topic"]
    assert sorted(team.refs()) == ["refs/heads/main"]


@pytest.mark.slow
def test_a_remote_that_moved_must_be_agreed_to_again(alice: Clone, team: Team, tmp_path: Path) -> None:
    share_on(alice)
    alice.run()
    elsewhere = make_team(tmp_path / "elsewhere")
    git(alice.path, "remote", "set-url", "origin", str(elsewhere.bare))
    done = user_git(alice, "push", "-q", "origin", "HEAD:topic")
    assert done.code == 0
    assert "runs were to go to" in done.err
    assert sorted(elsewhere.refs()) == ["refs/heads/main", "refs/heads/topic"]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["project", "user"])
def test_with_hooks_elsewhere_nothing_is_written_and_the_line_is_printed(
    alice: Clone, ds: DsCommand, tmp_path: Path, where: str
) -> None:
    hooks = tmp_path / "shared hooks"
    hooks.mkdir()
    git(alice.path, "config", *(["--global"] if where == "user" else []), "core.hooksPath", str(hooks))
    before = look(alice.path)
    done = ds("share", "on", "--yes", cwd=alice.path)
    assert done.code == 0
    assert look(alice.path) == before
    assert list(hooks.iterdir()) == []
    line = next(text for text in done.out.splitlines() if "add to pre-push:" in text).split(":  ")[1]
    (hooks / "pre-push").write_text(f"#!/bin/sh\n{line}\n")
    (hooks / "pre-push").chmod(0o755)
    alice.run()
    assert "ds: 1 run sent to origin" in user_git(alice, "push").err


@pytest.mark.slow
def test_a_hook_that_others_changed_since_is_left_and_named(alice: Clone, ds: DsCommand) -> None:
    share_on(alice)
    hook = alice.path / ".git" / "hooks" / "pre-push"
    with hook.open("a") as file:
        file.write("echo more\n")
    text = hook.read_text()
    done = ds("share", "off", cwd=alice.path)
    assert done.code == 0
    assert "`pre-push` was changed since" in done.err
    assert hook.read_text() == text
    # It calls us and we do nothing, for sharing is off.
    alice.run()
    assert "ds:" not in user_git(alice, "push").err


@pytest.mark.slow
def test_sharing_asks_first_and_says_all_that_it_changes(alice: Clone, ds: DsCommand) -> None:
    alice.run()
    before = look(alice.path)
    done = ds("share", "on", cwd=alice.path)
    assert done.code == 2
    assert "give `--yes`" in done.err
    assert look(alice.path) == before
    for name in OURS:
        assert f"write  {alice.path}/.git/hooks/{name}" in done.out
    assert "1 run" in done.out
    assert json.loads(ds("share", "--json", cwd=alice.path).out)["on"] is False
    plan = json.loads(ds("share", "on", "--yes", "--all", "--json", cwd=alice.path).out)
    assert (plan["older"], plan["with_older"], len(plan["changes"])) == (1, True, 3)
    assert json.loads(ds("share", "--json", cwd=alice.path).out)["remote"] == "origin"
    assert "ds: 1 run sent" in user_git(alice, "push").err


@pytest.mark.slow
def test_modules_of_the_project_are_not_loaded_by_the_hook(alice: Clone, tmp_path: Path) -> None:
    share_on(alice)
    canary = tmp_path / "canary"
    for name in ("typer", "dstui", "json", "store", "dstui_store", "sitecustomize"):
        write_files(alice.path, {f"{name}.py": f"open({str(canary)!r}, 'w')\n"})
    alice.run()
    done = subprocess.run(
        ["git", "push", "-q"],
        cwd=alice.path,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "ds: 1 run sent to origin\n")
    assert not canary.exists()
