"""The state of a project's files at one moment, as a git tree: tracked, edited and never-added files alike.

Works on a private copy of the project's index, in our own repository: the project's git dir is only read. Unchanged
tracked files take their blob from the project; edited and new ones are opened without following a link, scanned for
secrets and written by us. What is left out is listed with its reason.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dstui_store.errors import GitError, GitTimeoutError, StoreError
from dstui_store.git import Git, quoted_alternate, read_config
from dstui_store.layout import Layout, common_dir_of, git_dir_at, read_small
from dstui_store.limits import MAX_PATH_BYTES
from dstui_store.objects import EXECUTABLE, GITLINK, LINK, REGULAR, Staging, is_git_name
from dstui_store.schema import OBJECT_ID
from dstui_store.secrets import is_secret_name, scan

MAX_UNTRACKED_BYTES = 1 << 20
MAX_UNTRACKED_TOTAL_BYTES = 20 << 20
MAX_UNTRACKED_FILES = 5_000
MAX_TRACKED_BYTES = 10 << 20
MAX_WALK_ENTRIES = 20_000
MAX_WALK_SECONDS = 10.0
MAX_LISTED_BYTES = 128 * 1024
"""Of each list of paths that a run's record holds: whoever reads it admits so much JSON and no more."""
PACK_FROM = 64
"""From this many new objects on a snapshot becomes one pack: two files to sync instead of thousands."""

NEVER_FOLDERS = (
    ".venv",
    "venv",
    "__pycache__",
    "node_modules",
    "wandb",
    "lightning_logs",
    "runs",
    "outputs",
    "mlruns",
    "multirun",
    ".ipynb_checkpoints",
)
"""Untracked folders of these names are never stored: environments, and what other tools write."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that the snapshot left out, or changed: why, in words."""

    path: str
    size: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run's `code/` holds.

    Attributes:
        tree: object id of the tree; None when nothing may be stored (`refused` says why).
        commit: the project's HEAD, None without one.
        branch: its branch, None when detached or without git.
        edited: paths of HEAD whose content differs in the tree, deleted ones included.
        added: paths of the tree that HEAD does not have.
        skipped: files left out, or stored without a secret.
        partial: the folder to ignore when the walk for new files was given up, else None.
        submodules: path to commit, of submodules and nested repositories; their files are not stored.
    """

    tree: str | None
    commit: str | None = None
    branch: str | None = None
    edited: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    partial: str | None = None
    refused: str | None = None
    submodules: dict[str, str] = field(default_factory=dict)

    @property
    def dirty(self) -> bool:
        """Whether the tree differs from what git would have."""
        return bool(self.edited or self.added)

    def to_json(self) -> dict[str, Any]:
        """The `code` object of `meta.json`."""
        return {
            "commit": self.commit,
            "branch": self.branch,
            "dirty": self.dirty,
            "tree": self.tree,
            "edited": list(_fitting(self.edited[:1000])),
            "added": list(_fitting(self.added[:1000])),
            "skipped": len(self.skipped),
            "partial": self.partial,
            "refused": self.refused,
            "submodules": self.submodules,
        }


@dataclass(slots=True)
class _Listed:
    """What `ls-files` said of one tracked path."""

    mode: int
    object_id: str
    stage: int
    changed: bool = False
    deleted: bool = False
    unwatched: bool = False
    sparse: bool = False


@dataclass(slots=True)
class _Work:
    """The snapshot being made."""

    tracked: dict[str, list[_Listed]]
    untracked: list[str]
    updates: dict[str, tuple[int, str] | None] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    submodules: dict[str, str] = field(default_factory=dict)
    partial: str | None = None

    def leave_out(self, folder: str) -> None:
        """Forgets the new files below a folder that has too many; "." stands for the top of the project."""
        if folder == ".":
            self.untracked = self.untracked[:MAX_WALK_ENTRIES]
        else:
            self.untracked = [path for path in self.untracked if not path.startswith(f"{folder}/")]
        if self.partial is None:
            self.partial = folder
        else:
            self.skipped.append(Skipped(folder, None, "too many new files: add the folder to .gitignore"))


def take(git: Git) -> Snapshot:
    """Stores the project's files as they are now and returns the tree, published and synced.

    Raises:
        StoreError: git failed or the disk refused.
    """
    layout = git.layout
    refused = layout.snapshot_refused
    if refused is not None:
        return Snapshot(tree=None, refused=refused)
    with git.staging() as staging:
        looking = _Looking.of(git, staging)
        work = looking.list_files()
        _collect(work, layout.project, staging)
        _add_unknown_blobs(git, staging, looking, work)
        tree = looking.write_tree(work.updates)
        commit, branch = read_head(layout)
        edited, added = looking.compare(commit, tree)
        if len(staging.loose_ids()) >= PACK_FROM:
            _pack(git, staging, looking, staging.loose_ids())
            staging.drop_loose()
        staging.publish()
    return Snapshot(
        tree=tree,
        commit=commit,
        branch=branch,
        edited=tuple(edited),
        added=tuple(added),
        skipped=_shortened(work.skipped),
        partial=work.partial,
        submodules=work.submodules,
    )


def read_head(layout: Layout) -> tuple[str | None, str | None]:
    """(commit, branch) of the project's HEAD, read as text; None for what there is not."""
    if layout.git_dir is None or layout.common_dir is None:
        return None, None
    head = _read_line(layout.git_dir / "HEAD")
    if not head.startswith("ref: "):
        return (head if OBJECT_ID.fullmatch(head) else None), None
    ref = head[5:].strip()
    branch = ref.removeprefix("refs/heads/")
    if not ref.startswith("refs/") or ".." in ref:
        return None, None
    loose = _read_line(layout.common_dir / ref)
    if OBJECT_ID.fullmatch(loose):
        return loose, branch
    packed = read_small(layout.common_dir / "packed-refs").decode("utf-8", "replace").splitlines()
    found = next((line.split()[0] for line in packed if line.endswith(f" {ref}")), None)
    return found, branch


