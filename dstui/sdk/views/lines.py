"""Runs as lines of a table: every text cleaned, every value ready; and which params and metrics deserve a column."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dstui.sdk.views.data import RunLine, Value, ValueColumn
from dstui_store import clean, from_cache

if TYPE_CHECKING:
    from dstui_store import RunRecord, SafeText, Store

SHOWN_ID = 5
"""Least characters of an id that are shown."""

VALUE_LIMIT = 120
"""Characters of a param's text that a table line keeps."""

MAX_METRIC_COLUMNS = 6
MAX_PARAM_COLUMNS = 24

LINE_COLUMNS = (
    "row, version, id, writer, number, name, experiment, state, stop_reason, user, host, started, ended, duration, "
    "notes, record"
)
"""Columns of the index's table `run` that `LineMaker.from_index` takes, in its order."""

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_HELD_OUT = re.compile(r"(^|[^a-z])(val|valid|validation|eval|test|dev)([^a-z]|$)")
_LOSSES = re.compile(r"loss|error|(^|[^a-z])(err|nll|ppl|perplexity|rmse|mse|mae|wer|cer|fid|bpb|regret)([^a-z]|$)")
_SCORES = re.compile(
    r"acc|auc|score|reward|return|bleu|rouge|psnr|ssim|iou|recall|precision|(^|[^a-z])(f1|map|r2)([^a-z]|$)"
)
_CLOCKS = re.compile(r"time|epoch|step|lr|learning_rate|grad|norm|throughput|per_sec|memory|gpu|iter|temp")


class LineMaker:
    """Makes lines; `writer` is whose numbers go without a name before them."""

    def __init__(self, writer: str) -> None:
        self._writer = writer

    def from_index(self, fields: Sequence[Any], id_length: int) -> RunLine:
        """The line of a committed run, from the values of `LINE_COLUMNS`."""
        (row, version, run, writer, number, name, experiment, state, reason, user, host, *rest) = fields
        started, ended, duration, notes, text = rest
        record = from_cache(text, None, notes)
        return RunLine(
            row=row,
            version=version,
            id=clean(run),
            short=clean(run[:id_length]),
            label=self._label(number, writer, user),
            name=clean(name or ""),
            experiment=clean(experiment or ""),
            state=clean(state),
            reason=_reason(reason, record.exit_code, record.signal),
            user=clean(user or ""),
            host=clean(host or ""),
            started=started,
            ended=ended,
            duration=duration,
            tags=tuple(clean(tag) for tag in record.tags),
            notes=clean(notes or "", multiline=True),
            values=_values(record.config, {key: item.last for key, item in record.summary.items()}),
            step=max((item.step for item in record.summary.values() if item.step is not None), default=None),
        )

    def from_record(
        self, record: RunRecord, row: int, version: int, id_length: int, trend: tuple[float, ...] = ()
    ) -> RunLine:
        """The line of a run that is going on."""
        return RunLine(
            row=row,
            version=version,
            id=clean(record.id),
            short=clean(record.id[:id_length]),
            label=self._label(record.number, record.writer, record.user),
            name=clean(record.name),
            experiment=clean(record.experiment or ""),
            state=clean(record.state),
            reason=_reason(record.stop_reason, record.exit_code, record.signal),
            user=clean(record.user),
            host=clean(record.host),
            started=record.started_at,
            ended=record.ended_at,
            duration=record.duration_seconds,
            tags=tuple(clean(tag) for tag in record.tags),
            notes=clean(record.notes, multiline=True),
            values=_values(record.config, {key: item.last for key, item in record.summary.items()}),
            step=max((item.step for item in record.summary.values() if item.step is not None), default=None),
            trend=trend,
        )

    def _label(self, number: int | None, writer: str | None, user: str | None) -> SafeText:
        if number is None:
            return clean("")
        return clean(f"#{number}" if writer == self._writer or not user else f"{user}#{number}", limit=40)


