"""A SQLite cache of every log entry, so that listings start no git. Safe to delete: it is rebuilt from the refs.

Freshness is told by the names, sizes and times of the ref files; a moved ref is read from its old tip on, or whole
when its history was rewritten. A run on two chains with the same commit is one row. `version` of a row grows with each
change, so a reader asks for what is newer than it has.
Not thread-safe: one connection for each thread.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui_store.errors import DamagedError, FormatError, LimitError, NotAStoreError, StoreError
from dstui_store.limits import MAX_MESSAGE_BYTES, MAX_SYNC_BYTES, MAX_SYNC_COMMITS, MAX_WRITERS
from dstui_store.schema import RUN_ID, Json, RunRecord, from_cache, from_json, is_finite, parse_line, to_cache

if TYPE_CHECKING:
    from dstui_store.git import Git, LogEntry

INDEX_VERSION = 4
"""Schema of the cache; another one in the file = rebuilt."""

PARAM, METRIC = 0, 1

OWNER_FIELDS = frozenset({"name", "deleted"})
"""What only a run's own writer may change."""

_OPERATIONS_OF_RUN = "SELECT field, value, writer FROM op WHERE run = ? ORDER BY time, writer"

CHAINS = ("refs/ds/p/", "refs/ds/r/")
"""The chains that hold runs: this clone's own, and those fetched from others."""

