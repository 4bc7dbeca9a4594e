"""What the dashboard shows, read from a store by threads of its own: requests and answers are those of `data.py`.

`Reader` is loaded when it is first asked for: the dashboard draws its first frame without a store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dstui.sdk.views.reader import TICK_SECONDS as TICK_SECONDS
    from dstui.sdk.views.reader import Reader as Reader

__all__ = ["TICK_SECONDS", "Reader"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module `dstui.sdk.views` has no attribute `{name}`")
    from dstui.sdk.views import reader

    return getattr(reader, name)
