"""Which runs a query's terms hold for, decided record by record in plain Python; `columns` does it for whole tables.

Both ways give the same answer, and a test holds them to it. The rules, for the value that a run has for a key:

- No value: every comparison fails, `!=` too.
- A number: `:` means equal, as `=` does; `~` looks into its shortest decimal form.
- NaN: only `=nan` holds.
- A text, also `true`, `false`, `null` and lists in JSON form: `<` and its like fail.
- Tags are several values: a comparison holds when it does for one; `!=` when the run has tags and none is equal.
"""

from __future__ import annotations

import json
import math
import operator
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from dstui.errors import QueryError, UsageError
from dstui.sdk.terms import BUILTIN_KEYS, AllOf, AnyOf, Compare, Has, Not, Term, View, Word, atoms
from dstui.units import HOUR_SECONDS, parse_duration, parse_number, parse_quantity

PATTERN_SECONDS = 2.0
"""What all regular expressions of one query may take together."""

TEXT_FIELDS = {
    "id": "id",
    "name": "name",
    "state": "state",
    "note": "notes",
    "experiment": "experiment",
    "sweep": "sweep",
    "by": "user",
    "user": "user",
    "writer": "writer",
    "host": "host",
}
"""Built-in keys that are text, and the fields of a record that hold them."""

WORD_KEYS = ("id", "name", "note")
"""Keys that a bare word looks into, next to the tags."""

ORDERINGS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
"""The operators that compare numbers only; they work on arrays as well."""

_WHOLE_WORD_KEYS = ("state", "tag")
# Repeats, alternatives and back references are what makes matching slow; without any the time is linear.
_MAY_BE_SLOW = re.compile(r"[*+?{|]|\\[0-9]")
_CHILD = """
import json, re, sys
pattern, texts = json.load(sys.stdin)
search = re.compile(pattern).search
json.dump([search(text) is not None for text in texts], sys.stdout)
"""

Value = float | str | None
"""What a run has for a key; None = nothing."""

Found = Callable[[str, str], bool]
"""Whether a pattern (first) was found in a text (second)."""


