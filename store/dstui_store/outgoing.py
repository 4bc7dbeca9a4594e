"""Runs on their way out: which entries of our logs a remote lacks, and one push that adds exactly those.

The log on a remote (`refs/ds/w/<writer>`) holds what was offered to others: the entry of each shared run, with the same
R and the same line, and the operations on shared runs. It is built anew at each push on the tip that the remote has,
out of nothing but our logs, so an interrupted push is simply done again: the same entries give the same commits.
Nothing of a private run is reachable from it.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dstui_store import commit
from dstui_store.disclosure import Disclosure, Finding
from dstui_store.errors import RemoteError
from dstui_store.git import MAX_COMMIT_BYTES
from dstui_store.incoming import FETCHED, OWN, check, fetched, is_writer, move, read_line, run_of, tracked
from dstui_store.limits import MAX_JSON_BYTES
from dstui_store.network import SHARED
from dstui_store.schema import Json, from_json, is_finite, load_json

if TYPE_CHECKING:
    from dstui_store.git import Git, LogEntry
    from dstui_store.network import Network
    from dstui_store.objects import Staging
    from dstui_store.repository import Store
    from dstui_store.schema import RunRecord

ATTEMPTS = 100
"""How often a push is built anew when others with the same writer's name are faster."""

LINE = "the log's line"
"""What a finding in a log entry's message calls its place."""

MAX_TIME = 253_402_300_799
"""Seconds since the epoch that a commit may bear."""

Wanted = Callable[["RunRecord"], bool]
"""Whether a run that is neither private nor deleted is to be shared."""


@dataclass
class Sent:
    """What a push did.

    Attributes:
        runs: ids of runs that the remote did not have, oldest first.
        operations: how many tags, notes and other changes went with them.
        held: what looks like a secret; the runs that hold it were not sent.
        private: how many wanted runs stay here because they are private.
        objects: how many git objects were sent.
    """

    runs: list[str] = field(default_factory=list)
    operations: int = 0
    held: list[Finding] = field(default_factory=list)
    private: int = 0
    objects: int = 0


@dataclass(frozen=True)
class _Item:
    """An entry of one of our logs that others may see; `run` is what it is about."""

    run: str
    line: Mapping[str, Json]
    entry: LogEntry

    @property
    def is_run(self) -> bool:
        return bool(self.line["op"] == "run")

    @property
    def message(self) -> str:
        return self.entry.message.decode("utf-8", "replace").rstrip("\n") + "\n"


@dataclass
class _Offered:
    """What a log on a remote holds: runs by id, and the messages of operations."""

    runs: dict[str, _Item] = field(default_factory=dict)
    operations: dict[str, _Item] = field(default_factory=dict)

    def has(self, item: _Item) -> bool:
        return item.run in self.runs if item.is_run else item.message in self.operations

    def add(self, item: _Item) -> None:
        if item.is_run:
            self.runs[item.run] = item
        else:
            self.operations[item.message] = item


def push(
    store: Store,
    network: Network,
    wanted: Wanted,
    *,
    every_writer: bool = False,
    always: bool = True,
    allowed: Collection[str] = (),
) -> Sent:
    """Sends what a remote lacks of this clone's runs.

    Args:
        every_writer: logs that this clone had under earlier names too.
        always: ask the remote even when it seems to have everything; it may have lost it.
        allowed: ids of findings that the user lets pass.

    Raises:
        RemoteRefusedError: the remote does not take our refs.
        RemoteError: it cannot be reached; the same push later does what is left.
    """
    sent = Sent()
    store.sync()
    own = store.writer()
    logs = _own_logs(store)
    for writer in sorted(logs):
        if is_writer(writer) and (every_writer or writer == own):
            _push_log(store, network, writer, logs[writer], wanted, always=always, allowed=allowed, sent=sent)
    return sent


def preview(store: Store, key: str, wanted: Wanted, *, allowed: Collection[str] = ()) -> Sent:
    """What `push` would send to the remote of a key, by what is known of it here; starts no connection."""
    sent = Sent()
    store.sync()
    known = tracked(store, key)
    for writer, items in sorted(_own_logs(store).items()):
        tip = known.get(writer)
        _choose(store, key, writer, items, _offered(store.git, tip, writer), tip, wanted, allowed, sent)
    return sent


