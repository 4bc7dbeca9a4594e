"""Git is started in one way: our own git dir, a fixed environment, agreed verbs, and never for ever."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dstui_store import DamagedError, GitError, LimitError, NotAStoreError, Store, StoreError, git_version
from dstui_store import git as git_module
from dstui_store.git import VERBS, Git, git_program
from tests.store.ended_runs import committed_run
from tests.store.git_projects import commit_all, git, store_git, stored_files, write_files

GIVEN = frozenset(
    "PATH GIT_DIR LC_ALL HOME GIT_CONFIG_NOSYSTEM GIT_CONFIG_GLOBAL GIT_ATTR_NOSYSTEM GIT_TERMINAL_PROMPT GIT_ASKPASS "
    "SSH_ASKPASS GIT_PAGER GIT_EDITOR GIT_NO_REPLACE_OBJECTS GIT_OPTIONAL_LOCKS GIT_LITERAL_PATHSPECS "
    "GIT_ALLOW_PROTOCOL GIT_PROTOCOL_FROM_USER GIT_NO_LAZY_FETCH".split()
)
"""Variables of every call."""

FOR_LOOKING = frozenset("GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES".split())
"""Variables that calls about the work tree have besides."""


@dataclass(frozen=True)
class Call:
    """One start of git, as a stand-in on PATH saw it."""

    words: list[str]
    environment: dict[str, str]
    is_leader: bool
    stdin: str

    @property
    def verb(self) -> str:
        """The first word that is no option of git itself."""
        words = iter(self.words)
        for word in words:
            if word == "-c":
                next(words)
            elif not word.startswith("-"):
                return word
        return ""


class Watched:
    """A stand-in for git, first on PATH, that notes how it was called and becomes the real one."""

    def __init__(self, folder: Path) -> None:
        self._notes = folder / "calls"
        self._notes.mkdir(parents=True)
        real = shutil.which("git")
        program = folder / "git"
        program.write_text(
            f"#!{sys.executable} -IS\n"
            "import json, os, sys\n"
            f"notes, real = {str(self._notes)!r}, {real!r}\n"
            "note = {'words': sys.argv[1:], 'environment': dict(os.environ),\n"
            "        'is_leader': os.getpgid(0) == os.getpid(), 'stdin': os.readlink('/proc/self/fd/0')}\n"
            "open(f'{notes}/{os.getpid()}', 'a').write(json.dumps(note) + chr(10))\n"
            "os.execv(real, ['git', *sys.argv[1:]])\n"
        )
        program.chmod(0o755)

    def calls(self) -> list[Call]:
        """What was called so far; the order of processes is not kept."""
        lines = [line for path in self._notes.iterdir() for line in path.read_text().splitlines()]
        return [Call(**json.loads(line)) for line in lines]


@pytest.fixture
def calls(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Every start of git of a whole cycle."""
    folder = tmp_path / "stand-in"
    watching = Watched(folder)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    whole_cycle(project)
    found = watching.calls()
    assert len(found) > 5
    return [call for call in found if call.verb != "version"]


@pytest.fixture
def store(project: Path) -> Iterator[Store]:
    with Store.open(project, create=True) as opened:
        yield opened


def whole_cycle(project: Path) -> str:
    """Everything the store asks git for; returns the run's id."""
    write_files(project, {"train.py": "edited = True\n", "new.py": "new = True\n"})
    with Store.open(project, create=True) as store:
        record = committed_run(store, store.snapshot(), metrics={"loss": [1.0, 0.5]})
        store.operate(record.id, "tag", tag="good")
        store.records()
        store.meta(record.id)
        store.log(record.id)
        store.code_files(record.id)
        store.code_changes(record.id)
        return record.id


@pytest.mark.slow
def test_every_call_has_our_git_dir_and_only_variables_of_ours(calls: list[Call], project: Path) -> None:
    store_path = str(project / ".git" / "ds" / str(os.getuid()) / "store.git")
    for call in calls:
        assert call.environment["GIT_DIR"] == store_path
        given = {name for name in call.environment if name not in {"LC_CTYPE", "PWD", "SHLVL", "_"}}
        assert GIVEN <= given <= GIVEN | FOR_LOOKING, call.words
        assert call.environment["GIT_ALLOW_PROTOCOL"] == "none"
        assert not Path(call.environment["HOME"]).exists()


@pytest.mark.slow
def test_every_call_asks_an_agreed_verb_in_a_session_of_its_own_without_our_stdin(calls: list[Call]) -> None:
    for call in calls:
        assert call.verb in VERBS, call.words
        assert call.is_leader, call.words
        assert call.stdin == "/dev/null" or call.stdin.startswith("pipe:"), call.words


