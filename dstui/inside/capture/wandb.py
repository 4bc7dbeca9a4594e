"""wandb: a script that logs there is recorded here, without account, network or file of wandb's, or beside them.

`replace` (the default) puts wandb into its own disabled mode before it is imported, unless the user has chosen a mode
by `WANDB_MODE`; a `mode=` of the script is dropped, `login` does nothing. `both` lets it work as ever. Either way the
class of the run that `init` returned is listened to: it is another one in each mode.
"""

from __future__ import annotations

import atexit
import functools
import os
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import recorder
from .loggers import flat_numbers
from .session import CAPTURE
from .wrap import after, failed

if TYPE_CHECKING:
    from .session import Session

_replaces = False
_listened: set[type] = set()
_runs: list[int] = []
_first: dict[str, int] = {}
_first_settings: dict[str, tuple[int, Any]] = {}
_counters: dict[int, int] = {}
_logged: dict[int, set[str]] = {}
_configs: dict[int, int] = {}
_summaries: dict[int, dict[Any, Any]] = {}
_written: dict[int, dict[Any, Any]] = {}
_step_metrics: dict[int, dict[str, str]] = {}
_steps: dict[int, dict[str, int]] = {}
_uncounted: dict[str, int] = {}


def before(session: Session) -> None:
    """Choose the mode before wandb reads it."""
    global _replaces
    said = session.switches.get("wandb")
    if said == "replaced" or (said == "replace" and not os.environ.get("WANDB_MODE")):
        _replaces = True
        os.environ["WANDB_MODE"] = "disabled"
        # Processes below this one must not take that for the user's choice.
        switches = os.environ.get(CAPTURE, "").replace("wandb=replace,", "wandb=replaced,")
        os.environ[CAPTURE] = switches + "d" if switches.endswith("wandb=replace") else switches


def wandb(module: ModuleType) -> None:
    """`wandb.init`, and in `replace` `wandb.login`."""
    original = module.init

    @functools.wraps(original)
    def init(*args: Any, **kwargs: Any) -> Any:
        if _replaces:
            kwargs.pop("mode", None)
        run = original(*args, **kwargs)
        try:
            _entered(module, run)
        except Exception as error:
            failed("wandb.init", error)
        return run

    module.init = init  # type: ignore[attr-defined]
    if _replaces:
        module.login = lambda *_, **__: True  # type: ignore[attr-defined]


def _entered(module: Any, run: Any) -> None:
    if run is None or id(run) in _runs:
        return
    if not _runs:
        recorder.fact(logger="wandb", wandb="replaced" if _replaces else "listened")
    number = id(run)
    _runs.append(number)
    # It holds the run, so that no later one gets its number.
    atexit.register(_at_exit, run)
    _configs[id(run.config)] = number
    summary = run.summary
    # In wandb's disabled mode it is a dict; else each look at it asks another process, and complains after the end.
    _summaries[number] = _written[id(summary)] = summary if isinstance(summary, dict) else {}
    kind = type(run)
    if kind not in _listened:
        _listened.add(kind)
        after(kind, "log", _log)
        after(kind, "define_metric", _defined)
        after(kind, "finish", _finished)
        # The end of a `with`.
        after(kind, "_finish", _finished)
        settings = type(run.config)
        for name in ("update", "__setitem__", "__setattr__", "setdefaults", "update_locked"):
            after(settings, name, _settings)
        for part in type(summary).__mro__[:-1]:
            if part is not dict:
                after(part, "update", _summarised)
    current: Any = getattr(module, "run", None)
    if current is run:
        # They were bound to the methods before those were listened to.
        module.log = run.log
        module.define_metric = run.define_metric
    if len(_runs) == 1:
        called: Any = getattr(run, "name", None)
        recorder.about(
            called if called and not str(called).startswith("dummy") else None,
            getattr(run, "group", None) or None,
            getattr(run, "tags", None) or None,
        )
    _settings(None, run.config)


