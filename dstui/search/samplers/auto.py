"""`sampler = "auto"`: which sampler fits a sweep, and the rule that decided, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dstui.search.history import COMPLETE, History
from dstui.search.parameters import Choice
from dstui.search.samplers.optuna import optuna_is_installed

if TYPE_CHECKING:
    from dstui.search.space import Space
    from dstui.search.sweep import Sweep

MANY_COLUMNS = 30
MANY_RESULTS = 300
VERY_MANY_RESULTS = 500


def choose_sampler(sweep: Sweep, history: History | None = None) -> tuple[str, str]:
    """A sampler's name, and one sentence on why it is this one.

    Args:
        sweep: what is to be searched, with how many trials.
        history: the results so far, for a sweep that goes on.
    """
    size = sweep.space.size(sweep.trials)
    if size is not None:
        return "grid", f"the space has {size} points and the sweep {sweep.trials} trials, so all are tried"
    if sweep.trials < sweep.design_size + 3:
        return "sobol", f"{sweep.trials} trials are too few for a model, which begins after {sweep.design_size}"
    results = len(history.having(COMPLETE)) if history else 0
    columns = model_columns(sweep.space)
    causes = [
        (sweep.space.conditional, "some parameters count only now and then"),
        (columns > MANY_COLUMNS, f"the space has {columns} columns, more than {MANY_COLUMNS}"),
        (results > MANY_RESULTS, f"there are {results} results, more than {MANY_RESULTS}"),
    ]
    cause = next((text for applies, text in causes if applies), None)
    if cause is None:
        return "bayes", "a Gaussian process makes most of few trials"
    if optuna_is_installed():
        return "tpe", cause
    if results > VERY_MANY_RESULTS:
        return "genetic", f"there are {results} results, more than {VERY_MANY_RESULTS}"
    return "bayes", f"{cause}; `tpe` might do better: pip install dstui[optuna]"


def model_columns(space: Space) -> int:
    """How many columns a model of this space sees."""
    return sum(
        parameter.count if isinstance(parameter, Choice) and not parameter.ordered else 1
        for parameter in space.searched
    )
