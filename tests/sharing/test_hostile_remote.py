"""A remote that means harm: what it sends is named and left out, the honest rest arrives, and nothing of it is run."""

from __future__ import annotations

import json
import os
import zlib
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dstui_store import RemoteError, StoreError, incoming, network
from dstui_store.network import Network, last_words
from dstui_store.remotes import protocol_of, without_password
from tests.store.chains import run_line
from tests.store.git_projects import fsck, git

if TYPE_CHECKING:
    from tests.conftest import DsCommand
    from tests.sharing.team import Clone, Team

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
AUTHOR = "Mallory <mallory@dstui> 1790000000 +0000"


def put(team: Team, kind: str, content: bytes) -> str:
    """Any bytes as an object of the remote, sound or not; its id."""
    body = b"%s %d\0" % (kind.encode(), len(content)) + content
    name = sha1(body, usedforsecurity=False).hexdigest()
    path = team.bare / "objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(body))
    return name


def put_commit(team: Team, message: str, parents: tuple[str, ...] = (), tree: str = EMPTY_TREE) -> str:
    put(team, "tree", b"")
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {AUTHOR}", f"committer {AUTHOR}"]
    return put(team, "commit", "\n".join([*lines, "", message]).encode())


def put_log(team: Team, writer: str, *lines: dict[str, object]) -> str:
    """A log with one entry a line, under the writer's ref."""
    tip = put_commit(team, "ds v1\n")
    for line in lines:
        run = put_commit(team, f"R of {json.dumps(line)}\n")
        tip = put_commit(team, f"t\n\n{json.dumps(line)}\n", (tip, run))
    put_ref(team, f"refs/ds/w/{writer}", tip)
    return tip


def put_ref(team: Team, ref: str, oid: str) -> None:
    path = team.bare / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{oid}\n")


@pytest.fixture
def bob(team: Team) -> Clone:
    """A member whose teammate alice has shared one honest run."""
    alice = team.clone("alice")
    alice.run(name="honest")
    alice.push()
    return team.clone("bob")


def names(bob: Clone) -> list[str]:
    return sorted(record.name for record in bob.store.records())


ODD_NAMES = ("Alice", "a b", "a:b", "-x", "é", "x" * 65, "a/b", "a\x1b[31m")


