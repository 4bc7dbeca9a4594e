"""One run in full but for its curves and output: facts, config against another run, metrics, notes, code."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dstui.sdk.differences import between, file_changes
from dstui.sdk.monitoring import system_lines
from dstui.sdk.views.data import (
    ChartGroup,
    CodeSnapshot,
    ConfigLine,
    DetailSnapshot,
    Fact,
    FileDiff,
    MetricLine,
    RunLine,
)
from dstui.sdk.views.lines import by_importance, lower_is_better
from dstui.sdk.views.system import system_groups
from dstui.units import UNKNOWN, format_bytes, format_count, format_duration, format_number, format_time
from dstui_store import StoreError, clean

if TYPE_CHECKING:
    from dstui_store import MetricSummary, RunRecord, SafeText, Store

MAX_FILE_DIFF_BYTES = 1 << 20
MAX_FILE_DIFF_LINES = 20_000
MAX_CONFIG_TEXT = 2_000

BAD_STATES = ("failed", "oom", "timeout", "killed", "lost")

_SPLIT = re.compile(r"train|training|val|valid|validation|eval|test|dev")


def detail(store: Store, line: RunLine, against: RunLine | None, where: SafeText | None) -> DetailSnapshot:
    """All facts of a run; what cannot be read is named in `problem`, the rest is there.

    Args:
        store: of the reader's thread.
        line: the run.
        against: the run to compare the config with.
        where: for a run of another machine, where and when it was last seen.
    """
    run, problems = str(line.id), []
    parts: dict[str, Any] = {"record": None, "meta": {}, "config": {}, "skipped": [], "system_summary": {}}
    for part in parts:
        try:
            parts[part] = getattr(store, part)(run)
        except StoreError as error:
            problems.append(error.message)
    record, meta = parts["record"], parts["meta"]
    summary: Mapping[str, MetricSummary] = record.summary if record is not None else {}
    problems += [str(text) for text in meta.get("errors") or []]
    return DetailSnapshot(
        line=line,
        facts=tuple(_facts(line, record, meta, parts["skipped"], where, parts["system_summary"])),
        config=tuple(config_lines(parts["config"], _config_of(store, against))),
        metrics=tuple(metric_line(name, summary[name]) for name in by_importance(summary)),
        groups=tuple(chart_groups(summary)),
        system_groups=tuple(system_groups(parts["system_summary"].get("summary") or ())),
        notes=tuple(_notes(line, parts["skipped"], problems)),
        against=against,
        problem=clean("; ".join(problems), limit=500),
    )


def config_lines(config: Mapping[str, Any], other: Mapping[str, Any] | None) -> list[ConfigLine]:
    """Every param; those that differ from the other run's come first, with both values."""
    if other is None:
        return [ConfigLine(clean(key), config_text(config[key])) for key in sorted(config)]
    different = between(other, config)
    names = {item.key for item in different}
    lines = [
        ConfigLine(
            clean(item.key),
            config_text(config[item.key]) if item.key in config else None,
            config_text(other[item.key]) if item.key in other else None,
        )
        for item in different
    ]
    alike = (key for key in sorted(config) if key not in names)
    return lines + [ConfigLine(clean(key), config_text(config[key]), config_text(config[key])) for key in alike]


def config_text(value: Any) -> SafeText:
    """A config value as text, numbers in their shortest exact form."""
    if isinstance(value, str):
        return clean(value, limit=MAX_CONFIG_TEXT)
    if isinstance(value, float):
        mantissa, exponential, exponent = repr(value).partition("e")
        return clean(f"{mantissa}e{int(exponent)}" if exponential else mantissa)
    return clean(json.dumps(value, ensure_ascii=False, default=str), limit=MAX_CONFIG_TEXT)


def metric_line(name: str, summary: MetricSummary) -> MetricLine:
    """One metric in five numbers."""
    return MetricLine(clean(name), summary.last, summary.min, summary.max, summary.step, summary.count)


