"""Names, numbers and units of printed metrics: which words name a result, which only number things.

Standard library only, Python 3.9, run by path or as `dstui.inside.parse_words`.

A name is lower case with its words joined by `_`. Its unit goes to the end (`time 48ms` is `time_ms`, `acc: 91 %` is
`acc_percent`), and what a script prints beside a number in brackets is its average (`loss 0.5 (0.6)` is `loss` and
`loss_avg`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

RESULT_WORDS = frozenset(
    "acc accuracy auc auroc bleu cost error err f1 fid inertia iou likelihood logloss loss mae map mape miou mse nll "
    "perplexity ppl precision psnr r2 recall return reward rewards rmse rouge score ssim wer cer".split()
)
"""Names of results, which need no position beside them."""

MODIFIERS = frozenset(
    "absolute adversarial aux average avg balanced best binary box class cls cross ctc current dev disc discriminator "
    "dis entropy epoch eval evaluation final g gen generator d individual kl last log macro mean mean_absolute "
    "mean_squared mbtrain micro negative objective out overall policy reconstruction recon roc root running set "
    "smoothed squared test testing top total train training val valid validation value weighted".split()
)
"""Words that may stand beside them."""

NO_METRIC = frozenset(
    "batch batch_size batches batchsize bin bs count cpu cuda depth device episode episodes epoch epochs eta examples "
    "fold gpu id idx index instances iter iteration iterations iters job line minibatch mpirank n_parameters "
    "num_workers parameters params pass patience pid port rank remaining samples seed shard step steps time_left "
    "trial update updates v_num version worker workers".split()
)
"""Last words of names that number or count things."""

SENTENCE_WORDS = frozenset(
    "a after all an and are as at because been but by did does each every for from had has have if improve improved "
    "in increase increased into is it its no not of on only or reached since spent take takes than that the then "
    "this to took until using was were when where which while will with without".split()
)
"""Words of a sentence; a name neither begins nor ends with one."""

EXPONENT = r"(?:[eE][-+]?\d{1,4})?"
NUMBER = (
    rf"[-+]?(?:(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d{{1,30}})(?:\.\d{{0,30}})?{EXPONENT}|\.\d{{1,30}}{EXPONENT}"
    r"|(?i:nan|inf(?:inity)?))"
)
UNIT = (
    r"(?:%|[mµu]?s(?:ecs?)?|secs?|seconds?|min|mins|minutes?|hours?|h"
    r"|[A-Za-z]{1,8}/(?:s|sec|second|step|it|iter|batch|epoch)|[kKMGT]i?B(?:/s)?|B)"
)
WORD = r"[A-Za-z_][\w@/.%\-']*"

SCOPES = {
    "train": "",
    "training": "",
    "train_inner": "",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validating": "val",
    "test": "test",
    "testing": "test",
    "eval": "eval",
    "evaluate": "eval",
    "evaluating": "eval",
    "evaluation": "eval",
    "dev": "dev",
}
"""What a line speaks of, by a word in front of it, and what that puts before its names."""

MOST_UNITS = 1_000
"""Names whose unit is kept."""

_UNIT_NAMES = {
    "%": "percent",
    "sec": "s",
    "secs": "s",
    "second": "s",
    "seconds": "s",
    "msec": "ms",
    "msecs": "ms",
    "min": "minutes",
    "mins": "minutes",
    "minute": "minutes",
    "hour": "hours",
    "h": "hours",
    "µs": "us",
}
_FACTORS = {
    "us": ("time", 1e-6),
    "ms": ("time", 1e-3),
    "s": ("time", 1.0),
    "minutes": ("time", 60.0),
    "hours": ("time", 3600.0),
    "b": ("memory", 1.0),
    "kb": ("memory", 1e3),
    "mb": ("memory", 1e6),
    "gb": ("memory", 1e9),
    "tb": ("memory", 1e12),
}
_NAME = re.compile(WORD)
_SPACES = re.compile(r"[_ ]+")
_PARTS = re.compile(r"[_/.\-@' ]+")
_TIME = re.compile(r"time|elapsed|dur(?:ation)?$|speed|throughput")


class Field(NamedTuple):
    """A named number of a line.

    Attributes:
        name: carries the scope of its line, not its unit.
        value: as printed.
        unit: one word such as `ms`, `percent` or `tokens_per_s`, or empty.
    """

    name: str
    value: float
    unit: str = ""


class Units:
    """Gives each name one unit for good: a time that was first printed in ms stays in ms when it grows to seconds."""

    def __init__(self) -> None:
        self._units: dict[str, str] = {}

    def named(self, field: Field) -> tuple[str, float]:
        """The full name of a field, and its value in the unit that the name had first."""
        name, value, unit = field
        if not unit:
            return name, value
        kind, factor = _FACTORS.get(unit, ("", 1.0))
        if kind:
            first = self._units.get(f"{name} {kind}", unit)
            if len(self._units) < MOST_UNITS:
                self._units[f"{name} {kind}"] = first
            if first != unit:
                value = float(f"{value * factor / _FACTORS[first][1]:.12g}")
                unit = first
        return (name if _SPACES.split(name)[-1] == unit else f"{name}_{unit}"), value


def number(text: str) -> float:
    """A number as printed, thousands separators and all."""
    return float(text.replace(",", ""))


def unit_name(unit: str | None) -> str:
    """The word that a unit adds to a name."""
    return _UNIT_NAMES.get(unit, unit.lower().replace("/", "_per_")) if unit else ""


def joined(words: list[str]) -> str:
    """Words as one name."""
    name = "_".join(words).lower().replace("._", "_").replace("'s_", "_")
    return name.rstrip(".-/'")


def scoped(name: str, scope: str) -> str:
    """A name with the scope of its line in front, unless it has one itself."""
    if not scope or any(part in SCOPES for part in _PARTS.split(name)):
        return name
    return f"{scope}_{name}"


def is_result(name: str) -> bool:
    """Whether a name is of a well-known result, such as `test_accuracy` or `val/f1`."""
    parts = [part.rstrip("0123456789") or part for part in _PARTS.split(name) if part]
    if len(parts) > 1 and parts[-1] in {"percent", "avg"}:
        parts.pop()
    known = [part in RESULT_WORDS or part + "1" in RESULT_WORDS or part.endswith(("loss", "cost")) for part in parts]
    return any(known) and all(is_known or part in MODIFIERS or part.isdigit() for part, is_known in zip(parts, known))


def is_time(name: str) -> bool:
    """Whether a name is of a duration or a speed, which may stand beside results."""
    return _TIME.search(name) is not None


def is_setting(name: str) -> bool:
    """Whether a name is of what may be told at the head of an epoch: a time, a learning rate."""
    return is_time(name) or _SPACES.split(name)[-1] in {"lr", "rate"}


def is_name(words: list[str]) -> bool:
    """Whether words before a number name a metric: no sentence, and nothing that only numbers things."""
    name = joined(words)
    return not (
        not name
        or name in NO_METRIC
        or _SPACES.split(name)[-1] in NO_METRIC
        or not SENTENCE_WORDS.isdisjoint((words[0].lower(), words[-1].lower()))
    )


def words_before(text: str) -> tuple[list[str], str]:
    """The words of a name that ends a text, and the text before it; a sentence has no name.

    One or two words; more if they are all there is (`elapsed time per iteration`), or if all but the last are such as
    stand before results (`new best val accuracy`: the last three).
    """
    tokens = text.split()
    words: list[str] = []
    while tokens and len(words) < 4 and _NAME.fullmatch(tokens[-1]) is not None:
        if words and tokens[-1].endswith(".") and not _is_short(tokens[-1]):
            break  # The end of a sentence before.
        words.insert(0, tokens.pop())
    while words and words[-1].lower() in {"is", "was"}:
        words.pop()
    if len(words) > 2:
        start = len(words) - 1
        while start and words[start - 1].lower() in MODIFIERS:
            start -= 1
        is_whole = not tokens and SENTENCE_WORDS.isdisjoint(word.lower() for word in words)
        if words[-1].lower() not in RESULT_WORDS and not is_whole:
            return [], ""
        words = words if is_whole else words[start:]
    return words, " ".join(tokens)


def _is_short(word: str) -> bool:
    """Whether a dot ends a word cut short (`Val. Loss`), no sentence."""
    word = word[:-1].lower()
    return word in MODIFIERS or word in RESULT_WORDS