def _push_log(
    store: Store,
    network: Network,
    writer: str,
    items: Sequence[_Item],
    wanted: Wanted,
    *,
    always: bool,
    allowed: Collection[str],
    sent: Sent,
) -> None:
    """One writer's log, built on the tip that the remote has, as often as others are faster."""
    key = network.remote.key
    ref = f"{FETCHED}{key}/{writer}"
    held = store.git.read_ref(ref)
    base, kept = held, _offered(store.git, held, writer)
    for attempt in range(ATTEMPTS):
        there = kept if base == held else _offered(store.git, base, writer)
        lost = [item for item in [*kept.runs.values(), *kept.operations.values()] if not there.has(item)]
        trial = Sent()
        fresh = _choose(store, key, writer, items, there, base, wanted, allowed, trial, also=lost)
        if base is None and not fresh:
            _add_up(sent, trial)
            return
        if not fresh and not always and base == held:
            _add_up(sent, trial)
            return
        with store.git.staging() as staging:
            tip = _build(store, staging, writer, base, fresh)
            pushed = network.push(tip, f"{SHARED}{writer}", staging.path)
            if pushed.verdict != "behind":
                staging.publish()
                move(store, ref, tip, held)
                trial.objects = pushed.objects
                _add_up(sent, trial)
                return
        base = _fetch_own(store, network, writer)
        # Several clones under one name: those that failed at the same moment must not do so again.
        time.sleep(random.uniform(0, 0.02 * min(attempt, 10)))
    raise RemoteError(
        f"`{network.remote.name}` gained entries under our name at each of {ATTEMPTS} attempts",
        hint="is another clone called by the same DSTUI_WRITER? try again",
    )


def _add_up(sent: Sent, trial: Sent) -> None:
    sent.runs += trial.runs
    sent.operations += trial.operations
    sent.held += trial.held
    sent.private += trial.private
    sent.objects += trial.objects


def _own_logs(store: Store) -> dict[str, list[_Item]]:
    """Writer to the entries of this clone's logs that bear its name, oldest first."""
    logs: dict[str, list[_Item]] = {}
    for ref, tip in store.git.refs(OWN).items():
        for item in _items(store.git.log(tip)):
            # A run that began before the clone was copied bears the name that it began with.
            writer = item.line.get("writer")
            if isinstance(writer, str) and (item.is_run or ref == f"{OWN}{writer}"):
                logs.setdefault(writer, []).append(item)
    return {writer: list(reversed(items)) for writer, items in logs.items()}


def _items(entries: Iterable[LogEntry]) -> Iterable[_Item]:
    for entry in entries:
        line = read_line(entry)
        if line is None or not isinstance(line.get("writer"), str):
            continue
        run = run_of(entry, line, line["writer"]) if line.get("op") == "run" else line.get("run")
        if isinstance(run, str):
            yield _Item(run, line, entry)


def _offered(git: Git, tip: str | None, writer: str) -> _Offered:
    offered = _Offered()
    if tip is not None:
        for item in reversed(list(_items(git.log(tip)))):
            if item.line["writer"] == writer:
                offered.add(item)
    return offered


