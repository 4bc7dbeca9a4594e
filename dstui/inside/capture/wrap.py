"""Put a recorder behind a function: the original is called first and alone, what fails in us is ours."""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable

from . import session


class Outermost(threading.local):
    """Tells whether a call is the outermost of its thread, where one parser is built on another."""

    depth = 0


def after(owner: Any, name: str, record: Callable[..., None], nesting: Outermost | None = None) -> None:
    """Call `record(result, *args, **kwargs)` after each `owner.name`.

    Args:
        owner: module or class; one that does not have the name is left alone.
        name: of a function or a plain method, no class or static method.
        record: may raise; then it is not called again, and the failure is written down.
        nesting: shared by functions of which only the outermost call counts.
    """
    original = vars(owner).get(name)
    if original is None or not callable(original):
        return
    working = [True]

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if nesting is None:
            result = original(*args, **kwargs)
        else:
            nesting.depth += 1
            try:
                result = original(*args, **kwargs)
            finally:
                nesting.depth -= 1
            if nesting.depth:
                return result
        if working[0]:
            try:
                record(result, *args, **kwargs)
            except Exception as error:
                working[0] = False
                failed(f"{getattr(owner, '__name__', owner)}.{name}", error)
        return result

    setattr(owner, name, wrapper)


def before(owner: Any, name: str, record: Callable[..., None]) -> None:
    """Call `record` before each `owner.name`: for functions that return when the training is over."""
    original = vars(owner)[name]
    working = [True]

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if working[0]:
            try:
                record(*args, **kwargs)
            except Exception as error:
                working[0] = False
                failed(f"{owner.__name__}.{name}", error)
        return original(*args, **kwargs)

    setattr(owner, name, wrapper)


def failed(what: str, error: BaseException) -> None:
    """Write down that a recorder failed; not even that may raise."""
    try:
        if session.current is not None:
            session.complain(session.current, what, error)
    except Exception:
        pass
