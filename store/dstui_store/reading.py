"""Reading one run: its commit's entries, or the live folder of a run that has no commit yet.

Everything here may have been written by somebody else: names, modes, sizes and object bytes are checked, and a run
that breaks a limit is refused by name.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dstui_store import declared, live, media, system
from dstui_store.errors import DamagedError, GitError, LimitError, RunNotFoundError
from dstui_store.git import Git, quoted_alternate
from dstui_store.limits import (
    MAX_CODE_BYTES,
    MAX_CODE_DEPTH,
    MAX_CODE_FILES,
    MAX_JSON_BYTES,
    MAX_LOG_BYTES,
    MAX_MEDIA_BYTES,
    MAX_PATH_BYTES,
)
from dstui_store.live import LiveRun
from dstui_store.objects import FOLDER, GITLINK, REGULAR, is_git_name
from dstui_store.schema import OBJECT_ID, RUN_ENTRIES, Json, load_json

if TYPE_CHECKING:
    from dstui_store.index import Index
    from dstui_store.journal import Series
    from dstui_store.layout import Layout
    from dstui_store.media import ArtifactFile, MediaItem

T = TypeVar("T")

MIN_SHOWN_ID = 5
MAX_METRICS_BYTES = 64 << 20
MAX_DIFF_BYTES = 16 << 20


class RunReading(ABC):
    """The reading half of a `Store`."""

    layout: Layout

    @property
    @abstractmethod
    def git(self) -> Git:
        """The repository; made when it is not there yet."""

    @property
    @abstractmethod
    def index(self) -> Index:
        """The index, synced by whoever asks for rows."""

    def blob(self, run: str, entry: str) -> bytes:
        """The bytes of one entry of a run's commit, e.g. `meta.json`, `metrics.parquet`, `metrics/1.parquet`.

        Raises:
            RunNotFoundError: the run has no commit.
            DamagedError: no such entry, or it is damaged.
            LimitError: larger than every reader admits.
        """
        entries = self.entries(run)
        if entry not in entries:
            raise DamagedError(f"Run `{run[:MIN_SHOWN_ID]}` has no `{entry}`")
        limits = {"log.gz": MAX_LOG_BYTES, media.CONTENT: MAX_MEDIA_BYTES}
        limit = MAX_METRICS_BYTES if entry.endswith(".parquet") else limits.get(entry, MAX_JSON_BYTES)
        return self.git.object(entries[entry], limit=limit, kind="blob")

    def entries(self, run: str) -> dict[str, str]:
        """Entry names of a run's commit with their object ids; `code` is a tree, `metrics/…` are expanded.

        Raises:
            DamagedError: names or modes that the format does not know.
        """
        found: dict[str, str] = {}
        seen: set[str] = set()
        for mode, name, oid in self.git.tree(self._tree_of(run), limit=1 << 16):
            known = name in RUN_ENTRIES and name not in seen
            if not known or mode != (FOLDER if name in {"code", "metrics"} else REGULAR):
                raise DamagedError(f"Run `{run[:MIN_SHOWN_ID]}` holds an entry that no run may hold: {name[:40]!r}")
            seen.add(name)
            if name == "metrics":
                found.update(self._metric_entries(oid))
            else:
                found[name] = oid
        return found

    def json(self, run: str, entry: str) -> dict[str, Json]:
        """One of the JSON objects of a run's commit, empty when the run has none of that name."""
        if entry not in self.entries(run):
            return {}
        data = load_json(self.blob(run, entry))
        if not isinstance(data, dict):
            raise DamagedError(f"`{entry}` of run `{run[:MIN_SHOWN_ID]}` is no object")
        return data

    def skipped(self, run: str) -> list[dict[str, Json]]:
        """Files that the snapshot left out: `{"path", "size", "reason"}`."""
        data = self._from(run, lambda found: found.launch.get("skipped"), lambda: self._json_list(run, "skipped.json"))
        return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []

    def meta(self, run: str) -> dict[str, Json]:
        """`meta.json` of a run, or what a live one would write.

        Raises:
            DamagedError: it speaks of another run, or of another writer's.
        """
        return self._from(run, _live_meta, lambda: self._stored_meta(run))

    def environment(self, run: str) -> dict[str, Json]:
        """`env.json` of a run."""
        return self._from(run, _live_environment, lambda: self.json(run, "env.json"))

    def data(self, run: str) -> dict[str, Json]:
        """`data.json` of a run: the files it was given and opened; empty when there are none."""
        return self._from(
            run, lambda found: live.read_json(found.folder / "data.json"), lambda: self.json(run, "data.json")
        )

    def config(self, run: str) -> dict[str, Json]:
        """All params of a run, those too many for a listing included."""
        return self._from(run, LiveRun.config, lambda: self.json(run, "config.json"))

    def log(self, run: str) -> bytes:
        """The output of a run as stored, exact bytes; of a live run what there is so far, its last 16 MiB.

        Raises:
            LimitError: over 16 MiB decompressed.
        """
        return self._from(run, lambda found: found.log_tail(MAX_LOG_BYTES), lambda: self._stored_log(run))

    def metrics(self, run: str, keys: list[str] | None = None) -> dict[str, Series]:
        """The points of a run by metric, in time order; `keys` limits which.

        Raises:
            DamagedError: the stored metrics cannot be read.
        """
        return self._from(run, lambda found: _live_metrics(found, keys), lambda: self._stored_metrics(run, keys))

    def system(self, run: str, keys: list[str] | None = None) -> dict[str, Series]:
        """The samples of a run's processes, GPUs and machine by metric, in time order; none for one not sampled.

        Raises:
            DamagedError: the stored samples cannot be read.
        """
        return self._from(run, lambda found: system.read_live(found.folder, keys), lambda: self._system(run, keys))

    def system_summary(self, run: str) -> dict[str, Json]:
        """Those samples in a few numbers, as `meta.json` has them: `summary` by metric, and `devices`."""
        return self._from(run, _live_system, lambda: system.checked(self.json(run, "meta.json").get("system")))

    def media(self, run: str) -> list[MediaItem]:
        """Images, texts, histograms and tables of a run, in order of time; their names are raw.

        Raises:
            DamagedError: the list cannot be read.
        """
        return self._from(
            run,
            lambda found: media.read_live(found.folder)[0],
            lambda: media.parse(self._json_list(run, media.LIST)),
        )

    def media_content(self, run: str, item: MediaItem) -> bytes:
        """The bytes of one of them, checked against their hash and decoded by nobody.

        Raises:
            DamagedError: they are not here, or others.
        """
        return self._from(
            run,
            lambda found: media.live_content(found.folder, item),
            lambda: self._stored_content(run, item),
        )

    def artifacts(self, run: str) -> list[ArtifactFile]:
        """The files that a run's script kept; their names are raw, but fit for files."""
        return self._from(
            run,
            lambda found: media.read_live(found.folder)[1],
            lambda: media.parse_artifacts(self._json_list(run, "artifacts.json")),
        )

    def artifact_file(self, run: str, file: ArtifactFile) -> Path:
        """Where the bytes of such a file are, checked against their hash; to be copied, never changed.

        Raises:
            DamagedError: they are not here, or others.
        """
        if file.sha256 is None:
            path = self.layout.live / run / "media" / str(file.live)
            if path.is_file() and not path.is_symlink():
                return path
        elif (kept := self._in_cas(file.sha256)) is not None:
            return kept
        raise DamagedError(
            f"The bytes of artifact `{file.name[:60]}` of run `{run[:MIN_SHOWN_ID]}` are not in this store",
            hint="artifacts stay where the run was made: get it there",
        )

    def code_files(self, run: str) -> dict[str, str]:
        """Path to blob of a run's code, submodules left out; errors as `code_entries`."""
        return {path: oid for path, (mode, oid) in self.code_entries(run).items() if mode != GITLINK}

    def code_entries(self, run: str) -> dict[str, tuple[int, str]]:
        """Path to (mode, object id) of a run's code; submodules have mode 160000.

        Raises:
            DamagedError: a name that no checkout may have.
            LimitError: more files, or deeper, than every reader admits; larger, of a run that came from others.
        """
        tree = self.code_tree(run)
        files = {} if tree is None else self._code_of(tree)
        record = self.index.record(run)
        came = record is not None and self.git.read_ref(f"refs/ds/p/{record.writer}") is None
        if came and (size := self._size_of(files)) > MAX_CODE_BYTES:
            raise LimitError("The size of a run's code in bytes", size, MAX_CODE_BYTES)
        return files

    def code_tree(self, run: str) -> str | None:
        """Object id of a run's code tree, None when nothing was stored."""
        return self._from(
            run, lambda found: _text(found.part("code").get("tree")), lambda: self.entries(run).get("code")
        )

    def code_blob(self, object_id: str) -> bytes:
        """The bytes of one code file, at most 64 MiB."""
        return self.git.object(object_id, limit=MAX_METRICS_BYTES, kind="blob")

    def code_diff(self, old: str | None, new: str | None) -> bytes:
        """The unified diff between two code trees (None = nothing), as git writes it; no filter or driver runs.

        Raises:
            LimitError: larger than 16 MiB.
        """
        if old == new:
            return b""
        for tree in (old, new):
            if tree is not None:
                self._code_of(tree)
        empty = self.git.empty_tree
        return self.git.output(
            "diff-tree",
            "-r",
            "-p",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            "--find-renames",
            "--end-of-options",
            old or empty,
            new or empty,
            most_bytes=MAX_DIFF_BYTES,
        )

    def base_tree(self, run: str) -> str | None:
        """The tree of the project's commit that a run's code was based on, when the project's git still has it."""
        code = self.meta(run).get("code")
        commit = code.get("commit") if isinstance(code, dict) else None
        if not isinstance(commit, str) or not OBJECT_ID.fullmatch(commit) or self.layout.common_dir is None:
            return None
        try:
            output = self.git.run(
                "cat-file",
                "--batch-check=%(objectname) %(objecttype)",
                stdin=f"{commit}^{{tree}}\n".encode(),
                environment=self._with_project(),
            )
        except GitError:
            return None
        name, _, kind = output.decode().strip().partition(" ")
        return name if kind == "tree" else None

    def code_changes(self, run: str) -> bytes:
        """The unified diff between the project's commit and what a run's code really was; empty when it was clean.

        Raises:
            DamagedError: the project's git lacks that commit.
            LimitError: larger than 16 MiB.
        """
        base, tree = self.base_tree(run), self.code_tree(run)
        if base is None:
            raise DamagedError("The commit that this run was based on is not in the project's git")
        if base == tree:
            return b""
        if tree is not None:
            self._code_of(tree)
        return self.git.output(
            "diff-tree",
            "-r",
            "-p",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            "--end-of-options",
            base,
            tree or self.git.empty_tree,
            most_bytes=MAX_DIFF_BYTES,
            environment=self._with_project(),
        )

    def _from(self, run: str, from_live: Callable[[LiveRun], T], from_commit: Callable[[], T]) -> T:
        """What a live run's folder says, else its commit; a run that is committed while it is read is read again."""
        found = live.read(self.layout, run)
        if found is not None:
            value = from_live(found)
            if found.folder.exists():
                return value
        return from_commit()

    def _stored_meta(self, run: str) -> dict[str, Json]:
        meta, record = self.json(run, "meta.json"), self.index.record(run)
        writer = record.writer if record is not None else None
        said = meta.get("id", run), meta.get("writer", writer)
        if said != (run, writer):
            words = f"{said[0]!s:.20} by {said[1]!s:.64}"
            raise DamagedError(f"`meta.json` of run `{run[:MIN_SHOWN_ID]}` speaks of another run: {words}")
        return meta

    def _stored_log(self, run: str) -> bytes:
        if "log.gz" not in self.entries(run):
            return b""
        kept = self._kept(run, "log").get("log")
        return kept.read_bytes() if kept is not None else _inflate(self.blob(run, "log.gz"))

    def _stored_metrics(self, run: str, keys: list[str] | None) -> dict[str, Series]:
        from dstui_store import metrics

        kept = self._kept(run, "metrics")
        if kept:
            return metrics.read(kept, keys=keys, full=True)
        names = [name for name in self.entries(run) if name.startswith("metrics") and name.endswith(".parquet")]
        return metrics.read({name: self.blob(run, name) for name in names}, keys=keys)

    def _system(self, run: str, keys: list[str] | None) -> dict[str, Series]:
        return system.read(self.blob(run, system.FILE), keys) if system.FILE in self.entries(run) else {}

    def _with_project(self) -> dict[str, str]:
        assert self.layout.common_dir is not None
        return {"GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted_alternate(str(self.layout.common_dir / "objects"))}

    def _tree_of(self, run: str) -> str:
        record = self.index.record(run)
        if record is None:
            self.index.sync()
            record = self.index.record(run)
        if record is None or record.commit is None:
            raise RunNotFoundError(run)
        tree, _, rest = self.git.object(record.commit, limit=1 << 14, kind="commit").partition(b"\n")
        if rest.startswith(b"parent "):
            raise DamagedError(f"The commit of run `{run[:MIN_SHOWN_ID]}` has a parent, which no run's commit has")
        return tree.removeprefix(b"tree ").decode("ascii", "replace")

    def _metric_entries(self, tree: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for mode, name, oid in self.git.tree(tree, limit=1 << 16):
            known = re.fullmatch(r"([1-7]|long|ranks)\.parquet", name) and f"metrics/{name}" not in found
            if not known or mode != REGULAR:
                raise DamagedError(f"A run's metrics hold an entry that they may not hold: {name[:40]!r}")
            found[f"metrics/{name}"] = oid
        return found

    def _json_list(self, run: str, entry: str) -> list[Json]:
        if entry not in self.entries(run):
            return []
        data = load_json(self.blob(run, entry))
        return data if isinstance(data, list) else []

    def _kept(self, run: str, start: str) -> dict[str, Path]:
        """Entries too big for the commit whose name starts so: the files that are here and whose bytes are right."""
        found: dict[str, Path] = {}
        for item in self._json_list(run, "artifacts.json"):
            entry = item.get("path") if isinstance(item, dict) else None
            if isinstance(entry, str) and entry.startswith(start):
                path = self._in_cas(item.get("sha256"))
                if path is not None:
                    found[entry] = path
        return found

    def _in_cas(self, digest: Json) -> Path | None:
        """The file of this hash, when it is here and its bytes are right."""
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            return None
        path = self.layout.cas / digest[:2] / digest
        return path if path.is_file() and not path.is_symlink() and _sha256(path) == digest else None

    def _stored_content(self, run: str, item: MediaItem) -> bytes:
        if item.offset is not None:
            return media.inline(item, self.blob(run, media.CONTENT))
        path = self._in_cas(item.sha256)
        if path is None or path.stat().st_size != item.size:
            raise DamagedError(
                f"The bytes of {item.kind} `{item.name[:60]}` of run `{run[:MIN_SHOWN_ID]}` are not in this store",
                hint="those too big for a commit stay where the run was made: get them there",
            )
        return path.read_bytes()

    def _code_of(self, tree: str) -> dict[str, tuple[int, str]]:
        """Path to (mode, object id) of the files below a tree; errors as `code_entries`."""
        found: dict[str, tuple[int, str]] = {}
        self._walk(tree, "", 0, found, {})
        files = {path: entry for path, entry in found.items() if entry[0] != FOLDER}
        if len(files) > MAX_CODE_FILES:
            raise LimitError("The number of files of a run's code", len(files), MAX_CODE_FILES)
        return files

    def _size_of(self, files: Mapping[str, tuple[int, str]]) -> int:
        """Bytes of all files together, by what their objects say of themselves; a missing one counts nothing."""
        blobs = [oid for mode, oid in files.values() if mode != GITLINK]
        asked = "".join(f"{oid}\n" for oid in sorted(set(blobs)))
        answer = self.git.run("cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=asked.encode())
        sizes = dict(line.split(" ", 1) for line in answer.decode("ascii", "replace").splitlines())
        return sum(int(size) for oid in blobs if (size := sizes.get(oid, "")).isdecimal())

    def _walk(
        self,
        tree: str,
        prefix: str,
        depth: int,
        files: dict[str, tuple[int, str]],
        trees: dict[str, list[tuple[int, str, str]]],
    ) -> None:
        """Adds files and folders; `trees` holds the trees that were read."""
        if depth > MAX_CODE_DEPTH:
            raise LimitError("The depth of a run's code", depth, MAX_CODE_DEPTH)
        if tree not in trees:
            trees[tree] = self.git.tree(tree)
        for mode, name, oid in trees[tree]:
            path = prefix + name
            if name in {"", ".", ".."} or "/" in name or "\0" in name or is_git_name(name) or path in files:
                raise DamagedError(f"A run's code holds a name that no checkout may have: {name[:40]!r}")
            if (length := len(os.fsencode(path))) > MAX_PATH_BYTES:
                raise LimitError("A path of a run's code in bytes", length, MAX_PATH_BYTES)
            files[path] = (mode, oid)
            # With its folders: a few that hold each other many times over would never end.
            if len(files) > 2 * MAX_CODE_FILES:
                raise LimitError("The number of files of a run's code", len(files), MAX_CODE_FILES)
            if mode == FOLDER:
                self._walk(oid, f"{path}/", depth + 1, files, trees)


def _live_meta(found: LiveRun) -> dict[str, Json]:
    return {
        **found.launch,
        "errors": found.errors(),
        "code": found.part("code"),
        "origins": declared.settings(found.folder, found.launch).origins,
        **declared.heard_meta(found.folder, found.exit),
    }


def _live_environment(found: LiveRun) -> dict[str, Json]:
    return live.read_json(found.folder / "env.json") or dict(found.part("environment"))


def _live_system(found: LiveRun) -> dict[str, Json]:
    if not system.has_samples(found.folder):
        return {}
    return system.about(system.read_live(found.folder), system.devices(found.folder))


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _live_metrics(found: LiveRun, keys: list[str] | None) -> dict[str, Series]:
    from dstui_store import journal

    series = journal.read(found.journal).series()
    return {key: value for key, value in series.items() if keys is None or key in keys}


def _inflate(content: bytes) -> bytes:
    """The gzip content, at most 16 MiB; counted while it grows, so that a bomb stops early."""
    try:
        with gzip.open(io.BytesIO(content)) as source:
            data = source.read(MAX_LOG_BYTES + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DamagedError(f"A run's log is damaged: {error}") from error
    if len(data) > MAX_LOG_BYTES:
        raise LimitError("A run's log in bytes", len(data), MAX_LOG_BYTES)
    return data


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