def chart_groups(names: Mapping[str, Any] | Sequence[str]) -> list[ChartGroup]:
    """Charts for these metrics: what differs only in train, val or test shares one, the most telling come first."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name in by_importance(names):
        base, label = _split_name(name)
        groups.setdefault(base, []).append((label, name))
    return [
        ChartGroup(clean(base), tuple((clean(label or base), clean(name)) for label, name in sorted(members)))
        for base, members in groups.items()
    ]


def _split_name(name: str) -> tuple[str, str]:
    """(what is measured, on which part of the data): `val/loss` and `val_loss` are both (loss, val)."""
    for separator in ("/", "_", "."):
        head, found, tail = name.partition(separator)
        if found and tail and _SPLIT.fullmatch(head.lower()):
            return tail, head
        head, found, tail = name.rpartition(separator)
        if found and head and _SPLIT.fullmatch(tail.lower()):
            return head, tail
    return name, ""


def _config_of(store: Store, line: RunLine | None) -> Mapping[str, Any] | None:
    if line is None:
        return None
    try:
        return store.config(str(line.id))
    except StoreError:
        return None


def _facts(
    line: RunLine,
    record: RunRecord | None,
    meta: Mapping[str, Any],
    skipped: Sequence[Any],
    where: SafeText | None,
    load: Mapping[str, Any],
) -> list[Fact]:
    facts = [
        ("state", f"{line.state}: {line.reason}" if line.reason else line.state, _tone(line)),
        ("where", where, "warn"),
        ("started", format_time(line.started), ""),
        ("took", None if line.live else format_duration(line.duration), ""),
        ("by", f"{line.user} on {line.host}" if line.host else str(line.user), ""),
        ("experiment", line.experiment, ""),
        ("tags", ", ".join(line.tags), ""),
        *_metric_facts(record),
        *((label, text, "") for label, text in system_lines(load)),
        ("code", code_text(meta.get("code") or {}), ""),
        ("skipped", _skipped_text(skipped), "warn"),
        ("command", shlex.join(record.command) if record is not None else None, ""),
        ("folder", meta.get("cwd"), "quiet"),
        ("seed", meta.get("seed"), ""),
        ("parent", record.parent_run[:5] if record is not None and record.parent_run else None, ""),
        ("stored", format_bytes(record.size_bytes) if record is not None and record.size_bytes else None, "quiet"),
        ("id", line.id, "quiet"),
    ]
    return [Fact(clean(label), clean(text), tone) for label, text, tone in facts if text not in (None, "")]


def _tone(line: RunLine) -> str:
    return "bad" if line.state in BAD_STATES else ""


def _metric_facts(record: RunRecord | None) -> list[tuple[str, str | None, str]]:
    """The best value of the most telling metric."""
    if record is None or not record.summary:
        return []
    name = by_importance(record.summary)[0]
    summary = record.summary[name]
    best = summary.min if lower_is_better(name) else summary.max
    return [
        ("best", f"{name} {format_number(best, keep_zeros=True)}" if best is not None else None, "good"),
        ("step", format_count(summary.step) if summary.step is not None else None, ""),
    ]


def code_text(code: Mapping[str, Any]) -> str:
    """The code of a run in words: `9f21ab7 on main + 2 edited, 1 new`."""
    if code.get("refused"):
        return f"not stored: {code['refused']}"
    commit, branch = code.get("commit"), code.get("branch")
    text = str(commit)[:7] if commit else "no commit"
    if branch:
        text += f" on {branch}"
    changes = [
        f"{len(code.get(key) or ())} {word}" for key, word in (("edited", "edited"), ("added", "new")) if code.get(key)
    ]
    return f"{text} + {', '.join(changes)}" if changes else text if code else ""


def _skipped_text(skipped: Sequence[Any]) -> str | None:
    if not skipped:
        return None
    names = ", ".join(str(item.get("path")) for item in skipped[:2])
    more = f" and {len(skipped) - 2} more" if len(skipped) > 2 else ""
    return f"{len(skipped)} {'file' if len(skipped) == 1 else 'files'}: {names}{more}"


def _notes(line: RunLine, skipped: Sequence[Any], problems: Sequence[str]) -> list[Fact]:
    """Tags, notes, every file that the snapshot left out, and what went wrong with the tracking."""
    facts = [Fact(clean("tags"), clean(", ".join(line.tags) or UNKNOWN))]
    facts.append(Fact(clean("note"), line.notes or clean(UNKNOWN)))
    for item in skipped:
        size = item.get("size")
        amount = f" ({format_bytes(size)})" if isinstance(size, int) else ""
        facts.append(Fact(clean("skipped"), clean(f"{item.get('path')}{amount}: {item.get('reason')}"), "warn"))
    facts += [Fact(clean("problem"), clean(text), "bad") for text in problems]
    return facts


# Code


def code(store: Store, run: str, against: RunLine | None) -> CodeSnapshot:
    """The code of a run against another run's, or against the commit it was based on."""
    label = f"{against.label} {against.short}" if against is not None else "the project's commit"
    try:
        if against is not None:
            patch = store.code_diff(store.code_tree(str(against.id)), store.code_tree(run))
        else:
            patch = store.code_changes(run)
    except StoreError as error:
        return CodeSnapshot(run, clean(label), (), clean(error.message))
    return CodeSnapshot(run, clean(label), tuple(file_diffs(patch)), clean(""))


def file_diffs(patch: bytes) -> list[FileDiff]:
    """The files of a unified diff; too long ones are listed without their lines."""
    found = []
    for part in patch.split(b"\ndiff --git "):
        block = part.removeprefix(b"diff --git ")
        if not block.strip():
            continue
        (change,) = file_changes(block)
        note = {"added": "new", "removed": "removed"}.get(change.kind, "")
        changed_lines = (change.added_lines or 0) + (change.removed_lines or 0)
        if change.added_lines is None:
            lines: tuple[tuple[str, SafeText], ...] = ()
            note = f"{note} not text".strip()
        elif len(block) > MAX_FILE_DIFF_BYTES or changed_lines > MAX_FILE_DIFF_LINES:
            lines, note = (), f"{note} too long to show".strip()
        else:
            lines = tuple(_diff_lines(block))
        found.append(FileDiff(clean(change.path), change.added_lines, change.removed_lines, lines, clean(note)))
    return sorted(found, key=lambda item: item.path)


def _diff_lines(block: bytes) -> list[tuple[str, SafeText]]:
    lines = block.split(b"\n")
    start = next((place for place, text in enumerate(lines) if text.startswith(b"@@")), len(lines))
    shown = []
    for text in lines[start:]:
        kind = text[:1].decode("utf-8", "replace")
        if kind == "@":
            shown.append(("@", clean(text.strip(b"\r"))))
        elif kind in ("+", "-", " "):
            shown.append((kind, clean(text[1:].rstrip(b"\r"))))
    return shown
