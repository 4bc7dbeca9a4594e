"""Stoppers by rule: ours, and those of other packages through the entry-point group `dstui.stoppers`.

None is used unless one is asked for: where learning curves cross, stopping early loses the best trials.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from dstui.errors import UsageError
from dstui.search.stoppers.base import Action, Decision, Stopper

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GROUP", "Action", "Decision", "Stopper", "stopper_names", "stopper_of"]

GROUP = "dstui.stoppers"

_OURS = ("patience", "median", "asha", "hyperband", "bohb")


def stopper_names() -> list[str]:
    """All rules that can be asked for, ours first."""
    return [*_OURS, *sorted({entry.name for entry in entry_points(group=GROUP)} - set(_OURS))]


def stopper_of(settings: Mapping[str, Any], *, pausing: bool = False) -> Stopper:
    """The stopper that settings such as `{"rule": "asha", "min": 1, "max": 81, "eta": 3}` ask for.

    Args:
        settings: `rule` and what the rule can be told; `resource` is for the caller.
        pausing: whether trials can be paused, where the rule does that.

    Raises:
        UsageError: there is no such rule, or it cannot be told that.
    """
    rule = settings.get("rule")
    told = {key: value for key, value in settings.items() if key not in ("rule", "resource")}
    if rule == "patience":
        from dstui.search.stoppers.patience import PatienceStopper

        patience, delta = _number(told, "patience", 5), _number(told, "min_delta", 0)
        _nothing_more(rule, told)
        if patience < 1 or patience != int(patience) or delta < 0:
            raise UsageError(
                f"Patience {patience} with `min_delta` {delta} makes no sense",
                hint="give a whole number of values, 1 or more, and a difference of 0 or more",
            )
        return PatienceStopper(int(patience), float(delta))
    if rule == "median":
        from dstui.search.stoppers.median import MedianStopper

        grace, longest = told.pop("grace", None), told.pop("max", None)
        _nothing_more(rule, told)
        return MedianStopper(grace, longest)
    if rule == "asha":
        from dstui.search.stoppers.asha import AshaStopper

        least, most, eta = _number(told, "min", 1), told.pop("max", None), _number(told, "eta", 3)
        _nothing_more(rule, told)
        return AshaStopper(least, most, eta, pausing)
    if rule in ("hyperband", "bohb"):
        from dstui.search.stoppers.hyperband import HyperbandStopper

        if "max" not in told:
            raise UsageError(
                f"Stopper `{rule}` needs `max`",
                hint=f'write stop = {{rule = "{rule}", max = 81}}, the last step of a trial',
            )
        most, least, eta = _number(told, "max", 0), _number(told, "min", 1), _number(told, "eta", 3)
        _nothing_more(rule, told)
        return HyperbandStopper(most, least, eta, pausing, name=rule)
    return _plugin(str(rule), told)


def _plugin(rule: str, told: Mapping[str, Any]) -> Stopper:
    for entry in entry_points(group=GROUP):
        if entry.name != rule:
            continue
        try:
            made = entry.load()(**told)
        except Exception as error:  # a plugin may raise anything, and the person who named it must see what
            raise UsageError(
                f"Stopper `{rule}` of `{entry.value}` cannot be used: {type(error).__name__}: {error}",
                hint="see what the package that brings it says about its settings",
            ) from error
        if not isinstance(made, Stopper):
            raise UsageError(
                f"Stopper `{rule}` of `{entry.value}` lacks what a stopper promises",
                hint="see dstui/search/stoppers/base.py",
            )
        return made
    raise UsageError(f"There is no stopper `{rule}`", hint=f"known are {', '.join(stopper_names())}")


def _number(told: dict[str, Any], key: str, default: float) -> float:
    value = told.pop(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"`{key}` of the stopper is `{value}`", hint="give a number")
    return value


def _nothing_more(rule: str, told: Mapping[str, Any]) -> None:
    for key in told:
        raise UsageError(f"Stopper `{rule}` cannot be told `{key}`", hint="see docs/sweeps.md for what each rule takes")
