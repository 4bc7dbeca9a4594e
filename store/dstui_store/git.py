"""The only place that starts git.

Every call uses our own bare repository with one fixed environment, so neither the user's nor a foreign project's
configuration, hooks, filters or attributes can run anything. What we read from a project's git dir is text.
Verbs: only those of `VERBS`. The store's objects are read through one long-lived `cat-file --batch`.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import stat
import subprocess
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

from dstui_store.errors import DamagedError, GitError, GitTimeoutError, LimitError, NotAStoreError
from dstui_store.layout import Layout, check_private, private_folder, read_small
from dstui_store.limits import MAX_MESSAGE_BYTES
from dstui_store.objects import Staging, object_name, sync_folder
from dstui_store.schema import OBJECT_ID

VERBS = frozenset(
    {
        "ls-files",
        "ls-tree",
        "diff-tree",
        "update-index",
        "write-tree",
        "pack-objects",
        "update-ref",
        "for-each-ref",
        "rev-list",
    }
    | {"cat-file", "config", "fsck", "version"}
)
"""What git is ever asked for. None of these runs a hook, a filter or a program of the project."""

OLDEST_GIT = (2, 30)

MAX_COMMIT_BYTES = 16 << 20
"""Size of a commit that is read whole, its parents and all."""

DEADLINE_SECONDS = 120.0
"""A local git call that takes longer is ended; the slowest honest one is the first pack of a huge project."""

REF = re.compile(r"refs/ds/[a-z0-9][a-z0-9._/-]*")
_MODE = re.compile(rb"[0-7]{5,6}")

OWN_FOLDERS = ("objects", "objects/info", "objects/pack", "refs", "refs/ds", "info")
OWN_FILES = ("config", "HEAD", "packed-refs")
"""What a repository of ours has; `packed-refs` only where somebody packed them."""

FOREIGN_NAMES = (
    "commondir",
    "config.worktree",
    "hooks",
    "info/attributes",
    "info/exclude",
    "info/grafts",
    "info/sparse-checkout",
    "modules",
    "objects/info/alternates",
    "objects/info/http-alternates",
    "shallow",
    "worktrees",
)
"""What no repository of ours has: each would let somebody else say what git does, or what it sees."""

STORE_CONFIG = """\
[core]
\trepositoryformatversion = {version}
\tfilemode = true
\tbare = true
\thooksPath = /dev/null
\tattributesFile = /dev/null
\tfsmonitor = false
\tsymlinks = false
\tprotectNTFS = true
\tprotectHFS = true
[gc]
\tauto = 0
[maintenance]
\tauto = false
[protocol]
\tallow = never
[transfer]
\tfsckObjects = true
[commit]
\tgpgSign = false
"""
SHA256_CONFIG = "[extensions]\n\tobjectFormat = sha256\n"


def git_program() -> str:
    """The absolute path of git, from the absolute entries of PATH only.

    Raises:
        GitError: there is none.
    """
    path = os.pathsep.join(entry for entry in os.environ.get("PATH", "").split(os.pathsep) if entry.startswith("/"))
    program = shutil.which("git", path=path)
    if program is None:
        raise GitError("git was not found on PATH", hint="install git 2.30 or newer (Debian: `apt install git`)")
    return program


@cache
def git_version() -> tuple[int, ...]:
    """The version of git, e.g. (2, 39, 5).

    Raises:
        GitError: git is missing or older than 2.30.
    """
    text = subprocess.run([git_program(), "version"], capture_output=True, check=False, env={"LC_ALL": "C"}).stdout
    found = re.search(rb"(\d+)\.(\d+)(?:\.(\d+))?", text)
    version = tuple(int(part) for part in found.groups() if part) if found else ()
    if version < OLDEST_GIT:
        raise GitError(
            f"git {'.'.join(map(str, version)) or 'of unknown version'} is too old", hint="install 2.30 or newer"
        )
    return version


@dataclass
class Git:
    """Our bare repository: made once, checked at each opening."""

    layout: Layout
    algorithm: str = "sha1"
    extra_objects: Path | None = None
    """Objects on their way in, which are read as if they were in the store already."""
    _reader: _ObjectReader | None = field(default=None, repr=False)
    _mutex: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def open(cls, layout: Layout, *, create: bool) -> Git | None:
        """The repository of a layout; None when there is none and `create` is false.

        Raises:
            NotAStoreError: something else, or somebody else's, lies at its place.
            GitError: git is missing or too old.
        """
        if layout.common_dir is not None and (shared := layout.common_dir / "ds").is_symlink():
            raise NotAStoreError(f"`{shared}` is a link", hint="remove it: a store is never reached through a link")
        if not layout.store_git.exists():
            if not create:
                return None
            git_version()
            _create(layout)
        _check(layout.store_git)
        text = (layout.store_git / "config").read_text()
        algorithm = "sha256" if "objectFormat = sha256" in text else "sha1"
        return cls(layout=layout, algorithm=algorithm)

    @property
    def objects(self) -> Path:
        """The object database."""
        return self.layout.store_git / "objects"

    @property
    def empty_tree(self) -> str:
        """The id of the tree without entries; it is in every store of ours."""
        return object_name("tree", b"", self.algorithm)

    @property
    def hex_length(self) -> int:
        """Length of an object id: 40 or 64."""
        return 64 if self.algorithm == "sha256" else 40

    def with_objects(self, objects: Path) -> Git:
        """The same repository with more objects to read; closed by whoever asked for it."""
        return Git(self.layout, self.algorithm, objects)

    @property
    def _environment(self) -> dict[str, str]:
        environment = local_environment(self.layout.store_git)
        if self.extra_objects is not None:
            environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = quoted_alternate(str(self.extra_objects))
        return environment

    def staging(self) -> Staging:
        """A fresh staging folder for objects on their way in."""
        private_folder(self.layout.quarantine)
        return Staging(self.layout.quarantine, self.objects, self.algorithm)

    def run(
        self,
        verb: str,
        *arguments: str,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        config: Sequence[str] = (),
        keep_descriptor: int | None = None,
        deadline_seconds: float | None = None,
    ) -> bytes:
        """The output of one git call.

        Args:
            config: `key=value` pairs for this call; values must have been checked.
            keep_descriptor: a lock that git inherits, so that it is free only when both are dead.
            deadline_seconds: a call that takes longer is ended; by default `DEADLINE_SECONDS`.

        Raises:
            GitTimeoutError: it took too long.
            GitError: git failed; the message holds its last words.
        """
        deadline = DEADLINE_SECONDS if deadline_seconds is None else deadline_seconds
        if verb not in VERBS:
            raise GitError(f"git {verb} is not a call that the store makes")
        command = [git_program(), *(part for pair in config for part in ("-c", pair)), verb, *arguments]
        try:
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                check=False,
                timeout=deadline,
                env={**self._environment, **(environment or {})},
                pass_fds=() if keep_descriptor is None else (keep_descriptor,),
                start_new_session=True,
                umask=0o077,
                cwd=(environment or {}).get("GIT_WORK_TREE", self.layout.store_git),
            )
        except subprocess.TimeoutExpired as error:
            raise GitTimeoutError(f"git {verb} took longer than {deadline:.0f} s") from error
        if done.returncode != 0:
            words = " ".join(done.stderr.decode("utf-8", "replace").split())
            raise GitError(f"git {verb} failed: {words[:400] or f'exit code {done.returncode}'}")
        return done.stdout

    def output(
        self, verb: str, *arguments: str, most_bytes: int, environment: Mapping[str, str] | None = None
    ) -> bytes:
        """The output of one reading call, ended once it is longer than anyone admits.

        Raises:
            LimitError: longer than `most_bytes`.
            GitError: git failed, or was silent for too long.
        """
        if verb not in VERBS:
            raise GitError(f"git {verb} is not a call that the store makes")
        process = self._start(verb, *arguments, environment=environment)
        assert process.stdout is not None
        found = bytearray()
        try:
            while True:
                _wait_for(process.stdout)
                chunk = os.read(process.stdout.fileno(), 1 << 20)
                if not chunk:
                    break
                found += chunk
                if len(found) > most_bytes:
                    raise LimitError(f"The output of git {verb} in bytes", len(found), most_bytes)
            if process.wait() != 0:
                raise GitError(f"git {verb} failed: exit code {process.returncode}")
        finally:
            process.kill()
            process.communicate()
        return bytes(found)

    def _start(self, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A git whose output is read while it runs."""
        return subprocess.Popen(
            [git_program(), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**self._environment, **(environment or {})},
            start_new_session=True,
            cwd=self.layout.store_git,
        )

    def object(self, name: str, *, limit: int, kind: str | None = None) -> bytes:
        """The content of one object, its bytes checked against its name.

        Raises:
            DamagedError: missing, of another kind, or its bytes do not match its name.
            LimitError: larger than `limit` bytes.
        """
        if not OBJECT_ID.fullmatch(name):
            raise DamagedError(f"`{name[:80]}` is no object id")
        with self._mutex:
            reader = self._reader = self._reader or _ObjectReader(self.layout.store_git, self._environment)
            try:
                found_kind, content = reader.read(name, limit)
            except (GitError, DamagedError):
                # At an object that it cannot read git ends, or waits for ever; the next one gets a fresh one.
                reader.close()
                self._reader = None
                raise
        if kind is not None and found_kind != kind:
            raise DamagedError(f"Object {name[:12]} is a {found_kind}, not a {kind}")
        if object_name(found_kind, content, self.algorithm) != name:
            raise DamagedError(f"Object {name[:12]} does not hold the bytes that its name stands for")
        return content

    def tree(self, name: str, *, limit: int = 16 << 20) -> list[tuple[int, str, str]]:
        """(mode, name, object id) of each entry of a tree; names as given, hostile ones included."""
        content = self.object(name, limit=limit, kind="tree")
        entries: list[tuple[int, str, str]] = []
        at, size = 0, self.hex_length // 2
        while at < len(content):
            space, end = content.find(b" ", at), content.find(b"\0", at)
            if not at < space < end or end + 1 + size > len(content):
                raise DamagedError(f"Tree {name[:12]} is malformed")
            mode = int(content[at:space], 8) if _MODE.fullmatch(content[at:space]) else 0
            entries.append((mode, os.fsdecode(content[space + 1 : end]), content[end + 1 : end + 1 + size].hex()))
            at = end + 1 + size
        return entries

    def log(self, tip: str) -> Iterator[LogEntry]:
        """Commits from `tip` back along first parents, newest first, streamed.

        Raises:
            DamagedError: the next one cannot be read; those before it have been given.
        """
        at: str | None = tip
        with contextlib.closing(self._rev_list(tip)) as entries:
            for entry in entries:
                if entry.oid != at:
                    break
                yield entry
                at = entry.parents[0] if entry.parents else None
        # Where a commit cannot be read git gives up one too early, so what is left is asked for one by one.
        while at is not None:
            entry = _parse_commit(at, self.object(at, limit=MAX_COMMIT_BYTES, kind="commit"))
            yield entry
            at = entry.parents[0] if entry.parents else None

    def _rev_list(self, tip: str) -> Generator[LogEntry, None, None]:
        """As `log`, as far as git goes."""
        # In the bytes that were stored: with another encoding git would give more than one NUL.
        arguments = ["rev-list", "--first-parent", "--encoding=none", "--format=%x01%H%x00%P%x00%B%x00", tip, "--"]
        process = self._start(*arguments)
        try:
            for record in _records(process):
                fields = record.partition(b"\x01")[2].split(b"\0", 2)
                if len(fields) != 3:
                    return
                yield LogEntry(fields[0].decode(), tuple(fields[1].decode().split()), fields[2])
        finally:
            process.kill()
            process.communicate()

    def refs(self, *prefixes: str) -> dict[str, str]:
        """Refs below the prefixes with their object ids; names that ours never have are left out."""
        output = self.run("for-each-ref", "--format=%(objectname) %(refname)", *prefixes)
        found: dict[str, str] = {}
        for line in output.decode("utf-8", "replace").splitlines():
            oid, _, ref = line.partition(" ")
            if REF.fullmatch(ref) and ".." not in ref and OBJECT_ID.fullmatch(oid):
                found[ref] = oid
        return found

    def read_ref(self, ref: str) -> str | None:
        """The object id of a ref of ours, read as a file (packed ones too); None when it does not exist."""
        path = self.layout.store_git / ref
        if not path.exists():
            return self._packed_ref(ref)
        text = read_small(path).decode("ascii", "replace").strip()
        if OBJECT_ID.fullmatch(text):
            return text
        # A ref file emptied by a power cut: the log entry it named is still there, and `doctor` names it.
        raise DamagedError(f"The ref `{ref}` holds no object id")

    def update_ref(self, ref: str, new: str, old: str | None, lock: int) -> None:
        """Moves a ref from `old` to `new`, durably, or fails; call it under the store's lock only."""
        path = self.layout.store_git / ref
        # Whoever made a leftover lock is dead: git inherits our lock's descriptor, and we hold it now.
        path.with_name(path.name + ".lock").unlink(missing_ok=True)
        self.run("update-ref", "--end-of-options", ref, new, old or "0" * self.hex_length, keep_descriptor=lock)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        folder = path.parent
        while folder != self.layout.store_git:
            sync_folder(folder)
            folder = folder.parent

    def remove_leftover_locks(self) -> None:
        """Removes the locks that a killed git left on refs of ours; call it under the store's lock only."""
        for path in self.leftover_locks():
            path.unlink(missing_ok=True)

    def leftover_locks(self) -> list[Path]:
        """Locks on refs of ours, whether their maker lives or not."""
        return [path for form in ("*/*.lock", "*/*/*.lock") for path in self.layout.store_git.glob(f"refs/ds/{form}")]

    def delete_ref(self, ref: str, old: str, lock: int) -> None:
        """Removes a ref that still is at `old`, or fails; call it under the store's lock only."""
        self.run("update-ref", "-d", "--end-of-options", ref, old, keep_descriptor=lock)

    def close(self) -> None:
        """Ends the reading process, if there is one."""
        with self._mutex:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _packed_ref(self, ref: str) -> str | None:
        try:
            lines = (self.layout.store_git / "packed-refs").read_text().splitlines()
        except FileNotFoundError:
            return None
        return next((line.split()[0] for line in lines if line.endswith(f" {ref}")), None)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One commit of a chain: its parents, and its message, cut somewhere past `MAX_MESSAGE_BYTES`."""

    oid: str
    parents: tuple[str, ...]
    message: bytes


def _parse_commit(oid: str, content: bytes) -> LogEntry:
    head, _, message = content.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    parents = tuple(line.removeprefix("parent ") for line in lines if line.startswith("parent "))
    return LogEntry(oid, parents, message.split(b"\0", 1)[0][: MAX_MESSAGE_BYTES + 1])


def _records(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """What git writes, split at NUL and newline; of a piece over the limit only the start is kept."""
    assert process.stdout is not None
    rest = b""
    while True:
        _wait_for(process.stdout)
        chunk = os.read(process.stdout.fileno(), 1 << 16)
        if not chunk:
            return
        *records, rest = (rest + chunk).split(b"\0\n")
        yield from records
        if len(rest) > 2 * MAX_MESSAGE_BYTES:
            # The last byte may be the first half of a mark.
            rest = rest[: 2 * MAX_MESSAGE_BYTES] + rest[-1:]


def _wait_for(output: IO[bytes]) -> None:
    """Returns once there is something to read.

    Raises:
        GitError: there was nothing for too long.
    """
    waiting = select.poll()
    waiting.register(output, select.POLLIN)
    if not waiting.poll(DEADLINE_SECONDS * 1000):
        raise GitError(f"git took longer than {DEADLINE_SECONDS:.0f} s")


class _ObjectReader:
    """Two long-lived `cat-file`: one tells sizes, one gives contents; 0.1 ms an object instead of a process each."""

    def __init__(self, store_git: Path, environment: Mapping[str, str]) -> None:
        self._sizes = _batch(store_git, environment, "--batch-check")
        self._contents = _batch(store_git, environment, "--batch")

    def read(self, name: str, limit: int) -> tuple[str, bytes]:
        """(kind, content); the size is asked before the content is read."""
        head = _exchange(self._sizes, name, b"\n").split()
        if len(head) != 3:
            raise DamagedError(f"Object {name[:12]} is missing from the store, or cannot be read")
        kind, size = head[1].decode(), int(head[2])
        if size > limit:
            raise LimitError(f"Object {name[:12]} in bytes", size, limit)
        # Of an object that is shorter than it says git writes what there is, so its answer to a second question, which
        # nobody can foresee, tells where the first one ends.
        mark = f"!{os.urandom(8).hex()}"
        answer = _exchange(self._contents, f"{name}\n{mark}", f"\n{mark} missing\n".encode())
        content = answer[answer.find(b"\n") + 1 : -len(mark) - 10]
        if len(content) != size:
            raise DamagedError(f"Object {name[:12]} cannot be read")
        return kind, content

    def close(self) -> None:
        for process in (self._sizes, self._contents):
            process.kill()
            process.communicate()


def _batch(store_git: Path, environment: Mapping[str, str], option: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [git_program(), "cat-file", option],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
        cwd=store_git,
    )


def _exchange(process: subprocess.Popen[bytes], question: str, end: bytes) -> bytes:
    """What git answers to a question, up to and with the bytes that end the answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(question.encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError as error:
        raise GitError("git cat-file ended unexpectedly") from error
    answer = bytearray()
    while not answer.endswith(end):
        _wait_for(process.stdout)
        chunk = os.read(process.stdout.fileno(), 1 << 20)
        if not chunk:
            raise DamagedError(f"Object {question[:12]} cannot be read")
        answer += chunk
    return bytes(answer)


def local_environment(store_git: Path) -> dict[str, str]:
    """The one environment of local git work: no variable, config, hook or protocol of anyone else."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "GIT_DIR": str(store_git),
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_PAGER": "cat",
        "GIT_EDITOR": "false",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_NO_LAZY_FETCH": "1",
    }


USER_VARIABLES = (
    *("HOME", "USER", "LOGNAME", "TERM", "TMPDIR", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY"),
    *("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"),
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "GNUPGHOME", "GPG_TTY", "KRB5CCNAME"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_CERT", "GIT_SSL_KEY"),
    *("GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_PROXY_COMMAND"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
)
"""How a user signs in to a remote: files of the home folder, agent, helpers, proxies. Everything else stays out: what
a calling git leaves in the environment of its hooks speaks of the project."""


def network_environment(git_dir: Path, *, protocols: str, ask: bool) -> dict[str, str]:
    """The environment of a git that reaches out: as for local work, but the user signs in the user's own way.

    Args:
        protocols: those that this call may speak, with colons between them.
        ask: the user sits at a terminal and may be asked for a password.
    """
    sealed = local_environment(git_dir)
    for name in ("HOME", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_GLOBAL", "GIT_ASKPASS", "SSH_ASKPASS"):
        del sealed[name]
    path = os.pathsep.join(entry for entry in sealed["PATH"].split(os.pathsep) if entry.startswith("/"))
    own = {name: value for name in USER_VARIABLES if (value := os.environ.get(name)) is not None}
    open_to = {"PATH": path, "GIT_ALLOW_PROTOCOL": protocols, "GIT_TERMINAL_PROMPT": "1" if ask else "0"}
    return {**sealed, **own, **open_to}


def read_config(git: Git, path: Path) -> Iterator[tuple[str, str]]:
    """(key, value) of a git configuration file, as data: includes are not followed. Nothing for a missing file."""
    if not path.is_file():
        return
    try:
        output = git.run("config", "-f", str(path), "--no-includes", "-z", "--list")
    except GitError:
        return
    for item in output.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = item.partition("\n")
        if key:
            yield key, value


def quoted_alternate(path: str) -> str:
    """One entry of GIT_ALTERNATE_OBJECT_DIRECTORIES; quoted, or a colon in the path would split it."""
    if '"' not in path and ":" not in path and "\\" not in path and "\n" not in path:
        return path
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _create(layout: Layout) -> None:
    """Makes the repository by hand in a folder beside it and renames it in: whole or not at all."""
    if layout.common_dir is not None and layout.root.is_relative_to(layout.common_dir):
        # `ds/` is shared by all users of the clone; each one's own folder below it is 0700.
        layout.root.parent.mkdir(mode=0o755, exist_ok=True)
    private_folder(layout.root)
    algorithm = _project_algorithm(layout)
    temporary = layout.root / f"store.git.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    for name in ("objects/pack", "objects/info", "refs/ds", "info"):
        private_folder(temporary / name)
    for name, text in (("HEAD", "ref: refs/heads/none\n"), ("config", config_text(algorithm))):
        (temporary / name).write_text(text)
        (temporary / name).chmod(0o600)
    objects = temporary / "objects"
    with Staging(temporary, objects, algorithm) as staging:
        staging.tree([])
        staging.publish()
    try:
        temporary.rename(layout.store_git)
    except OSError as error:
        # Another process was faster; its repository serves as well.
        shutil.rmtree(temporary, ignore_errors=True)
        if not layout.store_git.exists():
            raise GitError(f"Cannot make `{layout.store_git}`: {error.strerror}") from error
    sync_folder(layout.root)


def config_text(algorithm: str) -> str:
    """The configuration of a repository of ours, byte for byte."""
    if algorithm == "sha256":
        return STORE_CONFIG.format(version=1) + SHA256_CONFIG
    return STORE_CONFIG.format(version=0)


def _project_algorithm(layout: Layout) -> str:
    if layout.common_dir is None:
        return "sha1"
    text = read_small(layout.common_dir / "config").decode("utf-8", "replace").lower()
    return "sha256" if re.search(r"^\s*objectformat\s*=\s*sha256\s*$", text, re.MULTILINE) else "sha1"


def _check(store_git: Path) -> None:
    """Refuses a repository that is not byte for byte one of ours: archives may carry a planted one.

    Raises:
        NotAStoreError: the reason, and what to do.
    """
    hint = f"move `{store_git.parent}` away to start a fresh store"
    for path in (store_git.parent, store_git, *(store_git / name for name in (*OWN_FOLDERS, *OWN_FILES))):
        try:
            found = path.lstat()
        except FileNotFoundError as error:
            if path.name == "packed-refs":
                continue
            raise NotAStoreError(f"`{path}` is missing", hint=hint) from error
        check_private(path, found)
        if path.name in OWN_FILES and not stat.S_ISREG(found.st_mode):
            raise NotAStoreError(f"`{path}` is no file", hint=hint)
    if store_git.stat().st_mode & 0o077:
        raise NotAStoreError(f"`{store_git}` is open to others", hint=f"chmod 700 `{store_git}`")
    if (store_git / "config").read_bytes() not in (config_text("sha1").encode(), config_text("sha256").encode()):
        raise NotAStoreError(f"`{store_git / 'config'}` is not the configuration that dstui writes", hint=hint)
    for name in FOREIGN_NAMES:
        if os.path.lexists(store_git / name):
            raise NotAStoreError(f"`{store_git / name}` does not belong into a store of dstui", hint=hint)
