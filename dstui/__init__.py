"""dstui: run, queue, compare and reproduce machine-learning experiments from the terminal.

In a training script:

```python
import dstui

dstui.log({"loss": 0.3, "accuracy": 0.9}, step=10)
```

Importing it loads the standard library only; what needs more is loaded when it is first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dstui.inside.client import (
    Run,
    checkpoint_dir,
    config,
    finish,
    init,
    log,
    log_artifact,
    log_histogram,
    log_image,
    log_table,
    log_text,
    should_stop,
)

if TYPE_CHECKING:
    from dstui.sdk import open_store
    from dstui.search.optimizer import BayesianOptimizer

__version__ = "0.1.0"

__all__ = [
    "BayesianOptimizer",
    "Run",
    "__version__",
    "checkpoint_dir",
    "config",
    "finish",
    "init",
    "log",
    "log_artifact",
    "log_histogram",
    "log_image",
    "log_table",
    "log_text",
    "open_store",
    "should_stop",
]

_LATE = {"BayesianOptimizer": "dstui.search", "open_store": "dstui.sdk"}
"""Names that load heavy libraries, with the module that has them."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module `dstui` has no attribute `{name}`")
    from importlib import import_module

    return getattr(import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
