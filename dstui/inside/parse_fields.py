"""Named numbers in the text of a line that has lost its position.

Standard library only, Python 3.9, run by path or as `dstui.inside.parse_fields`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from dstui.inside.parse_words import (
        MODIFIERS,
        NUMBER,
        SCOPES,
        UNIT,
        WORD,
        Field,
        is_name,
        is_result,
        joined,
        number,
        scoped,
        unit_name,
        words_before,
    )
else:
    from parse_words import (
        MODIFIERS,
        NUMBER,
        SCOPES,
        UNIT,
        WORD,
        Field,
        is_name,
        is_result,
        joined,
        number,
        scoped,
        unit_name,
        words_before,
    )

_END = r"(?=[\s,;|)\]}>]|\.{0,3}$|\.{1,3}\s)"
FIELD = re.compile(
    rf"[:=]\s*(?:({NUMBER})(?:~({NUMBER})|\+\d[\d.]{{0,30}})?\s?({UNIT})?{_END}|(\d{{1,18}})\s*/\s*(\d{{1,18}})(?![\w./])"
    rf"|({NUMBER}(?:/{NUMBER})+)(%)?{_END})"
)
"""What stands behind a name: a number with average and unit, a share `9/10`, or several values `0.9/0.8`."""

VALUE = re.compile(rf"({NUMBER})(?:~({NUMBER}))?({UNIT})?")
"""A number with average and unit, alone."""

_FRAGMENTS = re.compile(r"[|\t;]|,(?=\s|$|[A-Za-z_])| -+ |\s{3,}(?=[A-Za-z])")
_SCOPE_WORD = re.compile(r"[\s:]*(train|train_inner|val|valid|validation|test|eval|evaluation|dev)\s*", re.IGNORECASE)
_UNIT_ONLY = re.compile(UNIT)
_ONLY_WORDS = re.compile(r"\s+[A-Za-z][A-Za-z ,.!]*")
_NAME = re.compile(WORD)
_COUNTED = re.compile(r"acc(?:uracy)?\d?$")
_NAME_ALONE = re.compile(rf"[\s:]{{0,8}}(?:{WORD}\s{{1,8}}){{0,2}}{WORD}\s{{0,8}}")
_IDLE = re.compile(
    rf"[\s\W]*(?:\d[\d.,:]{{0,30}}\s?{UNIT}(?!\w)[\s\W]*)*"
    r"|[\s\W]*(?:\b(?:results?|metrics|set|summary|done|finished|end|of|training|final|learning|start(?:ing)?"
    r"|begin(?:ning)?)\b[\s\W]*)*",
    re.IGNORECASE,
)
"""Durations, speeds and words that say nothing."""


def read_fields(text: str, scope: str, fields: dict[str, Field]) -> bool:
    """Adds the named numbers of a line that has lost its position; whether anything else was in it."""
    left = False
    before = ""
    for fragment in _FRAGMENTS.split(text):
        if not fragment:
            continue
        alone = VALUE.fullmatch(fragment.strip()) if before and "." in fragment else None
        name, before = before, fragment if _NAME_ALONE.fullmatch(fragment) is not None else ""
        if alone is not None:
            # `train loss |  0.3`
            left |= not add_field(fields, name.replace(":", " ").split(), alone[1], alone[2], alone[3], scope)
            continue
        match = _SCOPE_WORD.fullmatch(fragment)
        if match is not None:
            scope = scope or SCOPES[match[1].lower()]
            continue
        end = 0
        for field in FIELD.finditer(fragment):
            words, rest = words_before(fragment[end : field.start()])
            end = field.end()
            if not words:
                left = True
                continue
            # `loss 0.3 lr=0.1`: one of the ways to write it, then another.
            left |= not _pairs(rest, scope, fields)
            if field[4] is not None:
                # `Accuracy: 9826/10000`
                if _COUNTED.search(joined(words)) is not None and int(field[5]):
                    add_field(fields, words, str(int(field[4]) / int(field[5])), None, None, scope)
                elif not _shared(words, f"{field[4]}/{field[5]}", None, scope, fields):
                    left = True
            elif field[6] is not None:
                left |= not _shared(words, field[6], field[7], scope, fields)
            # `length: 518 chars` counts something; only a result may have words behind it.
            elif _ONLY_WORDS.fullmatch(fragment, end) is None or is_result(joined(words)):
                left |= not add_field(fields, words, field[1], field[2], field[3], scope)
        left |= not _pairs(fragment[end:], scope, fields)
    return left


def _shared(words: list[str], values: str, unit: str | None, scope: str, fields: dict[str, Field]) -> bool:
    """`Train/Valid Acc: 0.9/0.8`: the first word names as many as there are values."""
    names, numbers = words[0].split("/"), values.split("/")
    if len(words) < 2 or len(names) != len(numbers) or not all(names):
        return False
    return all([add_field(fields, [name, *words[1:]], value, None, unit, scope) for name, value in zip(names, numbers)])


def _pairs(fragment: str, scope: str, fields: dict[str, Field]) -> bool:
    """Adds names and numbers in turn, without a sign between them; whether nothing else was there."""
    tokens = fragment.strip(" *=>#.:-!").split()
    if len(tokens) < 2:
        return not tokens or _IDLE.fullmatch(fragment) is not None
    words: list[str] = []
    found: list[tuple[list[str], str, str | None, str | None]] = []
    for token in tokens:
        if _NAME.fullmatch(token) is not None and token.lower() not in {"nan", "inf"}:
            # A unit that stands off its number.
            if not words and found and found[-1][3] is None and _UNIT_ONLY.fullmatch(token) is not None:
                found[-1] = (*found[-1][:3], token)
            elif not words or token.lower() not in {"is", "was"}:
                words.append(token)
            continue
        value = VALUE.fullmatch(token)
        if value is None or not words or len(words) > (3 if words[0].lower() in MODIFIERS else 2):
            return _IDLE.fullmatch(fragment) is not None
        found.append((words, value[1], value[2], value[3]))
        words = []
    if words or not all(is_name(names) for names, _, _, _ in found):
        return False
    return all([add_field(fields, names, value, average, unit, scope) for names, value, average, unit in found])


def add_field(
    fields: dict[str, Field], words: list[str], value: str, average: str | None, unit: str | None, scope: str
) -> bool:
    """Adds one field, unless its name numbers things or belongs to a sentence; the first of a name counts."""
    if not is_name(words):
        return False
    name = scoped(joined(words), scope)
    unit = unit_name(unit)
    fields.setdefault(name, Field(name, number(value), unit))
    if average is not None:
        fields.setdefault(f"{name}_avg", Field(f"{name}_avg", number(average), unit))
    return True
