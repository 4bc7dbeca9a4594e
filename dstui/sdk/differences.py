"""What differs between two runs: params, metrics, environment, files. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that two runs have differently; None = that run does not have it."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file of two code trees.

    Attributes:
        kind: `added`, `removed` or `changed`.
        added_lines: lines gained, None for a binary file.
        removed_lines: lines lost, None for a binary file.
    """

    path: str
    kind: str
    added_lines: int | None
    removed_lines: int | None


@dataclass(frozen=True)
class RunDifference:
    """All that differs between two runs, in the order of interest.

    Attributes:
        patch: the unified diff of the code, raw bytes as git writes it.
        same_code: whether both ran the very same tree.
    """

    config: list[Difference]
    metrics: list[Difference]
    environment: list[Difference]
    files: list[FileChange]
    patch: bytes
    same_code: bool

    def to_json(self) -> dict[str, Any]:
        """The difference as `ds diff --json` prints it."""
        return {
            "config": _pairs(self.config),
            "metrics": _pairs(self.metrics),
            "environment": _pairs(self.environment),
            "code": {
                "same": self.same_code,
                "files": [
                    {"path": item.path, "kind": item.kind, "added": item.added_lines, "removed": item.removed_lines}
                    for item in self.files
                ],
                "patch": self.patch.decode("utf-8", "replace"),
            },
        }


def between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Keys whose values differ, sorted; a key that only one side has counts."""
    keys = sorted(before.keys() | after.keys())
    return [
        Difference(key, before.get(key), after.get(key))
        for key in keys
        if not _same(before.get(key), after.get(key)) or (key in before) != (key in after)
    ]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested objects as dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def file_changes(patch: bytes) -> list[FileChange]:
    """The files of a unified diff as git writes it, with their line counts."""
    changes: list[FileChange] = []
    for part in patch.split(b"\ndiff --git ")[:]:
        block = part.removeprefix(b"diff --git ")
        if not block.strip():
            continue
        changes.append(_file_change(block))
    return sorted(changes, key=lambda change: change.path)


def _file_change(block: bytes) -> FileChange:
    lines = block.split(b"\n")
    header = next((place for place, line in enumerate(lines) if line.startswith(b"@@")), len(lines))
    kind, path = "changed", _path_of(lines[0])
    for line in lines[1:header]:
        if line.startswith(b"new file mode"):
            kind = "added"
        elif line.startswith(b"deleted file mode"):
            kind = "removed"
        elif line.startswith(b"+++ b/") or line.startswith(b"--- a/"):
            path = _unquoted(line[6:])
    if any(line.startswith(b"Binary files") for line in lines[1:header]):
        return FileChange(path, kind, None, None)
    added = sum(line.startswith(b"+") for line in lines[header:])
    removed = sum(line.startswith(b"-") for line in lines[header:])
    return FileChange(path, kind, added, removed)


def _path_of(line: bytes) -> str:
    """The path of `a/x b/x`; both halves are the same but for a rename."""
    return _unquoted(line[2 : 2 + (len(line) - 5) // 2 + 1]) if b" b/" in line else _unquoted(line)


def _unquoted(path: bytes) -> str:
    return path.rstrip(b"\t").decode("utf-8", "replace")


def _pairs(differences: list[Difference]) -> list[dict[str, Any]]:
    return [{"key": item.key, "before": item.before, "after": item.after} for item in differences]


def _same(first: Any, second: Any) -> bool:
    # NaN equals NaN here: nothing changed.
    return bool(first == second) or (first != first and second != second)
