"""The query language of the command line, the dashboard and Python: `val_acc>0.9 lr<1e-2 state:finished !tag:bad`.

The grammar is in `terms`, the meaning in `matching`. This file reads and writes it, names unknown keys, completes what
is being typed, and does the same for sort keys (`val_acc:desc,lr`). Pure: what time it is comes as an argument.
"""

from __future__ import annotations

import difflib
import math
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

from dstui.errors import QueryError
from dstui.sdk import columns, matching
from dstui.sdk.matching import Record
from dstui.sdk.terms import (
    BUILTIN_KEYS,
    OPERATORS,
    ORDERING_OPERATORS,
    PREFIXED_ATOMS,
    AllOf,
    AnyOf,
    Compare,
    Has,
    Not,
    Term,
    View,
    Word,
    all_of,
    any_of,
    atoms,
    quote,
)
from dstui.units import parse_quantity
from dstui_store import STATES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dstui.sdk.columns import Columns

MAX_DEPTH = 50
"""Parentheses inside parentheses, and views inside views."""

AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True, slots=True)
class Query:
    """A query that was understood: all of `terms` must hold; none at all holds for every run.

    Attributes:
        terms: the parts, in the order they were written.
        text: what was typed, which positions of errors refer to; not part of equality.
    """

    terms: tuple[Term, ...] = ()
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    @property
    def has_pattern(self) -> bool:
        """Whether it holds a regular expression, so that matching may take up to `matching.PATTERN_SECONDS`."""
        return any(isinstance(atom, Compare) and atom.operator == "~" for atom in self._atoms())

    def keys(self) -> list[str]:
        """Every key that is asked for, in order of writing, each once."""
        return list(dict.fromkeys(atom.key for atom in self._atoms() if isinstance(atom, Has | Compare)))

    def matches(self, record: Record, *, now: float) -> bool:
        """Whether one run matches; for many use `select`, which pays for a regular expression once.

        Args:
            record: a run record, or a dictionary with the same names.
            now: seconds since the epoch, for ages.

        Raises:
            QueryError: a pattern takes too long, or a view was not replaced.
        """
        return len(self.select([record], now=now)) == 1

    def select(self, records: Iterable[AnyRecord], *, now: float) -> list[AnyRecord]:
        """The runs that match, in their order; arguments and errors as in `matches`."""
        rows = list(records)
        if not self.terms:
            return rows
        with _naming(self.text or str(self)):
            kept = matching.select(AllOf(self.terms), rows, now)
        return [row for row, keep in zip(rows, kept, strict=True) if keep]

    def mask(self, table: Columns) -> NDArray[np.bool_]:
        """Whether each row of a table matches; bool, shape (n,). Same answer as `matches`, with numpy.

        Raises:
            QueryError: as in `matches`.
        """
        with _naming(self.text or str(self)):
            return columns.mask(AllOf(self.terms), table)

    def check(self, known: Collection[str]) -> None:
        """Refuse keys that no run has, since a typing error would look like an empty result.

        Args:
            known: all params and metrics there are; built-in keys need not be among them. Empty: nothing is refused.

        Raises:
            QueryError: names the key and the nearest known one.
        """
        if not known:
            return
        for atom in self._atoms():
            if isinstance(atom, Has | Compare):
                with _naming(self.text or str(self)):
                    _check_key(atom.key, known, atom.position)

    def expand(self, views: Mapping[str, Query]) -> Query:
        """The query with each `view:NAME` replaced by what the name stands for.

        Raises:
            QueryError: no view has the name, or a view holds itself.
        """
        with _naming(self.text or str(self)):
            expanded = all_of(_expanded(term, views, ()) for term in self.terms)
        return Query(expanded.terms if isinstance(expanded, AllOf) else (expanded,), self.text)

    def _atoms(self) -> Iterable[Word | Has | View | Compare]:
        return atoms(AllOf(self.terms))


def parse(text: str) -> Query:
    """Read a query; an empty text matches every run.

    Raises:
        QueryError: it cannot be understood; `position` is the index of the character where the trouble starts, and
            the text itself is the error's last note.
    """
    with _naming(text):
        terms = _Parser(text).whole()
    return Query(terms, text)


