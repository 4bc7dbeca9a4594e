"""What a run is, as the store writes and reads it.

`RunRecord` is the line that every listing shows: one JSON object in the message of a log entry, at most
`MAX_LINE_BYTES` long. Text in it is exactly what was given: whoever shows it cleans it first (`text.clean`).
Versions: same major number = read, unknown fields are ignored; a newer major is listed only.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeGuard

from dstui_store.errors import DamagedError, FormatError

FORMAT_VERSION = 1
"""Major version of everything in a run commit and in the log."""

RUN_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{16}")
"""A whole run id: 80 random bits in the alphabet without i, l, o and u."""

WRITER_ID = re.compile(r"[a-z0-9._-]{1,64}")
"""A writer: one clone of a project on one machine."""

OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""An object id of git, SHA-1 or SHA-256."""

STATES = ("running", "finished", "failed", "stopped", "killed", "timeout", "oom", "preempted", "lost")
"""Every state of a run; all but `running` are ends."""

RUN_ENTRIES = (
    "artifacts.json",
    "code",
    "config.json",
    "data.json",
    "env.json",
    "log.gz",
    "media.bin",
    "media.json",
    "meta.json",
    "metrics",
    "metrics.parquet",
    "skipped.json",
    "system.parquet",
    "trial.json",
)
"""The only names a run's tree may hold."""

MAX_LINE_BYTES = 8 * 1024
MAX_LINE_CONFIG_KEYS = 64
MAX_LINE_COMMAND_BYTES = 512
MAX_LINE_TEXT_BYTES = 512
MAX_LINE_NAME_BYTES = 1024
MAX_LIST_DEPTH = 8
"""Lists in lists of a config value; deeper ones become text."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""32 characters, so that five bits of a random byte choose one."""
_FIRST_TIME, _LAST_TIME = -62_135_596_800, 253_402_300_799
"""Seconds since the epoch at the start of year 1 and at the end of year 9999, the times that have a text."""
_DECODER = json.JSONDecoder()
_new = tuple.__new__
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

Json = Any
"""A value that JSON can hold."""


def new_run_id() -> str:
    """A fresh random run id."""
    return run_id_of(os.urandom(16))


def run_id_of(seed: bytes) -> str:
    """The run id that 16 bytes or more give."""
    return "".join(_ALPHABET[byte & 31] for byte in seed[:16])


