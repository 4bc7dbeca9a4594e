"""Every error that dstui shows to a person.

```
DstuiError
├── UsageError          the caller asked for something that cannot be
│   ├── ConfigError     a configuration file or variable is wrong
│   ├── QueryError      a query text is wrong; knows the position
│   └── RunNotFound     no run, or more than one, answers to a name
├── RefusedError        what was asked for can never be done here
├── LaunchError         a command could not be started; carries the exit code of `ds run`
├── DeviceError         a GPU, driver or machine reading failed
├── InternalError       a bug of ours
└── (store)             `dstui_store.StoreError` has a root of its own
```

A message says what happened and names the value; the hint says what to do.
"""

from __future__ import annotations


class DstuiError(Exception):
    """Root of the errors of dstui.

    Attributes:
        message: what happened and which value, one sentence without a full stop.
        hint: what to do about it, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DstuiError):
    """The caller asked for something that cannot be done as asked."""


class ConfigError(UsageError):
    """A configuration file or an environment variable holds a wrong key or value."""


class QueryError(UsageError):
    """A query text cannot be understood.

    Attributes:
        position: index into the text where the trouble starts, 0-based.
    """

    def __init__(self, message: str, *, hint: str | None = None, position: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.position = position


class RunNotFound(UsageError):
    """No run, or more than one, answers to the given name.

    Attributes:
        name: what was asked for.
        candidates: ids of runs that come close, best first; may be empty.
    """

    def __init__(self, message: str, *, name: str, candidates: list[str], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.name = name
        self.candidates = candidates


class RefusedError(DstuiError):
    """What was asked for is understood, and can never be done on this machine."""


class LaunchError(DstuiError):
    """A command was not started.

    Attributes:
        exit_code: 125 (we failed), 126 (not executable) or 127 (not found).
    """

    def __init__(self, message: str, *, hint: str | None = None, exit_code: int = 125) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class DeviceError(DstuiError):
    """A GPU, its driver or the machine could not be read."""


class InternalError(DstuiError):
    """A bug of dstui itself."""
