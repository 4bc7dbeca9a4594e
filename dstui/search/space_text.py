"""Parameters as they are typed: `lr=log:1e-5..1e-1`, `batch_size=16,32,64`, `momentum=0..0.99@optimizer=sgd`.

```
NAME = SPEC [@CHOICE=VALUE[,VALUE..]]..
SPEC = LOW..HIGH[/STEP]        whole numbers where both bounds are, else real
       log:LOW..HIGH           logarithmic scale; lin: forbids it
       A,B,C                   choices; three or more rising numbers are ordered, cat: forbids that
       A                       fixed
```
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dstui.errors import UsageError
from dstui.search.parameters import (
    Choice,
    Conditions,
    Fixed,
    Integer,
    Parameter,
    Real,
    Value,
    conditions_of,
    ordered_by_nature,
    show,
)
from dstui.search.space import Space

if TYPE_CHECKING:
    from collections.abc import Iterable

LOG_RATIO = 100
"""A real range from above 0 whose upper bound is this many times the lower one is logarithmic unless told otherwise."""

_WHOLE = re.compile(r"[+-]?\d+(?:_\d+)*", re.ASCII)
_REAL = re.compile(r"[+-]?(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)


def parse_space(texts: Iterable[str]) -> Space:
    """The space that several `NAME=SPEC` mean together.

    Raises:
        UsageError: one of them cannot be understood, or they do not fit together.
    """
    return Space(tuple(parse_parameter(text) for text in texts))


def parse_parameter(text: str) -> Parameter:
    """One parameter from `NAME=SPEC`.

    Raises:
        UsageError: naming the parameter, what is wrong, and how to write it.
    """
    name, equals, rest = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"`{text}` names no parameter", hint="write `NAME=RANGE`, such as `lr=log:1e-5..1e-1`")
    spec, *conditions = rest.split("@")
    return _specified(name.strip(), spec.strip()).under(_conditions(name.strip(), conditions))


def value_of(text: str) -> Value:
    """The value that a word means: a whole or real number, `true`, `false`, else the text itself."""
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _REAL.fullmatch(text) else text


def range_between(
    name: str, low: float, high: float, *, scale: str | None = None, step: float | None = None
) -> Real | Integer:
    """A parameter between two bounds; whole numbers where both are of the type int.

    Args:
        name: of the parameter.
        low: lower bound, included.
        high: upper bound, included.
        scale: `log`, `linear`, or None to let a wide real range be logarithmic.
        step: distance of the values from each other.
    """
    if isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int)):
        note = ""
        if (low, high) == (0, 1):
            note = f"`{name}={low}..{high}` tries only 0 and 1; write `{name}=0.0..1.0` for all between"
        return Integer(name=name, low=low, high=high, log=scale == "log", step=1 if step is None else step, note=note)
    log, note = scale == "log", ""
    if scale is None and step is None and low > 0 and high / low >= LOG_RATIO:
        log = True
        note = f"`{name}` is searched on a log scale, as it spans {show(low)} to {show(high)}; `lin:` forbids it"
    return Real(
        name=name, low=float(low), high=float(high), log=log, step=None if step is None else float(step), note=note
    )


def _specified(name: str, spec: str) -> Parameter:
    kind, colon, rest = spec.partition(":")
    scale = {"log": "log", "lin": "linear"}.get(kind) if colon else None
    if scale or ".." in spec:
        return _range(name, rest.strip() if scale else spec, scale)
    listed = colon != "" and kind == "cat"
    words = [word.strip() for word in (rest if listed else spec).split(",")]
    if any(not word for word in words):
        raise UsageError(
            f"`{name}={spec}` has an empty value",
            hint=f"write one value, a list `{name}=a,b,c`, or a range `{name}=LOW..HIGH`",
        )
    values = tuple(map(value_of, words))
    if len(values) == 1 and not listed:
        return Fixed(name=name, value=values[0])
    return Choice(name=name, values=values, ordered=not listed and ordered_by_nature(values))


def _range(name: str, text: str, scale: str | None) -> Parameter:
    bounds, slash, step_text = text.partition("/")
    low_text, dots, high_text = bounds.partition("..")
    words = {"lower bound": low_text, "upper bound": high_text} | ({"step": step_text} if slash else {})
    if not dots:
        raise UsageError(f"`{name}={text}` is no range", hint=f"write `{name}=LOW..HIGH`, such as `{name}=1e-5..1e-1`")
    numbers: list[int | float] = []
    for what, word in words.items():
        value = value_of(word)
        if isinstance(value, (bool, str)):
            raise UsageError(
                f"The {what} of `{name}` is `{word.strip()}`, which is no number",
                hint=f"write `{name}=LOW..HIGH`, such as `{name}=1e-5..1e-1`",
            )
        numbers.append(value)
    low, high, *steps = numbers
    return range_between(name, low, high, scale=scale, step=steps[0] if steps else None)


def _conditions(name: str, texts: list[str]) -> Conditions:
    when: dict[str, list[Value]] = {}
    for text in texts:
        parent, equals, values = text.partition("=")
        words = re.split(r"[,|]", values)
        if not equals or not parent.strip() or not all(word.strip() for word in words):
            raise UsageError(
                f"Condition `@{text}` of `{name}` names no choice and value",
                hint=f"write `{name}=LOW..HIGH@CHOICE=VALUE`, such as `momentum=0..0.99@optimizer=sgd`",
            )
        when.setdefault(parent.strip(), []).extend(map(value_of, words))
    return conditions_of(when)
