"""Why a run ended as it did: the cause, the last values, memory, and what changed since it last went well.

Pure: values in, values out. Each statement carries what it rests on; what is not known is said.
"""

from __future__ import annotations

import math
import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from dstui.sdk.divergence import Curve, broken, diverged
from dstui.sdk.failures import STALE_LINES, Failure, known, read_failure
from dstui.sdk.suspects import Judge, RunChange
from dstui.sdk.views.lines import by_importance, lower_is_better
from dstui.units import format_age, format_bytes, format_duration, format_number

if TYPE_CHECKING:
    from dstui.sdk.differences import RunDifference
    from dstui.sdk.tracebacks import Frame
    from dstui_store import MetricSummary, RunRecord

MAX_CHANGES = 200
"""Changes that are named; of a run that has nothing to do with the other there may be thousands."""

SHOWN_VALUES = 4
"""Metrics whose last values are told."""

BAD_STATES = ("failed", "oom", "killed", "timeout", "lost", "stopped", "preempted")

CRASH_SIGNALS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
)
"""Signals that a process brings on itself."""

_SCRIPT = re.compile(r".*\.(py|sh|ipynb|R|jl)")


@dataclass(frozen=True)
class Facts:
    """All that an explanation rests on.

    Attributes:
        record: the run.
        meta: its `meta.json`.
        environment: its `env.json`.
        lines: the end of its output, cleaned; empty when there was none.
        problems: what could not be read, a sentence each.
        curves: the metrics worth looking at, as far as they could be read.
        before: the run it is compared with: the last of the same script that finished, for one that finished the one
            before it; None when there is none.
        difference: between the two.
        now: seconds since the epoch.
        last_sign: when the keeper of a running run was last seen.
        shown: how runs are called, by id: `#12`.
    """

    record: RunRecord
    meta: Mapping[str, Any]
    environment: Mapping[str, Any]
    lines: Sequence[str]
    problems: Sequence[str]
    curves: Mapping[str, Curve]
    before: RunRecord | None
    difference: RunDifference | None
    now: float
    last_sign: float | None
    shown: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that is known, and what shows it."""

    topic: str
    text: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """The answer of `ds why`.

    Attributes:
        sentence: how the run stands or ended.
        failure: the cause, None for a run that did not end badly.
        statements: values, memory and the like, in order.
        compared_with: the run before, None without one; `compared_as` is how it is called.
        changes: since that run, the likeliest cause first.
        same: parts that are equal.
        unknown: parts that cannot be compared, with the reason.
        action: the one thing to do next.
    """

    run: RunRecord
    sentence: str
    failure: Failure | None
    statements: list[Statement]
    compared_with: RunRecord | None
    compared_as: str
    changes: list[RunChange]
    same: list[str]
    unknown: Mapping[str, str]
    action: str

    def to_json(self) -> dict[str, Any]:
        """The explanation as `ds why --json` prints it."""
        other = self.compared_with
        return {
            "id": self.run.id,
            "number": self.run.number,
            "name": self.run.name,
            "state": self.run.state,
            "sentence": self.sentence,
            "cause": None if self.failure is None else _cause_to_json(self.failure),
            "statements": [
                {"topic": item.topic, "text": item.text, "evidence": list(item.evidence)} for item in self.statements
            ],
            "compared_with": None
            if other is None
            else {"id": other.id, "number": other.number, "name": other.name, "state": other.state},
            "changes": [
                {
                    "kind": item.kind,
                    "what": item.what,
                    "before": item.before,
                    "after": item.after,
                    "likely": item.likely,
                }
                for item in self.changes
            ],
            "same": list(self.same),
            "unknown": dict(self.unknown),
            "action": self.action,
        }


def explain(facts: Facts) -> Explanation:
    """Why a run is as it is."""
    state = facts.record.state
    bad = state in BAD_STATES
    failure = _failure(facts) if bad else None
    statements = [*_values(facts), *_memory(facts, failure)]
    if not bad:
        statements += _progress(facts)
    statements += [Statement("not known", problem) for problem in facts.problems]
    changes = _changes(facts, failure)
    same, unknown = _same(facts)
    return Explanation(
        run=facts.record,
        sentence=_sentence(facts),
        failure=failure,
        statements=statements,
        compared_with=facts.before,
        compared_as="" if facts.before is None else facts.shown.get(facts.before.id, facts.before.id[:5]),
        changes=changes,
        same=same,
        unknown=unknown,
        action=_action(facts, failure, changes),
    )


def script_of(command: Sequence[str]) -> str:
    """What tells the runs of one script from others: the script, the module after `-m`, else the program."""
    for place, word in enumerate(command):
        if _SCRIPT.fullmatch(word) and not word.startswith("-"):
            return word.removeprefix("./")
        if word == "-m" and place and place + 1 < len(command):
            return f"-m {command[place + 1]}"
    return PurePath(command[0]).name if command else ""


def curves_to_read(summary: Mapping[str, MetricSummary]) -> list[str]:
    """The metrics worth reading whole: those that ended as no number, then those where less is better."""
    broken = [name for name, item in summary.items() if not math.isfinite(item.last)]
    losses = [name for name in by_importance(summary) if lower_is_better(name)]
    return list(dict.fromkeys([*broken[:4], *losses[:4]]))


# The end


def _sentence(facts: Facts) -> str:
    record = facts.record
    took = "" if record.duration_seconds is None else f" after {format_duration(record.duration_seconds)}"
    if record.state == "running":
        since = "" if record.started_at is None else f" for {format_duration(facts.now - record.started_at)}"
        sign = (
            "" if facts.last_sign is None else f"; its keeper was last seen {format_age(facts.now - facts.last_sign)}"
        )
        return f"running{since}{sign}"
    words = record.state
    if record.exit_code:
        words += f" with exit code {record.exit_code}"
    elif record.signal is not None and not record.stop_reason:
        words += f" by signal {record.signal}"
    words += took
    return f"{words}: {record.stop_reason}" if record.stop_reason else words


def _failure(facts: Facts) -> Failure:
    record = facts.record
    found = _in_project(read_failure(facts.lines), str(facts.meta.get("cwd") or ""))
    if found.kind == "unknown":
        # What the shell would have said goes to its terminal, not into the output.
        found = _of_exit(record) or found
    if record.state in ("stopped", "timeout", "lost", "killed", "preempted"):
        # Ended from outside: what the command printed counts only when it is what the signal made it print.
        own = found.exception is not None and found.lines_after <= 3 and record.state != "lost"
        if not own or found.kind == "unknown":
            return Failure("ended", evidence=found.evidence if found.kind != "unknown" else ())
    if found.exception is not None and found.lines_after > STALE_LINES:
        return Failure("unknown", evidence=(f"a traceback stands {found.lines_after:,} lines before the end",))
    if record.state == "oom" and found.kind not in ("gpu_memory", "host_memory"):
        kind = "gpu_memory" if "GPU" in (record.stop_reason or "") else "host_memory"
        return Failure(kind, record.stop_reason or "", found.action, evidence=found.evidence)
    return found


def _of_exit(record: RunRecord) -> Failure | None:
    """What the exit itself says where the output says nothing."""
    number = record.signal if record.signal is not None else (record.exit_code or 0) - 128
    if number in CRASH_SIGNALS:
        return known("crash", f"signal {number} ({signal.Signals(number).name})")
    if record.exit_code == 128 + signal.SIGKILL:
        return known("killed", f"exit code {record.exit_code}")
    if record.exit_code == 127:
        return known("no_script", "exit code 127: a command was not found")
    return None


def _in_project(failure: Failure, cwd: str) -> Failure:
    """The same with the paths below the run's folder relative to it."""

    def short(frame: Frame | None) -> Frame | None:
        if frame is None or not cwd or not frame.path.startswith(f"{cwd}/"):
            return frame
        return replace(frame, path=frame.path[len(cwd) + 1 :])

    return replace(failure, place=short(failure.place), deepest=short(failure.deepest))


