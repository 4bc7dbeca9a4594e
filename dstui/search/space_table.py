"""Spaces from tables: the `[space]` of a `sweep.toml`, a stored record, and what Python callers write.

| kind | in a file | in Python, also |
|---|---|---|
| real | `{low = 0.0, high = 0.5}` | `(0.0, 0.5)` |
| whole numbers | `{low = 16, high = 256, step = 16}` | `(16, 256)` |
| log | `{low = 1e-5, high = 1e-1, scale = "log"}` | `("log", 1e-5, 1e-1)` |
| choices | `[16, 32, 64]`, `{values = [..], ordered = false}` | the same |
| fixed | `"adam"`, `{value = "adam"}` | the same |
| conditional | `{.., when = {optimizer = ["sgd"]}}` | `{.., "when": {"optimizer": "sgd"}}` |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dstui.errors import UsageError
from dstui.search.parameters import (
    Choice,
    Conditions,
    Fixed,
    Parameter,
    conditions_of,
    ordered_by_nature,
    show,
)
from dstui.search.space import Space
from dstui.search.space_text import range_between

_RANGE_KEYS = {"low", "high", "scale", "step", "when"}
_CHOICE_KEYS = {"values", "ordered", "when"}
_FIXED_KEYS = {"value", "when"}
_SCALES = ("log", "linear")
_FORMS = "write (low, high), (`log`, low, high), a list of choices, a table or one value"


def space_of(table: object) -> Space:
    """The space that a table of parameters means.

    Args:
        table: per name a range, a list, a table or a value; see the top of this file.

    Raises:
        UsageError: naming the parameter, what is wrong, and how to write it.
    """
    if isinstance(table, Space):
        return table
    if not isinstance(table, Mapping):
        raise UsageError(
            f"The space is a `{type(table).__name__}`, not a table of parameters", hint='write {"lr": (1e-5, 1e-1)}'
        )
    parameters = []
    for name, spec in table.items():
        if not isinstance(name, str):
            raise UsageError(f"`{name!r}` is no name for a parameter", hint="names are texts")
        parameters.append(parameter_of(name, spec))
    return Space(tuple(parameters))


def parameter_of(name: str, spec: object) -> Parameter:
    """One parameter from its range, list, table or value.

    Raises:
        UsageError: naming the parameter, what is wrong, and how to write it.
    """
    spec = _plain(spec)
    if isinstance(spec, Mapping):
        return _from_table(name, {str(key): _plain(value) for key, value in spec.items()})
    if isinstance(spec, tuple):
        return _from_tuple(name, tuple(map(_plain, spec)))
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        values = tuple(map(_plain, spec))
        return Choice(name=name, values=values, ordered=ordered_by_nature(values))
    if isinstance(spec, (bool, int, float, str)):
        return Fixed(name=name, value=spec)
    raise UsageError(f"`{name}` is a `{type(spec).__name__}`, which is no range, list or value", hint=_FORMS)


def _from_tuple(name: str, spec: tuple[Any, ...]) -> Parameter:
    scale, bounds = None, spec
    if len(spec) == 3 and isinstance(spec[0], str):
        scale, bounds = {"lin": "linear"}.get(spec[0], spec[0]), spec[1:]
        if scale not in _SCALES:
            raise UsageError(f"`{name}` has the scale `{spec[0]}`", hint="write `log` or `lin`")
    if len(bounds) != 2 or not all(map(_is_number, bounds)):
        raise UsageError(
            f"`{name}` is the tuple `{spec!r}`, which is not two bounds",
            hint="write (low, high) or (`log`, low, high); choices stand in a list: [a, b, c]",
        )
    return range_between(name, bounds[0], bounds[1], scale=scale)


def _from_table(name: str, table: dict[str, Any]) -> Parameter:
    when = _when(name, table.get("when", {}))
    if "value" in table:
        _only(name, table, _FIXED_KEYS)
        return Fixed(name=name, value=table["value"], when=when)
    if "values" in table:
        _only(name, table, _CHOICE_KEYS)
        values = table["values"]
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise UsageError(f"`values` of `{name}` is {show(values)}, not a list", hint="write values = [a, b, c]")
        values = tuple(map(_plain, values))
        ordered = table.get("ordered", ordered_by_nature(values))
        if not isinstance(ordered, bool):
            raise UsageError(f"`ordered` of `{name}` is {show(ordered)}", hint="write true or false")
        return Choice(name=name, values=values, ordered=ordered, when=when)
    _only(name, table, _RANGE_KEYS)
    for key in ("low", "high"):
        if key not in table:
            raise UsageError(f"`{name}` has no `{key}`", hint=f"write {name} = {{low = .., high = ..}}")
    for key in ("low", "high", "step"):
        if key in table and not _is_number(table[key]):
            raise UsageError(f"`{key}` of `{name}` is {show(table[key])}, which is no number", hint="write a number")
    scale = {"lin": "linear"}.get(table.get("scale", ""), table.get("scale"))
    if scale not in (None, *_SCALES):
        raise UsageError(f"`scale` of `{name}` is {show(scale)}", hint="write `log` or `linear`")
    made = range_between(name, table["low"], table["high"], scale=scale, step=table.get("step"))
    return made.under(when)


def _when(name: str, when: object) -> Conditions:
    if not isinstance(when, Mapping):
        raise UsageError(f"`when` of `{name}` is {show(when)}, not a table", hint='write when = {optimizer = ["sgd"]}')
    lists = {}
    for parent, values in when.items():
        values = _plain(values)
        listed = list(values) if isinstance(values, (list, tuple)) else [values]
        for value in listed:
            if not isinstance(value, (bool, int, float, str)):
                raise UsageError(
                    f"`when` of `{name}` compares `{parent}` with `{value!r}`", hint="write a number, a text or a list"
                )
        lists[str(parent)] = listed
    return conditions_of(lists)


def _only(name: str, table: Mapping[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise UsageError(
                f"`{name}` has the unknown key `{key}`",
                hint=f"known together here are {', '.join(f'`{word}`' for word in sorted(known))}",
            )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """A numpy scalar or array as what Python has for it."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value
