"""Write what is found in files to journals of their own, under names that keep different curves apart.

Standard library only, Python 3.9, run by path or as `dstui.inside.curves`.

A **writer** is what continues one set of curves: the event files of one folder, a table, or the checkpoints of one
output folder. Its names get a prefix where that tells them from others:

- a folder below one that has event files itself: its path from there (`loss_train/`), but for folders that are called
  after a time, in which PyTorch puts the results of `add_hparams`;
- a folder or table called after a part of the data: that part (`train/`, `validation/`);
- a name that another writer of the same kind has already: the folder's path below the one that both have in common, or
  the table's own name when it is the same folder. Curves that were begun without a prefix stay without.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from dstui.inside.rows import LARGEST_STEP, PARTS
else:
    from rows import LARGEST_STEP, PARTS

if TYPE_CHECKING:
    from dstui.inside.journal import JournalWriter

POINTS = 10_000_000
"""Points taken from all files of a run; in the journals they take 320 MB."""

NAME_CHARACTERS = 600
"""Longest name with its prefix."""

SETTINGS = 1_000
"""Settings taken from one writer."""

_LATEST_TIME = 1e11
_MADE_UP = re.compile(r"\d{9,}(?:\.\d+)?")


class FullError(Exception):
    """A run has as many points from files as are taken."""


class Names:
    """Which writer of one kind has which name."""

    def __init__(self) -> None:
        self._owners: dict[str, Curves] = {}
        self._writers: list[Curves] = []
        self._settings: dict[str, tuple[Curves, Any]] = {}

    def add(self, writer: Curves) -> str:
        """Take in a writer; returns the prefix of its names."""
        above = [other for other in self._writers if _is_below(writer.place, other.place)]
        self._writers.append(writer)
        if above:
            nearest = max(above, key=lambda other: len(other.place))
            return nearest.prefix + _joined(os.path.relpath(writer.place, nearest.place))
        part = os.path.basename(writer.place)
        return f"{part}/" if part.lower() in PARTS else ""

    def claim(self, writer: Curves, name: str) -> str:
        """The name under which a writer's curve is kept."""
        full = writer.prefix + name
        owner = self._owners.setdefault(full, writer)
        if owner is writer:
            return full
        apart = _apart(writer, owner)
        number = 1
        writer.prefix = f"{apart}/"
        while self._owners.setdefault(full := writer.prefix + name, writer) is not writer:
            number += 1
            writer.prefix = f"{apart}-{number}/"
        return full

    def claim_setting(self, writer: Curves, key: str, value: Any) -> str:
        """The key under which a writer's setting is kept; the same one as another writer's if they agree."""
        owner, other = self._settings.setdefault(key, (writer, value))
        if owner is writer or other == value:
            return key
        return f"{_apart(writer, owner)}/{key}"


class Curves:
    """One writer: names, journal, limits.

    Args:
        place: absolute path that stands for it: its folder, or the table's path without the ending.
        is_table: it is a table.
        names: those of its kind.
        journal: its journal; opened at the first point.
        budget: one number for all writers of a run: points that may still be taken.

    Attributes:
        place: as given.
        is_table: as given.
        prefix: in front of its names.
        points: how many it has written.
    """

    def __init__(
        self, place: str, names: Names, journal: JournalWriter, budget: list[int], *, is_table: bool = False
    ) -> None:
        self.place = place
        self.is_table = is_table
        self.points = 0
        self._names = names
        self._journal = journal
        self._budget = budget
        self._full: dict[str, str] = {}
        self._settings: dict[str, Any] = {}
        self.prefix = ""
        self.prefix = names.add(self)

    def point(self, name: str, value: float, step: int, time: float | None) -> None:
        """Write one point.

        Raises:
            FullError: it is one too many.
        """
        self.row(step, {name: value}, time)

    def row(self, step: int, values: dict[str, float], time: float | None) -> None:
        """Write numbers of one step; without a time, or with one that is no date, they are of now.

        Raises:
            FullError: there are too many.
        """
        full = self._full
        try:
            values = {full[name]: value for name, value in values.items()}
        except KeyError:
            values = {self._name(name): value for name, value in values.items()}
        if not -LARGEST_STEP <= step <= LARGEST_STEP:
            return
        if time is not None and not 0.0 < time < _LATEST_TIME:
            time = None
        if self._budget[0] <= 0:
            raise FullError
        self._budget[0] -= len(values)
        self.points += len(values)
        self._journal.log(values, step, time)

    def config(self, settings: dict[str, Any]) -> None:
        """Write settings that are new or have changed."""
        if TYPE_CHECKING or __package__:
            from dstui.inside.values import MASKED, is_secret
        else:
            from values import MASKED, is_secret
        new: dict[str, Any] = {}
        for key, value in settings.items():
            key = _clean(key)
            if key and len(self._settings) < SETTINGS and self._settings.get(key, self) != value:
                self._settings[key] = value
                masked = MASKED if is_secret(key, value) else _clean(value) if isinstance(value, str) else value
                new[self._names.claim_setting(self, key, masked)] = masked
        if new:
            self._journal.config(new)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _name(self, name: str) -> str:
        full = self._full.get(name)
        if full is None:
            full = self._full[name] = self._names.claim(self, _clean(name)[:NAME_CHARACTERS])
        return full


def _apart(writer: Curves, other: Curves) -> str:
    """The path of a writer below the folder that it has in common with another."""
    apart = os.path.relpath(writer.place, os.path.commonpath([other.place, writer.place]))
    folder, name = os.path.split(apart)
    if writer.is_table and folder and name == os.path.basename(other.place):
        # `fold2/metrics` and `fold1/metrics`
        apart = folder
    return _clean(os.path.basename(writer.place) if apart == "." else apart)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _joined(path: str) -> str:
    """A path as prefix, without folders that are called after a time."""
    parts = [part for part in path.split(os.sep) if not _MADE_UP.fullmatch(part)]
    return "".join(f"{part}/" for part in parts)


def _clean(text: str) -> str:
    """Text that UTF-8 can say, whatever bytes a path or file had."""
    return text.encode("utf-8", "replace").decode("utf-8")
