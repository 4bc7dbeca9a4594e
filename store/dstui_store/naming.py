"""Which run a name stands for: id prefix, `#142`, `alice#142`, `@`, `@~2`, commit id, or a run's own name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dstui_store.errors import AmbiguousRunError, RunNotFoundError

if TYPE_CHECKING:
    from dstui_store.index import Index
    from dstui_store.schema import RunRecord

MIN_SHOWN_ID = 5
"""Ids are shown by their shortest unique prefix, at least this long."""


def resolve(name: str, index: Index, lives: Sequence[RunRecord], writer: str) -> str:
    """The whole id of the run that a name stands for.

    Args:
        lives: runs that have no commit yet, newest first.
        writer: whose `#142` is meant.

    Raises:
        RunNotFoundError: none; carries those that come close.
        AmbiguousRunError: more than one.
    """
    found = (
        _by_age(name, index, lives)
        or _by_number(name, index, lives, writer)
        or _by_id(name, index, lives)
        or _by_commit(name, index)
        or _by_name(name, index, lives)
    )
    if not found:
        raise RunNotFoundError(name, candidates=_near(name, index, lives), hint="`ds ls` lists the runs")
    if len(found) > 1:
        shown = shown_length(index, lives)
        raise AmbiguousRunError(name, [run[:shown] for run in found])
    return found[0]


def shown_length(index: Index, lives: Sequence[RunRecord]) -> int:
    """Length of the shortest id prefix, at least 5, that tells all runs apart."""
    # Those of deleted runs count too: then the index of ids alone answers.
    ids = {*(run for (run,) in index.query("SELECT id FROM run")), *(record.id for record in lives)}
    length = MIN_SHOWN_ID
    while len({run[:length] for run in ids}) < len(ids):
        length += 1
    return length


def _by_age(name: str, index: Index, lives: Sequence[RunRecord]) -> list[str]:
    found = re.fullmatch(r"@(?:~(\d{1,6}))?", name)
    if not found:
        return []
    back = int(found[1] or 0)
    known = {record.id for record in lives}
    committed = [record for record in index.records(limit=back + 1) if record.id not in known]
    ordered = sorted([*lives, *committed], key=lambda record: -(record.started_at or 0.0))
    return [ordered[back].id] if back < len(ordered) else []


def _by_number(name: str, index: Index, lives: Sequence[RunRecord], writer: str) -> list[str]:
    found = re.fullmatch(r"([A-Za-z0-9._-]*)#(\d{1,9})", name)
    if not found:
        return []
    owner, number = found[1] or writer, int(found[2])
    committed = index.find("number = ? AND (user = ? OR writer = ?)", (number, owner, owner))
    running = [run.id for run in lives if run.number == number and owner in {run.user, run.writer}]
    return list(dict.fromkeys(committed + running))


def _by_id(name: str, index: Index, lives: Sequence[RunRecord]) -> list[str]:
    text = name.lower()
    if not re.fullmatch(r"[0-9a-hjkmnp-tv-z]{3,16}", text):
        return []
    committed = index.find("id >= ? AND id < ?", (text, text + "~"))
    return list(dict.fromkeys(committed + [run.id for run in lives if run.id.startswith(text)]))


def _by_commit(name: str, index: Index) -> list[str]:
    if not re.fullmatch(r"[0-9a-f]{7,64}", name):
        return []
    return index.find("commit_id >= ? AND commit_id < ?", (name, name + "~"))


def _by_name(name: str, index: Index, lives: Sequence[RunRecord]) -> list[str]:
    committed = index.find("name = ?", (name,))
    return list(dict.fromkeys(committed + [run.id for run in lives if run.name == name]))


def _near(name: str, index: Index, lives: Sequence[RunRecord]) -> list[str]:
    records = [*lives, *index.records(limit=500)]
    known = [text for record in records for text in (record.name, record.id[:MIN_SHOWN_ID])]
    return difflib.get_close_matches(name, known, n=3)