def builtin_views(user: str) -> dict[str, Query]:
    """The saved queries that exist without being saved; `user` is who "mine" means."""
    return {
        "all": Query(),
        "running": parse("state:running"),
        "mine today": parse(f"by={quote(user)} age<1d"),
        "tidy": parse("!(state:failed duration<10s)"),
    }


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that someone who typed `name` most likely meant, or None."""
    names = list(known)
    folded = name.casefold()
    for other in names:
        if other.casefold() == folded:
            return other
    for other in names:
        if other.casefold().endswith((f".{folded}", f"/{folded}")):
            return other
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return close[0] if close else None


def word_span(text: str, position: int) -> tuple[int, int]:
    """Start and end of the word that stands at a cursor, which is what a suggestion replaces."""
    start = index = 0
    quoted = False
    while index < position:
        character = text[index]
        if quoted and character == "\\":
            index += 1
        elif character == '"':
            quoted = not quoted
        elif not quoted and (character.isspace() or character in "|(" or (character == "!" and start == index)):
            start = index + 1
        index += 1
    end = position
    while end < len(text) and not text[end].isspace() and text[end] not in "|()":
        end += 1
    return min(start, position), end


def suggest(text: str, position: int, keys: Iterable[str], *, limit: int = 10) -> list[str]:
    """What the word at the cursor may become, best first; each replaces `word_span(text, position)`.

    Args:
        text: the query as typed so far.
        position: the cursor, 0 to `len(text)`.
        keys: params and metrics that runs have.
        limit: most suggestions.
    """
    start, _ = word_span(text, position)
    typed = text[start:position]
    for prefix in ("state:", "state=", "state!="):
        if typed.startswith(prefix):
            return [prefix + state for state in _ranked(typed[len(prefix) :], STATES)][:limit]
    head = "has:" if typed.startswith("has:") else ""
    typed = typed[len(head) :]
    if any(operator in typed for operator in OPERATORS):
        return []
    known = dict.fromkeys([*keys, *BUILTIN_KEYS])
    return [head + quote(key) for key in _ranked(typed.strip('"'), known)][:limit]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key to sort by; `descending` puts the largest first."""

    key: str
    descending: bool = False

    def __str__(self) -> str:
        # A comma is plain in a query and stands between keys here.
        text = f'"{self.key}"' if "," in self.key and quote(self.key) == self.key else quote(self.key)
        return text + (":desc" if self.descending else "")


@dataclass(frozen=True, slots=True)
class Sort:
    """An order of runs: by the first key, equal ones by the next. None at all leaves the order as it is.

    Numbers stand before texts, texts are ordered without case, and runs without the value, or with NaN, come last
    whichever the direction.
    """

    keys: tuple[SortKey, ...] = ()

    def __str__(self) -> str:
        return ",".join(map(str, self.keys))

    def check(self, known: Collection[str]) -> None:
        """Refuse keys that no run has; as `Query.check`."""
        if known:
            for key in self.keys:
                _check_key(key.key, known, 0)

    def apply(self, records: Iterable[AnyRecord], *, now: float) -> list[AnyRecord]:
        """The records in this order.

        Args:
            records: runs in any order, which decides between equal ones.
            now: seconds since the epoch, for ages.
        """
        rows = list(records)
        for key in reversed(self.keys):
            rows = _sorted_rows(rows, key, now)
        return rows

    def order(self, table: Columns, index: NDArray[np.intp]) -> NDArray[np.intp]:
        """The rows `index` of a table in this order; int, same shape (m,)."""
        import numpy as np

        for key in reversed(self.keys):
            kind, value = _column_ranks(table, key)
            index = index[_stable_order(value[index])]
            index = index[np.argsort(kind[index], kind="stable")]
        return index


