"""A team: a bare repository behind a real server on loopback, and clones whose stores share runs through it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import pytest

from dstui_store import Received, Remote, RunRecord, Sent, Sharing, Snapshot, Store
from tests.store.ended_runs import committed_run
from tests.store.git_projects import git

SSHD = next((path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if Path(path).exists()), None)

HOST = "127.0.0.1"
START_SECONDS = 20.0


@dataclass
class Server:
    """A server of ours; `url` is where the bare repositories of a folder are, without a slash at the end."""

    url: str
    command: list[str]
    log: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Returns once it takes connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + START_SECONDS
        while not _answers(self.port):
            if time.monotonic() > end or self._process.poll() is not None:
                pytest.fail(f"{self.command[0]} does not start: {self.log.read_text()[-2000:]}")
            threading.Event().wait(0.01)

    def kill(self) -> None:
        """Ends it and every connection it serves, at once."""
        if self._process is not None:
            for signal in (SIGKILL, SIGTERM):
                try:
                    os.killpg(self._process.pid, signal)
                except ProcessLookupError:
                    break
            self._process.wait(timeout=10)
            self._process = None


@dataclass
class Clone:
    """One member's clone."""

    path: Path
    store: Store
    _snapshot: Snapshot | None = None

    @property
    def sharing(self) -> Sharing:
        return Sharing(self.store)

    @property
    def remote(self) -> Remote:
        return self.sharing.find()

    @property
    def writer(self) -> str:
        return self.store.writer()

    def run(self, *, edited: bool = False, **how: Any) -> RunRecord:
        """One more run with the code as it was at the first; arguments as `committed_run`.

        Args:
            edited: with the code as it is now.
        """
        if self._snapshot is None or edited:
            self._snapshot = self.store.snapshot()
        return committed_run(self.store, self._snapshot, **how)

    def push(self, **how: Any) -> Sent:
        return self.sharing.push(self.remote, **how)

    def pull(self) -> Received:
        return self.sharing.pull(self.remote)

    def ids(self) -> list[str]:
        """Ids of all runs that are listed, sorted; one that is listed twice stands twice."""
        return sorted(record.id for record in self.store.records())


@dataclass
class Team:
    """The bare repository and the clones of it."""

    folder: Path
    bare: Path
    url: str
    clones: list[Clone] = field(default_factory=list)

    def clone(self, name: str, user: str | None = None) -> Clone:
        """One more member; the writer bears the name of `user`, by default the clone's."""
        path = self.folder / name
        git(self.folder, "clone", "-q", str(self.bare), name)
        git(path, "remote", "set-url", "origin", self.url)
        with named(user or name):
            store = Store.open(path, create=True)
            store.writer()
        made = Clone(path, store)
        self.clones.append(made)
        return made

    def git(self, *words: str, stdin: bytes = b"") -> str:
        """Plain git in the bare repository."""
        return git(self.bare, *words, stdin=stdin).decode(errors="replace")

    def refs(self) -> dict[str, str]:
        """Ref to object id of all refs there."""
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)").split("\n")
        return dict(line.split(" ") for line in lines if line)

    def objects(self) -> dict[str, str]:
        """Id to kind of every object there, reachable or not."""
        lines = self.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)").split("\n")
        return dict(line.split(" ") for line in lines if line)

    def all_bytes(self) -> bytes:
        """Every object there, one after the other, uncompressed."""
        return git(self.bare, "cat-file", "--batch-all-objects", "--batch", "--unordered")

    def hook(self, name: str, text: str) -> None:
        """Makes a hook of the server's side."""
        path = self.bare / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def close(self) -> None:
        for clone in self.clones:
            clone.store.close()


@contextmanager
def named(user: str) -> Iterator[None]:
    """This process is somebody else's for a moment."""
    before = {name: os.environ.get(name) for name in ("LOGNAME", "USER")}
    os.environ.update(dict.fromkeys(before, user))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def make_team(folder: Path, url: str | None = None, *, algorithm: str = "sha1") -> Team:
    """A bare repository with one commit; its URL is the folder unless said."""
    folder.mkdir(exist_ok=True)
    bare = folder / "team.git"
    git(folder, "init", "-q", "--bare", f"--object-format={algorithm}", "team.git")
    seed = folder / "seed"
    git(folder, "init", "-q", f"--object-format={algorithm}", "seed")
    (seed / "train.py").write_text("print('loss=0.5')\n")
    (seed / "lib").mkdir()
    (seed / "lib" / "model.py").write_text("depth = 3\n")
    git(seed, "add", "-A")
    git(seed, "commit", "-q", "-m", "start")
    git(seed, "push", "-q", str(bare), "main")
    git(bare, "symbolic-ref", "HEAD", "refs/heads/main")
    shutil.rmtree(seed)
    return Team(folder, bare, url or str(bare))


def git_daemon(folder: Path) -> Server:
    """A `git daemon` that serves a folder, pushes included."""
    port = free_port()
    words = f"git daemon --reuseaddr --listen={HOST} --port={port} --base-path={folder} --export-all"
    return Server(
        f"git://{HOST}:{port}", [*words.split(), "--enable=receive-pack", str(folder)], folder / "daemon.log", port
    )


def sshd(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A real sshd for this user alone, with keys of its own; skips where there is none, or it lets nobody in."""
    if SSHD is None:
        pytest.skip("no sshd on this machine (Debian: `apt install openssh-server`), so sharing over ssh is not tried")
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    (keys / "authorized").write_text((keys / "user.pub").read_text())
    port = free_port()
    (keys / "known_hosts").write_text(f"[{HOST}]:{port} {(keys / 'host.pub').read_text()}")
    if os.getuid() == 0:
        # Where it changes its root to before anybody has signed in; the system's own start makes it.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    (keys / "sshd_config").write_text(
        f"ListenAddress {HOST}\nPort {port}\nHostKey {keys / 'host'}\nAuthorizedKeysFile {keys / 'authorized'}\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\nMaxStartups 100\n"
    )
    (keys / "ssh_config").write_text(
        f"Host {HOST}\n  IdentitiesOnly yes\n  IdentityFile {keys / 'user'}\n  BatchMode yes\n"
        f"  UserKnownHostsFile {keys / 'known_hosts'}\n  StrictHostKeyChecking yes\n"
    )
    # ssh looks for its files in the home of the password file, so the person who runs the tests must be kept out.
    monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh -F {keys / 'ssh_config'}")
    server = Server(
        f"ssh://{HOST}:{port}{folder}", [SSHD, "-D", "-e", "-f", str(keys / "sshd_config")], keys / "log", port
    )
    server.start()
    tried = subprocess.run(
        ["ssh", "-F", str(keys / "ssh_config"), "-p", str(port), HOST, "git --version"],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    if tried.returncode != 0:
        server.kill()
        pytest.skip(f"sshd lets this user not in: {(keys / 'log').read_text()[-500:]}")
    return server


def free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex((HOST, port)) == 0