def test_refs_with_odd_names_are_named_and_left_out(team: Team, bob: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    tip = put_log(team, "mallory", run_line(name="theirs"))
    asked = Network.shared_refs
    monkeypatch.setattr(
        Network, "shared_refs", lambda self: {**asked(self), **{f"refs/ds/w/{name}": tip for name in ODD_NAMES}}
    )
    received = bob.pull()
    assert {writer for writer, _ in received.refused} == {name[:80] for name in ODD_NAMES}
    assert names(bob) == ["honest", "theirs"]
    assert not [ref for ref in bob.store.git.refs("refs/") if any(name in ref for name in ("Alice", "-x", "a/b"))]


@pytest.mark.parametrize("kind", ["blob", "tree", "tag"])
def test_a_ref_that_is_no_commit_is_named_and_left_out(team: Team, bob: Clone, kind: str) -> None:
    target = put_commit(team, "ds v1\n")
    content = {
        "blob": b"x",
        "tree": b"",
        "tag": f"object {target}\ntype commit\ntag x\ntagger {AUTHOR}\n\nx\n".encode(),
    }
    put_ref(team, "refs/ds/w/mallory", put(team, kind, content[kind]))
    ((writer, why),) = bob.pull().refused
    assert writer == "mallory"
    assert why
    assert names(bob) == ["honest"]
    assert list(incoming.tracked(bob.store, bob.remote.key)) != []
    assert "mallory" not in incoming.tracked(bob.store, bob.remote.key)


def bad_trees(team: Team) -> dict[str, bytes]:
    blob = bytes.fromhex(put(team, "blob", b"x"))
    folder = bytes.fromhex(put(team, "tree", b"100644 x\0" + blob))
    return {
        ".git": b"100644 .git\0" + blob,
        "a path": b"100644 a/b\0" + blob,
        "twice": b"100644 a\0" + blob + b"100644 a\0" + blob,
        "unsorted": b"100644 b\0" + blob + b"100644 a\0" + blob,
        "no mode": b"0 a\0" + blob,
        "missing": b"100644 a\0" + bytes(range(20)),
        "link modules": b"120000 .gitmodules\0" + blob,
        "dots": b"40000 ..\0" + folder,
    }


def test_objects_that_no_git_would_write_are_named_and_the_honest_run_arrives(team: Team, bob: Clone) -> None:
    trees = bad_trees(team)
    for number, content in enumerate(trees.values()):
        tree = put(team, "tree", content)
        first = put_commit(team, "ds v1\n")
        entry = put_commit(team, f"t\n\n{json.dumps(run_line(writer=f'm{number}'))}\n", (first,), tree)
        put_ref(team, f"refs/ds/w/m{number}", entry)
    received = bob.pull()
    assert names(bob) == ["honest"]
    assert {writer for writer, _ in received.refused} == {f"m{number}" for number in range(len(trees))}
    assert all("\n" not in why and "\x1b" not in why for _, why in received.refused)
    assert "hasDotgit" in dict(received.refused)["m0"]
    assert fsck(bob.store) == ""


def test_a_run_by_another_than_its_log_s_writer_is_not_listed(team: Team, bob: Clone) -> None:
    put_log(team, "mallory", run_line(name="forged", writer="alice"), run_line(name="theirs"))
    assert len(bob.pull().runs["mallory"]) == 1
    assert names(bob) == ["honest", "theirs"]
    ((_, _, why),) = bob.store.index.damages()
    assert why == "A run in the log of `mallory` says that it is by `alice`"


def test_writers_over_the_limit_are_named(team: Team, bob: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_WRITERS", 3)
    for number in range(5):
        put_log(team, f"w{number}", run_line(writer=f"w{number}", name=f"w{number}"))
    received = bob.pull()
    assert len(received.refused) == 3
    assert all("knows 3 writers already" in why for _, why in received.refused)
    assert len(bob.store.records()) == 3


def test_a_log_over_the_limit_is_named(team: Team, bob: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    put_log(team, "mallory", *(run_line() for _ in range(6)))
    monkeypatch.setattr(incoming, "MAX_SYNC_COMMITS", 5)
    ((writer, why),) = bob.pull().refused
    assert (writer, why) == ("mallory", "The number of entries of a log is 6, over the limit of 5")
    assert names(bob) == ["honest"]


def test_a_pack_over_the_limit_fills_no_disk(team: Team, bob: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = bytes.fromhex(put(team, "blob", os.urandom(3 << 20)))
    tree = put(team, "tree", b"100644 a\0" + blob)
    line = json.dumps(run_line())
    entry = put_commit(team, f"t\n\n{line}\n", (put_commit(team, "ds v1\n"), put_commit(team, "R\n", (), tree)), tree)
    put_ref(team, "refs/ds/w/mallory", entry)
    monkeypatch.setattr(network, "MAX_FETCH_BYTES", 1 << 20)
    ((writer, _),) = bob.pull().refused
    assert writer == "mallory"
    assert names(bob) == ["honest"]
    assert list(bob.store.layout.quarantine.iterdir()) == []
    sizes = [path.stat().st_size for path in bob.store.layout.root.rglob("*") if path.is_file()]
    assert max(sizes) < 1 << 20


def test_a_remote_with_more_names_than_any_team_is_refused(
    team: Team, bob: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "MAX_ADVERTISED_BYTES", 50)
    with pytest.raises(RemoteError, match="more refs than any team has"):
        bob.pull()
    assert names(bob) == []


ADDRESSES = (
    "ext::sh -c 'touch {canary}'",
    "fd::17",
    "transport::x",
    "-oProxyCommand=touch {canary}",
    "--upload-pack=touch {canary}",
    "hg://x/y",
    "javascript:://x",
    "https://x\\ny",
)


def test_an_address_that_names_a_program_is_refused(team: Team, tmp_path: Path) -> None:
    bob, canary = team.clone("bob"), tmp_path / "canary"
    bob.run()
    config = bob.path / ".git" / "config"
    sound = config.read_text()
    for address in ADDRESSES:
        config.write_text(sound.replace(team.url, f'"{address}"'.replace("{canary}", str(canary))))
        assert git(bob.path, "config", "remote.origin.url")
        for call in (bob.pull, bob.push):
            with pytest.raises(StoreError) as caught:
                call()
            assert "\n" not in caught.value.message
    assert not canary.exists()


PROGRAMS = """
[core]
	sshCommand = touch {canary}
	hooksPath = {hooks}
	fsmonitor = touch {canary}
	gitProxy = touch {canary}
	alternateRefsCommand = touch {canary}
[credential]
	helper = "!touch {canary}"
[remote "origin"]
	uploadpack = touch {canary} #
	receivepack = touch {canary} #
	vcs = canary
[url "ext::sh -c 'touch {canary}'"]
	insteadOf = {url}
	pushInsteadOf = {url}
[protocol]
	allow = always
[push]
	gpgSign = true
[gpg]
	program = touch {canary}
[uploadpack]
	packObjectsHook = touch {canary}
[include]
	path = {hooks}/more
"""


@pytest.mark.slow
def test_nothing_that_the_project_s_configuration_names_is_run(served: Team, tmp_path: Path) -> None:
    alice, bob = served.clone("alice"), served.clone("bob")
    canary, hooks = tmp_path / "canary", tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-push", "post-merge", "reference-transaction", "post-checkout", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {canary}\n")
        (hooks / name).chmod(0o755)
    (hooks / "more").write_text(f"[core]\n\tsshCommand = touch {canary}\n")
    for clone in (alice, bob):
        with (clone.path / ".git" / "config").open("a") as config:
            config.write(PROGRAMS.format(canary=canary, hooks=hooks, url=served.url))
    alice.run()
    alice.push()
    bob.pull()
    assert bob.ids() == alice.ids()
    assert not canary.exists()


def test_what_a_calling_git_leaves_in_the_environment_has_no_say(
    team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = team.clone("alice"), team.clone("bob")
    canary = tmp_path / "canary"
    alice.run()
    poison = {
        "GIT_DIR": str(tmp_path / "elsewhere"),
        "GIT_WORK_TREE": str(tmp_path),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_OBJECT_DIRECTORY": str(tmp_path / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(tmp_path / "others"),
        "GIT_NAMESPACE": "elsewhere",
        "GIT_EXTERNAL_DIFF": f"touch {canary}",
        "GIT_EXEC_PATH": str(tmp_path),
        "GIT_CONFIG_PARAMETERS": f"'core.hooksPath={tmp_path}'",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.sshCommand",
        "GIT_CONFIG_VALUE_0": f"touch {canary}",
        "GIT_ALLOW_PROTOCOL": "ext",
        "GIT_TRACE": str(tmp_path / "trace"),
        "GIT_PREFIX": "x/",
        "GIT_QUARANTINE_PATH": str(tmp_path),
        "GIT_REFLOG_ACTION": "pull",
    }
    for name, value in poison.items():
        monkeypatch.setenv(name, value)
    alice.push()
    bob.pull()
    assert len(bob.ids()) == 1
    assert not canary.exists()
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
def test_looking_at_a_project_that_shares_opens_no_connection(team: Team, tmp_path: Path, ds: DsCommand) -> None:
    alice, calls = team.clone("alice"), tmp_path / "calls"
    alice.run()
    alice.push()
    alice.sharing.turn_on(alice.remote)
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\necho called >> {calls}\nexit 1\n")
    program.chmod(0o755)
    git(alice.path, "remote", "set-url", "origin", "ssh://nowhere.invalid/team.git")
    ours = {"GIT_SSH": str(program)}
    for words in (["ls"], ["show", "@"], ["share"], ["doctor"], ["--once", "runs"]):
        assert ds(*words, cwd=alice.path, env=ours).code in {0, 1}, words
    assert not calls.exists()
    # The same program is asked when somebody means to go out.
    assert ds("pull", "--remote", "ssh://nowhere.invalid/team.git", cwd=alice.path, env=ours).code == 3
    assert calls.exists()


def test_the_words_of_a_remote_lose_their_passwords_and_their_noise() -> None:
    said = (
        "remote: \x1b[31mCounting objects: 100% (3/3), done.\n"
        "fatal: unable to access 'https://u:tok3n@h/x.git/': The requested URL returned error: 403\n"
    )
    assert last_words(said) == "unable to access 'https://h/x.git/': The requested URL returned error: 403"
    assert without_password("https://tok3n@h/x") == "https://h/x"
    assert without_password("ssh://git:pw@h/x") == "ssh://git@h/x"
    assert without_password("git@h:x") == "git@h:x"
    assert protocol_of("git@host:team/x.git") == "ssh"
    assert protocol_of("/srv/x.git") == "file"