# Values


def _values(facts: Facts) -> list[Statement]:
    found = []
    summary = facts.record.summary
    for name, curve in facts.curves.items():
        text = broken(name, curve) or diverged(name, curve)
        if text is not None:
            found.append(Statement("diverged", text, (f"metric {name}",)))
    shown = []
    for name in by_importance(summary)[:SHOWN_VALUES]:
        item = summary[name]
        step = "" if item.step is None else f" at step {item.step:,}"
        shown.append(f"{name} {format_number(item.last)}{step}")
    if shown:
        more = f" and {len(summary) - len(shown)} more" if len(summary) > len(shown) else ""
        found.append(Statement("last values", ", ".join(shown) + more))
    return found


def _memory(facts: Facts, failure: Failure | None) -> list[Statement]:
    usage = facts.meta.get("usage")
    peak = usage.get("peak_rss_bytes") if isinstance(usage, dict) else None
    host = facts.environment.get("host")
    whole = host.get("memory_bytes") if isinstance(host, dict) else None
    found = []
    if isinstance(peak, int) and peak > 0:
        text = f"the largest process had {format_bytes(peak)} at its peak"
        if isinstance(whole, int) and whole > 0:
            text += f", of {format_bytes(whole)} of the machine"
        found.append(Statement("memory", text, ("usage.peak_rss_bytes",)))
    elif failure is not None:
        found.append(Statement("memory", "the peak is not known"))
    found += _gpu_memory(facts.meta)
    return found


def _gpu_memory(meta: Mapping[str, Any]) -> list[Statement]:
    """What the samples of the machine say of its GPUs' memory."""
    system = meta.get("system")
    summary = system.get("summary") if isinstance(system, dict) else None
    devices = system.get("devices") if isinstance(system, dict) else None
    if not isinstance(summary, dict) or not isinstance(devices, list):
        return []
    found = []
    for device in devices[:16]:
        if not isinstance(device, dict):
            continue
        name = f"gpu{device.get('index')}"
        item = summary.get(f"{name}.memory_bytes")
        most, whole = (item or {}).get("max") if isinstance(item, dict) else None, device.get("memory_bytes")
        if isinstance(most, int | float) and isinstance(whole, int | float) and whole > 0:
            text = f"{name} held at most {format_bytes(int(most))} of {format_bytes(int(whole))}"
            found.append(Statement("memory", text, (f"system.parquet {name}.memory_bytes",)))
    return found