class MetricSummary(NamedTuple):
    """One metric of one run in five numbers; `step` is that of `last`. None = nothing finite was seen."""

    last: float
    min: float | None
    max: float | None
    step: int | None
    count: int  # type: ignore[assignment]  # stands over tuple.count, which nobody calls


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as listings show it. Times are seconds since the epoch, UTC; text is raw."""

    id: str
    number: int
    name: str
    experiment: str | None = None
    state: str = "running"
    stop_reason: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    command: tuple[str, ...] = ()
    started_at: float | None = None
    ended_at: float | None = None
    duration_seconds: float | None = None
    user: str = ""
    host: str = ""
    writer: str = ""
    commit: str | None = None
    config: Mapping[str, Json] = field(default_factory=dict)
    summary: Mapping[str, MetricSummary] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    notes: str = ""
    devices: tuple[str, ...] = ()
    size_bytes: int | None = None
    sweep: str | None = None
    trial: int | None = None
    parent_run: str | None = None
    private: bool = False
    more: bool = False

    def replace(self, **changes: Any) -> RunRecord:
        """A copy with some fields changed."""
        return replace(self, **changes)


_CACHED = {
    item.name: None if item.default is MISSING else item.default
    for item in fields(RunRecord)
    if item.name not in {"commit", "notes", "config", "summary"}
}
"""The plain fields that the index keeps in its JSON, with what they are when it does not name them."""


def to_json(record: RunRecord) -> dict[str, Json]:
    """The record as `ds ls --json` prints it: times ISO 8601, non-finite numbers as strings."""
    return {
        "id": record.id,
        "number": record.number,
        "name": record.name,
        "experiment": record.experiment,
        "state": record.state,
        "stop_reason": record.stop_reason,
        "exit_code": record.exit_code,
        "signal": record.signal,
        "command": list(record.command),
        "started_at": iso_time(record.started_at),
        "ended_at": iso_time(record.ended_at),
        "duration_seconds": record.duration_seconds,
        "user": record.user,
        "host": record.host,
        "writer": record.writer,
        "commit": record.commit,
        "config": {key: json_number(value) for key, value in record.config.items()},
        "summary": {key: _summary_to_json(value) for key, value in record.summary.items()},
        "tags": list(record.tags),
        "devices": list(record.devices),
        "size_bytes": record.size_bytes,
        "sweep": record.sweep,
        "trial": record.trial,
        "parent_run": record.parent_run,
        "private": record.private,
    }


def from_json(data: Mapping[str, Json]) -> RunRecord:
    """The record that a JSON object describes.

    Raises:
        DamagedError: a field is missing or of another type than the format says.
    """
    try:
        return _from_json(data)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedError(f"A run record is damaged: {type(error).__name__} {error}") from error


def to_cache(record: RunRecord) -> str:
    """The record as the index keeps it: JSON of the fields that say anything, commit and notes apart.

    Times are numbers and summaries lists, since listing 10,000 runs spends its time reading this.
    """
    data: dict[str, Json] = {
        name: value for name, default in _CACHED.items() if (value := getattr(record, name)) not in (None, default)
    }
    data["config"] = {key: json_number(value) for key, value in record.config.items()}
    data["summary"] = {key: [*map(json_number, value)] for key, value in record.summary.items()}
    return json.dumps(data, separators=(",", ":"))


def from_cache(text: str, commit: str | None, notes: str | None) -> RunRecord:
    """The record of a text that `to_cache` made from a checked record, without checking again."""
    data, _ = _DECODER.raw_decode(text)
    # By `tuple.__new__`, since a named tuple's own constructor costs twice as much.
    config, summary = data["config"], {key: _new(MetricSummary, value) for key, value in data["summary"].items()}
    # Nearly no run has a value that is not finite, and looking at each value costs as much as all the rest.
    if '"NaN"' in text or 'Infinity"' in text:
        config = {key: plain_number(value) for key, value in config.items()}
        summary = {key: MetricSummary._make(map(plain_number, value)) for key, value in summary.items()}
    data["config"], data["summary"] = config, summary
    for name in ("command", "tags", "devices"):
        if name in data:
            data[name] = tuple(data[name])
    return RunRecord(**data, commit=commit, notes=notes or "")


def _from_json(data: Mapping[str, Json]) -> RunRecord:
    identity, state = data["id"], data["state"]
    if not RUN_ID.fullmatch(identity):
        raise ValueError(f"run id {identity!r}")
    if state not in STATES:
        raise ValueError(f"state {state!r}")
    return RunRecord(
        id=identity,
        number=_integer(data["number"]),
        name=_text(data["name"]),
        experiment=_text_or_none(data.get("experiment")),
        state=state,
        stop_reason=_text_or_none(data.get("stop_reason")),
        exit_code=_integer_or_none(data.get("exit_code")),
        signal=_integer_or_none(data.get("signal")),
        command=_texts(data.get("command") or ()),
        started_at=epoch_time(data.get("started_at")),
        ended_at=epoch_time(data.get("ended_at")),
        duration_seconds=_finite_or_none(data.get("duration_seconds")),
        user=_text(data.get("user") or ""),
        host=_text(data.get("host") or ""),
        writer=_text(data.get("writer") or ""),
        config={_text(key): plain_number(value) for key, value in (data.get("config") or {}).items()},
        summary={_text(key): _summary_from_json(value) for key, value in (data.get("summary") or {}).items()},
        tags=_texts(data.get("tags") or ()),
        notes=_text(data.get("notes") or ""),
        devices=_texts(data.get("devices") or ()),
        size_bytes=_integer_or_none(data.get("size_bytes")),
        sweep=_text_or_none(data.get("sweep")),
        trial=_integer_or_none(data.get("trial")),
        parent_run=_text_or_none(data.get("parent_run")),
        private=data.get("private") is True,
        more=bool(data.get("more", False)),
    )


def to_line(record: RunRecord) -> str:
    """The record as the one line of a log entry, at most `MAX_LINE_BYTES` of ASCII.

    What is too long is cut, and marked `"more": true`: texts, command and tags to fixed sizes, then config and summary
    to as many keys as there is room for.
    """
    data = to_json(record)
    del data["commit"]
    if not record.private:
        del data["private"]
    config, summary = data.pop("config"), data.pop("summary")
    cut: dict[str, Json] = {key: _cut(key, value) for key, value in data.items()}
    more = cut != data
    head = {"v": FORMAT_VERSION, "op": "run", **cut}
    if record.notes:
        head["notes"] = cut_json_text(record.notes, MAX_LINE_NAME_BYTES)
        more = more or head["notes"] != record.notes
    room = MAX_LINE_BYTES - len(_dump(head)) - len('"config":{},"summary":{},"more":true,')
    kept_config, room = _fill(list(config.items())[:MAX_LINE_CONFIG_KEYS], room)
    kept_summary, room = _fill(list(summary.items()), room)
    more = more or len(kept_config) < len(config) or len(kept_summary) < len(summary)
    if more:
        head["more"] = True
    return _dump({**head, "config": kept_config, "summary": kept_summary})


def parse_line(line: str) -> dict[str, Json]:
    """The JSON object of a log entry's line, its version checked.

    Raises:
        DamagedError: not an object, or over-deep, or with a key twice.
        FormatError: written by a newer major version.
    """
    if len(line) > 2 * MAX_LINE_BYTES:
        raise DamagedError(f"A log entry is {len(line):,} characters long, over the limit of {2 * MAX_LINE_BYTES:,}")
    data = load_json(line)
    if not isinstance(data, dict) or not isinstance(data.get("v"), int):
        raise DamagedError("A log entry holds no JSON object with a version")
    if data["v"] > FORMAT_VERSION:
        raise FormatError(
            f"A log entry has format version {data['v']}, this dstui reads up to {FORMAT_VERSION}",
            hint="update dstui to read this run",
        )
    return data


def load_json(text: str | bytes, *, max_depth: int = 32) -> Json:
    """JSON from others: no key twice, no bare NaN, 64-bit integers, bounded depth.

    Raises:
        DamagedError: one of these does not hold.
    """
    try:
        data = json.loads(text, object_pairs_hook=_unique_pairs, parse_constant=_refuse, parse_int=_small_integer)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"Not readable as JSON: {error}") from error
    if _depth(data, max_depth) > max_depth:
        raise DamagedError(f"JSON nested deeper than {max_depth}")
    return data


def dump_json(data: Json) -> bytes:
    """One JSON document in ASCII with sorted keys and a final newline; the form of every JSON file in a run."""
    return (json.dumps(data, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


def json_number(value: Json) -> Json:
    """The value with non-finite floats as "NaN", "Infinity", "-Infinity", inside lists and objects too."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list | tuple):
        return [json_number(item) for item in value]
    if isinstance(value, Mapping):
        return {key: json_number(item) for key, item in value.items()}
    return value


