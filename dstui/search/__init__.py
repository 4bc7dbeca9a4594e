"""Search: params that are worth trying, trials that are not worth finishing, and why; a library of plain values.

What is here knows no clock, git or GPU. Names are loaded when they are first used: reading a space costs no numpy.

```python
from dstui.search import BayesianOptimizer

best = BayesianOptimizer(domain_bounds={"lr": (1e-5, 1e-2), "layers": (1, 8)}).minimize(objective, max_evals=50)
```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dstui.search.earlier import Earlier as Earlier
    from dstui.search.earlier import recommend as recommend
    from dstui.search.history import History as History
    from dstui.search.history import Trial as Trial
    from dstui.search.history import TrialKey as TrialKey
    from dstui.search.limits import Limits as Limits
    from dstui.search.limits import Usage as Usage
    from dstui.search.optimizer import BayesianOptimizer as BayesianOptimizer
    from dstui.search.optimizer import Best as Best
    from dstui.search.optimizer import SearchFailed as SearchFailed
    from dstui.search.proposer import Proposer as Proposer
    from dstui.search.shares import Importance as Importance
    from dstui.search.shares import importance as importance
    from dstui.search.slices import slice_along as slice_along
    from dstui.search.space import Space as Space
    from dstui.search.space_table import space_of as space_of
    from dstui.search.space_text import parse_space as parse_space
    from dstui.search.sweep import Suggestion as Suggestion
    from dstui.search.sweep import Sweep as Sweep
    from dstui.search.sweep_reading import read_sweep_file as read_sweep_file

_HOME_OF = {
    "BayesianOptimizer": "optimizer",
    "Best": "optimizer",
    "Earlier": "earlier",
    "History": "history",
    "Importance": "shares",
    "Limits": "limits",
    "Proposer": "proposer",
    "SearchFailed": "optimizer",
    "Space": "space",
    "Suggestion": "sweep",
    "Sweep": "sweep",
    "Trial": "history",
    "TrialKey": "history",
    "Usage": "limits",
    "importance": "shares",
    "parse_space": "space_text",
    "read_sweep_file": "sweep_reading",
    "recommend": "earlier",
    "slice_along": "slices",
    "space_of": "space_table",
}
"""Where each name lives."""

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module `dstui.search` has no attribute `{name}`")
    return getattr(importlib.import_module(f"dstui.search.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