_SCHEMA = """
CREATE TABLE run(
  row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, commit_id TEXT NOT NULL, writer TEXT, number INTEGER, name TEXT,
  experiment TEXT, state TEXT, stop_reason TEXT, exit_code INTEGER, signal INTEGER, user TEXT, host TEXT, started REAL,
  ended REAL, duration REAL, size INTEGER, sweep TEXT, trial INTEGER, parent_run TEXT, notes TEXT,
  deleted INTEGER NOT NULL DEFAULT 0, version INTEGER NOT NULL, record TEXT NOT NULL);
CREATE INDEX run_version ON run(version);
CREATE INDEX run_listed ON run(deleted, started, number);
CREATE INDEX run_commit ON run(commit_id);
CREATE TABLE key(id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL, UNIQUE(kind, name));
CREATE TABLE param(key INTEGER, row INTEGER, num REAL, text TEXT, PRIMARY KEY(key, row)) WITHOUT ROWID;
CREATE TABLE metric(key INTEGER, row INTEGER, last REAL, min REAL, max REAL, step INTEGER, count INTEGER,
  PRIMARY KEY(key, row)) WITHOUT ROWID;
CREATE TABLE tag(row INTEGER, tag TEXT, PRIMARY KEY(row, tag)) WITHOUT ROWID;
CREATE TABLE op(run TEXT, field TEXT, writer TEXT, value TEXT, time REAL, PRIMARY KEY(run, field, writer))
  WITHOUT ROWID;
CREATE TABLE tip(ref TEXT PRIMARY KEY, oid TEXT NOT NULL, whole INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE damage(oid TEXT PRIMARY KEY, ref TEXT, message TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """One change to a run that is already stored: the newest (time, writer) of a (run, field) counts.

    `field` is `name`, `notes`, `deleted` or `tag:TAG`; `value` is its new value as JSON (true or false for a tag).
    """

    run: str
    field: str
    value: Json
    time: float
    writer: str


class Index:
    """The cache of one store."""

    def __init__(self, git: Git, path: Path, *, read_only: bool = False) -> None:
        self._git = git
        self._path = path
        self._read_only = read_only
        self._database = self._open()

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def sync(self) -> int:
        """Takes in what the refs gained since the last time; returns the version of the newest change.

        Raises:
            StoreError: the refs could not be read.
        """
        try:
            self._sync()
        except sqlite3.DatabaseError as error:
            self._make_anew(error)
        return self.version()

    def version(self) -> int:
        """Version of the newest change, 0 when there is none."""
        return int(self.query("SELECT max(version) FROM run")[0][0] or 0)

    def records(self, *, since: int = 0, limit: int | None = None) -> Iterator[RunRecord]:
        """Runs that are not deleted, newest start first."""
        rows = self.query(
            "SELECT record, commit_id, notes FROM run WHERE deleted = 0 AND version > ? "
            "ORDER BY started DESC, number DESC, row DESC LIMIT ?",
            (since, -1 if limit is None else limit),
        )
        for text, commit, notes in rows:
            yield from_cache(text, commit, notes)

    def record(self, run: str) -> RunRecord | None:
        """One run by its whole id, deleted ones too."""
        found = self.query("SELECT record, commit_id, notes FROM run WHERE id = ?", (run,))
        return from_cache(*found[0]) if found else None

    def find(self, condition: str, values: Sequence[Any]) -> list[str]:
        """Ids of runs under an SQL condition on the table `run`, newest first; conditions are ours, values are data."""
        # The plus leaves the index of listings aside, so that a condition may choose its own.
        rows = self.query(
            f"SELECT id FROM run WHERE +deleted = 0 AND ({condition}) ORDER BY started DESC, number DESC, row DESC",
            values,
        )
        return [row[0] for row in rows]

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one reading statement of ours on the cache; values are data."""
        storable = [_storable(value) for value in values]
        try:
            return self._database.execute(sql, storable).fetchall()
        except sqlite3.DatabaseError as error:
            self._make_anew(error)
            return self._database.execute(sql, storable).fetchall()

    def data_version(self) -> int:
        """Changes whenever another process has written the cache."""
        return int(self.query("PRAGMA data_version")[0][0])

    def operations(self, run: str, owner: str) -> dict[str, Json]:
        """Field to value of the operations that count for a run of the writer `owner`."""
        return _counting(self.query(_OPERATIONS_OF_RUN, (run,)), owner)

    def last_number(self, writer: str) -> int:
        """The highest run number of a writer, 0 when it has none."""
        return int(self.query("SELECT max(number) FROM run WHERE writer = ?", (writer,))[0][0] or 0)

    def count(self) -> int:
        """Number of runs that are not deleted."""
        return int(self.query("SELECT count(*) FROM run WHERE deleted = 0")[0][0])

    def keys(self) -> dict[str, list[str]]:
        """Names of params and metrics that any run has: `{"param": [...], "metric": [...]}`."""
        rows = self.query("SELECT kind, name FROM key ORDER BY name")
        return {
            "param": [name for kind, name in rows if kind == PARAM],
            "metric": [name for kind, name in rows if kind == METRIC],
        }

    def damages(self) -> list[tuple[str, str, str]]:
        """(object id, ref, message) of log entries that could not be read."""
        return self.query("SELECT oid, ref, message FROM damage ORDER BY ref")

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except OSError as error:
            raise StoreError(
                f"The index `{self._path}` cannot be opened: {error.strerror}", hint="remove it; it is only a cache"
            ) from error
        except sqlite3.DatabaseError as error:
            self._discard(error)
            return self._connect()

    def _make_anew(self, error: sqlite3.DatabaseError) -> None:
        """Reads everything again into a new file, after an error that says that the present one is damaged."""
        self._database.close()
        self._discard(error)
        self._database = self._connect()
        try:
            self._sync()
        except sqlite3.DatabaseError as again:
            raise StoreError(f"The index `{self._path}` cannot be written: {again}") from again

    def _discard(self, error: sqlite3.DatabaseError) -> None:
        """Removes a file that is no database of ours: it is only a cache.

        Raises:
            StoreError: it is only busy, or may not be written.
        """
        if isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "full" in str(error)):
            raise StoreError(f"The index is busy: {error}", hint="try again; it is only a cache") from error
        if self._read_only:
            raise StoreError(f"The index `{self._path}` cannot be read: {error}") from error
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    def _sync(self) -> None:
        seen = self._signature()
        if self._meta("signature") != seen and not self._read_only:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                self._take_in(self._git.refs(*CHAINS))
                self._set_meta("signature", seen)

    def _connect(self) -> sqlite3.Connection:
        if self._read_only:
            database = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=10, isolation_level=None)
            database.execute("SELECT count(*) FROM meta")
            return database
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            # Not opened to look: a close would drop the locks that another thread of ours has on the file.
            if self._path.is_symlink() or self._path.is_dir():
                raise OSError(errno.EINVAL, "it is a link or a folder", str(self._path)) from None
        database = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        if database.execute("PRAGMA user_version").fetchone()[0] != INDEX_VERSION:
            database = self._make(database)
        database.execute("PRAGMA synchronous = NORMAL")
        return database

    def _make(self, database: sqlite3.Connection) -> sqlite3.Connection:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("BEGIN IMMEDIATE")
        # Asked again under the lock: another process may have made it meanwhile.
        if database.execute("PRAGMA user_version").fetchone()[0] != INDEX_VERSION:
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in names:
                database.execute(f'DROP TABLE "{name}"')
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {INDEX_VERSION}")
        database.execute("COMMIT")
        return database

    def _signature(self) -> str:
        """What the ref files look like from outside; equal means that no ref moved."""
        seen: list[list[object]] = []
        store_git = self._git.layout.store_git
        for path in (store_git / "packed-refs", *_ref_files(store_git / "refs" / "ds")):
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            seen.append([str(path.relative_to(store_git)), found.st_ino, found.st_size, found.st_mtime_ns])
        return json.dumps(seen)

    def _take_in(self, refs: Mapping[str, str]) -> None:
        rows = self._database.execute("SELECT ref, oid, whole FROM tip").fetchall()
        known = {ref: oid for ref, oid, _ in rows}
        broken = {ref for ref, _, whole in rows if not whole}
        version = self.version() + 1
        refs, left_out = _first_writers(refs)
        moved = {ref: _read_chain(self._git, tip, known.get(ref)) for ref, tip in refs.items() if known.get(ref) != tip}
        rewritten = any(ref in known and (ref in broken or not chain.joins) for ref, chain in moved.items())
        if rewritten or known.keys() - refs.keys():
            # What a rewritten or removed chain alone held must go too, so everything is read anew.
            self._forget()
            moved = {ref: _read_chain(self._git, tip, None) for ref, tip in refs.items()}
        writer = _Writer(self._database, version)
        for ref, tip in left_out.items():
            writer.note_damage(ref, tip, f"This store has more than {MAX_WRITERS:,} writers, so this one is left out")
        for ref, chain in sorted(moved.items()):
            for entry in reversed(chain.entries):
                writer.take(ref, entry)
            if chain.damage is not None:
                writer.note_damage(ref, *chain.damage)
            self._database.execute(
                "INSERT OR REPLACE INTO tip VALUES (?, ?, ?)", (ref, refs[ref], chain.damage is None)
            )
        writer.finish()

    def _forget(self) -> None:
        for table in ("run", "param", "metric", "tag", "op", "tip", "damage", "key"):
            self._database.execute(f"DELETE FROM {table}")

    def _meta(self, name: str) -> str | None:
        found = self._database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def _set_meta(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


@dataclass(slots=True)
class _Chain:
    """Entries of one log from its tip back, as far as they were asked for and could be read.

    Attributes:
        joins: whether they end at the entry that was known before.
        damage: (object id, message) where reading ended before its time.
    """

    entries: list[LogEntry]
    joins: bool = False
    damage: tuple[str, str] | None = None


class _Writer:
    """Puts log entries into the tables, in batches of one transaction."""

    def __init__(self, database: sqlite3.Connection, version: int) -> None:
        self._database = database
        self._version = version
        self._keys = {(kind, name): key for key, kind, name in database.execute("SELECT id, kind, name FROM key")}
        self._new_keys: list[tuple[int, int, str]] = []
        self._params: list[tuple[int, int, float | None, str | None]] = []
        self._metrics: list[tuple[int, int, float | None, float | None, float | None, int | None, int]] = []
        self._tags: list[tuple[int, str]] = []
        self._touched: set[str] = set()

    def take(self, ref: str, entry: LogEntry) -> None:
        try:
            line = line_of(entry)
            if not line:
                return
            data = parse_line(line)
            if data.get("op") == "run":
                self._take_run(ref, entry, from_json(data))
            else:
                self._take_operation(ref, operation_of(data))
        except (DamagedError, FormatError) as error:
            self.note_damage(ref, entry.oid, error.message)

    def note_damage(self, ref: str, oid: str, message: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO damage VALUES (?, ?, ?)", (oid, ref, _storable(message)))

    def finish(self) -> None:
        """Writes what is gathered, then applies the operations of every run touched."""
        execute_many = self._database.executemany
        execute_many("INSERT INTO key VALUES (?, ?, ?)", self._new_keys)
        execute_many("INSERT OR REPLACE INTO param VALUES (?, ?, ?, ?)", sorted(self._params, key=itemgetter(0, 1)))
        execute_many(
            "INSERT OR REPLACE INTO metric VALUES (?, ?, ?, ?, ?, ?, ?)", sorted(self._metrics, key=itemgetter(0, 1))
        )
        execute_many("INSERT OR IGNORE INTO tag VALUES (?, ?)", self._tags)
        for run in self._touched:
            self._apply(run)

    def _take_run(self, ref: str, entry: LogEntry, record: RunRecord) -> None:
        if len(entry.parents) != 2:
            raise DamagedError("A run's log entry does not name its commit")
        owner, commit = ref.rpartition("/")[2], entry.parents[1]
        # In a log of our own a run may bear the name that the clone had when it began.
        if record.writer != owner and not ref.startswith(CHAINS[0]):
            raise DamagedError(f"A run in the log of `{owner}` says that it is by `{record.writer[:64]}`")
        values = (
            *(record.id, commit, record.writer, record.number, record.name, record.experiment, record.state),
            *(record.stop_reason, record.exit_code, record.signal, record.user, record.host, record.started_at),
            *(record.ended_at, record.duration_seconds, record.size_bytes, record.sweep, record.trial),
            *(record.parent_run, record.notes, self._version, to_cache(record)),
        )
        # The first chain that has a run wins; a second one can add nothing to it but its operations.
        row = self._database.execute(
            "INSERT OR IGNORE INTO run(id, commit_id, writer, number, name, experiment, state, stop_reason, exit_code,"
            " signal, user, host, started, ended, duration, size, sweep, trial, parent_run, notes, version, record)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING row",
            [_storable(value) for value in values],
        ).fetchone()
        if row is not None:
            self._take_values(row[0], record)
            self._touched.add(record.id)
            return
        there = self._database.execute("SELECT commit_id, writer FROM run WHERE id = ?", (record.id,)).fetchone()
        if there is not None and there[0] != commit:
            raise DamagedError(f"The log of `{owner}` holds another run with the id of one by `{there[1]}`")

    def _take_values(self, row: int, record: RunRecord) -> None:
        for name, value in record.config.items():
            number, text = param_columns(value)
            self._params.append((self._key(PARAM, name), row, number, _storable(text)))
        for name, summary in record.summary.items():
            self._metrics.append((self._key(METRIC, name), row, *summary))
        self._tags += [(row, _storable(tag)) for tag in record.tags]

    def _take_operation(self, ref: str, operation: Operation) -> None:
        owner = ref.rpartition("/")[2]
        if operation.writer != owner:
            raise DamagedError(f"An operation in the log of `{owner}` says that it is by `{operation.writer[:64]}`")
        value = json.dumps(operation.value)
        self._database.execute(
            "INSERT INTO op VALUES (?, ?, ?, ?, ?) ON CONFLICT(run, field, writer) DO UPDATE SET"
            " value = excluded.value, time = excluded.time"
            " WHERE (excluded.time, excluded.value) > (op.time, op.value)",
            (operation.run, _storable(operation.field), operation.writer, value, operation.time),
        )
        self._touched.add(operation.run)

    def _apply(self, run: str) -> None:
        found = self._database.execute("SELECT row, record, writer, notes FROM run WHERE id = ?", (run,)).fetchone()
        if found is None:
            return
        row, text, owner, notes = found
        allowed = _counting(self._database.execute(_OPERATIONS_OF_RUN, (run,)), owner)
        if not allowed:
            return
        record = apply_operations(from_cache(text, None, notes), allowed)
        self._database.execute("DELETE FROM tag WHERE row = ?", (row,))
        self._database.executemany(
            "INSERT OR IGNORE INTO tag VALUES (?, ?)", [(row, _storable(tag)) for tag in record.tags]
        )
        values = (record.name, record.notes, bool(allowed.get("deleted")), to_cache(record))
        self._database.execute(
            "UPDATE run SET name = ?, notes = ?, deleted = ?, record = ?, version = ? WHERE row = ?",
            [*map(_storable, values), self._version, row],
        )

    def _key(self, kind: int, name: str) -> int:
        name = _storable(name)
        key = self._keys.get((kind, name))
        if key is None:
            key = self._keys[kind, name] = len(self._keys) + 1
            self._new_keys.append((key, kind, name))
        return key


def apply_operations(record: RunRecord, operations: Mapping[str, Json]) -> RunRecord:
    """The record with tags, notes and name as later operations left them."""
    tags = dict.fromkeys(record.tags)
    for name, value in operations.items():
        if name.startswith("tag:"):
            if value:
                tags[name[4:]] = None
            else:
                tags.pop(name[4:], None)
    return record.replace(
        tags=tuple(sorted(tags)),
        notes=str(operations.get("notes", record.notes)),
        name=str(operations.get("name", record.name)),
    )


def operation_of(data: Mapping[str, Json]) -> Operation:
    """The operation that a log line describes.

    Raises:
        DamagedError: a field is missing or of another type.
    """
    names = {"tag": "tag:", "untag": "tag:", "note": "notes", "rename": "name", "del": "deleted", "undel": "deleted"}
    op, run, time, writer = data.get("op"), data.get("run"), data.get("time"), data.get("writer")
    if not isinstance(op, str) or op not in names:
        raise FormatError(f"An operation `{str(op)[:40]}` is not known to this dstui")
    if not (isinstance(run, str) and RUN_ID.fullmatch(run) and isinstance(writer, str) and is_finite(time)):
        raise DamagedError("An operation's log entry lacks its run, time or writer")
    value = {"tag": True, "untag": False, "del": True, "undel": False}.get(op, data.get("value"))
    tag = data.get("tag") if names[op] == "tag:" else ""
    if not isinstance(value, bool | str) or not isinstance(tag, str):
        raise DamagedError(f"An operation `{op}` lacks its value")
    return Operation(run=run, field=names[op] + tag, value=value, time=float(time), writer=writer)


def param_columns(value: Json) -> tuple[float | None, str | None]:
    """(number, text) of a config value; a bool is a number too, so that it sorts."""
    if isinstance(value, bool):
        return float(value), str(value).lower()
    if isinstance(value, int | float):
        return (float(value) if abs(value) < 1e300 else None), None
    return None, value if isinstance(value, str) else json.dumps(value)


def _first_writers(refs: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The refs that are read, our own logs first, and those over the number that every reader admits."""
    ordered = sorted(refs.items(), key=lambda item: (not item[0].startswith(CHAINS[0]), item[0]))
    return dict(ordered[:MAX_WRITERS]), dict(ordered[MAX_WRITERS:])


def _read_chain(git: Git, tip: str, old: str | None) -> _Chain:
    """The entries of a log from `tip` back to (without) `old`, newest first."""
    chain = _Chain([])
    at, size = tip, 0
    try:
        for entry in git.log(tip):
            if entry.oid == old:
                chain.joins = True
                break
            chain.entries.append(entry)
            size += len(entry.message)
            if len(chain.entries) > MAX_SYNC_COMMITS:
                raise LimitError("The number of entries of a log", len(chain.entries), MAX_SYNC_COMMITS)
            if size > MAX_SYNC_BYTES:
                raise LimitError("The size of a log in bytes", size, MAX_SYNC_BYTES)
            at = entry.parents[0] if entry.parents else ""
    except StoreError as error:
        chain.damage = (at, error.message)
    return chain


def line_of(entry: LogEntry) -> str:
    """The JSON line of an entry; empty for the first one of a log.

    Raises:
        DamagedError: the message is longer than every reader admits.
    """
    if len(entry.message) > MAX_MESSAGE_BYTES:
        raise DamagedError(f"A log entry's message is over the limit of {MAX_MESSAGE_BYTES:,} bytes")
    _, _, body = entry.message.partition(b"\n\n")
    return body.split(b"\n", 1)[0].decode("utf-8", "replace")


def _counting(rows: Iterable[tuple[str, str, str]], owner: str) -> dict[str, Json]:
    """Field to value from (field, value, writer) in order of time; only its own writer may rename or delete a run."""
    return {name: json.loads(value) for name, value, writer in rows if writer == owner or name not in OWNER_FIELDS}


def _storable(value: Any) -> Any:
    """What SQLite can hold: in a text without an encoding each lone surrogate becomes `?`."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value


def _ref_files(folder: Path) -> Iterable[Path]:
    try:
        items = sorted(os.scandir(folder), key=lambda item: item.name)
    except FileNotFoundError:
        return
    for item in items:
        if item.is_dir(follow_symlinks=False):
            yield from _ref_files(Path(item.path))
        elif item.is_file(follow_symlinks=False):
            yield Path(item.path)
        else:
            # Git would follow a link, and wait for a pipe.
            raise NotAStoreError(f"`{item.path}` is no ref of dstui but a link or a pipe", hint="remove it")
