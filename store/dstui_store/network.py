"""The only place where git reaches out: `ls-remote`, `fetch` and `push`, each to one remote by one protocol.

The git dir is our own or a scratch one, so the project's configuration and hooks have no say; who the user is comes
from the user's home folder, agent and helpers (`git.network_environment`). What the other side sends is bounded:
refs by number, a pack by size, silence and the whole by time.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dstui_store.errors import RemoteError, RemoteRefusedError
from dstui_store.git import git_program, network_environment, quoted_alternate
from dstui_store.limits import MAX_ADVERTISED_BYTES, MAX_FETCH_BYTES
from dstui_store.remotes import protocol_of, without_password
from dstui_store.schema import OBJECT_ID

if TYPE_CHECKING:
    from dstui_store.git import Git
    from dstui_store.remotes import Remote

NETWORK_VERBS = frozenset({"push", "fetch", "ls-remote", "config"})
"""What git is asked for here; `config` reads how the user's own configuration rewrites URLs."""

SHARED = "refs/ds/w/"
"""Where the logs of all writers are on a remote."""

IDLE_SECONDS = 60.0
"""A connection without a byte for so long is ended; longer when somebody may be typing a password."""

ASKING_SECONDS = 300.0

WHOLE_SECONDS = 600.0
"""The longest that one exchange may take."""

POLL_SECONDS = 0.25

KEPT_WORDS = 64 << 10
"""Bytes of git's words that are kept, the last ones."""

_PROGRESS = re.compile(r"(?:remote: )?([A-Z][a-z]+ objects|Resolving deltas): +\d+% \((\d+)/(\d+)\)")
_TOTAL = re.compile(r"\bTotal (\d+) \(delta")
_DOING = {
    "Counting objects": "counting",
    "Compressing objects": "packing",
    "Writing objects": "sending",
    "Receiving objects": "receiving",
    "Unpacking objects": "receiving",
    "Resolving deltas": "checking",
}
_NOISE = re.compile(
    r"(?i)^(please make sure you have|and the repository exists|fatal: could not read from remote repository"
    r"|fatal: the remote end hung up unexpectedly|error: failed to push some refs|to \S+$|hint:"
    r"|warning: permanently added|fetch-pack: unexpected disconnect|fatal: early eof|fatal: unpack-objects error"
    r"|fatal: index-pack failed|fatal: fsck error in packed object)"
)
"""Lines that say nothing that the line before did not say better."""

Progress = Callable[[str], None]
"""Shows what goes on, a few words that replace those before: `sending 12 of 13 objects`."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of one ref that was pushed.

    Attributes:
        verdict: `done`, `same` (the remote had it already), or `behind` (it holds entries that we do not know).
        objects: how many objects were sent.
    """

    verdict: str
    objects: int