def parse_sort(text: str) -> Sort:
    """Read sort keys: `val_acc:desc,lr`, each with `:asc` (the default) or `:desc`.

    Raises:
        QueryError: a key or a direction is missing or unknown; `position` as in `parse`.
    """
    keys: list[SortKey] = []
    position = 0
    with _naming(text):
        while text.strip():
            match = _SORT_KEY.match(text, position)
            if match is None or not match.group().strip():
                raise QueryError(
                    "A sort key is missing", hint="write keys like `val_acc:desc,lr`", position=min(position, len(text))
                )
            quoted, bare, direction = match.groups()
            if direction not in (None, "asc", "desc"):
                raise QueryError(
                    f"`{direction}` is no direction",
                    hint="write `:asc` or `:desc`",
                    position=match.start(3),
                )
            keys.append(SortKey(_unquoted(quoted) if quoted else bare.strip(), direction == "desc"))
            position = match.end()
            if position == len(text):
                break
            position += 1
    return Sort(tuple(keys))


@contextmanager
def _naming(text: str) -> Iterator[None]:
    """Attach the text to a query error as a note, so that whoever shows it can draw a caret under the position."""
    try:
        yield
    except QueryError as error:
        if not getattr(error, "__notes__", ()):
            error.add_note(text)
        raise


