"""Every error of the store.

```
StoreError
├── NotAStoreError      the folder is not ours: foreign owner, link, other configuration
├── RunNotFoundError    no run answers to the name
├── AmbiguousRunError   more than one run answers to the name
├── DamagedError        stored bytes do not match what they claim to be
├── LimitError          a run written by others is larger than every reader admits
├── LockedError         another process holds the store too long
├── GitError            git is missing, too old, or failed
│   └── GitTimeoutError     one call took longer than it may
├── RemoteError         a remote could not be reached, did not let us in, or broke off
│   └── RemoteRefusedError  it was reached and does not take what was pushed
└── FormatError         written by a newer version
```
"""

from __future__ import annotations


class StoreError(Exception):
    """Root of the errors of the store.

    Attributes:
        message: what happened and which value, one sentence without a full stop.
        hint: what to do about it, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotAStoreError(StoreError):
    """A folder at the place of a store was not made by us for this user."""


class RunNotFoundError(StoreError):
    """No run answers to a name.

    Attributes:
        name: what was asked for.
        candidates: names that come close, best first; may be empty.
    """

    def __init__(self, name: str, *, candidates: list[str] | None = None, hint: str | None = None) -> None:
        super().__init__(f"No run is called `{name}`", hint=hint)
        self.name = name
        self.candidates = candidates or []


class AmbiguousRunError(StoreError):
    """More than one run answers to a name.

    Attributes:
        name: what was asked for.
        candidates: the shortest unique ids of the runs, newest first.
    """

    def __init__(self, name: str, candidates: list[str]) -> None:
        shown = ", ".join(candidates[:8]) + (" ..." if len(candidates) > 8 else "")
        super().__init__(f"`{name}` names {len(candidates)} runs: {shown}", hint="type more of the id")
        self.name = name
        self.candidates = candidates


class DamagedError(StoreError):
    """Stored bytes do not match what they claim to be."""


class LimitError(StoreError):
    """Something that others wrote is larger than every reader admits.

    Attributes:
        value: the size found.
        limit: the size admitted, same unit.
    """

    def __init__(self, what: str, value: int, limit: int) -> None:
        super().__init__(f"{what} is {value:,}, over the limit of {limit:,}")
        self.value = value
        self.limit = limit


class LockedError(StoreError):
    """Another process holds the store's lock for longer than we wait."""


class GitError(StoreError):
    """Git is missing, too old, or refused a call."""


class GitTimeoutError(GitError):
    """One call of git took longer than it may."""


class FormatError(StoreError):
    """A run was written by a newer version of the format."""


class RemoteError(StoreError):
    """A remote could not be reached, did not let us in, or broke off."""


class RemoteRefusedError(RemoteError):
    """A remote was reached and does not take what was pushed."""
