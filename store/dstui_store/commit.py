"""One run becomes one commit: its folder of files as a tree, a root commit R, and an entry J in the writer's log.

R has no parent, so nothing that happens to other runs changes its id. J has the parents `[previous J, R]`, the tree of
R, and in its message the line that listings read. `ds run` is told "committed" only after every object, the ref and
their folders are synced.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dstui_store import declared, live, media, system
from dstui_store.errors import LimitError, StoreError
from dstui_store.layout import private_folder
from dstui_store.limits import MAX_JSON_BYTES
from dstui_store.live import LiveRun
from dstui_store.objects import FOLDER, REGULAR, Staging, TreeEntry
from dstui_store.schema import (
    FORMAT_VERSION,
    MAX_LINE_BYTES,
    Json,
    MetricSummary,
    RunRecord,
    cut_json_text,
    cut_json_texts,
    dump_json,
    iso_time,
    json_number,
    to_line,
)

if TYPE_CHECKING:
    from dstui_store.git import Git
    from dstui_store.layout import Layout
    from dstui_store.secrets import Masker

LOG_WHOLE_BYTES = 16 << 20
LOG_HEAD_BYTES = 1 << 20
LOG_TAIL_BYTES = 14 << 20
"""A longer log is stored as its first and its last part, with a line between that says what is missing."""

JOURNAL_HEADER_BYTES = 32

PIECE_BYTES = 1 << 20

PARQUET_MEDIA = "application/vnd.apache.parquet"

MAX_COMMAND_BYTES = 256 * 1024
"""Of a command line, and of notes, in `meta.json`."""

MAX_TROUBLES = 100
MAX_TROUBLE_LENGTH = 400
"""Sentences in `meta.json` about what could not be tracked, and characters of each."""


@dataclass(frozen=True)
class RunFiles:
    """The content of one run's commit, ready to be written.

    Attributes:
        record: the run as listings show it, `commit` still None.
        code_tree: object id of the stored code, or None.
        files: name to content, names from `schema.RUN_ENTRIES`; `metrics/…` for the files of that folder.
    """

    record: RunRecord
    code_tree: str | None
    files: Mapping[str, bytes]


def collect(git: Git, run: LiveRun, end: Mapping[str, Json], masker: Masker) -> RunFiles:
    """Reads a run's live folder into the files of its commit.

    Args:
        end: how it ended, the keys of `exit.json`.
        masker: replaces the values of secret variables in config and log.

    Raises:
        StoreError: a journal or the log could not be read, or what was written of it does not read back the same.
    """
    files: dict[str, bytes] = {}
    summary, sources, artifacts = _metrics(run, git.layout, files)
    artifacts += _log(run, git.layout, files, masker)
    settings = declared.settings(run.folder, run.launch)
    config = masker.config(settings.values)
    code = dict(run.part("code"))
    trouble = [text[:MAX_TROUBLE_LENGTH] for text in run.errors()[:MAX_TROUBLES]]
    code["tree"] = _known_tree(git, code.get("tree"), trouble)
    load = _system(run, git.layout, files, trouble)
    artifacts += media.collect(run, git.layout, files, masker, trouble)
    record = LiveRun(run.folder, run.alive_file, run.launch, run.state, end).record(summary)
    record = record.replace(config=config, name=masker.text(record.name), notes=masker.text(record.notes))
    record = record.replace(devices=system.device_names(load))
    files["config.json"] = _bounded("config.json", config, trouble)
    environment = live.read_json(run.folder / "env.json") or run.part("environment")
    files["env.json"] = _bounded("env.json", masker.inside(environment), trouble)
    if data := live.read_json(run.folder / "data.json"):
        files["data.json"] = _bounded("data.json", masker.inside(data), trouble)
    if skipped := run.launch.get("skipped"):
        files["skipped.json"] = dump_json(json_number(skipped))
    if artifacts:
        files["artifacts.json"] = dump_json(artifacts)
    meta = {
        **_meta(run, record, end, code),
        "origins": settings.origins,
        "sources": sources,
        "system": load,
        **declared.heard_meta(run.folder, end),
    }
    files["meta.json"] = _bounded("meta.json", {**meta, "errors": trouble}, trouble)
    record = record.replace(size_bytes=sum(map(len, files.values())) + sum(int(item["size"]) for item in artifacts))
    return RunFiles(record=record, code_tree=code["tree"], files=files)


def stage(staging: Staging, content: RunFiles, author: str) -> tuple[str, str]:
    """Writes R and everything below it; returns (commit, tree)."""
    entries: list[TreeEntry] = []
    metrics: list[TreeEntry] = []
    for path, data in content.files.items():
        folder, _, name = path.rpartition("/")
        (metrics if folder == "metrics" else entries).append(TreeEntry(REGULAR, name, staging.blob(data)))
    if metrics:
        entries.append(TreeEntry(FOLDER, "metrics", staging.tree(metrics)))
    if content.code_tree is not None:
        entries.append(TreeEntry(FOLDER, "code", content.code_tree))
    tree = staging.tree(entries)
    record = content.record
    title = f"ds run {_one_line(record.name)} {record.state}"
    when = int(record.ended_at or record.started_at or 0)
    return staging.commit(tree, [], f"{title}\n\nDs-Run: {record.id}\n", author, when), tree


def stage_log_entry(staging: Staging, record: RunRecord, run_commit: str, tree: str, previous: str, author: str) -> str:
    """Writes J, the log entry of one run."""
    message = f"ds run {_one_line(record.name)} {record.state}\n\n{to_line(record)}\n"
    when = int(record.ended_at or record.started_at or 0)
    return staging.commit(tree, [previous, run_commit], message, author, when)


def stage_operation(
    staging: Staging, line: Mapping[str, Json], tree: str, previous: str, author: str, epoch: float
) -> str:
    """Writes J of an operation (tag, note, rename); it repeats the tree of the entry before."""
    text = dump_json({"v": FORMAT_VERSION, **line}).decode()
    if len(text) > MAX_LINE_BYTES:
        raise LimitError(f"The `{line['op']}` in bytes", len(text), MAX_LINE_BYTES)
    return staging.commit(tree, [previous], f"ds {line['op']} {line['run']}\n\n{text}", author, int(epoch))


def stage_first(staging: Staging, author: str, epoch: float) -> tuple[str, str]:
    """Writes the first entry of a log: a root with the empty tree; returns (commit, tree)."""
    tree = staging.tree([])
    return staging.commit(tree, [], f"ds v{FORMAT_VERSION}\n", author, int(epoch)), tree


def _metrics(
    run: LiveRun, layout: Layout, files: dict[str, bytes]
) -> tuple[dict[str, MetricSummary], dict[str, str], list[dict[str, Json]]]:
    """Adds the Parquet files; returns summary, sources, and what is kept in `cas/` of a run too large for a commit.

    A run without a point costs no Parquet library.
    """
    journals = [path for path in run.journal.glob("*.dsj") if path.stat().st_size > JOURNAL_HEADER_BYTES]
    if not journals:
        return {}, {}, []
    from dstui_store import metrics

    private_folder(layout.root / "tmp")
    with tempfile.TemporaryDirectory(dir=layout.root / "tmp", suffix=f".{os.getpid()}") as folder:
        compacted = metrics.compact(run.journal, Path(folder))
        for name, path in compacted.files.items():
            files[name] = path.read_bytes()
        kept = [_keep(_pieces(path), layout, name, PARQUET_MEDIA) for name, path in compacted.full.items()]
    return dict(compacted.summary), dict(compacted.sources), kept


def _system(run: LiveRun, layout: Layout, files: dict[str, bytes], trouble: list[str]) -> dict[str, Json] | None:
    """Adds `system.parquet`; returns what `meta.json` says of it, None for a run that nobody sampled.

    Samples that cannot be read are no reason to keep a run from its commit.
    """
    if not system.has_samples(run.folder):
        return None
    private_folder(layout.root / "tmp")
    try:
        with tempfile.TemporaryDirectory(dir=layout.root / "tmp", suffix=f".{os.getpid()}") as folder:
            compacted = system.compact(run.folder, Path(folder))
    except StoreError as error:
        trouble.append(f"The load of the machine is not stored: {error.message}")
        return None
    if compacted is None:
        return None
    files[system.FILE], load = compacted
    return load


def _known_tree(git: Git, tree: Json, trouble: list[str]) -> str | None:
    """The code tree that the launcher named, if the store has it: a commit must never point at nothing."""
    if tree is None:
        return None
    try:
        git.tree(str(tree))
    except StoreError as error:
        trouble.append(f"The code is not stored: {error.message}")
        return None
    return str(tree)


def _bounded(name: str, data: Mapping[str, Json], trouble: list[str]) -> bytes:
    """The JSON document; above what every reader admits it goes without its largest values, and that is said."""
    plain = {key: json_number(value) for key, value in data.items()}
    text = dump_json(plain)
    if len(text) <= MAX_JSON_BYTES:
        return text
    kept: dict[str, Json] = {}
    room = MAX_JSON_BYTES
    for key in sorted(plain, key=lambda key: len(dump_json(plain[key]))):
        room -= len(dump_json({key: plain[key]}))
        if room < 0:
            break
        kept[key] = plain[key]
    trouble.append(f"{name} would be {len(text):,} bytes, so {len(plain) - len(kept):,} of its values are not stored")
    return dump_json(kept)


def _log(run: LiveRun, layout: Layout, files: dict[str, bytes], masker: Masker) -> list[dict[str, Json]]:
    """Adds `log.gz`; a log too long for a commit goes whole to `cas/`, and the list says so."""
    parts = run.log_parts()
    size = sum(path.stat().st_size for path in parts)
    if size == 0:
        return []
    said = run.exit.get("log_bytes")
    written = max(said, size) if isinstance(said, int) else size
    if written <= LOG_WHOLE_BYTES:
        files["log.gz"] = _compressed(masker.content(b"".join(path.read_bytes() for path in parts)))
        return []
    # What the keeper let go lay after its first file.
    head = _read_range(parts[:1], 0, LOG_HEAD_BYTES)
    tail = _read_range(parts, max(size - LOG_TAIL_BYTES, len(head)), LOG_TAIL_BYTES)
    missing = written - len(head) - len(tail)
    middle = f"\n[dstui: {missing:,} bytes of output are not shown here; `ds logs` reads the whole if it was kept]\n"
    files["log.gz"] = _compressed(masker.content(head + middle.encode() + tail))
    return [_keep(_masked_lines(parts, masker), layout, "log", "text/plain")]


def _masked_lines(parts: Sequence[Path], masker: Masker) -> Iterator[bytes]:
    """The log in pieces of whole lines, so that no secret is cut in two between pieces."""
    for path in parts:
        with path.open("rb") as source:
            while lines := source.readlines(PIECE_BYTES):
                yield masker.content(b"".join(lines))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while piece := source.read(PIECE_BYTES):
            yield piece


def _keep(pieces: Iterable[bytes], layout: Layout, path: str, media: str) -> dict[str, Json]:
    """Writes bytes into `cas/` under their SHA-256, durably; returns their line for `artifacts.json`."""
    cas = layout.cas
    private_folder(cas)
    private_folder(layout.root / "tmp")
    digest, size = hashlib.sha256(), 0
    descriptor, name = tempfile.mkstemp(dir=layout.root / "tmp", suffix=f".{os.getpid()}")
    try:
        with os.fdopen(descriptor, "wb") as target:
            for piece in pieces:
                digest.update(piece)
                size += target.write(piece)
            target.flush()
            os.fsync(target.fileno())
        final = cas / digest.hexdigest()[:2] / digest.hexdigest()
        private_folder(final.parent)
        Path(name).replace(final)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise StoreError(f"`{path}` could not be kept in `{cas}`: {error.strerror}", hint="free some space") from error
    return {"path": path, "size": size, "sha256": digest.hexdigest(), "media": media}


def _meta(run: LiveRun, record: RunRecord, end: Mapping[str, Json], code: Mapping[str, Json]) -> dict[str, Json]:
    launch = run.launch
    return {
        "schema": FORMAT_VERSION,
        "id": record.id,
        "number": record.number,
        "name": record.name,
        "experiment": record.experiment,
        "state": record.state,
        "stop_reason": record.stop_reason,
        "exit_code": record.exit_code,
        "signal": record.signal,
        "command": cut_json_texts(list(record.command), MAX_COMMAND_BYTES),
        "cwd": launch.get("cwd"),
        "started_at": iso_time(record.started_at),
        "ended_at": iso_time(record.ended_at),
        "duration_seconds": record.duration_seconds,
        "user": record.user,
        "host": record.host,
        "writer": record.writer,
        "tags": list(record.tags),
        "notes": cut_json_text(record.notes, MAX_COMMAND_BYTES),
        "parent_run": record.parent_run,
        "private": bool(launch.get("private")),
        "seed": launch.get("seed"),
        "code": dict(code),
        "usage": {key: end.get(key) for key in ("user_seconds", "system_seconds", "peak_rss_bytes", "strays")},
        "log_bytes": end.get("log_bytes"),
    }


def _read_range(parts: Sequence[Path], start: int, length: int) -> bytes:
    """`length` bytes from `start` of the parts taken as one file."""
    chunks: list[bytes] = []
    for path in parts:
        size = path.stat().st_size
        if start < size and length > 0:
            with path.open("rb") as source:
                source.seek(max(start, 0))
                chunk = source.read(length)
            chunks.append(chunk)
            length -= len(chunk)
        start = max(start - size, 0)
    return b"".join(chunks)


def _compressed(content: bytes) -> bytes:
    # No time in the header: the same log gives the same blob.
    return gzip.compress(content, compresslevel=6, mtime=0)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
