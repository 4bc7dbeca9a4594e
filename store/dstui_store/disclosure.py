"""What must not leave: every byte that a push would send is looked through for secrets once more.

Code was masked when it was stored and output was not, patterns get better, and a note may be typed at any time. A
finding says where and of which kind, never the value; its id names the bytes that were looked at, so that somebody who
knows better can let them pass.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dstui_store.errors import DamagedError
from dstui_store.limits import MAX_LOG_BYTES
from dstui_store.objects import FOLDER, GITLINK, object_name
from dstui_store.secrets import scan

if TYPE_CHECKING:
    from dstui_store.git import Git

MAX_BLOB_BYTES = 64 << 20
SHOWN_ID = 12
"""Characters of a finding's id."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What looks like a secret in a run that would be shared.

    Attributes:
        path: the file in the run: `log.gz`, `code/train.py`; `the log's line` for the line that listings show.
        line: its line, from 1.
        kind: the pattern that fits.
        id: names the bytes that were looked at, for `ds push --allow-secret`.
    """

    run: str
    path: str
    line: int
    kind: str
    id: str


class Disclosure:
    """Looks through runs before they leave; each object is looked at once."""

    def __init__(self, git: Git, allowed: Collection[str]) -> None:
        """Args are for all runs.

        Args:
            allowed: ids of findings that the user lets pass.
        """
        self._git = git
        self._allowed = frozenset(allowed)
        self._clean: set[str] = set()

    def has_left(self, tree: str) -> None:
        """Counts everything below a tree as known to the other side, so that it is not looked at."""
        if tree in self._clean:
            return
        self._clean.add(tree)
        for mode, _, oid in self._git.tree(tree):
            if mode == FOLDER:
                self.has_left(oid)
            else:
                self._clean.add(oid)

    def of_run(self, run: str, tree: str) -> list[Finding]:
        """What looks like a secret in a run's files that the other side does not have."""
        return self._walk(run, tree, "")

    def of_text(self, run: str, path: str, content: bytes) -> list[Finding]:
        """The same for bytes that are no file: the message of a log entry."""
        return self._scan(run, path, object_name("blob", content, self._git.algorithm), content)

    def _walk(self, run: str, tree: str, prefix: str) -> list[Finding]:
        if tree in self._clean:
            return []
        found: list[Finding] = []
        for mode, name, oid in self._git.tree(tree):
            path = f"{prefix}{name}"
            if mode == FOLDER:
                found += self._walk(run, oid, f"{path}/")
            elif mode != GITLINK and oid not in self._clean:
                content = self._git.object(oid, limit=MAX_BLOB_BYTES, kind="blob")
                inside = self._scan(run, path, oid, _inflated(content) if path == "log.gz" else content)
                found += inside
                if not inside:
                    self._clean.add(oid)
        if not found:
            self._clean.add(tree)
        return found

    def _scan(self, run: str, path: str, oid: str, content: bytes) -> list[Finding]:
        name = oid[:SHOWN_ID]
        if name in self._allowed:
            return []
        return [Finding(run, path, line, kind, name) for line, kind in scan(content).findings]


def _inflated(content: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as source:
            return source.read(MAX_LOG_BYTES + (1 << 20))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DamagedError(f"A run's log is damaged: {error}") from error