def _progress(facts: Facts) -> list[Statement]:
    if facts.record.state != "running":
        return []
    said = [line.strip() for line in facts.lines if line.strip()]
    return [Statement("last output", said[-1][:300])] if said else [Statement("last output", "nothing printed so far")]


# Changes


def _changes(facts: Facts, failure: Failure | None) -> list[RunChange]:
    found = facts.difference
    if found is None:
        return []
    left = any(broken(name, curve) or diverged(name, curve) for name, curve in facts.curves.items())
    judge = Judge(failure, str(facts.meta.get("cwd") or ""), found.patch, diverged=left)
    changes = [judge.config(item) for item in found.config]
    changes += [judge.code(item.path, item.added_lines, item.removed_lines, item.kind) for item in found.files]
    changes += [judge.data(item) for item in found.data]
    changes += [judge.package(item) for item in found.packages]
    changes += [judge.environment(item) for item in found.environment]
    if found.command is not None and (not found.config or judge.kind == "arguments"):
        changes.append(judge.command(found.command))
    changes.sort(key=lambda item: -item.weight)
    return changes[:MAX_CHANGES]


def _same(facts: Facts) -> tuple[list[str], Mapping[str, str]]:
    found = facts.difference
    if found is None:
        return [], {}
    parts = {
        "command": found.command is None,
        "config": not found.config,
        "code": found.same_code,
        "data": not found.data,
        "packages": not found.packages,
        "environment": not found.environment,
    }
    return [name for name, same in parts.items() if same and name not in found.unknown], found.unknown


# What to do


def _action(facts: Facts, failure: Failure | None, changes: Sequence[RunChange]) -> str:
    record = facts.record
    run = facts.shown.get(record.id, record.id[:5])
    good = "" if facts.before is None else facts.shown.get(facts.before.id, facts.before.id[:5])
    if record.state == "running":
        return f"`ds attach '{run}'` follows it"
    if failure is None:
        return f"`ds diff '{good}' '{run}'` shows both side by side" if good else f"`ds show '{run}'` has the rest"
    likely = next((item for item in changes if item.likely), None)
    if likely is not None and likely.weight >= 80:
        return _undo(likely, run, good)
    python = facts.environment.get("python")
    executable = str(python.get("executable")) if isinstance(python, dict) and python.get("executable") else "python"
    if failure.action is not None:
        action = (
            failure.action if good else re.sub(r"; ?`ds diff [^`]*`[^;]*|^`ds diff [^`]*`[^;]*; ?", "", failure.action)
        )
        return action.replace("{run}", f"'{run}'").replace("{good}", f"'{good}'").replace("{python}", executable)
    if record.state == "timeout":
        return f"give it more time: `ds run --time .. {shlex.join(record.command)}`"
    if record.state in ("stopped", "preempted"):
        return f"run it again: `ds run {shlex.join(record.command)}`"
    if record.state == "lost":
        return "look whether the machine went down (`last -x`, `dmesg`); what was logged is kept"
    if record.state == "killed":
        return "`dmesg -T | grep -i kill` says whether the kernel did it; else a person or the cluster"
    if failure.place is not None:
        return f"look at {failure.place.path}:{failure.place.line}; `ds logs '{run}'` has the whole output"
    return f"read the output: `ds logs '{run}'`"


def _undo(change: RunChange, run: str, good: str) -> str:
    """How to see or take back the likeliest change."""
    if change.kind == "code":
        return f"`ds diff '{good}' '{run}' --code` shows what changed in {change.what}"
    if change.kind == "config":
        return (
            f"try `{change.what}` as it was: {change.before}"
            if change.before is not None
            else (f"try it without `{change.what}`, which {good} did not have")
        )
    if change.kind == "packages":
        back = f"{change.what}=={str(change.before).split(' ')[0]}" if change.before is not None else None
        return f"install `{back}` again" if back else f"try it without `{change.what}`, which {good} did not have"
    if change.kind == "data":
        return f"check `{change.what}`: it was another file in {good}"
    if change.kind == "command":
        return f"compare with the command of {good}: `{change.before}`"
    return f"`ds diff '{good}' '{run}' --env` shows it: {change.what}"


def _cause_to_json(failure: Failure) -> dict[str, Any]:
    def frame(item: Frame | None) -> dict[str, Any] | None:
        if item is None:
            return None
        return {"file": item.path, "line": item.line, "function": item.function, "code": item.code}

    return {
        "kind": failure.kind,
        "meaning": failure.meaning or None,
        "exception": failure.exception,
        "message": failure.message,
        "place": frame(failure.place),
        "deepest": frame(failure.deepest),
        "origin": None if failure.origin is None else {"exception": failure.origin[0], "message": failure.origin[1]},
        "rank": failure.rank,
        "evidence": list(failure.evidence),
    }
