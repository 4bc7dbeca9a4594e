"""Samplers by name: ours, Optuna's where it is installed, and those that other packages bring.

Another package adds one through the entry-point group `dstui.samplers`: the name is what users write, the object is a
class without arguments that keeps the promises of `Sampler`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from dstui.errors import UsageError
from dstui.search.samplers.base import Sampler

GROUP = "dstui.samplers"

_OURS = {
    "bayes": "dstui.search.samplers.bayes:BayesSampler",
    "random": "dstui.search.samplers.random:RandomSampler",
    "sobol": "dstui.search.samplers.sobol:SobolSampler",
    "grid": "dstui.search.samplers.grid:GridSampler",
    "genetic": "dstui.search.samplers.genetic:GeneticSampler",
    "bohb": "dstui.search.samplers.bohb:BohbSampler",
    "tpe": "dstui.search.samplers.optuna:TpeSampler",
    "gp": "dstui.search.samplers.optuna:GpSampler",
}
"""Name and place of each; loaded when it is asked for."""


def sampler_named(name: str) -> Sampler:
    """The sampler of that name, ready to use.

    Raises:
        UsageError: there is none, it cannot be loaded, or what it needs is not installed.
    """
    if name in _OURS:
        module, _, attribute = _OURS[name].partition(":")
        made: Sampler = getattr(import_module(module), attribute)()
        return made
    for entry in _plugins():
        if entry.name == name:
            return _loaded(entry)
    raise UsageError(f"There is no sampler `{name}`", hint=f"known are auto, {', '.join(sampler_names())}")


def sampler_names() -> list[str]:
    """All names that can be asked for, ours first."""
    return [*_OURS, *sorted({entry.name for entry in _plugins()} - set(_OURS))]


def _plugins() -> list[EntryPoint]:
    return list(entry_points(group=GROUP))


def _loaded(entry: EntryPoint) -> Sampler:
    try:
        made = entry.load()()
    except Exception as error:  # a plugin may raise anything, and the person who named it must see what
        raise UsageError(
            f"Sampler `{entry.name}` of `{entry.value}` cannot be loaded: {type(error).__name__}: {error}",
            hint="update or remove the package that brings it",
        ) from error
    if not isinstance(made, Sampler):
        raise UsageError(
            f"Sampler `{entry.name}` of `{entry.value}` has no `name` and `suggest`",
            hint="see dstui/search/samplers/base.py for what a sampler promises",
        )
    return made
