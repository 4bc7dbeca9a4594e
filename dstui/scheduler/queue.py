"""The queue on the disk: jobs, attempts, leases, accounts, arrays and dependencies in SQLite.

Anybody of this user inserts jobs and requests and reads; rows are changed by the daemon alone. A submission is durable
by its file (`submits.py`), so a transaction need not wait for the disk: after a power cut `mend` inserts from the files
what the database has lost. One Queue for each thread and process; a forked process must not touch it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dstui.errors import DeviceError, UsageError
from dstui.scheduler import submits
from dstui.scheduler.jobs import (
    OPEN,
    Attempt,
    Hold,
    JobRow,
    Learned,
    Lease,
    Request,
    Submission,
)
from dstui.scheduler.place import Place
from dstui.scheduler.tables import CHANGEABLE, JOB_COLUMNS, OPEN_STATES, TABLES, VERSION, hold_to_text, job_of
from dstui_store import new_run_id

BUSY_SECONDS = 30
"""The longest that a transaction waits for another's; each takes milliseconds."""

MIN_SHOWN_ID = 5
"""Ids are shown by their shortest prefix that tells them apart, and at least this long."""


class Queue:
    """The jobs of this user on this machine. Made by `open`."""

    def __init__(self, place: Place, connection: sqlite3.Connection) -> None:
        self.place = place
        self._connection = connection

    @classmethod
    def open(cls, place: Place | None = None) -> Queue:
        """The queue, made when it is not there.

        Raises:
            DeviceError: the database is damaged, of a newer dstui, or cannot be opened.
        """
        place = Place() if place is None else place
        path = place.database
        try:
            _make_private(path)
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, cached_statements=64)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from error
        queue = cls(place, connection)
        try:
            queue._prepare()
        except sqlite3.Error as error:
            connection.close()
            raise _unusable(path, error) from error
        except DeviceError:
            connection.close()
            raise
        return queue

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _prepare(self) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "temp_store = MEMORY", "cache_size = -2048"):
            self._connection.execute(f"PRAGMA {pragma}")
        if self._user_version() == VERSION:
            return
        with self.transaction():
            found = self._user_version()
            if found > VERSION:
                raise DeviceError(
                    f"`{self.place.database}` was made by a newer dstui (form {found}, this one knows {VERSION})",
                    hint="update dstui, or set XDG_STATE_HOME to another folder",
                )
            if found == 0:
                for statement in TABLES.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {VERSION}")

    def _user_version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several changes as one: all or none.

        Raises:
            DeviceError: the disk refused; nothing is changed.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _unusable(self.place.database, error) from error
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _unusable(self.place.database, error) from error
            raise

    @property
    def version(self) -> int:
        """Changes when another connection has changed the database."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    # --- what anybody does ---

    def submit(self, submission: Submission) -> list[str]:
        """Takes jobs into the queue; once this returns they survive kills and power cuts.

        Returns:
            Their ids, in order.

        Raises:
            UsageError: there are none, or one waits for a job that is not there.
            DeviceError: the disk refused; nothing was submitted.
        """
        if not submission.jobs:
            raise UsageError("There is no job to submit (got 0)")
        self._check_dependencies(submission)
        submit, now = new_run_id(), time.time()
        path = self.place.submit_file(submit)
        submits.write(path, submission, now)
        try:
            with self.transaction():
                self._insert(submit, submission, now)
        except DeviceError:
            path.unlink(missing_ok=True)
            raise
        return [job.id for job in submission.jobs]

    def _check_dependencies(self, submission: Submission) -> None:
        own = {job.id for job in submission.jobs}
        for needed in {name for job in submission.jobs for name in job.after} - own:
            if self._one("SELECT 1 FROM job WHERE id = ?", needed) is None:
                raise UsageError(f"There is no job `{needed}` to wait for", hint="`ds queue ls --all` lists them")

    def _insert(self, submit: str, submission: Submission, at: float) -> None:
        execute = self._connection.execute
        execute(
            "INSERT INTO submit VALUES(?, ?, ?, ?, ?)",
            (submit, at, submission.project, submission.cwd, json.dumps(submission.spec)),
        )
        if submission.array:
            execute("INSERT INTO array VALUES(?, ?, ?)", (submit, submit, len(submission.jobs)))
        demand, encode = submission.demand, json.JSONEncoder(separators=(",", ":")).encode
        hold = Hold("held", f"held by {submission.user}", at) if submission.held else None
        self._connection.executemany(
            "INSERT INTO job(id, submit, state, tier, account, user, name, words, params, gpus, gpus_max, "
            "memory_bytes, cpus, time_limit_seconds, array, retries, hold, memory_automatic, learned, submitted_at) "
            "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    job.id,
                    submit,
                    "held" if submission.held else "queued",
                    submission.tier,
                    submission.account,
                    submission.user,
                    job.name,
                    encode(list(job.words)),
                    encode(dict(job.params)) if job.params else "{}",
                    demand.gpus,
                    demand.gpus_max,
                    demand.memory_bytes,
                    demand.cpus,
                    demand.time_limit_seconds,
                    submit if submission.array else None,
                    submission.retries,
                    None if hold is None else hold_to_text(hold),
                    submission.memory_automatic,
                    job.learned,
                    at,
                )
                for job in submission.jobs
            ),
        )
        self._connection.executemany(
            "INSERT INTO dependency VALUES(?, ?)",
            ((job.id, needed) for job in submission.jobs for needed in dict.fromkeys(job.after)),
        )

    def ask(self, verb: str, **arguments: Any) -> int:
        """Leaves a request for the daemon; returns its number."""
        with self.transaction():
            done = self._connection.execute(
                "INSERT INTO request(verb, arguments) VALUES(?, ?)", (verb, json.dumps(arguments))
            )
        return int(done.lastrowid or 0)

    def answer(self, number: int) -> dict[str, Any] | None:
        """What came of a request, None while it waits; a given answer is forgotten."""
        row = self._one("SELECT answer FROM request WHERE number = ?", number)
        if row is None or row[0] is None:
            return None
        with self.transaction():
            self._connection.execute("DELETE FROM request WHERE number = ?", (number,))
        found: dict[str, Any] = json.loads(row[0])
        return found

    # --- reading ---

    def jobs(
        self,
        *,
        states: Iterable[str] | None = None,
        above: int = 0,
        newest: int | None = None,
        array: str | None = None,
    ) -> list[JobRow]:
        """Jobs in the order of their arrival.

        Args:
            states: only those in one of these.
            above: only those that came after the one with this sequence.
            newest: only so many, the last ones that ended.
            array: only those of one array.
        """
        where: list[str] = ["job.sequence > ?"]
        values: list[Any] = [above, *([] if array is None else [array])]
        if array is not None:
            where.append("job.array = ?")
        if states is not None:
            words = sorted(states)
            where.append(f"job.state IN ({', '.join('?' * len(words))})")
            values += words
            if OPEN.issuperset(words):
                where.append("job.ended_at IS NULL")
        order = "ORDER BY job.sequence" if newest is None else f"ORDER BY job.ended_at DESC LIMIT {int(newest)}"
        rows = self._connection.execute(
            f"SELECT {JOB_COLUMNS} FROM job JOIN submit ON submit.id = job.submit WHERE {' AND '.join(where)} {order}",
            values,
        ).fetchall()
        needs: dict[str, list[str]] = {}
        if rows:
            found = self._connection.execute(
                "SELECT dependency.job, dependency.needs FROM dependency JOIN job ON job.id = dependency.job "
                "WHERE job.sequence > ?",
                (above,),
            )
            for job, needed in found:
                needs.setdefault(job, []).append(needed)
        jobs = [job_of(row, needs.get(row[1], ())) for row in rows]
        return jobs if newest is None else jobs[::-1]

    def open_jobs(self, *, above: int = 0) -> list[JobRow]:
        """Jobs that have not ended, in the order of their arrival."""
        return self.jobs(states=OPEN, above=above)

    def job(self, identity: str) -> JobRow | None:
        """One job by its whole id."""
        row = self._one(
            f"SELECT {JOB_COLUMNS} FROM job JOIN submit ON submit.id = job.submit WHERE job.id = ?", identity
        )
        if row is None:
            return None
        found = self._connection.execute("SELECT needs FROM dependency WHERE job = ?", (identity,))
        return job_of(row, [needed for (needed,) in found])

    def resolve(self, name: str) -> list[str]:
        """Whole ids of the jobs whose id begins like this; an array's too: all its jobs that have not ended."""
        if not name or not name.isalnum():
            return []
        ids = [row[0] for row in self._connection.execute("SELECT id FROM job WHERE id BETWEEN ? AND ?", _range(name))]
        arrays = self._connection.execute(
            f"SELECT id FROM job WHERE array BETWEEN ? AND ? AND ended_at IS NULL AND state IN ({OPEN_STATES})",
            _range(name),
        )
        return ids or [row[0] for row in arrays]

    def job_of_run(self, run: str) -> str | None:
        """The job that a run is an attempt of."""
        row = self._one("SELECT job FROM attempt WHERE run = ?", run)
        return None if row is None else str(row[0])

    def shown_id_length(self) -> int:
        """Length of the shortest prefix, at least 5, that tells all jobs apart."""
        length, before = MIN_SHOWN_ID, ""
        for (identity,) in self._connection.execute("SELECT id FROM job ORDER BY id"):
            while identity[:length] == before[:length]:
                length += 1
            before = identity
        return length

    def states(self, ids: Iterable[str]) -> dict[str, str]:
        """States of some jobs; unknown ones are missing."""
        found = {}
        for identity in ids:
            row = self._one("SELECT state FROM job WHERE id = ?", identity)
            if row is not None:
                found[identity] = str(row[0])
        return found

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return dict(self._connection.execute("SELECT state, count(*) FROM job GROUP BY state").fetchall())

    def last_sequence(self) -> int:
        """That of the newest job, 0 without one."""
        row = self._one("SELECT max(sequence) FROM job")
        return int(row[0] or 0) if row else 0

    def spec(self, submit: str) -> dict[str, Any]:
        """What starts a job besides its row."""
        row = self._one("SELECT spec FROM submit WHERE id = ?", submit)
        found: dict[str, Any] = json.loads(row[0]) if row else {}
        return found

    def attempts(self, job: str | None = None, *, going: bool = False) -> list[Attempt]:
        """Starts of one job, or of all; with `going` only those that have not ended."""
        where, values = ["1"], []
        if job is not None:
            where.append("job = ?")
            values.append(job)
        if going:
            where.append("ended_at IS NULL")
        rows = self._connection.execute(
            "SELECT job, number, run, state, pid, ticks, boot, devices, started_at, ended_at, live FROM attempt "
            f"WHERE {' AND '.join(where)} ORDER BY job, number",
            values,
        )
        return [
            Attempt(job, number, run, state, pid, ticks, boot, tuple(json.loads(devices)), started_at, ended_at, live)
            for job, number, run, state, pid, ticks, boot, devices, started_at, ended_at, live in rows
        ]

    def leases(self) -> list[Lease]:
        """Who holds which device."""
        rows = self._connection.execute("SELECT device, job, attempt, memory_bytes, since FROM lease")
        return [Lease(*row) for row in rows]

    def accounts(self) -> dict[str, tuple[float, float]]:
        """What each account has used, and when that was reckoned."""
        rows = self._connection.execute("SELECT name, used, used_at FROM account")
        return {name: (used, at) for name, used, at in rows}

    def drained(self) -> dict[str, dict[str, Any]]:
        """Devices that get no new jobs: `{"at", "by", "why"}`."""
        return {name: json.loads(text) for name, text in self._connection.execute("SELECT id, drained FROM device")}

    def learned(self) -> dict[str, Learned]:
        """What was learned, by key."""
        rows = self._connection.execute("SELECT key, runs, peak_bytes, durations FROM learned")
        return {key: Learned(runs, peak, tuple(json.loads(text))) for key, runs, peak, text in rows}

    def meta(self, key: str) -> str | None:
        """A value kept under a key."""
        row = self._one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else str(row[0])

    def requests(self) -> list[Request]:
        """Requests that wait, in order."""
        rows = self._connection.execute(
            "SELECT number, verb, arguments FROM request WHERE answer IS NULL ORDER BY number"
        )
        return [Request(number, verb, json.loads(text)) for number, verb, text in rows]

    def events(self, job: str) -> list[tuple[float, str, str | None]]:
        """(time, state, detail) of each change of a job, in order."""
        return self._connection.execute("SELECT at, state, detail FROM event WHERE job = ?", (job,)).fetchall()

    # --- what only the daemon does, in a transaction ---

    def change(self, job: str, /, **columns: Any) -> None:
        """Changes columns of a job; `hold` takes a `Hold`, `spare` a mapping."""
        if not columns.keys() <= CHANGEABLE:
            raise ValueError(f"columns that do not change: {sorted(columns.keys() - CHANGEABLE)}")
        if isinstance(columns.get("hold"), Hold):
            columns["hold"] = hold_to_text(columns["hold"])
        if "spare" in columns:
            columns["spare"] = json.dumps(columns["spare"])
        self._connection.execute(
            f"UPDATE job SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?", (*columns.values(), job)
        )

    def note(self, job: str, state: str, at: float, detail: str | None = None) -> None:
        """Keeps an event."""
        self._connection.execute("INSERT INTO event VALUES(?, ?, ?, ?)", (at, job, state, detail))

    def add_attempt(self, attempt: Attempt, memory_bytes: int | None) -> None:
        """A start with the devices that it takes."""
        self._connection.execute(
            "INSERT INTO attempt(job, number, run, state, pid, ticks, boot, devices, started_at, ended_at, live) "
            "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                attempt.job,
                attempt.number,
                attempt.run,
                attempt.state,
                attempt.pid,
                attempt.ticks,
                attempt.boot,
                json.dumps(attempt.devices),
                attempt.started_at,
                attempt.ended_at,
                attempt.live,
            ),
        )
        self._connection.executemany(
            "INSERT INTO lease VALUES(?, ?, ?, ?, ?)",
            ((device, attempt.job, attempt.number, memory_bytes, attempt.started_at) for device in attempt.devices),
        )

    def change_attempt(self, job: str, number: int, /, **columns: Any) -> None:
        """Changes columns of an attempt; one that has ended holds no device any more."""
        if not columns.keys() <= {"run", "state", "pid", "ticks", "boot", "live", "ended_at"}:
            raise ValueError(f"columns that do not change: {sorted(columns)}")
        self._connection.execute(
            f"UPDATE attempt SET {', '.join(f'{name} = ?' for name in columns)} WHERE job = ? AND number = ?",
            (*columns.values(), job, number),
        )
        if "ended_at" in columns:
            self._connection.execute("DELETE FROM lease WHERE job = ? AND attempt = ?", (job, number))

    def drop_attempt(self, job: str, number: int) -> None:
        """Forgets an attempt that never began."""
        for table, column in (("attempt", "number"), ("lease", "attempt")):
            self._connection.execute(f"DELETE FROM {table} WHERE job = ? AND {column} = ?", (job, number))

    def set_account(self, name: str, used: float, at: float) -> None:
        """What an account has used."""
        self._connection.execute(
            "INSERT INTO account VALUES(?, ?, ?) ON CONFLICT(name) DO UPDATE SET used = excluded.used, "
            "used_at = excluded.used_at",
            (name, used, at),
        )

    def set_drained(self, device: str, drained: Mapping[str, Any] | None) -> None:
        """Keeps new jobs off a device, or lets them on it again."""
        self._connection.execute("DELETE FROM device WHERE id = ?", (device,))
        if drained is not None:
            self._connection.execute("INSERT INTO device VALUES(?, ?)", (device, json.dumps(drained)))

    def set_learned(self, key: str, learned: Learned) -> None:
        """Remembers what runs have shown."""
        self._connection.execute(
            "INSERT OR REPLACE INTO learned VALUES(?, ?, ?, ?)",
            (key, learned.runs, learned.peak_bytes, json.dumps(learned.durations)),
        )

    def metas(self, prefix: str) -> dict[str, str]:
        """Values whose keys begin like this, by the rest of the key."""
        rows = self._connection.execute("SELECT key, value FROM meta WHERE key BETWEEN ? AND ?", _range(prefix))
        return {key.removeprefix(prefix): value for key, value in rows}

    def set_meta(self, key: str, value: str | None) -> None:
        """Keeps a value under a key, or forgets it."""
        self._connection.execute("DELETE FROM meta WHERE key = ?", (key,))
        if value is not None:
            self._connection.execute("INSERT INTO meta VALUES(?, ?)", (key, value))

    def reply(self, number: int, answer: Mapping[str, Any]) -> None:
        """Answers a request."""
        self._connection.execute("UPDATE request SET answer = ? WHERE number = ?", (json.dumps(answer), number))

    def has_open_jobs(self, submit: str) -> bool:
        """Whether a job of a submission has not ended."""
        return self._one("SELECT 1 FROM job WHERE submit = ? AND ended_at IS NULL LIMIT 1", submit) is not None

    def attempts_of_submit(self, submit: str) -> dict[str, int]:
        """Jobs of a submission with the number of their last attempt."""
        return dict(self._connection.execute("SELECT id, attempt FROM job WHERE submit = ?", (submit,)).fetchall())

    def forget_ended(self, keep: int) -> int:
        """Drops all but the newest ended jobs; returns how many went."""
        with self.transaction():
            execute = self._connection.execute
            gone = "SELECT id FROM job WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT -1 OFFSET ?"
            # A job that others still wait for stays.
            gone = (
                f"SELECT id FROM ({gone}) WHERE id NOT IN (SELECT needs FROM dependency JOIN job ON "
                "job.id = dependency.job WHERE job.ended_at IS NULL)"
            )
            ids = execute(gone, (keep,)).fetchall()
            for table, column in (("attempt", "job"), ("dependency", "job"), ("event", "job"), ("job", "id")):
                self._connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", ids)
            execute("DELETE FROM submit WHERE id NOT IN (SELECT submit FROM job)")
            execute("DELETE FROM array WHERE submit NOT IN (SELECT id FROM submit)")
        return len(ids)

    # --- after a crash ---

    def unknown_submits(self) -> list[str]:
        """Submissions that have a file and no rows: acknowledged, and lost from the database by a power cut."""
        known = {row[0] for row in self._connection.execute("SELECT id FROM submit")}
        return [name for name in submits.names(self.place.submits) if name not in known]

    def insert_again(self, submit: str, submission: Submission, at: float) -> None:
        """Inserts a submission whose rows are lost, in a transaction of the caller."""
        self._insert(submit, submission, at)

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._connection.execute(statement, values).fetchone()
        return found