class Network:
    """Exchange with one remote."""

    def __init__(
        self,
        git: Git,
        remote: Remote,
        *,
        progress: Progress | None = None,
        ask: bool = False,
        deadline_seconds: float | None = None,
    ) -> None:
        """Args are those of every call.

        Args:
            ask: the user may be asked for a password on the terminal.
            deadline_seconds: until when, from now, all calls together must be done.
        """
        self.git = git
        self.remote = remote
        self._progress = progress
        self._ask = ask
        self._end = None if deadline_seconds is None else time.monotonic() + deadline_seconds
        self._rewrites: list[tuple[str, str, bool]] | None = None

    def shared_refs(self) -> dict[str, str]:
        """Name to object id of the refs below `SHARED` on the remote, names as the remote says them.

        Raises:
            RemoteError: it cannot be reached, or has more refs than anyone admits.
        """
        out, _ = self._run("ls-remote", "--refs", "--", self.remote.url, f"{SHARED}*")
        found: dict[str, str] = {}
        for line in out.decode("utf-8", "replace").splitlines():
            oid, _, name = line.partition("\t")
            if OBJECT_ID.fullmatch(oid) and name.startswith(SHARED):
                found[name] = oid
        return found

    def fetch(self, scratch: Path, objects: Path, refs: Sequence[str]) -> int:
        """Fetches refs into a scratch repository, under their own names; returns the number of objects.

        Args:
            scratch: a git dir of ours that holds nothing but what we know of these refs.
            objects: where objects go; the store's are read beside it.

        Raises:
            RemoteError: the remote broke off, or what it sent is damaged.
        """
        options = "--no-tags --no-prune --no-auto-gc --no-recurse-submodules --no-write-fetch-head --progress --stdin"
        _, words = self._run(
            "fetch",
            *options.split(),
            "--",
            self.remote.url,
            git_dir=scratch,
            stdin="".join(f"+{ref}:{ref}\n" for ref in refs).encode(),
            config=("fetch.fsckObjects=true", "core.bigFileThreshold=64m", "fetch.writeCommitGraph=false"),
            environment={
                "GIT_OBJECT_DIRECTORY": str(objects),
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted_alternate(str(self.git.objects)),
            },
        )
        return _total(words)

    def push(self, oid: str, ref: str, objects: Path) -> Pushed:
        """Makes one ref of the remote point at a commit, if that loses nothing there.

        Args:
            objects: a folder with objects that are not in the store yet.

        Raises:
            RemoteRefusedError: the remote does not take it.
            RemoteError: the remote broke off; whether it took the commit is not known.
        """
        out, words = self._run(
            "push",
            *"--porcelain --progress --no-verify --no-follow-tags --no-signed --recurse-submodules=no".split(),
            "--",
            self.remote.push_url,
            f"{oid}:{ref}",
            url=self.remote.push_url,
            # Sparse walking may send a tree that the remote has; an option of the user is for the user's own push.
            config=("pack.useSparse=false", "push.pushOption=", "push.negotiate=false"),
            environment={"GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted_alternate(str(objects))},
            accept=(0, 1),
        )
        for line in out.decode("utf-8", "replace").splitlines():
            flag, _, rest = line.partition("\t")
            if not rest.partition("\t")[0].endswith(f":{ref}"):
                continue
            reason = rest.rpartition("\t")[2]
            if flag == "=":
                return Pushed("same", 0)
            if flag != "!":
                return Pushed("done", _total(words))
            if "remote rejected" not in reason and ("fetch first" in reason or "non-fast-forward" in reason):
                return Pushed("behind", 0)
            # A remote that was changed meanwhile says so in its own words.
            if re.search(r"failed to update ref|cannot lock ref|incorrect old value|reference already exists", reason):
                return Pushed("behind", 0)
            raise RemoteRefusedError(
                f"`{self.remote.name}` does not take runs: {_refusal(reason, words)}",
                hint="share through another repository or folder: `ds share on URL`",
            )
        raise self._failure("push", words)

    def _run(
        self,
        verb: str,
        *arguments: str,
        git_dir: Path | None = None,
        url: str | None = None,
        stdin: bytes = b"",
        config: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        accept: Sequence[int] = (0,),
    ) -> tuple[bytes, str]:
        """(stdout, the last words on stderr) of one call."""
        assert verb in NETWORK_VERBS
        place = git_dir or self.git.layout.store_git
        protocols = "none" if verb == "config" else self._protocols(url or self.remote.url)
        limits = ("http.lowSpeedLimit=1", f"http.lowSpeedTime={IDLE_SECONDS:.0f}", *config)
        process = subprocess.Popen(
            [git_program(), *(part for pair in limits for part in ("-c", pair)), verb, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**network_environment(place, protocols=protocols, ask=self._ask), **(environment or {})},
            # Without a session of its own git and ssh can ask at the terminal.
            start_new_session=not self._ask,
            umask=0o077,
            cwd=place,
        )
        try:
            if verb == "fetch":
                # Before the first byte has arrived; every helper that git starts inherits it.
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MAX_FETCH_BYTES, MAX_FETCH_BYTES))
            out, words = self._converse(process, stdin)
            code = process.wait(timeout=IDLE_SECONDS)
        finally:
            _end(process, group=not self._ask)
        if code not in accept:
            raise self._failure(verb, words)
        return out, words

    def _converse(self, process: subprocess.Popen[bytes], stdin: bytes) -> tuple[bytes, str]:
        """What git writes until it ends; what goes on is told meanwhile."""
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        idle = ASKING_SECONDS if self._ask else IDLE_SECONDS
        end = min(time.monotonic() + WHOLE_SECONDS, self._end or float("inf"))
        out, words = bytearray(), bytearray()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(stdin)
            process.stdin.close()
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdout, process.stderr):
                selector.register(stream, selectors.EVENT_READ)
            heard = time.monotonic()
            while selector.get_map():
                ready = selector.select(POLL_SECONDS)
                now = time.monotonic()
                if not ready and process.poll() is not None:
                    # A connection that ssh keeps open for the next call holds our pipe too.
                    break
                if now >= end or now - heard >= idle:
                    raise RemoteError(
                        f"`{self.remote.name}` {'took too long' if now >= end else f'was silent for {idle:.0f} s'}",
                        hint="nothing is lost here; `ds push` and `ds pull` go on where this ended",
                    )
                heard = now if ready else heard
                for key, _ in ready:
                    chunk = os.read(key.fd, 1 << 16)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stdout:
                        out += chunk
                    else:
                        words = (words + chunk)[-KEPT_WORDS:]
                        self._tell(chunk)
                if len(out) > MAX_ADVERTISED_BYTES:
                    raise RemoteError(f"`{self.remote.name}` names more refs than any team has", hint="look at it")
        return bytes(out), words.decode("utf-8", "replace").replace("\r", "\n")

    def _tell(self, chunk: bytes) -> None:
        if self._progress is None:
            return
        found = _PROGRESS.findall(chunk.decode("utf-8", "replace"))
        if found:
            doing, done, total = found[-1]
            self._progress(f"{_DOING.get(doing, 'working')} {int(done):,} of {int(total):,} objects")

    def _protocols(self, url: str) -> str:
        """The protocol of a URL, and those that the user's own `url.*.insteadOf` may make of it."""
        allowed = {protocol_of(url)}
        if self._rewrites is None:
            self._rewrites = self._user_rewrites()
        longest = max((old for _, old, _ in self._rewrites if url.startswith(old)), key=len, default=None)
        for new, old, _ in self._rewrites:
            if old == longest:
                allowed.add(protocol_of(new))
        return ":".join(sorted(allowed))

    def _user_rewrites(self) -> list[tuple[str, str, bool]]:
        """(new start, old start, only for a push) of each rule of the user's own configuration."""
        out, _ = self._run("config", "--includes", "-z", "--get-regexp", r"^url\..*\.(push)?insteadof$", accept=(0, 1))
        rules = []
        for item in out.decode("utf-8", "surrogateescape").split("\0"):
            key, _, old = item.partition("\n")
            start, _, name = key.removeprefix("url.").rpartition(".")
            if start and old:
                rules.append((start, old, name == "pushinsteadof"))
        return rules

    def _failure(self, verb: str, words: str) -> RemoteError:
        said = last_words(words)
        doing = "send runs to" if verb == "push" else "fetch from"
        hint = "nothing is lost here; try again when it can be reached"
        if re.search(r"(?i)permission denied|authentication failed|could not read (username|password)|403|401", words):
            hint = f"sign in first: `git ls-remote {self.remote.shown_url}` must work without a question"
        elif re.search(r"(?i)not found|does not appear to be a git repository|not exist", words):
            hint = f"look whether `{self.remote.shown_url}` is right"
        return RemoteError(f"Cannot {doing} `{self.remote.name}`: {said}", hint=hint)