class RecordLike(Protocol):
    """The fields of a run that a query looks at, as in `dstui_store.RunRecord`; times in seconds since the epoch."""

    @property
    def id(self) -> str: ...  # noqa: D102  # named as in RunRecord, which explains them
    @property
    def number(self) -> int | None: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def state(self) -> str: ...  # noqa: D102
    @property
    def tags(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def notes(self) -> str: ...  # noqa: D102
    @property
    def experiment(self) -> str | None: ...  # noqa: D102
    @property
    def sweep(self) -> str | None: ...  # noqa: D102
    @property
    def user(self) -> str: ...  # noqa: D102
    @property
    def writer(self) -> str: ...  # noqa: D102
    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def started_at(self) -> float | None: ...  # noqa: D102
    @property
    def duration_seconds(self) -> float | None: ...  # noqa: D102
    @property
    def devices(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def config(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def summary(self) -> Mapping[str, Any]: ...  # noqa: D102


Record = RecordLike | dict[str, Any]
"""A run as an object or as a dictionary with the same names."""


def builtin_value(record: Record, key: str, now: float) -> Value:
    """What a run has for a built-in key.

    Args:
        record: the run.
        key: one of `BUILTIN_KEYS`; `tag` gives all tags joined by ", ".
        now: seconds since the epoch, for ages and for the duration of a running run.

    Returns:
        Text, or a number: `age` and `duration` in seconds, `gpu_hours` in hours.
    """
    if key in TEXT_FIELDS:
        return field_of(record, TEXT_FIELDS[key]) or None
    if key == "tag":
        return ", ".join(field_of(record, "tags")) or None
    if key == "number":
        number = field_of(record, "number")
        return None if number is None else float(number)
    started = field_of(record, "started_at")
    if key == "age":
        return None if started is None else float(now - started)
    seconds: float | None = field_of(record, "duration_seconds")
    if seconds is None and started is not None and field_of(record, "state") == "running":
        seconds = now - started
    if key == "duration" or seconds is None:
        return None if seconds is None else float(seconds)
    devices = len(field_of(record, "devices"))
    return devices * seconds / HOUR_SECONDS if devices else None


def param_value(value: Any) -> Value:
    """What a config value (JSON) is for a query: a number, or its text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return json.dumps(value, ensure_ascii=False, default=str)
    try:
        return float(value)
    except OverflowError:
        # An integer of more than 308 digits is as good as infinite for any comparison.
        return math.copysign(math.inf, value)


def metric_value(summary: Any) -> Value:
    """The last value of a metric's summary, an object or a dictionary."""
    last = summary.get("last") if isinstance(summary, Mapping) else summary.last
    return None if last is None else float(last)


def value_of(record: Record, key: str, now: float) -> Value:
    """What a run has for any key: built-in, then param, then metric; `param.` and `metric.` force one."""
    kind, name = split_key(key)
    if kind == "builtin":
        return builtin_value(record, name, now)
    if kind != "metric":
        config = field_of(record, "config")
        if name in config:
            return param_value(config[name])
    if kind != "param":
        summary = field_of(record, "summary")
        if name in summary:
            return metric_value(summary[name])
    return None


def split_key(key: str) -> tuple[str, str]:
    """Where a key is looked up, `builtin`, `param`, `metric` or `any` (param, then metric), and its name there."""
    if key in BUILTIN_KEYS:
        return "builtin", key
    kind, dot, name = key.partition(".")
    return (kind, name) if dot and name and kind in ("param", "metric") else ("any", key)


def select(term: Term, records: Sequence[Record], now: float) -> list[bool]:
    """Whether the term holds for each record, in order.

    Raises:
        QueryError: a pattern takes too long, or a view was not replaced.
    """
    found = find_patterns(term, lambda key: _texts_of(records, key, now))
    return [_holds_for(term, record, now, found) for record in records]


def find_in_texts(
    pattern: str, texts: Sequence[str], *, limit_seconds: float = PATTERN_SECONDS, position: int = 0
) -> list[bool]:
    """Whether the regular expression is found in each text.

    Python's `re` holds the interpreter for as long as a pattern runs, and `(a+)+$` runs for ever. So all but plain
    patterns run in a child process that is killed at the limit.

    Raises:
        QueryError: it takes too long; `position` is handed on.
    """
    if not texts:
        return []
    if not _MAY_BE_SLOW.search(pattern):
        search = re.compile(pattern).search
        return [search(text) is not None for text in texts]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-W", "ignore", "-c", _CHILD],
            input=json.dumps([pattern, list(texts)]).encode(),
            capture_output=True,
            timeout=limit_seconds,
            check=True,
        )
        answer: list[bool] = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise QueryError(
            f"The pattern `{pattern}` takes longer than {PATTERN_SECONDS:.0f} s",
            hint="a repeat inside a repeat, as in `(a+)+`, can take for ever; write one of them",
            position=position,
        ) from error
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        raise QueryError(f"The pattern `{pattern}` could not be searched for", position=position) from error
    return answer


def find_patterns(term: Term, texts_of: Callable[[str], list[str]]) -> Found:
    """Search for all patterns of a term, in all texts that it may be asked about; `PATTERN_SECONDS` for all together.

    Args:
        term: any term.
        texts_of: every text that some row has for a key.
    """
    answers: dict[tuple[str, str], bool] = {}
    deadline = time.monotonic() + PATTERN_SECONDS
    for atom in atoms(term):
        if isinstance(atom, Compare) and atom.operator == "~":
            texts = texts_of(atom.key)
            for pattern in atom.values:
                left = max(deadline - time.monotonic(), 0)
                hits = find_in_texts(pattern, texts, limit_seconds=left, position=atom.position)
                answers.update(((pattern, text), hit) for text, hit in zip(texts, hits, strict=True))
    return lambda pattern, text: answers[pattern, text]


def field_of(record: Record, name: str) -> Any:
    """A field of a run, whichever form the record has."""
    return record[name] if isinstance(record, dict) else getattr(record, name)


def number_text(number: float) -> str:
    """The shortest decimal form, without `.0`."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e16 else repr(number)


@lru_cache(maxsize=1024)
def wanted_number(key: str, text: str) -> float | None:
    """The number that a value typed for this key means, in the key's own unit."""
    if key == "number":
        text = text.removeprefix("#")
    if key != "gpu_hours":
        return parse_quantity(text, in_bytes=key.endswith("_bytes"))
    try:
        return parse_number(text)
    except UsageError:
        try:
            return parse_duration(text) / HOUR_SECONDS
        except UsageError:
            return None


def number_holds(value: float, operator: str, wanted: float | None) -> bool:
    """Whether a number that a run has stands in this relation; `~` is not asked here."""
    if wanted is None:
        return operator == "!=" and not math.isnan(value)
    if math.isnan(value) or math.isnan(wanted):
        both = math.isnan(value) and math.isnan(wanted)
        return (operator == "=" and both) or (operator == "!=" and not math.isnan(value))
    if operator in ORDERINGS:
        return bool(ORDERINGS[operator](value, wanted))
    return (value != wanted) if operator == "!=" else value == wanted


def text_test(term: Compare, wanted: str, found: Found) -> Callable[[str, str], bool]:
    """The test of one comparison on a text and its form without case."""
    folded = wanted.casefold()
    if term.operator == ":":
        if term.key in _WHOLE_WORD_KEYS:
            return lambda _text, text_folded: text_folded == folded
        return lambda _text, text_folded: folded in text_folded
    if term.operator == "=":
        return lambda text, _folded: text == wanted
    if term.operator == "!=":
        return lambda text, _folded: text != wanted
    if term.operator == "~":
        return lambda text, _folded: found(wanted, text)
    return lambda _text, _folded: False


def _holds_for(term: Term, record: Record, now: float, found: Found) -> bool:
    if isinstance(term, AllOf):
        return all(_holds_for(part, record, now, found) for part in term.terms)
    if isinstance(term, AnyOf):
        return any(_holds_for(part, record, now, found) for part in term.terms)
    if isinstance(term, Not):
        return not _holds_for(term.term, record, now, found)
    if isinstance(term, Word):
        folded = term.text.casefold()
        texts = (*(field_of(record, TEXT_FIELDS[key]) for key in WORD_KEYS), *field_of(record, "tags"))
        return any(folded in text.casefold() for text in texts if text)
    if isinstance(term, Has):
        return bool(field_of(record, "tags")) if term.key == "tag" else value_of(record, term.key, now) is not None
    if isinstance(term, View):
        raise unknown_view(term)
    return any(_compare_record(term, wanted, record, now, found) for wanted in term.values)


def _compare_record(term: Compare, wanted: str, record: Record, now: float, found: Found) -> bool:
    if term.key == "tag":
        test = text_test(term, wanted, found)
        outcomes = [test(tag, tag.casefold()) for tag in field_of(record, "tags")]
        return bool(outcomes) and all(outcomes) if term.operator == "!=" else any(outcomes)
    value = value_of(record, term.key, now)
    if value is None:
        return False
    if isinstance(value, str):
        return text_test(term, wanted, found)(value, value.casefold())
    if term.operator == "~":
        return not math.isnan(value) and found(wanted, number_text(value))
    return number_holds(value, term.operator, wanted_number(term.key, wanted))


def _texts_of(records: Sequence[Record], key: str, now: float) -> list[str]:
    if key == "tag":
        return list({tag for record in records for tag in field_of(record, "tags")})
    texts: set[str] = set()
    for record in records:
        value = value_of(record, key, now)
        if isinstance(value, str):
            texts.add(value)
        elif value is not None and not math.isnan(value):
            texts.add(number_text(value))
    return list(texts)


def unknown_view(term: View) -> QueryError:
    """The error for a view that was not replaced by `Query.expand`."""
    return QueryError(f"No view is called `{term.name}`", position=term.position)