@dataclass(frozen=True)
class _Looking:
    """Git calls that look at the work tree through a private copy of the project's index."""

    git: Git
    environment: dict[str, str]
    config: tuple[str, ...]
    exclude_file: Path | None
    index: Path

    @classmethod
    def of(cls, git: Git, staging: Staging) -> _Looking:
        layout = git.layout
        index = staging.path / "index"
        alternates = [str(git.objects)]
        if layout.git_dir is not None and layout.common_dir is not None:
            _copy_index(layout, index)
            alternates.append(str(layout.common_dir / "objects"))
        environment = {
            "GIT_WORK_TREE": str(layout.project),
            "GIT_INDEX_FILE": str(index),
            "GIT_OBJECT_DIRECTORY": str(staging.path),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.pathsep.join(map(quoted_alternate, alternates)),
        }
        exclude_file = layout.common_dir / "info" / "exclude" if layout.common_dir else None
        return cls(git, environment, tuple(_checked_config(git)), exclude_file, index)

    def list_files(self) -> _Work:
        """Every tracked path with its state, and every untracked one that is not ignored."""
        tracked = self.list_tracked()
        try:
            untracked, partial = self._list_untracked(), None
        except GitTimeoutError:
            untracked, partial = [], _largest_folder(self.git.layout.project)
        work = _Work(tracked=tracked, untracked=untracked, partial=partial)
        while len(work.untracked) > MAX_WALK_ENTRIES:
            work.leave_out(_crowded_folder(work.untracked))
        return work

    def list_tracked(self, deadline_seconds: float | None = None) -> dict[str, list[_Listed]]:
        """Every tracked path with its state."""
        tracked: dict[str, list[_Listed]] = {}
        output = self._run("ls-files", "-z", "-v", "-s", "-c", "-m", "-d", deadline_seconds=deadline_seconds)
        for record in os.fsdecode(output).split("\0"):
            if record:
                _note_tracked(tracked, record)
        return tracked

    def list_commit(self, commit: str, deadline_seconds: float | None = None) -> dict[bytes, tuple[int, str]]:
        """Path to (mode, object id) of a commit of the project's git; the id must have been checked."""
        output = self._run("ls-tree", "-r", "-z", commit, deadline_seconds=deadline_seconds)
        heads = (record.partition(b"\t") for record in output.split(b"\0") if record)
        fields = ((path, head.decode().split()) for head, _, path in heads)
        return {path: (int(mode, 8), object_id) for path, (mode, _, object_id) in fields}

    def write_tree(self, updates: dict[str, tuple[int, str] | None]) -> str:
        """The tree of the private index after `updates` (None removes a path)."""
        if updates:
            removed = "0" * self.git.hex_length
            lines: list[bytes] = []
            for path, new in updates.items():
                raw = os.fsencode(path)
                lines.append(b"0 %s\t%s" % (removed.encode(), raw))
                if new is not None:
                    lines.append(b"%o %s\t%s" % (new[0], new[1].encode(), raw))
            # Else git passes over names like `.git` without a word, and a tracked one would stay. None of ours is one.
            self.git.run(
                "update-index",
                "-z",
                "--index-info",
                stdin=b"\0".join(lines) + b"\0",
                environment=self.environment,
                config=(*self.config, "core.protectHFS=false", "core.protectNTFS=false"),
            )
        # Never with the project's objects in reach: the tree must stand in our store alone.
        environment = {**self.environment, "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted_alternate(str(self.git.objects))}
        output = self.git.run("write-tree", environment=environment, config=self.config)
        return output.decode().strip()

    def compare(self, commit: str | None, tree: str) -> tuple[list[str], list[str]]:
        """(edited, added) paths of the new tree against the project's commit."""
        base = self.git.empty_tree
        if commit is not None:
            head = self._run("cat-file", "--batch-check=%(objectname)", stdin=f"{commit}^{{tree}}\n".encode())
            base = head.decode().strip()
        if base == tree:
            return [], []
        try:
            output = self._differences(base, tree)
        except GitError:
            # A shallow or partial clone may lack its own HEAD's trees; then everything counts as new.
            output = self._differences(self.git.empty_tree, tree)
        # Each is `:modes ids status` and a path.
        fields = output.split(b"\0")
        edited: list[str] = []
        added: list[str] = []
        for head_of, path in zip(fields[:-1:2], fields[1::2], strict=True):
            (added if head_of.endswith(b"A") else edited).append(os.fsdecode(path))
        return sorted(edited), sorted(added)

    def _differences(self, base: str, tree: str) -> bytes:
        return self._run(
            *("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", "--no-textconv"),
            *("--end-of-options", base, tree),
        )

    def _list_untracked(self) -> list[str]:
        arguments = ["ls-files", "-z", "-o", "--exclude-standard"]
        arguments += [f"--exclude={name}/" for name in NEVER_FOLDERS]
        if self.exclude_file is not None and self.exclude_file.is_file():
            arguments.append(f"--exclude-from={self.exclude_file}")
        output = self._run(*arguments, deadline_seconds=MAX_WALK_SECONDS)
        return [os.fsdecode(path) for path in output.split(b"\0") if path]

    def _run(self, verb: str, *arguments: str, stdin: bytes = b"", deadline_seconds: float | None = None) -> bytes:
        return self.git.run(
            verb,
            *arguments,
            stdin=stdin,
            environment=self.environment,
            config=self.config,
            deadline_seconds=deadline_seconds,
        )


def _note_tracked(tracked: dict[str, list[_Listed]], record: str) -> None:
    """Adds one `ls-files -v -s` record: tag, mode, object id, stage, path."""
    head, _, path = record.partition("\t")
    tag, mode, object_id, stage = head.split(" ")
    entries = tracked.setdefault(path, [])
    if tag in {"C", "c"}:
        for entry in entries:
            entry.changed = True
    elif tag in {"R", "r"}:
        for entry in entries:
            entry.deleted = True
    else:
        entries.append(_Listed(int(mode, 8), object_id, int(stage), unwatched=tag.islower(), sparse=tag.upper() == "S"))


def _collect(work: _Work, project: Path, staging: Staging) -> None:
    """Decides for each path that is not simply unchanged, and writes the blobs of what is stored."""
    root = os.open(project, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        replaced = _below_new_files(work)
        for path, entries in work.tracked.items():
            if path in replaced:
                work.updates[path] = None
            elif entries[0].mode == GITLINK:
                _collect_submodule(work, project, path, entries[0].object_id)
            else:
                _collect_tracked(work, staging, root, path, entries)
        room, count = MAX_UNTRACKED_TOTAL_BYTES, 0
        for path in work.untracked:
            if path.endswith("/"):
                _collect_nested(work, project, path.rstrip("/"))
                continue
            room -= _collect_untracked(work, staging, root, path, room if count < MAX_UNTRACKED_FILES else -1)
            count += path in work.updates
    finally:
        os.close(root)


def _collect_tracked(work: _Work, staging: Staging, root: int, path: str, entries: list[_Listed]) -> None:
    entry = entries[0]
    # Asked of all, and nearly none is it, so the cheap question comes first.
    odd = not path.isascii() or len(path) > MAX_PATH_BYTES or ".g" in path.lower() or "git" in path.lower()
    if odd and (reason := _refused_name(path, entry.mode)):
        work.updates[path] = None
        work.skipped.append(Skipped(path, None, reason))
        return
    if not (entry.changed or entry.deleted or entry.unwatched or entry.sparse or entry.stage):
        return
    found = _lstat(root, path)
    if found is None or stat.S_ISDIR(found.st_mode):
        # The files of a folder that took its place are listed as new ones.
        work.updates[path] = None
        return
    stored = _store_file(work, staging, root, path, found, MAX_TRACKED_BYTES, "for a tracked file")
    # What is only intended to be added has the id of an empty file, and is in no tree before it is added.
    if entry.changed or stored != (entry.mode, entry.object_id) or entry.stage:
        work.updates[path] = stored


def _collect_untracked(work: _Work, staging: Staging, root: int, path: str, room: int) -> int:
    """Bytes stored for one untracked file; `room` is what is left of the total, -1 when there are too many files."""
    found = _lstat(root, path)
    if found is None:
        return 0
    if is_secret_name(path):
        work.skipped.append(Skipped(path, found.st_size, "its name is one of keys and passwords"))
        return 0
    if room < 0:
        work.skipped.append(Skipped(path, found.st_size, f"over {MAX_UNTRACKED_FILES:,} new files"))
        return 0
    if found.st_size > room and found.st_size <= MAX_UNTRACKED_BYTES:
        work.skipped.append(Skipped(path, found.st_size, f"over {_mib(MAX_UNTRACKED_TOTAL_BYTES)} of new files"))
        return 0
    stored = _store_file(work, staging, root, path, found, MAX_UNTRACKED_BYTES, "for a new file")
    if stored is None:
        return 0
    work.updates[path] = stored
    return found.st_size


def _collect_nested(work: _Work, project: Path, path: str) -> None:
    """A repository inside the project: its commit is noted, its files are not stored."""
    commit = _nested_commit(project / path)
    if commit is None:
        work.skipped.append(Skipped(path, None, "a repository of its own, without a commit"))
        return
    work.updates[path] = (GITLINK, commit)
    work.submodules[path] = commit


def _collect_submodule(work: _Work, project: Path, path: str, recorded: str) -> None:
    """A submodule: the commit that is checked out, which may be another than the recorded one."""
    commit = work.submodules[path] = _nested_commit(project / path) or recorded
    if commit != recorded:
        work.updates[path] = (GITLINK, commit)


def _nested_commit(folder: Path) -> str | None:
    git_dir = git_dir_at(folder / ".git")
    if git_dir is None:
        return None
    layout = Layout(project=folder, root=folder, local=folder, git_dir=git_dir, common_dir=common_dir_of(git_dir))
    return read_head(layout)[0]


def _below_new_files(work: _Work) -> set[str]:
    """Tracked paths whose folder has become a file or a link, which is listed as a new one."""
    ordered = sorted(work.tracked)
    found: set[str] = set()
    for path in work.untracked:
        at = bisect_left(ordered, f"{path}/")
        while at < len(ordered) and ordered[at].startswith(f"{path}/"):
            found.add(ordered[at])
            at += 1
    return found


def _store_file(
    work: _Work, staging: Staging, root: int, path: str, found: os.stat_result, limit: int, whose: str
) -> tuple[int, str] | None:
    """(mode, blob) of one file of the work tree, or None when it is left out (and listed)."""
    if reason := _refused_name(path, found.st_mode):
        work.skipped.append(Skipped(path, found.st_size, reason))
        return None
    if stat.S_ISLNK(found.st_mode):
        return LINK, staging.blob(_read_link(root, path))
    if not stat.S_ISREG(found.st_mode):
        work.skipped.append(Skipped(path, None, "not a regular file"))
        return None
    if found.st_size > limit:
        work.skipped.append(Skipped(path, found.st_size, f"over {_mib(limit)} {whose}"))
        return None
    try:
        content = _read_file(root, path, limit)
    except OSError as error:
        work.skipped.append(Skipped(path, found.st_size, f"cannot be read: {error.strerror}"))
        return None
    if content is None:
        work.skipped.append(Skipped(path, found.st_size, "changed while it was read"))
        return None
    mode = EXECUTABLE if found.st_mode & 0o100 else REGULAR
    return _store_content(work, staging, path, mode, content)


def _store_content(work: _Work, staging: Staging, path: str, mode: int, content: bytes) -> tuple[int, str] | None:
    if path.endswith(".ipynb"):
        content = without_outputs(content)
    checked = scan(content)
    for line, name in checked.findings:
        what = "left out" if checked.content is None else "stored without it"
        work.skipped.append(Skipped(path, len(content), f"line {line} holds a secret ({name}): {what}"))
    if checked.content is None:
        return None
    return mode, staging.blob(checked.content)


def _add_unknown_blobs(git: Git, staging: Staging, looking: _Looking, work: _Work) -> None:
    """Brings the blobs of unchanged tracked files that the store lacks, scanned once for secrets."""
    wanted: dict[str, list[str]] = {}
    for path, entries in work.tracked.items():
        if path not in work.updates and entries[0].mode != GITLINK:
            wanted.setdefault(entries[0].object_id, []).append(path)
    unknown = [name for name, size in _sizes(git, staging, wanted, None) if size is None]
    if not unknown:
        return
    take_over: list[str] = []
    reader: list[str] = []
    for name, size in _sizes(git, staging, unknown, looking.environment):
        if size is None or size > MAX_TRACKED_BYTES:
            reason = "missing from the project's git" if size is None else f"over {_mib(MAX_TRACKED_BYTES)}"
            for path in wanted[name]:
                work.updates[path] = None
                work.skipped.append(Skipped(path, size, reason))
        else:
            reader.append(name)
    for name, content in _contents(git, looking, reader):
        checked = scan(content)
        if not checked.findings:
            take_over.append(name)
            continue
        for path in wanted[name]:
            mode = work.tracked[path][0].mode
            work.updates[path] = _store_content(work, staging, path, mode, content)
    if take_over:
        _pack(git, staging, looking, take_over)


def _sizes(
    git: Git, staging: Staging, names: Iterable[str], environment: dict[str, str] | None
) -> Iterator[tuple[str, int | None]]:
    """Size of each object in the store (and in `environment`'s alternates), None when it is not there."""
    ordered = list(names)
    if not ordered:
        return
    environment = environment or {
        "GIT_OBJECT_DIRECTORY": str(staging.path),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted_alternate(str(git.objects)),
    }
    request = "\n".join(ordered).encode() + b"\n"
    output = git.run(
        "cat-file", "--batch-check=%(objecttype) %(objectsize)", "--buffer", stdin=request, environment=environment
    )
    for name, line in zip(ordered, output.decode().splitlines(), strict=True):
        kind, _, size = line.partition(" ")
        yield name, int(size) if kind == "blob" else None


def _contents(git: Git, looking: _Looking, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of blobs of the project, in portions that fit into memory."""
    for start in range(0, len(names), 500):
        portion = names[start : start + 500]
        output = memoryview(
            git.run(
                "cat-file",
                "--batch=%(objectsize)",
                "--buffer",
                stdin="\n".join(portion).encode() + b"\n",
                environment=looking.environment,
            )
        )
        at = 0
        for name in portion:
            end = bytes(output[at : at + 24]).index(b"\n") + at
            size = int(bytes(output[at:end]))
            yield name, bytes(output[end + 1 : end + 1 + size])
            at = end + size + 2


def _pack(git: Git, staging: Staging, looking: _Looking, names: list[str]) -> None:
    """One pack of the named objects in the staging folder; without deltas, which cost ten times the time."""
    (staging.path / "pack").mkdir(mode=0o700, exist_ok=True)
    git.run(
        "pack-objects",
        "--window=0",
        "--no-reuse-delta",
        "-q",
        str(staging.path / "pack" / "pack"),
        stdin="\n".join(names).encode() + b"\n",
        environment=looking.environment,
    )


def _copy_index(layout: Layout, target: Path) -> None:
    """Copies the project's index with its time: git tells racily clean entries by it."""
    assert layout.git_dir is not None
    try:
        shutil.copy2(layout.git_dir / "index", target)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"Cannot read `{layout.git_dir / 'index'}`: {error.strerror or error}") from error
    target.chmod(0o600)
    # Copied only after the index: it names its shared part, which git never changes.
    for shared in layout.git_dir.glob("sharedindex.*"):
        if shared.is_file() and not (layout.store_git / shared.name).exists():
            # Whole or not at all, for a snapshot beside this one may be about to read it.
            temporary = target.with_name(shared.name)
            shutil.copy2(shared, temporary)
            temporary.chmod(0o600)
            temporary.rename(layout.store_git / shared.name)
    for stale in layout.store_git.glob("sharedindex.*"):
        if not (layout.git_dir / stale.name).exists():
            stale.unlink(missing_ok=True)


def _checked_config(git: Git) -> Iterator[str]:
    """`-c` values taken from the project's and the user's configuration: known keys with known values only."""
    layout = git.layout
    # Or `update-index` leaves a shared part of its own in our repository.
    yield "core.splitIndex=false"
    project = dict(read_config(git, layout.common_dir / "config")) if layout.common_dir else {}
    for key, allowed in (
        ("core.filemode", {"true", "false"}),
        ("core.ignorecase", {"true", "false"}),
        ("core.trustctime", {"true", "false"}),
        ("core.checkstat", {"default", "minimal"}),
        ("core.precomposeunicode", {"true", "false"}),
    ):
        value = project.get(key, "").lower()
        if value in allowed:
            yield f"{key}={value}"
    excludes = _global_ignore_file(git, project)
    if excludes is not None:
        yield f"core.excludesFile={excludes}"


def _global_ignore_file(git: Git, project: dict[str, str]) -> Path | None:
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    named = project.get("core.excludesfile")
    for path in (Path.home() / ".gitconfig", config_home / "git" / "config"):
        if named is None:
            named = dict(read_config(git, path)).get("core.excludesfile")
    file = git.layout.project / os.path.expanduser(named) if named else config_home / "git" / "ignore"
    return file if file.is_file() and "\n" not in str(file) else None


def _refused_name(path: str, mode: int) -> str | None:
    """Why no reader would take a file of this name, or None."""
    names = path.split("/")
    if any(map(is_git_name, names)) or (
        stat.S_ISLNK(mode) and names[-1].lower().startswith((".gitmodules", "gitmod~"))
    ):
        return "its name is one of git's own"
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        return f"its path is longer than {MAX_PATH_BYTES:,} bytes"
    return None


def without_outputs(content: bytes) -> bytes:
    """A notebook without the outputs of its cells; anything that is no notebook is returned as it is."""
    try:
        notebook = json.loads(content)
        ran = [cell for cell in notebook["cells"] if cell.get("outputs") or cell.get("execution_count") is not None]
        for cell in ran:
            cell["outputs"], cell["execution_count"] = [], None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return content
    if not ran:
        return content
    return json.dumps(notebook, ensure_ascii=False, indent=1).encode() + b"\n"


def _lstat(root: int, path: str) -> os.stat_result | None:
    try:
        return os.lstat(path, dir_fd=root)
    except OSError:
        return None


def _read_link(root: int, path: str) -> bytes:
    return os.fsencode(os.readlink(path, dir_fd=root))


def _read_file(root: int, path: str, limit: int) -> bytes | None:
    """The bytes of a regular file, no component of its path a link; None when it grew over `limit` meanwhile.

    Opened without blocking, for the file may have become a pipe since it was looked at.
    """
    *folders, name = path.split("/")
    opened: list[int] = []
    try:
        here = root
        for folder in folders:
            here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            opened.append(here)
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
        opened.append(descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        chunks: list[bytes] = []
        while chunk := os.read(descriptor, 1 << 20):
            chunks.append(chunk)
            limit -= len(chunk)
            if limit < 0:
                return None
        return b"".join(chunks)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _crowded_folder(paths: list[str]) -> str:
    """The shortest folder that holds most of the paths."""
    counts: dict[str, int] = {}
    for path in paths:
        folder = path.rsplit("/", 1)[0] if "/" in path else "."
        counts[folder] = counts.get(folder, 0) + 1
    top: dict[str, int] = {}
    for folder, count in counts.items():
        top[folder.split("/", 1)[0]] = top.get(folder.split("/", 1)[0], 0) + count
    return max(top, key=lambda folder: top[folder])


def _largest_folder(project: Path) -> str:
    """The top folder with the most entries at its first level, as a guess at what makes the walk long."""
    deadline = time.monotonic() + 1.0
    best, most = ".", -1
    for item in os.scandir(project):
        if item.is_dir(follow_symlinks=False) and item.name != ".git" and time.monotonic() < deadline:
            count = sum(1 for _ in os.scandir(item.path))
            if count > most:
                best, most = item.name, count
    return best


def _read_line(path: Path) -> str:
    return read_small(path)[:4096].decode("utf-8", "replace").strip()


def _shortened(skipped: list[Skipped]) -> tuple[Skipped, ...]:
    """The list by path, as much of it as a run's record may hold, and a last line that counts the others."""
    ordered = sorted(skipped, key=lambda item: item.path)
    kept = len(_fitting([item.path + item.reason for item in ordered]))
    if kept == len(ordered):
        return tuple(ordered)
    return (*ordered[:kept], Skipped("...", None, f"and {len(ordered) - kept:,} more"))


def _fitting(texts: Sequence[str]) -> Sequence[str]:
    """As many leading texts as `MAX_LISTED_BYTES` of JSON hold."""
    room = MAX_LISTED_BYTES
    for number, text in enumerate(texts):
        room -= len(json.dumps(text)) + 40
        if room < 0:
            return texts[:number]
    return texts


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"