def user_setting(git: Git, key: str) -> str | None:
    """What the user's own git configuration says for a key; a project's has no say."""
    for place in ("--global", "--system"):
        done = subprocess.run(
            [git_program(), "config", place, "--includes", "--get", key],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=IDLE_SECONDS,
            env=network_environment(git.layout.store_git, protocols="none", ask=False),
            cwd=git.layout.store_git,
        )
        value = done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")
        if done.returncode == 0:
            return value
    return None


def last_words(words: str) -> str:
    """The line of git's last words that says most, without a password."""
    lines = [
        "".join(letter if letter.isprintable() else "\ufffd" for letter in line.strip()) for line in words.split("\n")
    ]
    told = [line for line in lines if line and not _PROGRESS.match(line) and not _NOISE.match(line)]
    plain = [line for line in lines if line and not _PROGRESS.match(line)]
    line = (told or plain or ["git ended without a word"])[-1]
    line = re.sub(r"^(fatal|error|remote|ssh|remote: error|remote: fatal): ", "", line)
    return re.sub(r"[a-z+]+://\S+", lambda found: without_password(found[0]), line)[:300]


def _refusal(reason: str, words: str) -> str:
    """Why a remote did not take a ref: what it said itself, else git's word for it."""
    said = [line.removeprefix("remote: ").strip() for line in words.split("\n") if line.startswith("remote: ")]
    told = [line for line in said if line and not re.match(r"error: hook declined|Total \d|[A-Z][a-z]+ \w+: +\d", line)]
    short = re.sub(r"^\[remote rejected\] ", "", reason).strip("() ") or "no reason given"
    return f"{short} ({told[-1][:200]})" if told else short


def _total(words: str) -> int:
    found = _TOTAL.findall(words)
    return int(found[-1]) if found else 0


def _end(process: subprocess.Popen[bytes], *, group: bool) -> None:
    """Ends git and what it started, if they have not ended; waits for git."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(process.pid, signal.SIGTERM)
            else:
                process.terminate()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