def set_aside(place: Place) -> Path:
    """Moves a damaged database out of the way; returns where it is now. The next `Queue.open` makes an empty one."""
    aside = place.database.with_name(f"queue.db.damaged-{time.time_ns()}")
    place.database.rename(aside)
    for suffix in ("-wal", "-shm"):
        beside = place.database.with_name(place.database.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    return aside


def _make_private(path: Path) -> None:
    """An empty file of mode 0600 unless there is one; SQLite would make it with the mode that the umask leaves.

    One that is there is never opened here: closing it would drop the locks that another connection of this process has
    on it, and whoever closes the database next elsewhere would throw away what that connection writes.

    Raises:
        OSError: a link stands there, or nothing can be made.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except FileExistsError:
        if path.is_symlink():
            raise


def is_sound(place: Place) -> bool:
    """Whether the database of a place can be read whole; one that is not there is sound."""
    if not place.database.exists():
        return True
    try:
        connection = sqlite3.connect(place.database, timeout=BUSY_SECONDS)
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        # Locked or unreadable now is not damaged.
        return isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error)


def _range(prefix: str) -> tuple[str, str]:
    return prefix, prefix + "~"


def _unusable(path: Path, error: Exception) -> DeviceError:
    return DeviceError(
        f"The queue `{path}` cannot be used: {error}", hint="free some space, or check the folder's owner and mode"
    )
