r"""What a query is made of: words, comparisons and their combinations, and how each is written.

Grammar:

```
query = any { any } ;         all must hold         any  = not { "|" not } ;      "|" binds tighter than the space
not   = ["!"] atom ;          atom = "(" query ")" | "has:" key | "view:" name | key op value { "|" value } | word
op    = ":" | "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" ;      word, key, value = bare or "quoted with \" and \\"
```

Equality ignores positions, and `query.parse` gives back an equal term for what `str` writes, as long as combinations
were made by `all_of` and `any_of`, which leave no needless parentheses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

OPERATORS = ("!=", "<=", ">=", ":", "=", "<", ">", "~")
"""Every operator, the longer ones first, so that the first that fits is meant."""

ORDERING_OPERATORS = ("<", "<=", ">", ">=")
"""Those that compare numbers only."""

BUILTIN_KEYS = (
    "id",
    "number",
    "name",
    "state",
    "tag",
    "note",
    "experiment",
    "sweep",
    "by",
    "user",
    "writer",
    "host",
    "age",
    "duration",
    "gpu_hours",
)
"""Keys that every run may have; a param or metric of the same name is reached by `param.` or `metric.`."""

PREFIXED_ATOMS = ("has", "view")
"""Words that are no keys when a colon follows."""

_BARE = re.compile(r"[\w.+*/@%,#-]+")


def quote(text: str) -> str:
    """The text as it is written in a query, quoted where it must be."""
    if _BARE.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Word:
    """Part of a run's name, id, tag or note, ignoring case."""

    text: str
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return quote(self.text)


@dataclass(frozen=True, slots=True)
class Has:
    """The run has any value for the key."""

    key: str
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"has:{quote(self.key)}"


@dataclass(frozen=True, slots=True)
class View:
    """A saved query, by its name; replaced by `Query.expand` before anything is matched."""

    name: str
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"view:{quote(self.name)}"


@dataclass(frozen=True, slots=True)
class Compare:
    """The run's value of the key stands in this relation to at least one of `values` (one or more)."""

    key: str
    operator: str
    values: tuple[str, ...]
    position: int = field(default=0, compare=False)

    def __str__(self) -> str:
        plain = quote(self.key)
        key = f'"{self.key}"' if self.key in PREFIXED_ATOMS and self.operator == ":" else plain
        return f"{key}{self.operator}{'|'.join(map(quote, self.values))}"


@dataclass(frozen=True, slots=True)
class Not:
    """The term does not hold; true as well for a run without the key."""

    term: Term

    def __str__(self) -> str:
        grouped = isinstance(self.term, AllOf | AnyOf | Not)
        return f"!({self.term})" if grouped else f"!{self.term}"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of two or more terms holds."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        parts: list[str] = []
        for index, term in enumerate(self.terms):
            # A word after a comparison would be read as one more of its values.
            swallowed = isinstance(term, Word) and index > 0 and _ends_in_value(self.terms[index - 1])
            parts.append(f"({term})" if isinstance(term, AllOf) or swallowed else str(term))
        return "|".join(parts)


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of the terms hold; none at all holds for every run."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))


Term = Word | Has | View | Compare | Not | AnyOf | AllOf
"""Any part of a query."""


def all_of(terms: Iterable[Term]) -> Term:
    """The conjunction, with those inside it dissolved; a single term stays itself."""
    flat: list[Term] = []
    for term in terms:
        flat.extend(term.terms if isinstance(term, AllOf) else (term,))
    return flat[0] if len(flat) == 1 else AllOf(tuple(flat))


def any_of(terms: Iterable[Term]) -> Term:
    """The alternative, with those inside it dissolved; a single term stays itself."""
    flat: list[Term] = []
    for term in terms:
        flat.extend(term.terms if isinstance(term, AnyOf) else (term,))
    return flat[0] if len(flat) == 1 else AnyOf(tuple(flat))


def atoms(term: Term) -> Iterator[Word | Has | View | Compare]:
    """The terms that hold no others, in the order they are written."""
    if isinstance(term, Not):
        yield from atoms(term.term)
    elif isinstance(term, AnyOf | AllOf):
        for part in term.terms:
            yield from atoms(part)
    else:
        yield term


def _ends_in_value(term: Term) -> bool:
    return isinstance(term.term if isinstance(term, Not) else term, Compare)