@pytest.mark.slow
def test_objects_of_the_project_are_out_of_reach_when_a_tree_is_written(calls: list[Call], project: Path) -> None:
    writing = [call for call in calls if call.verb == "write-tree"]
    assert writing
    for call in writing:
        assert str(project / ".git" / "objects") not in call.environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"]


@pytest.mark.slow
def test_inherited_variables_of_git_change_nothing(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {shlex.quote(str(canary))}\n")
    trap.chmod(0o755)
    other = tmp_path / "other"
    git(tmp_path, "init", "-q", "--bare", str(other))
    poison = {
        "GIT_DIR": str(other),
        "GIT_WORK_TREE": str(tmp_path),
        "GIT_COMMON_DIR": str(other),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_OBJECT_DIRECTORY": str(other / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(other / "objects"),
        "GIT_NAMESPACE": "elsewhere",
        "GIT_CEILING_DIRECTORIES": "/",
        "GIT_CONFIG": str(tmp_path / "config"),
        "GIT_CONFIG_GLOBAL": str(tmp_path / "config"),
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(trap),
        "GIT_CONFIG_KEY_1": "core.pager",
        "GIT_CONFIG_VALUE_1": str(trap),
        "GIT_CONFIG_PARAMETERS": f"'core.fsmonitor={trap}'",
        "GIT_EXTERNAL_DIFF": str(trap),
        "GIT_PAGER": str(trap),
        "GIT_EDITOR": str(trap),
        "GIT_SSH": str(trap),
        "GIT_SSH_COMMAND": str(trap),
        "GIT_ASKPASS": str(trap),
        "GIT_PROXY_COMMAND": str(trap),
        "GIT_EXEC_PATH": str(tmp_path),
        "GIT_TEMPLATE_DIR": str(tmp_path),
        "GIT_TRACE": str(tmp_path / "trace"),
        "GIT_TRACE2_EVENT": str(tmp_path / "trace2"),
        "GIT_DEFAULT_HASH": "sha256",
        "GIT_GLOB_PATHSPECS": "1",
        "GIT_REPLACE_REF_BASE": "refs/evil/",
        "GIT_SHALLOW_FILE": str(tmp_path / "shallow"),
        "GIT_GRAFT_FILE": str(tmp_path / "grafts"),
        "GIT_QUARANTINE_PATH": str(tmp_path),
        "GIT_FLUSH": "1",
    }
    for name, value in poison.items():
        monkeypatch.setenv(name, value)
    run = whole_cycle(project)
    for name in poison:
        monkeypatch.delenv(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "project", "trap"]
    with Store.open(project) as store:
        assert [record.id for record in store.records()] == [run]
        files = stored_files(store, store.code_tree(run))
    assert files[b"train.py"] == ("100644", b"edited = True\n")
    assert files[b"new.py"] == ("100644", b"new = True\n")


def test_a_git_beside_the_project_is_never_taken_for_git(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = project / "git"
    trap.write_text(f"#!/bin/sh\ntouch {shlex.quote(str(tmp_path / 'canary'))}\n")
    trap.chmod(0o755)
    monkeypatch.chdir(project)
    monkeypatch.setenv("PATH", f".{os.pathsep}{os.pathsep}{os.environ['PATH']}")
    with Store.open(project, create=True) as store:
        assert store.snapshot().added == ("git",)
    assert Path(git_program()).is_absolute()
    assert not (tmp_path / "canary").exists()


def test_without_git_there_is_one_sentence_and_what_to_do(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="not found on PATH") as caught:
        git_program()
    assert "install git" in str(caught.value.hint)


def test_an_old_git_is_refused_by_its_version(tmp_path: Path) -> None:
    stand_in = tmp_path / "bin" / "git"
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\necho git version 2.29.3\n")
    stand_in.chmod(0o755)
    program = "from dstui_store import git_version\ngit_version()\n"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PATH": str(stand_in.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "GitError: git 2.29.3 is too old" in done.stderr


def test_the_version_of_git_is_read_as_numbers() -> None:
    text = subprocess.run(["git", "version"], capture_output=True, text=True, check=True).stdout
    assert ".".join(map(str, git_version())) in text


def test_a_verb_that_is_not_agreed_is_never_started(store: Store) -> None:
    for verb in ("status", "commit", "checkout", "push", "-c", "--exec-path=/tmp", "ls-files --help"):
        with pytest.raises(GitError, match="not a call that the store makes"):
            store.git.run(verb)


def test_a_failing_call_says_git_s_own_words(store: Store) -> None:
    with pytest.raises(GitError, match=r"git rev-list failed: .*0{40}"):
        store.git.run("rev-list", "0" * 40, "--")


def test_a_call_that_hangs_is_ended_and_leaves_no_process(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: object
) -> None:
    stand_in = tmp_path / "bin" / "git"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!/bin/sh\necho $$ > {shlex.quote(str(tmp_path / 'pid'))}\nexec tail -f /dev/null\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(git_module, "DEADLINE_SECONDS", 0.3)
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(GitError, match="took longer than"):
        store.git.run("for-each-ref")
    assert not Path(f"/proc/{int((tmp_path / 'pid').read_text())}").exists()


@pytest.mark.timeout(30)
def test_an_object_that_never_comes_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record = committed_run(store)
    name = "ab" * 20
    folder = store.git.objects / name[:2]
    folder.mkdir(exist_ok=True)
    os.mkfifo(folder / name[2:])
    monkeypatch.setattr(git_module, "DEADLINE_SECONDS", 0.3)
    with pytest.raises(StoreError):
        store.git.object(name, limit=1000)
    assert store.meta(record.id)["id"] == record.id


def test_reading_goes_on_after_an_object_whose_bytes_are_rotten(store: Store) -> None:
    record = committed_run(store)
    with store.git.staging() as staging:
        names = [staging.blob(b"rotten %d" % number * 50) for number in range(3)]
        staging.publish()
    for name, keep in zip(names, (2, 20, 0), strict=True):
        path = store.git.objects / name[:2] / name[2:]
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DamagedError):
            store.git.object(name, limit=10_000)
        assert store.meta(record.id)["id"] == record.id


def test_bytes_that_do_not_match_their_name_are_refused(store: Store) -> None:
    with store.git.staging() as staging:
        honest, other = staging.blob(b"honest"), staging.blob(b"other!")
        staging.publish()
    source, target = (store.git.objects / name[:2] / name[2:] for name in (other, honest))
    target.unlink()
    shutil.copyfile(source, target)
    with pytest.raises(DamagedError, match="does not hold the bytes that its name stands for"):
        store.git.object(honest, limit=1000)
    assert store.git.object(other, limit=1000) == b"other!"


def test_size_is_asked_before_content_is_read(store: Store) -> None:
    with store.git.staging() as staging:
        name = staging.blob(b"x" * 5000)
        staging.publish()
    with pytest.raises(LimitError, match=r"5,000, over the limit of 4,999") as caught:
        store.git.object(name, limit=4999)
    assert (caught.value.value, caught.value.limit) == (5000, 4999)
    assert store.git.object(name, limit=5000) == b"x" * 5000


@pytest.mark.parametrize("name", ["", "HEAD", "-h", "--batch", "refs/ds/p/x", "a" * 39, "A" * 40, "a" * 40 + "\nb"])
def test_what_is_no_object_id_never_reaches_git(store: Store, name: str) -> None:
    with pytest.raises(DamagedError, match="no object id"):
        store.git.object(name, limit=1000)


def test_a_missing_object_and_one_of_another_kind_are_damage(store: Store) -> None:
    with pytest.raises(DamagedError, match="is missing"):
        store.git.object("ab" * 20, limit=1000)
    with pytest.raises(DamagedError, match="is a tree, not a blob"):
        store.git.object(store.git.empty_tree, limit=1000, kind="blob")


def test_the_empty_tree_is_in_every_store(store: Store) -> None:
    assert store_git(store, "cat-file", "-t", store.git.empty_tree) == b"tree\n"


def test_refs_with_names_that_ours_never_have_are_not_seen(store: Store) -> None:
    record = committed_run(store)
    assert record.commit is not None
    for name in ("refs/ds/p/Upper", "refs/ds/p/a@b", "refs/ds/p/a(b", "refs/heads/main", "refs/ds/p/\u00fc"):
        store_git(store, "update-ref", name, record.commit)
    assert list(store.git.refs("refs/ds/p/")) == [f"refs/ds/p/{store.writer()}"]
    assert [found.id for found in store.records()] == [record.id]


@pytest.mark.parametrize(
    "writer",
    [
        "Alice",
        "a b",
        "a/b",
        "../up",
        "a..b",
        ".hidden",
        "end.",
        "x.lock",
        "-rf",
        "-.x",
        "@{1}",
        "\u00e9t\u00e9",
        "..",
        "n" * 200,
        "...",
    ],
)
def test_any_given_writer_becomes_a_ref_that_git_takes(
    store: Store, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSTUI_WRITER", writer)
    record = committed_run(store)
    name = store.writer()
    assert list(store.git.refs("refs/ds/p/")) == [f"refs/ds/p/{name}"]
    assert [found.writer for found in store.records()] == [record.writer] == [name]


def test_a_ref_is_read_when_git_has_packed_it(store: Store) -> None:
    first = committed_run(store)
    store_git(store, "pack-refs", "--all", "--prune")
    ref = f"refs/ds/p/{store.writer()}"
    assert not (store.layout.store_git / ref).exists()
    assert store.git.read_ref(ref) == store_git(store, "rev-parse", ref).decode().strip()
    second = committed_run(store)
    assert {record.id for record in store.records()} == {first.id, second.id}


def test_an_emptied_ref_is_damage_and_not_a_new_history(store: Store) -> None:
    committed_run(store)
    ref = f"refs/ds/p/{store.writer()}"
    (store.layout.store_git / ref).write_text("")
    with pytest.raises(DamagedError, match="holds no object id"):
        store.git.read_ref(ref)
    with pytest.raises(StoreError):
        committed_run(store)
    assert (store.layout.store_git / ref).read_text() == ""


def test_a_ref_moves_only_from_where_it_was_believed_to_be(store: Store) -> None:
    first, second = committed_run(store), committed_run(store)
    assert first.commit is not None
    assert second.commit is not None
    ref = f"refs/ds/p/{store.writer()}"
    tip = store.git.read_ref(ref)
    with store.locked() as lock, pytest.raises(GitError):
        store.git.update_ref(ref, first.commit, second.commit, lock)
    assert store.git.read_ref(ref) == tip


def test_a_leftover_lock_of_a_dead_git_does_not_stop_the_next_commit(store: Store) -> None:
    committed_run(store)
    lock = store.layout.store_git / f"refs/ds/p/{store.writer()}.lock"
    lock.write_text("half a ref")
    committed_run(store)
    assert not lock.exists()
    assert len(store.records()) == 2


def test_the_lock_is_git_s_as_well_so_it_is_free_only_when_both_are_dead(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "bin" / "git"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f'#!/bin/sh\nls -l /proc/self/fd >> {shlex.quote(str(tmp_path / "held"))}\nexec {shutil.which("git")} "$@"\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    store.git.run("for-each-ref")
    assert str(store.layout.lock) not in (tmp_path / "held").read_text()
    committed_run(store)
    assert str(store.layout.lock) in (tmp_path / "held").read_text()


def test_the_config_is_exactly_what_git_reads_from_it(store: Store) -> None:
    lines = store_git(store, "config", "--list", "--local").decode().splitlines()
    assert dict(line.split("=", 1) for line in lines) == {
        "core.repositoryformatversion": "0",
        "core.filemode": "true",
        "core.bare": "true",
        "core.hookspath": "/dev/null",
        "core.attributesfile": "/dev/null",
        "core.fsmonitor": "false",
        "core.symlinks": "false",
        "core.protectntfs": "true",
        "core.protecthfs": "true",
        "gc.auto": "0",
        "maintenance.auto": "false",
        "protocol.allow": "never",
        "transfer.fsckobjects": "true",
        "commit.gpgsign": "false",
    }


def test_two_processes_that_make_the_store_at_once_share_one(project: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom dstui_store import Store\n"
        "sys.stdin.readline()\n"
        "with Store.open(Path(sys.argv[1]), create=True) as store: print(store.layout.store_git.stat().st_ino)\n"
    )
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(project)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("go\n")
        maker.stdin.flush()
    outputs = [maker.communicate(timeout=60)[0] for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0, 0, 0]
    assert len(set(outputs)) == 1
    root = project / ".git" / "ds" / str(os.getuid())
    assert not list(root.glob("store.git.*"))


def test_a_store_that_is_not_there_is_not_made_by_looking(project: Path) -> None:
    with Store.open(project) as store:
        assert not store.exists
        assert store.records() == []
        assert store.sync() == 0
    assert not (project / ".git" / "ds").exists()


def test_colons_and_quotes_in_the_project_s_path_do_not_hide_its_objects(tmp_path: Path) -> None:
    folder = tmp_path / 'a:b "c" \\d\ne'
    folder.mkdir()
    write_files(folder, {"train.py": "x = 1\n"})
    git(folder, "init", "-q")
    commit_all(folder)
    with Store.open(folder, create=True) as store:
        snapshot = store.snapshot()
        assert stored_files(store, snapshot.tree) == {b"train.py": ("100644", b"x = 1\n")}
        assert not snapshot.dirty


def test_git_open_refuses_what_is_no_store(project: Path) -> None:
    with Store.open(project, create=True) as store:
        layout = store.layout
    (layout.store_git / "config").write_text("[core]\n\tbare = true\n")
    with pytest.raises(NotAStoreError, match="is not the configuration that dstui writes") as caught:
        Git.open(layout, create=False)
    assert "move" in str(caught.value.hint)
