"""Write what was seen: points into a journal for each logger, settings beside them, facts into `hello.jsonl`."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from typing import Any

from ..journal import JournalWriter, json_value
from ..values import MASKED, Refusal, flatten, is_secret, number, rank_of_process
from . import session

SETTING_LIMIT = 4_096
"""Settings taken from one call."""

_lock = threading.RLock()
_writers: dict[str, JournalWriter] = {}
_known: dict[str, dict[str, Any]] = {}


def points(
    logger: str, values: Mapping[str, Any], step: int | None = None, time: float | None = None
) -> dict[str, int]:
    """Record the numbers among these values; returns how many there were of each other kind."""
    numbers: dict[str, float] = {}
    others: dict[str, int] = {}
    for name, value in list(values.items()):
        try:
            numbers[str(name)] = number(value)
        except Refusal:
            kind = type(value).__name__
            others[kind] = others.get(kind, 0) + 1
    if numbers:
        _writer(logger).log(numbers, step, time)
    return others


def point(logger: str, name: str, value: Any, step: int | None = None) -> None:
    """Record one value, if it is a number: the form that is called in every step of a training."""
    try:
        _writer(logger).log({name: number(value)}, step)
    except Refusal:
        pass


def whole(step: Any) -> int | None:
    """A step as an integer, None when it is no whole number."""
    if step is None or type(step) is int:
        return step
    try:
        number = float(step)
        return int(number) if number == int(number) else None
    except (TypeError, ValueError, OverflowError):
        return None


def settings(source: str, values: Mapping[Any, Any], given: list[str] | None = None) -> None:
    """Record settings that are new or changed, flat and without secrets.

    Args:
        source: `argparse`, `hydra`, `wandb`, ..
        values: nested or flat; functions and classes among them are no settings.
        given: dotted keys that were typed; the others are defaults.
    """
    here = session.current
    if here is None or not here.has_params():
        return
    flat: dict[str, Any] = {}
    flatten({key: value for key, value in values.items() if not _is_code(value)}, "", flat, 16)
    known = _known.setdefault(source, {})
    changed: dict[str, Any] = {}
    for key, value in list(flat.items())[:SETTING_LIMIT]:
        value = MASKED if is_secret(key, value) else value
        if key not in known or known[key] != value:
            changed[key] = known[key] = value
    if changed:
        keys = None if given is None else [key for key in given if key in changed]
        _writer("settings").config(changed, None, source, keys)


def about(name: str | None = None, experiment: str | None = None, tags: Any = None) -> None:
    """Record what a script calls its run."""
    here = session.current
    if here is None or not here.has_params():
        return
    said: dict[str, Any] = {}
    if name:
        said["name"] = str(name)[:200]
    if experiment:
        said["experiment"] = str(experiment)[:200]
    if tags:
        said["tags"] = [str(tag)[:100] for tag in ([tags] if isinstance(tags, str) else list(tags)[:50])]
    if said:
        _writer("settings").config({}, said)


def start_over() -> None:
    """Forget what was written: it belongs to a run that is over."""
    with _lock:
        for writer in _writers.values():
            writer.close()
        _writers.clear()
        _known.clear()


def fact(**values: Any) -> None:
    """Append one object to `hello.jsonl`."""
    if session.current is not None:
        session.current.tell(json.dumps({"pid": os.getpid(), **json_value(values)}))


def _writer(logger: str) -> JournalWriter:
    known = _writers.get(logger)
    if known is not None:
        return known
    with _lock:
        writer = _writers.get(logger)
        if writer is None:
            assert session.current is not None
            directory = os.path.join(session.current.live, "journal")
            writer = JournalWriter(directory, rank_of_process(), f"{os.getpid()}-{logger}", f"hook:{logger}", order=1)
            _writers[logger] = writer
        return writer


def _is_code(value: Any) -> bool:
    return callable(value) and not isinstance(value, Mapping)
