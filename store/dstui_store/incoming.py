"""Logs of other writers on their way in: fetched into a scratch repository, checked, and only then made visible.

A fetch writes no ref of the store and no object into it. What came is read with the store's own limits; a writer
whose log cannot be read is refused by name and the others are taken. A log that no longer holds what it held was
rewritten: the old one is kept under `refs/ds/old/` for two weeks and said aloud.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dstui_store.errors import DamagedError, FormatError, GitError, LimitError, RemoteError, StoreError
from dstui_store.git import config_text
from dstui_store.index import line_of
from dstui_store.limits import MAX_SYNC_BYTES, MAX_SYNC_COMMITS, MAX_WRITERS
from dstui_store.network import SHARED
from dstui_store.schema import OBJECT_ID, WRITER_ID, Json, from_json, parse_line

if TYPE_CHECKING:
    from dstui_store.git import Git, LogEntry
    from dstui_store.network import Network
    from dstui_store.objects import Staging
    from dstui_store.repository import Store

OWN = "refs/ds/p/"
"""Logs of this clone."""

FETCHED = "refs/ds/r/"
"""Logs as they were on a remote when it was last asked, below its key."""

OLD = "refs/ds/old/"
"""Logs that others rewrote, below the time when that was seen."""

OLD_DAYS = 14

_OLD_TIME = "%Y%m%dt%H%M%S.%f"


@dataclass(frozen=True)
class Rewritten:
    """A log that lost entries on the remote.

    Attributes:
        vanished: ids of the runs that it no longer holds.
        kept_as: the ref that keeps the old log for `OLD_DAYS`.
    """

    writer: str
    vanished: tuple[str, ...]
    kept_as: str


@dataclass
class Received:
    """What a pull brought.

    Attributes:
        runs: writer to ids of new runs, oldest first.
        refused: (writer, why) of logs that were not taken.
        objects: how many objects came.
    """

    runs: dict[str, list[str]] = field(default_factory=dict)
    rewritten: list[Rewritten] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    objects: int = 0


@dataclass(frozen=True)
class _Log:
    """A log that was fetched and can be read.

    Attributes:
        joins: whether it holds the tip that was known before.
    """

    tip: str
    runs: tuple[str, ...]
    joins: bool


def pull(store: Store, network: Network) -> Received:
    """Takes in every log that changed on a remote.

    Raises:
        RemoteError: the remote cannot be reached; what came before stays.
        StoreError: the store could not be written.
    """
    received = Received()
    known = tracked(store, network.remote.key)
    wanted: dict[str, str] = {}
    for name, oid in sorted(network.shared_refs().items()):
        writer = name.removeprefix(SHARED)
        if not is_writer(writer):
            received.refused.append((writer[:80], "its name is none that a writer has"))
        elif known.get(writer) != oid:
            wanted[writer] = oid
    room = MAX_WRITERS - len(store.git.refs(OWN, FETCHED))
    for writer in [name for name in sorted(wanted) if name not in known][max(room, 0) :]:
        del wanted[writer]
        received.refused.append((writer, f"this store knows {MAX_WRITERS:,} writers already"))
    if wanted:
        _take(store, network, sorted(wanted), known, received)
    _forget_old(store)
    return received


def tracked(store: Store, key: str) -> dict[str, str]:
    """Writer to tip of the logs as they were on the remote of a key when it was last asked."""
    refs = store.git.refs(f"{FETCHED}{key}/")
    return {ref.rpartition("/")[2]: oid for ref, oid in refs.items()}


def is_writer(name: str) -> bool:
    """Whether a name can be a writer's: git's rules for a part of a ref's name are among them."""
    return bool(WRITER_ID.fullmatch(name)) and not re.search(r"\.\.|^[.-]|\.$|\.lock$", name)


def read_line(entry: LogEntry) -> dict[str, Json] | None:
    """The JSON object of a log entry; None for the first one of a log and for one that cannot be read."""
    try:
        line = line_of(entry)
        return parse_line(line) if line else None
    except (DamagedError, FormatError):
        return None


def run_of(entry: LogEntry, line: Mapping[str, Json] | None, writer: str) -> str | None:
    """The id of the run that an entry of a writer's log is about; None when it is no run of that writer."""
    if line is None or line.get("op") != "run" or len(entry.parents) != 2:
        return None
    try:
        record = from_json(line)
    except DamagedError:
        return None
    return record.id if record.writer == writer else None


@contextlib.contextmanager
def fetched(store: Store, network: Network, writers: Sequence[str], known: Mapping[str, str]) -> Iterator[Fetched]:
    """Logs of a remote in quarantine: readable, and not yet part of the store.

    Raises:
        RemoteError: the remote broke off, or what it sent is damaged.
    """
    with store.git.staging() as staging:
        scratch = _make_scratch(store.git, staging.path, known)
        objects = network.fetch(scratch, staging.path, [f"{SHARED}{writer}" for writer in writers])
        tips = {writer: tip for writer in writers if (tip := _tip(scratch / f"{SHARED}{writer}"))}
        git = store.git.with_objects(staging.path)
        try:
            yield Fetched(staging, git, tips, objects)
        finally:
            git.close()
            shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True)
