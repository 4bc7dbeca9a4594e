"""Sorting a table by one key and a letter: `s`, then the letter that stands out in a column's heading."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dstui.sdk.query import Sort, SortKey
from dstui.sdk.views.lines import lower_is_better

if TYPE_CHECKING:
    from dstui.tui.theme import Look
    from dstui.tui.views.cells import Part
    from dstui.tui.views.columns import TableColumn
    from dstui.tui.views.table import TableState


class Sorting:
    """Waits for the letter of a column, and says what the table is sorted by then."""

    def __init__(
        self,
        state: TableState,
        shown_columns: Callable[[], Sequence[TableColumn]],
        chosen: Callable[[Sort], None],
        drawn_anew: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            state: of the table, whose headings show the letters.
            shown_columns: the columns on screen.
            chosen: told what to sort by.
            drawn_anew: called when the letters come or go.
        """
        self.waits = False
        self._state = state
        self._shown_columns = shown_columns
        self._chosen = chosen
        self._drawn_anew = drawn_anew
        self._adding = False
        self._titles: dict[str, str] = {}

    def do_sort(self) -> None:
        """Waits for the letter of a column."""
        self._wait(adding=False)

    def do_add_sort(self) -> None:
        """Waits for the letter of one more column."""
        self._wait(adding=True)

    def takes_key(self, character: str) -> bool:
        """Whether a letter was waited for; then it was used."""
        if not self.waits:
            return False
        key = next((key for key, letter in self._state.letters.items() if letter == character), None)
        self.stop()
        if key is not None:
            before = self._state.sort if self._state.sort is not None else Sort()
            self._chosen(sorted_by(before, key, adding=self._adding))
        return True

    def stop(self) -> None:
        """Waits no more."""
        self.waits = False
        self._state.letters = {}
        self._drawn_anew()

    def words(self, look: Look) -> list[Part]:
        """The line that offers the letters."""
        parts: list[Part] = [("then by " if self._adding else "sort by ", look.quiet)]
        for key, letter in self._state.letters.items():
            parts += [(letter, look.accent), (f" {self._titles.get(key, key)}   ", look.text)]
        return parts

    def _wait(self, *, adding: bool) -> None:
        self._titles = {column.sort_key: column.title for column in self._shown_columns() if column.sort_key}
        self._state.letters = letters_for(self._titles)
        self._adding = adding
        self.waits = True
        self._drawn_anew()


def sorted_by(sort: Sort, key: str, *, adding: bool) -> Sort:
    """A sort by one more key, or by that key alone; one that is there already is turned round."""
    known = next((item for item in sort.keys if item.key == key), None)
    new = SortKey(key, descending=_more_is_better(key) if known is None else not known.descending)
    if not adding:
        return Sort((new,))
    if known is None:
        return Sort((*sort.keys, new))
    return Sort(tuple(new if item is known else item for item in sort.keys))


def letters_for(titles: Mapping[str, str]) -> Mapping[str, str]:
    """One letter for each sort key, given their titles: the first of its title that is free, or any that is left."""
    taken: dict[str, str] = {}
    for key, title in titles.items():
        own = [character for character in title.lower() if character.isalnum()]
        candidates = (*own, *string.ascii_lowercase, *string.digits)
        letter = next((letter for letter in candidates if letter not in taken.values()), None)
        if letter is not None:
            taken[key] = letter
    return taken


def sort_words(sort: Sort, up: str, down: str) -> str:
    """`lr ↑ time ↓` of a sort."""
    return " ".join(
        f"{key.key.removeprefix('metric.').removeprefix('param.')} {down if key.descending else up}"
        for key in sort.keys
    )


def _more_is_better(key: str) -> bool:
    return key.startswith("metric.") and not lower_is_better(key.removeprefix("metric."))
