"""What a sweep file says: one search in one table, checked key by key, and given back in one canonical order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dstui.errors import UsageError
from dstui.search.limits import Limits
from dstui.search.parameters import show
from dstui.search.space_table import space_of
from dstui.search.sweep import DEFAULT_TRIALS, MAX_TRIALS
from dstui.units import parse_duration

if TYPE_CHECKING:
    from dstui.search.space import Space

KEYS = "name command maximize minimize value trials parallel gpus repeat sampler seed timeout stop limits space".split()
"""What a sweep.toml can say, in the order in which it is written back."""

_STOP_KEYS = {
    "patience": {"patience", "min_delta"},
    "median": {"grace", "max"},
    "asha": {"min", "max", "eta"},
    "hyperband": {"max", "min", "eta"},
    "bohb": {"max", "min", "eta"},
}
"""Rules of stopping, with what each can be told beside `rule` and `resource`."""


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file asks for; None where it says nothing and the launcher decides.

    Attributes:
        space: where to search.
        objective: the metric's name.
        maximize: whether larger is better.
        command: words of the command, no shell; empty when the file names none.
        value: `best` or `last` over a trial's steps.
        stop: the rule of stopping with its settings; empty for none.
        timeout_seconds: of one trial.
    """

    space: Space
    objective: str
    maximize: bool
    name: str = ""
    command: tuple[str, ...] = ()
    value: str = "best"
    trials: int = DEFAULT_TRIALS
    parallel: int | None = None
    gpus: int | None = None
    repeat: int = 1
    sampler: str = "auto"
    seed: int | None = None
    timeout_seconds: float | None = None
    stop: Mapping[str, Any] | None = None
    limits: Limits = field(default_factory=Limits)

    def table(self) -> dict[str, Any]:
        """The resolved sweep as a plain table; `sweep_of` reads it back as an equal one."""
        limits = {
            "wall": self.limits.wall_seconds,
            "gpu_hours": self.limits.gpu_hours,
            "target": self.limits.target,
            "plateau": self.limits.plateau,
        }
        everything = {
            "name": self.name or None,
            "command": list(self.command) or None,
            "maximize" if self.maximize else "minimize": self.objective,
            "value": self.value,
            "trials": self.trials,
            "parallel": self.parallel,
            "gpus": self.gpus,
            "repeat": self.repeat,
            "sampler": self.sampler,
            "seed": self.seed,
            "timeout": self.timeout_seconds,
            "stop": dict(self.stop) if self.stop else None,
            "limits": {key: value for key, value in limits.items() if value is not None} or None,
            "space": self.space.table(),
        }
        return {key: value for key, value in everything.items() if value is not None}


def sweep_of(table: Mapping[str, Any]) -> SweepFile:
    """The sweep that a table asks for.

    Raises:
        UsageError: naming the key, its value and what is allowed.
    """
    for key in table:
        if key not in KEYS:
            raise UsageError(f"`{key}` is not a key of a sweep file", hint=f"known are {', '.join(KEYS)}")
    if ("maximize" in table) == ("minimize" in table):
        raise UsageError(
            "A sweep has exactly one of `maximize` and `minimize`" + (", this has both" if "maximize" in table else ""),
            hint='write maximize = "val_acc" or minimize = "loss"',
        )
    if "space" not in table:
        raise UsageError("The sweep has no `space`", hint="add a [space] with one line per parameter")
    direction = "maximize" if "maximize" in table else "minimize"
    seed = table.get("seed")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise UsageError(f"`seed` is {show(seed)}", hint="give a whole number")
    return SweepFile(
        space=space_of(table["space"]),
        objective=_text(table, direction, ""),
        maximize=direction == "maximize",
        name=_text(table, "name", ""),
        command=_command(table.get("command")),
        value=_one_of(table, "value", ("best", "last")),
        trials=_whole(table, "trials", DEFAULT_TRIALS, MAX_TRIALS) or DEFAULT_TRIALS,
        parallel=_whole(table, "parallel", None, 10_000),
        gpus=_whole(table, "gpus", None, 1024, least=0),
        repeat=_whole(table, "repeat", 1, 1000) or 1,
        sampler=_text(table, "sampler", "auto"),
        seed=seed,
        timeout_seconds=_seconds("timeout", table["timeout"]) if "timeout" in table else None,
        stop=_stop(table.get("stop")),
        limits=_limits(table.get("limits", {})),
    )


def _stop(stop: object) -> Mapping[str, Any] | None:
    if stop is None or stop == "none":
        return None
    settings = {"rule": stop} if isinstance(stop, str) else stop
    if not isinstance(settings, Mapping) or settings.get("rule") not in _STOP_KEYS:
        rule = settings.get("rule") if isinstance(settings, Mapping) else settings
        raise UsageError(f"`stop` has the rule {show(rule)}", hint=f"known are {', '.join(_STOP_KEYS)}")
    known = {"rule", "resource", *_STOP_KEYS[settings["rule"]]}
    for key, value in settings.items():
        if key not in known:
            raise UsageError(
                f"`stop` with rule {settings['rule']} has the unknown key `{key}`", hint=f"known are {', '.join(known)}"
            )
        if key not in ("rule", "resource") and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise UsageError(f"`{key}` of `stop` is {show(value)}", hint="give a number")
    return dict(settings)


def _limits(table: object) -> Limits:
    if not isinstance(table, Mapping):
        raise UsageError(f"`limits` is {show(table)}, not a table", hint='write limits = {wall = "8h"}')
    for key in table:
        if key not in ("wall", "gpu_hours", "target", "plateau"):
            raise UsageError(f"`{key}` is no limit", hint="known are wall, gpu_hours, target, plateau")
    return Limits(
        wall_seconds=_seconds("wall", table["wall"]) if "wall" in table else None,
        gpu_hours=table.get("gpu_hours"),
        target=table.get("target"),
        plateau=table.get("plateau"),
    )


def _seconds(key: str, value: object) -> float:
    seconds = parse_duration(value) if isinstance(value, str) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise UsageError(f"`{key}` is {show(value)}", hint="write a length of time above 0, such as `30m` or `8h`")
    return float(seconds)


def _command(command: object) -> tuple[str, ...]:
    if command is None:
        return ()
    words = command.split() if isinstance(command, str) else command
    if not isinstance(words, (list, tuple)) or not words:
        raise UsageError(f"`command` is {show(command)}", hint='write a list of words: ["train.py", "--data", "cifar"]')
    return tuple(str(word) if not isinstance(word, (list, dict)) else _no_word(word) for word in words)


def _no_word(word: object) -> str:
    raise UsageError(f"`command` holds {show(word)}, which is no word", hint="write a flat list of words")


def _text(table: Mapping[str, Any], key: str, default: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or (key in table and not value.strip()):
        raise UsageError(f"`{key}` is {show(value)}", hint="give it a text")
    return value


def _one_of(table: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = table.get(key, known[0])
    if value not in known:
        raise UsageError(f"`{key}` is {show(value)}", hint=f"known are {', '.join(known)}")
    return str(value)


def _whole(table: Mapping[str, Any], key: str, default: int | None, most: int, *, least: int = 1) -> int | None:
    value = table.get(key, default)
    if value is None and key not in table:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"`{key}` is {show(value)}", hint=f"give a whole number from {least} to {most}")
    return value