class _Parser:
    """One pass over a text by recursive descent; `_at` is the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> tuple[Term, ...]:
        terms: list[Term] = []
        while self._skip_space():
            if self._text[self._at] == ")":
                raise QueryError("`)` closes nothing", hint="quote it if it belongs to a value", position=self._at)
            terms.append(self._any())
        joined = all_of(terms)
        return joined.terms if isinstance(joined, AllOf) else (joined,)

    def _any(self) -> Term:
        terms = [self._not()]
        while self._take_bar():
            terms.append(self._not())
        return any_of(terms)

    def _take_bar(self) -> bool:
        """Step over a `|`, spaces around it included; False leaves everything as it was."""
        before = self._at
        if not self._skip_space() or self._text[self._at] != "|":
            self._at = before
            return False
        bar = self._at
        self._at += 1
        if not self._skip_space() or self._text[self._at] in ")|":
            raise QueryError("Nothing stands after `|`", position=bar)
        return True

    def _not(self) -> Term:
        if not self._text.startswith("!", self._at):
            return self._atom()
        start = self._at
        self._at += 1
        if self._text.startswith("!", self._at):
            raise QueryError("`!` stands twice", hint="two cancel out: leave both away", position=self._at)
        if self._at == len(self._text) or self._text[self._at].isspace() or self._text[self._at] in ")|":
            raise QueryError("Nothing stands after `!`", hint="write `!` right before what it denies", position=start)
        return Not(self._atom())

    def _atom(self) -> Term:
        if self._text[self._at] == "(":
            return self._group()
        if self._text[self._at] == "|":
            raise QueryError("Nothing stands before `|`", position=self._at)
        start = self._at
        word, quoted = self._operand()
        operator = self._operator()
        if operator is None:
            self._end_of_atom()
            return Word(word, start)
        if not quoted and operator == ":" and word in PREFIXED_ATOMS:
            name = self._operand_after(word + ":")
            self._end_of_atom()
            return Has(name, start) if word == "has" else View(name, start)
        if not word:
            raise QueryError(
                f"A key is missing before `{operator}`",
                hint="write key, operator and value without spaces, as in `lr<0.1`",
                position=start,
            )
        return self._compare(word, operator, start)

    def _group(self) -> Term:
        start = self._at
        self._at += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise QueryError(f"Parentheses are nested deeper than {MAX_DEPTH}", position=start)
        terms: list[Term] = []
        while self._skip_space() and self._text[self._at] != ")":
            terms.append(self._any())
        if self._at == len(self._text):
            raise QueryError("`(` is never closed", hint="write `)`, or quote it", position=start)
        if not terms:
            raise QueryError("Nothing stands between `(` and `)`", position=start)
        self._at += 1
        self._depth -= 1
        self._end_of_atom()
        return all_of(terms)

    def _compare(self, key: str, operator: str, start: int) -> Compare:
        values = [self._value(key, operator)]
        while (value := self._further_value(key, operator)) is not None:
            values.append(value)
        if operator == "!=" and len(values) > 1:
            raise QueryError(
                f"`{key}!={'|'.join(values)}` would hold for every run, since no value equals both",
                hint=f"write `!{Compare(key, '=', tuple(values))}` for none of them",
                position=start,
            )
        self._end_of_atom()
        return Compare(key, operator, tuple(values), start)

    def _value(self, key: str, operator: str) -> str:
        """The first value; bare, it may hold characters of operators, as in `note:http://x`."""
        start = self._at
        if self._text.startswith('"', self._at):
            value = self._quoted()
        else:
            value = self._bare(_BARE_VALUE)
            if not value:
                bracket = self._text[start : start + 1] in ("(", ")")
                raise QueryError(
                    f"A value is missing after `{key}{operator}`",
                    hint="quote a value that holds parentheses" if bracket else "write it without a space",
                    position=start,
                )
            if value[0] in "=<>~:":
                raise QueryError(
                    f"`{operator}{value[0]}` is no operator",
                    hint=f"use one of {' '.join(OPERATORS)}, or quote the value",
                    position=start - len(operator),
                )
        return self._checked(operator, value, start)

    def _further_value(self, key: str, operator: str) -> str | None:
        """The value after a `|`, or None when what follows is a term of its own."""
        before = self._at
        if not self._take_bar():
            return None
        start = self._at
        if self._text[self._at] not in "!(":
            value, _ = self._operand()
            if self._operator() is None:
                return self._checked(operator, value, start)
        self._at = before
        return None

    def _checked(self, operator: str, value: str, start: int) -> str:
        if operator in ORDERING_OPERATORS and parse_quantity(value) is None:
            raise QueryError(
                f"`{value}` is not a number", hint="write one like `0.9`, `1e-3`, `10k`, `40G` or `2h`", position=start
            )
        if operator == "~":
            try:
                with warnings.catch_warnings():
                    # Python wants to warn of patterns that it will read otherwise some day.
                    warnings.simplefilter("ignore")
                    re.compile(value)
            except (re.error, RecursionError, OverflowError) as error:
                raise QueryError(
                    f"`{value}` is not a regular expression: {getattr(error, 'msg', error)}", position=start
                ) from error
        return value

    def _operand_after(self, head: str) -> str:
        start = self._at
        name, quoted = self._operand()
        if not name and not quoted:
            raise QueryError(f"A name is missing after `{head}`", hint="write it without a space", position=start)
        return name

    def _operand(self) -> tuple[str, bool]:
        """A word or a key, and whether it was quoted."""
        if self._text.startswith('"', self._at):
            return self._quoted(), True
        return self._bare(_BARE_WORD), False

    def _operator(self) -> str | None:
        for operator in OPERATORS:
            if self._text.startswith(operator, self._at):
                self._at += len(operator)
                return operator
        if self._text.startswith("!~", self._at):
            raise QueryError("`!~` is no operator", hint="write `!` before the key: `!name~x`", position=self._at)
        return None

    def _bare(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match.group()

    def _quoted(self) -> str:
        match = _QUOTED.match(self._text, self._at)
        if match is None:
            raise QueryError("A quotation mark is never closed", hint='write `"` at its end', position=self._at)
        self._at = match.end()
        return _unquoted(match.group())

    def _end_of_atom(self) -> None:
        if self._at < len(self._text) and not self._text[self._at].isspace() and self._text[self._at] not in "|)":
            raise QueryError(
                f"`{self._text[self._at]}` stands right after a word or value",
                hint="write a space between them, or quote all of it",
                position=self._at,
            )

    def _skip_space(self) -> bool:
        """Step over spaces; whether anything is left."""
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._at < len(self._text)


_BARE_WORD = re.compile(r"""(?:[^\s|()":=<>~!]|!(?![=~]))+""")
_BARE_VALUE = re.compile(r"""[^\s|()"]+""")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SORT_KEY = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|([^",:]+))\s*(?::\s*([^,\s]*)\s*)?(?=,|$)', re.DOTALL)


def _unquoted(text: str) -> str:
    """What stands between the quotation marks; a backslash before anything but `"` and itself is meant as written."""
    return re.sub(r'\\(["\\])', r"\1", text[1:-1])


def _check_key(key: str, known: Collection[str], position: int) -> None:
    kind, name = matching.split_key(key)
    if kind == "builtin" or name in known:
        return
    likely = nearest(name, [*known, *BUILTIN_KEYS])
    hint = f"nearest: `{quote(likely)}`" if likely else "`has:KEY` and the columns of `ds ls` show what there is"
    raise QueryError(f"No run has `{key}`", hint=hint, position=position)


def _expanded(term: Term, views: Mapping[str, Query], inside: tuple[str, ...]) -> Term:
    if isinstance(term, Not):
        return Not(_expanded(term.term, views, inside))
    if isinstance(term, AnyOf | AllOf):
        parts = [_expanded(part, views, inside) for part in term.terms]
        return any_of(parts) if isinstance(term, AnyOf) else all_of(parts)
    if not isinstance(term, View):
        return term
    if term.name in inside or len(inside) > MAX_DEPTH:
        raise QueryError(f"View `{term.name}` holds itself", position=term.position)
    if term.name not in views:
        likely = nearest(term.name, views)
        raise QueryError(
            f"No view is called `{term.name}`",
            hint=f"nearest: `{likely}`" if likely else None,
            position=term.position,
        )
    return all_of(_expanded(part, views, (*inside, term.name)) for part in views[term.name].terms)


def _ranked(typed: str, known: Iterable[str]) -> list[str]:
    """Known names by how well they fit: those that begin so, then those that hold it, then those that look alike."""
    folded = typed.casefold()
    names = list(known)
    begin = [name for name in names if name.casefold().startswith(folded)]
    hold = [name for name in names if folded in name.casefold()]
    alike = difflib.get_close_matches(typed, names, n=3, cutoff=0.6) if typed else []
    return list(dict.fromkeys([*begin, *hold, *alike]))


def _sorted_rows(rows: list[AnyRecord], key: SortKey, now: float) -> list[AnyRecord]:
    numbers: list[tuple[float, AnyRecord]] = []
    texts: list[tuple[str, AnyRecord]] = []
    rest: list[AnyRecord] = []
    for row in rows:
        value = matching.value_of(row, key.key, now)
        if isinstance(value, str):
            texts.append((value.casefold(), row))
        elif value is None or math.isnan(value):
            rest.append(row)
        else:
            numbers.append((value, row))
    numbers.sort(key=itemgetter(0), reverse=key.descending)
    texts.sort(key=itemgetter(0), reverse=key.descending)
    return [*(row for _, row in numbers), *(row for _, row in texts), *rest]


def _stable_order(value: NDArray[np.float64]) -> NDArray[np.intp]:
    """`argsort(kind="stable")` of numbers without NaN, at a third of its cost while few of them are equal."""
    import numpy as np

    order = np.argsort(value)
    found = value[order]
    as_before = found[1:] == found[:-1]
    if np.count_nonzero(as_before) * 4 > len(value):
        return np.argsort(value, kind="stable")
    if as_before.any():
        # Among equals the first comes first.
        tied = np.zeros(len(value), bool)
        tied[1:] = as_before
        tied[:-1] |= as_before
        group = np.cumsum(np.concatenate([[0], ~as_before]))[tied]
        order[tied] = order[tied][np.lexsort((order[tied], group))]
    return order


def _column_ranks(table: Columns, key: SortKey) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Per row: 0 number, 1 text, 2 nothing; and a number to sort by within that."""
    import numpy as np

    rows = len(table)
    kind, value = np.full(rows, 2, np.int8), np.zeros(rows)
    # The first column wins where a row has both a param and a metric of the name, so it is written last.
    for column in reversed(columns.columns_of(table, key.key)):
        textual = column.code >= 0
        numeric = column.present & ~textual
        missing = np.isnan(column.number)
        kind[numeric] = np.where(missing, 2, 0)[numeric]
        value[numeric] = np.where(missing, 0, column.number)[numeric]
        kind[textual] = 1
        value[textual] = column.ranks[column.code[textual]]
    return kind, -value if key.descending else value