class Fetched:
    """Logs in quarantine.

    Attributes:
        git: reads the store and what is in quarantine.
        tips: writer to newest entry.
    """

    staging: Staging
    git: Git
    tips: dict[str, str]
    objects: int


def _take(store: Store, network: Network, writers: Sequence[str], known: Mapping[str, str], received: Received) -> None:
    """Fetches logs together; when one of them is bad, each by itself, so that the bad one can be named."""
    try:
        with fetched(store, network, writers, known) as found:
            logs = {writer: check(found.git, tip, known.get(writer), writer) for writer, tip in found.tips.items()}
            _publish(store, network.remote.key, found.staging, logs, known, received)
            received.objects += found.objects
    except (RemoteError, DamagedError, LimitError, GitError) as error:
        if len(writers) == 1:
            received.refused.append((writers[0], error.message))
            # A remote that cannot be reached is no fault of a writer.
            network.shared_refs()
            return
        network.shared_refs()
        for writer in writers:
            _take(store, network, [writer], known, received)


def check(git: Git, tip: str, known: str | None, writer: str) -> _Log:
    """Reads a fetched log from its tip back to the tip that was known.

    Raises:
        DamagedError: it cannot be read.
        LimitError: it is longer than any reader admits.
    """
    runs: list[str] = []
    size = count = 0
    for entry in git.log(tip):
        if entry.oid == known:
            return _Log(tip, tuple(reversed(runs)), True)
        count, size = count + 1, size + len(entry.message)
        if count > MAX_SYNC_COMMITS:
            raise LimitError("The number of entries of a log", count, MAX_SYNC_COMMITS)
        if size > MAX_SYNC_BYTES:
            raise LimitError("The size of a log in bytes", size, MAX_SYNC_BYTES)
        run = run_of(entry, read_line(entry), writer)
        if run is not None:
            runs.append(run)
    return _Log(tip, tuple(reversed(runs)), known is None)


def _publish(
    store: Store, key: str, staging: Staging, logs: Mapping[str, _Log], known: Mapping[str, str], received: Received
) -> None:
    """Makes checked logs visible: objects first, then one ref after the other."""
    own = {ref.removeprefix(OWN) for ref in store.git.refs(OWN)}
    staging.publish()
    for writer, log in sorted(logs.items()):
        before = known.get(writer)
        if not log.joins and writer in own:
            # Our own log, changed by somebody else: the next push joins the two.
            continue
        there: set[str] = set()
        if before is not None and not log.joins:
            there = {run for entry in store.git.log(before) if (run := run_of(entry, read_line(entry), writer))}
            kept = f"{OLD}{datetime.now(UTC).strftime(_OLD_TIME)}/{writer}"
            with store.locked() as lock:
                store.git.update_ref(kept, before, None, lock)
            vanished = tuple(sorted(there - set(log.runs)))
            received.rewritten.append(Rewritten(writer, vanished, kept))
        move(store, f"{FETCHED}{key}/{writer}", log.tip, before)
        fresh = [run for run in log.runs if run not in there]
        if fresh:
            received.runs[writer] = fresh


def move(store: Store, ref: str, new: str, old: str | None) -> None:
    """Moves a ref that says what a remote has; when another process was faster, its answer stays."""
    with store.locked() as lock:
        if store.git.read_ref(ref) == old:
            store.git.update_ref(ref, new, old, lock)


def _forget_old(store: Store) -> None:
    """Removes the refs of rewritten logs whose time is over; their objects go with the next clean-up."""
    for ref, oid in store.git.refs(OLD).items():
        with contextlib.suppress(ValueError, StoreError):
            seen = datetime.strptime(ref.split("/")[3], _OLD_TIME).replace(tzinfo=UTC)
            if datetime.now(UTC) - seen > timedelta(days=OLD_DAYS):
                with store.locked() as lock:
                    store.git.delete_ref(ref, oid, lock)


def _make_scratch(git: Git, parent: Path, known: Mapping[str, str]) -> Path:
    """A repository of ours without objects, whose refs say what we have; git asks for nothing that they reach."""
    scratch = parent / "scratch"
    for name in ("objects/info", "objects/pack", f"{SHARED}", "info"):
        (scratch / name).mkdir(parents=True, mode=0o700)
    (scratch / "HEAD").write_text("ref: refs/heads/none\n")
    (scratch / "config").write_text(config_text(git.algorithm))
    refs = {f"{SHARED}{writer}": oid for writer, oid in known.items()}
    others = sorted(set(git.refs(OWN, FETCHED).values()) - set(known.values()))
    refs |= {f"refs/ds/have/{number}": oid for number, oid in enumerate(others)}
    lines = [f"{oid} {ref}\n" for ref, oid in sorted(refs.items())]
    (scratch / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted \n" + "".join(lines))
    return scratch


def _tip(path: Path) -> str | None:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    return text if OBJECT_ID.fullmatch(text) else None
