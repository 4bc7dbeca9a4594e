"""The position that a line says: epoch, step, place in an epoch; and what it speaks of, training or an evaluation.

Standard library only, Python 3.9, run by path or as `dstui.inside.parse_position`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING or __package__:
    from dstui.inside.parse_fields import (
        FIELD,
        VALUE,
    )
    from dstui.inside.parse_words import (
        NUMBER,
        SCOPES,
        is_result,
        joined,
        words_before,
    )
else:
    from parse_fields import (
        FIELD,
        VALUE,
    )
    from parse_words import (
        NUMBER,
        SCOPES,
        is_result,
        joined,
        words_before,
    )

STEP_WORDS = (
    r"global[_ ]?step|num_updates|(?:num_|total_)?(?:env_?|time)steps?|steps?|iterations?|iters?|episodes?|updates?"
    r"|rounds?"
)
"""Words whose number is a position in the whole training."""

COUNTS = frozenset("steps iterations iters episodes updates rounds".split())
"""Step words that count steps when another word stands before them."""

EPOCH = re.compile(
    r"(?<![\w/-])(?<!best )(?:epoch|ep)(?:\s*[:=#]\s*|\s*(?=\[)|\s+)\[?\s*(\d{1,9})(\.\d{1,9})?(?![\w%-]|\.\d|:\d)"
    r"\s*(?:(?:/|of)\s*\d{1,9})?\s*\]?",
    re.IGNORECASE,
)
"""An epoch: 1 its number, 2 its decimals."""

SCOPE = re.compile(
    r"[\s*#=>|\[(-]*(train|training|val|valid|validation|validating|test|testing|eval|evaluate|evaluation|evaluating|dev)"
    r"(?:[ _](?:set|split|results?|metrics|info))*\s*"
    r"(?:[:|\]>)]|(?=\s*\[)|(?=\s+(?:(?:at|after)\s+)?(?:epoch|iter|iteration|step)\b)|-+\s)",
    re.IGNORECASE,
)
"""A word in front of a line that says what the line speaks of."""

_EPOCH_WORD = re.compile(r"epoch\s*:?\s*$", re.IGNORECASE)
_STEP = re.compile(
    rf"(?<![\w/-])({STEP_WORDS}|(?:mini-?)?batch(?:es)?|it)(?:\s*[:=#]\s*|\s*(?=\[)|\s+)\[?\s*"
    r"(\d{1,3}(?:,\d{3})+|\d{1,18})(?![\w%]|[.,]\d|:\d)"
    r"\s*(?:(?:/|of)\s*(\d{1,18})(?![\w%]|[.,]\d))?\s*\]?",
    re.IGNORECASE,
)
_STEP_STEMS = ("step", "it", "batch", "episode", "update", "round")
_PLACE = re.compile(r"\[\s*(\d{1,18})\s*/\s*(\d{1,18})\s*(?:\(\s*[\d.]{1,10}\s*%\s*\)\s*)?\]")
_EPOCH_AND_PLACE = re.compile(r"\[\s*(\d{1,9})(?:\s*/\s*\d{1,9})?\s*\]\s*\[\s*(\d{1,18})\s*/\s*(\d{1,18})\s*\]")
_EPOCH_COMMA_STEP = re.compile(r"\s*\[\s*(\d{1,9})\s*,\s*(\d{1,18})\s*\]\s*(?=[A-Za-z])")
_LINE_NUMBER = re.compile(r"\s*(?:\[(\d{1,18})\]|(\d{1,18})(?::(?=\t)|\s*\|))\s*(?=[A-Za-z])")
_LEADING_PLACE = re.compile(r"\s*(\d{1,18})\s*/\s*(\d{1,18})\s*[,:|]\s*(?=[A-Za-z])")
_PLACE_OF_BATCHES = re.compile(r"(?<![\w./])(\d{1,18})\s*/\s*(\d{1,18})\s*(?:batches|steps|iters)\b")
_BARE_PLACE = re.compile(r"[\s:|,━╸╺─-]*(\d{1,18})\s*/\s*(\d{1,18})(?![\w./%])\s*(?:batches|steps|iters|it)?")
_AT = re.compile(r"\b(?:at|after|for|in|of|on)\s*$", re.IGNORECASE)
_WORD_BEFORE = re.compile(r"[A-Za-z.]\s?$")
_NUMBER_NEXT = re.compile(rf"\s*[:=]\s*{NUMBER}")
_VALUE_NEXT = re.compile(r"\s*[:=]")
_SCOPE_EPOCH = re.compile(r"\s*(\d{1,9})\s+(?=\[\s*\d+\s*/)")


class Position(NamedTuple):
    """Where in the training a line stands, as far as it says.

    Attributes:
        epoch: with its decimals, or None.
        decimal: the epoch was printed with a decimal point.
        step: number after a step word, or place in the epoch, or None.
        total: places in one epoch, or None.
    """

    epoch: float | None = None
    decimal: bool = False
    step: int | None = None
    total: int | None = None


def find_scope(text: str) -> tuple[str, str]:
    """What a line speaks of, `val` and the like or empty, and the line without the word that says so."""
    match = SCOPE.match(text)
    if match is None:
        return "", text
    rest = text[match.end() :]
    scope = match[1].lower()
    # `Train: 0 [ 640/4000]` of timm: the word stands for the epoch as well.
    if _SCOPE_EPOCH.match(rest) is not None:
        rest = "epoch" + rest if rest[:1].isspace() else f"epoch {rest}"
    elif VALUE.match(rest.lstrip()) is not None and FIELD.match(text, match.end() - 1) is not None:
        return "", text  # `Train: 87.3%` is a field.
    return SCOPES[scope], rest


def find_position(text: str) -> tuple[Position | None, str]:
    """The position of a line, and the line with a bar in its place."""
    pair = _EPOCH_AND_PLACE.search(text)
    if pair is not None:
        start = pair.start()
        word = _EPOCH_WORD.search(text, max(0, start - 10), start)
        start = word.start() if word is not None else start
        position = Position(float(pair[1]), False, int(pair[2]), int(pair[3]))
        return position, f"{text[:start]}|{text[pair.end() :]}"
    pair = _EPOCH_COMMA_STEP.match(text)
    if pair is not None:
        return Position(float(pair[1]), False, int(pair[2])), text[pair.end() :]
    line_number = _LINE_NUMBER.match(text)
    if line_number is not None:
        return Position(None, False, int(line_number[1] or line_number[2])), text[line_number.end() :]
    epoch: float | None = None
    decimal = False
    lowered = text.lower()
    match = EPOCH.search(text) if "ep" in lowered else None
    if match is not None:
        epoch, decimal = float(match[1] + (match[2] or "")), match[2] is not None
        rest = text[match.end() :]
        place = _PLACE.search(rest) or _BARE_PLACE.match(rest) or _PLACE_OF_BATCHES.search(rest)
        if place is not None:
            text = f"{text[: match.start()]}|{rest[: place.start()]}|{rest[place.end() :]}"
            return Position(epoch, decimal, int(place[1]), int(place[2])), text
        text = _without(text, match)
    step = total = None
    if any(word in lowered for word in _STEP_STEMS):
        step, total, text = _step(text, epoch is not None)
    if epoch is None and step is None:
        place = _PLACE.search(text) or _LEADING_PLACE.match(text)
        if place is None:
            return None, text
        return Position(None, False, int(place[1]), int(place[2])), f"{text[: place.start()]}|{text[place.end() :]}"
    # Without an epoch beside it, `step 100/600` says how far the whole training is.
    return Position(epoch, decimal, step, total if epoch is not None else None), text


def _step(text: str, has_epoch: bool) -> tuple[int | None, int | None, str]:
    for match in _STEP.finditer(text):
        word = match[1].lower()
        is_place = "batch" in word or word == "it"
        # `batch 64` alone is a size.
        if is_place and match[3] is None and not has_epoch:
            continue
        # `Gradient accumulation steps = 4` counts steps.
        if word in COUNTS and _WORD_BEFORE.search(text, max(0, match.start() - 20), match.start()) is not None:
            continue
        total = int(match[3]) if match[3] else None
        return int(match[2].replace(",", "")), total, _without(text, match)
    return None, None, text


def _without(text: str, match: re.Match[str]) -> str:
    """A text with a bar where its position was; `loss at step 5: 0.3` and `loss step 5: 0.3` become `loss : 0.3`."""
    before, behind = text[: match.start()], text[match.end() :]
    at = _AT.search(before[-8:])
    if at is not None:
        before = before[: len(before) - (len(at[0]))]
        if _VALUE_NEXT.match(behind) is not None:
            return before + behind
    elif _NUMBER_NEXT.match(behind) is not None and is_result(joined(words_before(before)[0])):
        return before + behind
    return f"{before}|{behind}"
