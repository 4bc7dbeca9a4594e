"""What a script's values are to us: numbers of metrics, steps, settings, secrets; what is none is refused once a name.

Standard library only, Python 3.9.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING or __package__:
    from .journal import LARGEST_INTEGER, LARGEST_STEP, json_value, shorten, tell  # noqa: TID252
else:
    # Run by path: the folder of this file is on `sys.path`.
    from journal import LARGEST_INTEGER, LARGEST_STEP, json_value, shorten, tell

MASKED = "<secret>"
"""Stands for a config value that must not be stored."""

RANK_VARIABLES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
"""Where launchers of several processes say which one this is; the first that is set counts."""

NESTING = 16
"""Depth to which nested dicts of metrics or config are flattened."""

REFUSALS_TOLD = 100
"""Different names refused aloud; a script that makes names up would fill its log."""

SECRET_WORDS = frozenset({"secret", "secrets", "password", "passwd", "credential", "credentials", "apikey"})
"""A setting with one of these words in its name is not stored."""

SECRET_PAIRS = frozenset({("api", "key"), ("access", "key"), ("private", "key"), ("auth", "key")})
"""Likewise with two of them in a row."""

_WORD_EDGE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
_SPECIAL_TOKEN = re.compile(r"<.*>|\[.*\]|.{0,7}", re.DOTALL)

_refused: set[str] = set()


def log_checked(write: Callable[..., None], values: object, step: object) -> None:
    """Log what of a call can be logged, and refuse the rest once per name."""
    if not isinstance(values, Mapping):
        refuse("log()", f"takes a dict of numbers, not {_kind(values)}; write `dstui.log({{'loss': loss}})`")
        return
    numbers: dict[str, float] = {}
    _collect(values, "", numbers, NESTING)
    if numbers:
        write(numbers, whole_step(step))


def _collect(values: Mapping[Any, Any], prefix: str, numbers: dict[str, float], depth: int) -> None:
    for key, value in list(values.items()):
        if isinstance(key, str):
            name = prefix + key
        elif isinstance(key, int):
            name = f"{prefix}{key}"
        else:
            refuse(shorten(repr(key)), f"is a name of type {type(key).__name__}; metric names are strings")
            continue
        try:
            # Asking `item` first keeps the common case, arrays and tensors, off the slow check against Mapping.
            if type(value) is float:
                numbers[name] = value
            elif isinstance(value, (int, float)) or hasattr(value, "item") or not isinstance(value, Mapping):
                numbers[name] = number(value)
            elif depth:
                _collect(value, name + ".", numbers, depth - 1)
            else:
                refuse(name, f"is nested more than {NESTING} dicts deep; flatten it")
        except Refusal as refusal:
            refuse(name, str(refusal))
        except Exception as error:
            refuse(name, f"is {_kind(value)} that raises {type(error).__name__} when it is looked at; log a float")


class Refusal(Exception):
    """A value is no metric; the message goes on after its name."""


def number(value: Any) -> float:
    """One number as float, NaN and infinities too.

    Raises:
        Refusal: it is something else.
    """
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        if -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
            return float(value)
        raise Refusal("is an integer beyond 2**53, which a float does not hold; log it in a larger unit")
    try:
        item = getattr(value, "item", None)
        # The classes of arrays define `item`, those of exact numbers (Decimal, Fraction) only `__float__`.
        if callable(item):
            scalar = item()
            if type(scalar) is float:
                return scalar
            # NumPy's long double is its own item.
            return float(scalar) if type(scalar) is type(value) else number(scalar)
        if hasattr(value, "__float__"):
            return float(value)
    except Refusal:
        raise
    except Exception:
        shape = getattr(value, "shape", None)
        if not isinstance(shape, tuple):
            raise Refusal(f"is {_kind(value)} that does not turn into a number; log a float") from None
        raise Refusal(
            f"is {_kind(value)} of shape {shorten(str(tuple(shape)))}, and a metric is one number; log its mean"
        ) from None
    if value is None:
        raise Refusal("is None; log it only when there is a value")
    if isinstance(value, (str, bytes, bytearray)):
        raise Refusal("is text, and a metric is a number; put it into `dstui.config({...})`")
    if isinstance(value, complex):
        raise Refusal("is a complex number; log `abs(x)`, or `x.real` and `x.imag` under two names")
    raise Refusal(f"is {_kind(value)}, and a metric is one number; log a float")


def whole_step(step: object) -> int | None:
    """The step as an integer, or None after a word on stderr: the values are worth more than their place."""
    if step is None:
        return None
    number: object = step
    try:
        item = getattr(step, "item", None)
        if not isinstance(step, (int, float)) and callable(item):
            number = item()
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if not isinstance(number, (int, float, str)) and hasattr(number, "__index__"):
            number = number.__index__()
    except Exception:
        number = None
    if isinstance(number, int) and -LARGEST_STEP <= number <= LARGEST_STEP:
        return int(number)
    try:
        received = shorten(repr(step))
    except Exception:
        received = "unprintable"
    refuse(
        "step",
        f"is {received} ({type(step).__name__}), and a step is an integer; the values are recorded, counted instead",
    )
    return None


def refuse(name: str, sentence: str) -> None:
    """Say once per name why something is not recorded."""
    if name in _refused:
        return
    if len(_refused) < REFUSALS_TOLD:
        _refused.add(name)
        tell(f"`{shorten(name)}` {sentence} (said once)")
    elif len(_refused) == REFUSALS_TOLD:
        _refused.add("")
        tell("more names are refused, which is not said any more")


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def settings_of(values: object) -> dict[str, Any]:
    """Settings as a dict: of a mapping, an `argparse.Namespace`, a dataclass or any object with fields."""
    if isinstance(values, Mapping):
        return {str(key): value for key, value in values.items()}
    try:
        return {key: value for key, value in vars(values).items() if not key.startswith("_")}
    except TypeError:
        refuse("config", f"takes a dict of settings, not {_kind(values)}")
        return {}


def flatten(values: Mapping[Any, Any], prefix: str, flat: dict[str, Any], depth: int) -> None:
    """Put nested settings into `flat` by dotted name, as JSON has them."""
    for key, value in list(values.items()):
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth and value:
            flatten(value, name + ".", flat, depth - 1)
            continue
        try:
            if getattr(value, "shape", None) == ():
                value = value.item()
        except Exception:
            pass
        flat[name] = json_value(value)


def is_secret(key: str, value: object) -> bool:
    """Whether a setting is text that its name calls a secret; `pad_token = "[PAD]"` and `max_tokens = 512` are none."""
    if not isinstance(value, str):
        return False
    words = [word.lower() for word in _WORD_EDGE.split(key) if word]
    if SECRET_WORDS.intersection(words) or SECRET_PAIRS.intersection(zip(words, words[1:])):
        return True
    return words[-1:] == ["token"] and _SPECIAL_TOKEN.fullmatch(value) is None


def rank_of_process() -> int:
    """The rank of this process among those of its run; 0 when no launcher says otherwise."""
    for variable in RANK_VARIABLES:
        text = os.environ.get(variable, "")
        if text.isascii() and text.isdigit():
            return min(int(text[:10]), 0xFFFFFFFF)
    return 0
