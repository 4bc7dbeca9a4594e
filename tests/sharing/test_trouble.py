"""Remotes that refuse, vanish, forget or do not answer: no run is lost or doubled, and one sentence says what is so."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dstui_store import RemoteError, RemoteRefusedError, Sharing, Store, network
from tests.sharing.team import HOST, Server, Team, free_port, make_team, sshd
from tests.store.ended_runs import committed_run
from tests.store.git_projects import fsck, git

if TYPE_CHECKING:
    from tests.conftest import DsCommand

REFUSE_OUR_REFS = 'case "$1" in refs/ds/*) echo "custom refs are not welcome"; exit 1;; esac'
REFUSE_A_PUSH_WITH_OUR_REFS = 'while read old new ref; do case "$ref" in refs/ds/*) exit 1;; esac; done'


@pytest.mark.parametrize(("hook", "text"), [("update", REFUSE_OUR_REFS), ("pre-receive", REFUSE_A_PUSH_WITH_OUR_REFS)])
def test_a_host_that_refuses_our_refs_is_named_with_the_way_out(served: Team, hook: str, text: str) -> None:
    alice = served.clone("alice")
    run = alice.run()
    served.hook(hook, text)
    with pytest.raises(RemoteRefusedError) as caught:
        alice.push()
    assert "`origin` does not take runs" in caught.value.message
    if hook == "update":
        assert "custom refs are not welcome" in caught.value.message
    assert "ds share on URL" in str(caught.value.hint)
    other = make_team(served.folder / "other")
    sharing = alice.sharing
    assert sharing.push(sharing.find(str(other.bare))).runs == [run.id]
    (served.bare / "hooks" / hook).unlink()
    assert alice.push().runs == [run.id]


@pytest.mark.slow
def test_the_user_s_push_goes_through_all_the_same_and_one_line_says_what_happened(served: Team, ds: DsCommand) -> None:
    alice = served.clone("alice")
    assert ds("share", "on", "--yes", cwd=alice.path).code == 0
    alice.run()
    served.hook("update", REFUSE_OUR_REFS)
    (alice.path / "train.py").write_text("print('edited')\n")
    git(alice.path, "commit", "-q", "-a", "-m", "edited")
    said = push_of_the_user(alice.path)
    assert served.refs() == {"refs/heads/main": git(alice.path, "rev-parse", "HEAD").decode().strip()}
    ours = [line for line in said.split("\n") if line.startswith("ds: ")]
    assert len(ours) == 1
    assert "does not take runs" in ours[0]
    assert "custom refs are not welcome" in ours[0]


def push_of_the_user(path: Path) -> str:
    """What `git push` writes; it must succeed."""
    done = subprocess.run(
        ["git", "push"], cwd=path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("when", ["pre-receive", "reference-transaction"])
def test_a_remote_that_vanishes_while_it_takes_a_push_gets_each_run_once(
    served: Team, server: Server, when: str, wait_until: Callable[..., None]
) -> None:
    alice, bob = served.clone("alice"), served.clone("bob")
    alice.run()
    alice.push()
    runs = [alice.run() for _ in range(3)]
    reached = served.folder / "reached"
    # Before anything is there, and after the ref has moved but before its answer has left.
    served.hook(when, f'case "$1" in ""|committed) echo > {reached}; exec sleep 60;; esac')
    errors: list[Exception] = []

    def pushing() -> None:
        # Its own store: an index belongs to the thread that opened it.
        with Store.open(alice.path) as store:
            try:
                Sharing(store).push(Sharing(store).find())
            except RemoteError as error:
                errors.append(error)

    thread = threading.Thread(target=pushing)
    thread.start()
    wait_until(reached.exists, 30)
    server.kill()
    thread.join(30)
    assert len(errors) == 1
    assert "`origin`" in str(errors[0])
    (served.bare / "hooks" / when).unlink()
    server.start()
    alice.run()
    sent = alice.push()
    assert {run.id for run in runs} <= set(sent.runs)
    bob.pull()
    assert bob.ids() == alice.ids()
    assert len(bob.ids()) == 5
    assert fsck(alice.store) == fsck(bob.store) == ""


def test_a_remote_that_is_not_there_is_told_in_one_sentence_and_costs_nothing(served: Team, server: Server) -> None:
    alice = served.clone("alice")
    run = alice.run()
    server.kill()
    for call in (alice.push, alice.pull):
        with pytest.raises(RemoteError) as caught:
            call()
        assert "`origin`" in caught.value.message
        assert "Connection refused" in caught.value.message
        assert "\n" not in caught.value.message
        assert "fatal:" not in caught.value.message
    assert alice.ids() == [run.id]
    server.start()
    assert alice.push().runs == [run.id]


@pytest.mark.slow
def test_a_key_that_the_host_does_not_know_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "team"
    folder.mkdir()
    server = sshd(folder, monkeypatch)
    try:
        team = make_team(folder, f"{server.url}/team.git")
        alice = team.clone("alice")
        alice.run()
        config = folder / "keys" / "ssh_config"
        config.write_text(config.read_text().replace("keys/user\n", "keys/stranger\n"))
        with pytest.raises(RemoteError) as caught:
            alice.push()
        assert "Permission denied (publickey)" in caught.value.message
        assert "git ls-remote" in str(caught.value.hint)
        team.close()
    finally:
        server.kill()


def test_a_remote_that_never_answers_is_given_up(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = team.clone("alice")
    alice.run()
    monkeypatch.setattr(network, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(network, "POLL_SECONDS", 0.05)
    with socket.create_server((HOST, free_port())) as silent:
        git(alice.path, "remote", "set-url", "origin", f"git://{HOST}:{silent.getsockname()[1]}/x.git")
        with pytest.raises(RemoteError, match="was silent"):
            alice.push()
    # Nothing of ours goes on waiting.
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(alice.store.layout.root) in words(path)]


def words(path: Path) -> str:
    try:
        environment = path.with_name("environ").read_bytes()
        return environment.decode(errors="replace") if b"push" in path.read_bytes() else ""
    except OSError:
        return ""


def test_a_remote_that_lost_our_refs_gets_them_again(team: Team) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    runs = [alice.run() for _ in range(2)]
    alice.push()
    # What a `git push --mirror` of somebody without our refs does.
    team.git("update-ref", "-d", f"refs/ds/w/{alice.writer}")
    bob.pull()
    assert bob.ids() == []
    assert alice.push().runs == []
    bob.pull()
    assert bob.ids() == sorted(run.id for run in runs)


def test_a_remote_restored_from_yesterday_gets_the_rest_again(team: Team) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    ref = f"refs/ds/w/{alice.writer}"
    alice.run()
    alice.push()
    yesterday = team.refs()[ref]
    alice.run()
    alice.push()
    bob.pull()
    team.git("update-ref", ref, yesterday)
    alice.push()
    assert bob.pull().rewritten == []
    assert bob.ids() == alice.ids()
    assert len(bob.ids()) == 2


@pytest.mark.slow
def test_a_project_without_a_remote_is_told_what_to_do(project: Path, ds: DsCommand) -> None:
    done = ds("push", cwd=project)
    assert (done.code, done.out) == (3, "")
    assert "no remote to share runs through" in done.err
    assert "ds share on URL" in done.err
    with Store.open(project, create=True) as store:
        committed_run(store)
    missing = ds("push", "--remote", str(project / "nowhere.git"), cwd=project)
    assert missing.code == 3
    assert "does not appear to be a git repository" in missing.err
    assert "fatal" not in missing.err