def plain_number(value: Json) -> Json:
    """The other way: the three strings become floats again."""
    if isinstance(value, str):
        return _NON_FINITE.get(value, value)
    if isinstance(value, list):
        return [plain_number(item) for item in value]
    return value


def iso_time(epoch: float | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, or None."""
    if epoch is None:
        return None
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_time(text: Json) -> float | None:
    """Seconds since the epoch of an ISO 8601 time, or None.

    Raises:
        ValueError: not such a text.
    """
    if text is None:
        return None
    found = datetime.fromisoformat(_text(text))
    epoch = found.replace(tzinfo=found.tzinfo or UTC).timestamp()
    if not _FIRST_TIME <= epoch <= _LAST_TIME:
        raise ValueError(f"time {text[:40]!r}")
    return epoch


def flatten(values: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    """Nested config as flat dotted keys with JSON scalars or lists; anything else becomes text of at most 200."""
    flat: dict[str, Json] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = _scalar(value)
    return flat


def _scalar(value: Json, depth: int = 0) -> Json:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)[:200]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and depth < MAX_LIST_DEPTH:
        return [_scalar(item, depth + 1) for item in value]
    return str(value)[:200]


def _summary_to_json(summary: MetricSummary) -> dict[str, Json]:
    return {name: json_number(value) for name, value in zip(MetricSummary._fields, summary, strict=True)}


def _summary_from_json(data: Mapping[str, Json]) -> MetricSummary:
    return MetricSummary(
        last=_real(plain_number(data["last"])),
        min=_real_or_none(plain_number(data.get("min"))),
        max=_real_or_none(plain_number(data.get("max"))),
        step=_integer_or_none(data.get("step")),
        count=_integer(data["count"]),
    )


def _dump(data: Json) -> str:
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _fill(items: list[tuple[str, Json]], room: int) -> tuple[dict[str, Json], int]:
    """As many leading items as fit into `room` bytes, and the room left."""
    kept: dict[str, Json] = {}
    for key, value in items:
        cost = len(_dump({key: value})) - 1
        if cost > room:
            break
        kept[key] = value
        room -= cost
    return kept, room


def _cut(key: str, value: Json) -> Json:
    """A field of the line, no longer than its place in it."""
    if isinstance(value, str):
        return cut_json_text(value, MAX_LINE_NAME_BYTES if key == "name" else MAX_LINE_TEXT_BYTES)
    if isinstance(value, list):
        return cut_json_texts(value, MAX_LINE_COMMAND_BYTES if key == "command" else MAX_LINE_TEXT_BYTES)
    return value


def cut_json_text(text: str, limit: int) -> str:
    """As much of the start of a text as `limit` bytes of JSON hold."""
    # No character takes more than 12, so most texts need no second look.
    while len(text) * 12 > limit and len(_dump(text)) > limit:
        text = text[: max(len(text) * limit // len(_dump(text)), 1) - 1]
    return text


def cut_json_texts(words: list[str], limit: int) -> list[str]:
    """As many leading texts as `limit` bytes of JSON hold; the first one, cut, in any case."""
    kept: list[str] = []
    room = limit
    for word in words:
        room -= len(_dump(word)) + 1
        if room < 0:
            return kept or [cut_json_text(word, limit)]
        kept.append(word)
    return kept


def _unique_pairs(pairs: Iterable[tuple[str, Json]]) -> dict[str, Json]:
    data: dict[str, Json] = {}
    for key, value in pairs:
        if key in data:
            raise ValueError(f"key {key[:40]!r} stands twice")
        data[key] = value
    return data


def _refuse(name: str) -> Json:
    raise ValueError(f"bare {name}")


def _small_integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise ValueError("an integer beyond 64 bits")
    return int(text)


def _depth(data: Json, limit: int) -> int:
    if limit < 0:
        return 1
    children = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    if not children:
        return 0
    return 1 + max(
        (_depth(child, limit - 1) for child in children if child and isinstance(child, dict | list)), default=0
    )


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where text belongs")
    return value


def _text_or_none(value: Json) -> str | None:
    return None if value is None else _text(value)


def _texts(values: Json) -> tuple[str, ...]:
    return tuple(_text(value) for value in values)


def _integer(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} where an integer belongs")
    if not -(2**63) <= value < 2**63:
        raise ValueError("an integer beyond 64 bits")
    return value


def _integer_or_none(value: Json) -> int | None:
    return None if value is None else _integer(value)


def _real(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} where a number belongs")
    return float(value)


def is_finite(value: Json) -> TypeGuard[float]:
    """Whether a JSON value is a number, and neither infinite nor NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _finite_or_none(value: Json) -> float | None:
    if value is not None and not is_finite(value):
        raise ValueError("a number that is not finite")
    return _real_or_none(value)


def _real_or_none(value: Json) -> float | None:
    return None if value is None else _real(value)