def own_writer(store: Store) -> str:
    """The id of this clone, "" when nothing was written here yet; nothing is made."""
    try:
        return str(json.loads(store.layout.writer_file.read_bytes())["writer"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def param_text(value: Any) -> Value:
    """A config value as it is shown: a number, or its text."""
    if isinstance(value, bool) or value is None:
        return clean(json.dumps(value))
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e300 else clean(value, limit=VALUE_LIMIT)
    if isinstance(value, str):
        return _NON_FINITE[value] if value in _NON_FINITE else clean(value, limit=VALUE_LIMIT)
    return clean(json.dumps(value, ensure_ascii=False, default=str), limit=VALUE_LIMIT)


def objective_of(names: Iterable[str]) -> str:
    """The metric that most likely says how good a run is, or "" without any: a held-out loss or score first."""
    return max(sorted(names), key=_importance, default="")


def lower_is_better(metric: str) -> bool:
    """Whether a metric's name says that less of it is better."""
    return _LOSSES.search(metric.lower()) is not None


def by_importance(names: Iterable[str]) -> list[str]:
    """Metric names, the most telling first."""
    return sorted(names, key=lambda name: (-_importance(name), name))


def value_columns(lines: Sequence[RunLine], objective: str) -> tuple[ValueColumn, ...]:
    """Params and metrics worth a column for these runs, best first.

    The objective, the next metric, then params by how many values they take in these runs, then the other metrics, and
    last what all runs have alike.
    """
    seen: dict[str, list[Value]] = {}
    for line in lines:
        for key, value in line.values.items():
            seen.setdefault(key, []).append(value)
    metrics = by_importance(key[7:] for key in seen if key.startswith("metric."))
    metrics = sorted(metrics, key=lambda name: (name != objective, len(seen[f"metric.{name}"]) * 4 < len(lines)))
    keys = [*(f"metric.{name}" for name in metrics[:MAX_METRIC_COLUMNS]), *(key for key in seen if key[:6] == "param.")]
    made = {key: _column(key, seen[key], len(lines)) for key in keys}
    columns = [item for key, item in made.items() if key.startswith("metric.")]
    params = [made[key] for key in sorted(made) if key.startswith("param.")]
    varied = sorted((item for item in params if item.differs), key=lambda item: -_variety(seen[item.key]))
    alike = [item for item in params if not item.differs]
    return (*columns[:2], *varied[:MAX_PARAM_COLUMNS], *columns[2:], *alike[:MAX_PARAM_COLUMNS])


def _column(key: str, values: Sequence[Value], runs: int) -> ValueColumn:
    """A column of what some of so many runs have."""
    numbers = tuple(value for value in values if isinstance(value, float))
    differs = len(set(values)) > 1 or len(values) < runs
    return ValueColumn(key, clean(key.partition(".")[2], limit=60), differs, numbers)


def _variety(values: Sequence[Value]) -> float:
    """How telling a param is: many values, but not a different text in every run."""
    distinct = len(set(values))
    texts = sum(not isinstance(value, float) for value in values)
    return distinct / 4 if texts and distinct == len(values) > 3 else float(distinct)


def _importance(name: str) -> float:
    lowered = name.lower()
    held_out = 4.0 if _HELD_OUT.search(lowered) else 0.0
    kind = 3.0 if _LOSSES.search(lowered) else 2.0 if _SCORES.search(lowered) else 0.0
    clock = -6.0 if _CLOCKS.search(lowered) and not kind else 0.0
    return held_out + kind + clock


def _reason(given: str | None, exit_code: int | None, signal: int | None) -> SafeText:
    """Why a run ended as it did: in the words it was given, else by signal or exit code; "" for a good end."""
    if given:
        return clean(given)
    return clean(f"signal {signal}" if signal else f"exit code {exit_code}" if exit_code else "")


def _values(config: Mapping[str, Any], last: Mapping[str, Any]) -> dict[str, Value]:
    values: dict[str, Value] = {f"param.{key}": param_text(value) for key, value in config.items()}
    values.update((f"metric.{key}", float(value)) for key, value in last.items() if value is not None)
    return values