def _choose(
    store: Store,
    key: str,
    writer: str,
    items: Sequence[_Item],
    there: _Offered,
    base: str | None,
    wanted: Wanted,
    allowed: Collection[str],
    sent: Sent,
    also: Sequence[_Item] = (),
) -> list[_Item]:
    """The items that a remote lacks and may get, runs first, each in the order of its log; counts them in `sent`.

    Args:
        also: what was there once and is not any more; it goes whatever `wanted` says.
    """
    git = store.git
    gate = Disclosure(git, allowed)
    if base is not None:
        gate.has_left(tree_of(git, base))
    again = {item.run for item in also if item.is_run}
    deleted = {row[0] for row in store.index.query("SELECT id FROM run WHERE deleted = 1")}
    shared, chosen = set(there.runs), _Offered()
    for item in [*also, *items]:
        if not item.is_run or item.run in shared:
            continue
        tree = tree_of(git, item.entry.parents[1])
        if item.run not in again and (item.run in deleted or not wanted(from_json(item.line))):
            continue
        if item.line.get("private") is True or _is_private(git, tree):
            sent.private += 1
            continue
        findings = gate.of_text(item.run, LINE, item.entry.message) + gate.of_run(item.run, tree)
        sent.held += findings
        if not findings:
            shared.add(item.run)
            chosen.add(item)
    ours = {item.run for item in items if item.is_run}
    theirs: set[str] | None = None
    for item in [*also, *items]:
        if item.is_run or there.has(item) or chosen.has(item):
            continue
        if item.run not in shared:
            if item.run in ours:
                continue
            theirs = _runs_of_others(store, key, writer) if theirs is None else theirs
            if item.run not in theirs:
                continue
        findings = gate.of_text(item.run, LINE, item.entry.message)
        sent.held += findings
        if not findings:
            chosen.add(item)
    sent.runs += list(chosen.runs)
    sent.operations += len(chosen.operations)
    return [*chosen.runs.values(), *chosen.operations.values()]


def _runs_of_others(store: Store, key: str, writer: str) -> set[str]:
    """Ids of the runs that others have on a remote: a tag or a note on them may go there too."""
    logs = {name: tip for name, tip in tracked(store, key).items() if name != writer}
    return {item.run for tip in logs.values() for item in _items(store.git.log(tip)) if item.is_run}


def _is_private(git: Git, tree: str) -> bool:
    """Whether the run itself says so; its line says it too, since there is such a thing as a private run."""
    meta = next((oid for _, name, oid in git.tree(tree, limit=1 << 16) if name == "meta.json"), None)
    data = load_json(git.object(meta, limit=MAX_JSON_BYTES, kind="blob")) if meta is not None else None
    return isinstance(data, dict) and data.get("private") is True


def _build(store: Store, staging: Staging, writer: str, base: str | None, items: Sequence[_Item]) -> str:
    """Writes the entries that the remote lacks on top of what it has; the same items give the same commit."""
    tip, tree = base, "" if base is None else tree_of(store.git, base)
    if tip is None:
        tip, tree = commit.stage_first(staging, f"{writer} <{writer}@dstui>", _time_of(items[0]))
    for item in items:
        parents = [tip]
        if item.is_run:
            parents.append(item.entry.parents[1])
            tree = tree_of(store.git, item.entry.parents[1])
        author = f"{_author_name(item) or writer} <{writer}@dstui>"
        tip = staging.commit(tree, parents, item.message, author, _time_of(item))
    return tip


def _author_name(item: _Item) -> str:
    user = item.line.get("user")
    return re.sub(r"[<>\n\0]", "", user).strip()[:100] if isinstance(user, str) else ""


def _time_of(item: _Item) -> int:
    """When the run ended or the operation was made, whole seconds since the epoch."""
    if not item.is_run:
        value = item.line.get("time")
        return int(value) if is_finite(value) and 0 <= value < MAX_TIME else 0
    record = from_json(item.line)
    return max(0, int(record.ended_at or record.started_at or 0))


def tree_of(git: Git, commit_id: str) -> str:
    """The tree of a commit."""
    head = git.object(commit_id, limit=MAX_COMMIT_BYTES, kind="commit").split(b"\n", 1)[0]
    return head.removeprefix(b"tree ").decode("ascii", "replace")


def _fetch_own(store: Store, network: Network, writer: str) -> str:
    """The tip of our log on the remote, its objects taken in, its entries checked."""
    known = tracked(store, network.remote.key)
    with fetched(store, network, [writer], known) as found:
        tip = found.tips.get(writer)
        if tip is None:
            raise RemoteError(f"`{network.remote.name}` changes our log while it is read", hint="try again")
        check(found.git, tip, known.get(writer), writer)
        found.staging.publish()
    return tip