def _settings(_: Any, config: Any, *__: Any, **___: Any) -> None:
    number = _configs.get(id(config))
    if number is None:
        return
    values = config.as_dict() if hasattr(config, "as_dict") else dict(config)
    found: dict[str, Any] = {}
    for key, value in flat_numbers(values).items():
        if not key.startswith("_"):
            owner, first = _first_settings.get(key, (number, None))
            if owner == number:
                _first_settings[key] = number, value
            found[key if owner == number or first == value else f"{_place(number)}/{key}"] = value
    recorder.settings("wandb", found)


def _summarised(_: Any, summary: Any, values: Any = (), *__: Any, **___: Any) -> None:
    kept = _written.get(id(summary))
    if kept is not None and kept is not summary:
        kept.update(values)


def _log(_: Any, run: Any, data: Any, step: Any = None, commit: Any = None, *__: Any, **___: Any) -> None:
    if not isinstance(data, Mapping):
        return
    number = id(run)
    if step is None:
        place = _counters.get(number, 0)
        _counters[number] = place + (commit is not False)
    else:
        whole = recorder.whole(step)
        place = _counters.get(number, 0) if whole is None else whole
        _counters[number] = max(_counters.get(number, 0), place + (commit is True))
    values = flat_numbers(data)
    _logged.setdefault(number, set()).update(values)
    for metric in set(_step_metrics.get(number, {}).values()).intersection(values):
        whole = recorder.whole(values[metric])
        if whole is None:
            _steps[number].pop(metric, None)
        else:
            _steps[number][metric] = whole
    _points(number, values, place)


def _defined(_: Any, run: Any, name: Any, step_metric: Any = None, *__: Any, **___: Any) -> None:
    """The script says that some metrics go by another one, as the Hugging Face Trainer does by `train/global_step`."""
    metric = getattr(step_metric, "name", step_metric)
    if metric:
        _step_metrics.setdefault(id(run), {})[str(name)] = str(metric)
        _steps.setdefault(id(run), {})


def _points(number: int, values: Mapping[str, Any], place: int | None) -> None:
    """Record values of one run at this place, or at that of the metric that each goes by."""
    by_step: dict[int | None, dict[str, Any]] = {}
    for name, value in values.items():
        by_step.setdefault(_step_of(number, name, place), {})[_name(number, name)] = value
    for step, part in by_step.items():
        for kind, count in recorder.points("wandb", part, step).items():
            _uncounted[kind] = _uncounted.get(kind, 0) + count


def _step_of(number: int, name: str, place: int | None) -> int | None:
    """The last whole value of the metric that this one goes by; the place where there is none."""
    by = _step_metrics.get(number)
    if by is None:
        return place
    metric = by.get(name)
    if metric is None:
        patterns = [pattern for pattern in by if pattern.endswith("*") and name.startswith(pattern[:-1])]
        metric = by[max(patterns, key=len)] if patterns else ""
    return _steps[number].get(metric, place)


def _name(number: int, name: str) -> str:
    """The metric; under `run2/`, `run3/` where an earlier run of this process has it already."""
    first = _first.setdefault(name, number)
    return name if first == number else f"{_place(number)}/{name}"


def _place(number: int) -> str:
    """Which run of this process it is: `run2`."""
    return f"run{_runs.index(number) + 1 if number in _runs else 0}"


def _at_exit(run: Any) -> None:
    try:
        _finished(None, run)
    except Exception as error:
        failed("wandb at exit", error)


def _finished(_: Any, run: Any, *__: Any, **___: Any) -> None:
    """What only the summary has is one point each; kinds that are not kept are counted."""
    number = id(run)
    summary = flat_numbers(_summaries.get(number, {}))
    logged = _logged.setdefault(number, set())
    rest = {name: value for name, value in summary.items() if name not in logged and not name.startswith("_")}
    logged.update(rest)
    _points(number, rest, _counters.get(number))
    if _uncounted:
        recorder.fact(uncounted=dict(_uncounted))
        _uncounted.clear()
