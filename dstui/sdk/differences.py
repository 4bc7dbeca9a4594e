"""What differs between two runs: command, params, code, data, packages, environment, metrics. Pure."""

from __future__ import annotations

import re
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
    """All that differs between two runs, the most telling first in each part.

    Attributes:
        command: the two commands when they differ, else None.
        packages: name to version; of a package from git with its commit.
        data: path to what is known of it: `{"sha256", "size", "reason"}`.
        patch: the unified diff of the code, raw bytes as git writes it.
        same_code: whether both ran the very same tree.
        unknown: parts that cannot be compared, each with the reason.
    """

    command: Difference | None
    config: list[Difference]
    metrics: list[Difference]
    packages: list[Difference]
    environment: list[Difference]
    data: list[Difference]
    files: list[FileChange]
    patch: bytes
    same_code: bool
    unknown: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The difference as `ds diff --json` prints it."""
        return {
            "command": None
            if self.command is None
            else {"before": list(self.command.before), "after": list(self.command.after)},
            "config": _pairs(self.config),
            "metrics": _pairs(self.metrics),
            "packages": _pairs(self.packages),
            "environment": _pairs(self.environment),
            "data": _pairs(self.data),
            "code": {
                "same": self.same_code,
                "files": [
                    {"path": item.path, "kind": item.kind, "added": item.added_lines, "removed": item.removed_lines}
                    for item in self.files
                ],
                "patch": self.patch.decode("utf-8", "replace"),
            },
            "unknown": dict(self.unknown),
        }


def packages_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Packages of two `env.json` whose versions differ: those that results hang on first, then the larger steps."""
    one, two = (_packages(environment) for environment in (before, after))
    if one is None or two is None:
        return []
    return sorted(between(one, two), key=_package_order)


def environment_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What else differs between two `env.json`: Python, PyTorch's build, driver, GPUs, processor, then the rest."""
    found = between(_environment_facts(before), _environment_facts(after))
    ranks = {key: rank for rank, key in enumerate(TELLING_FACTS)}
    return sorted(found, key=lambda item: (ranks.get(item.key, ranks.get(item.key.partition(".")[0], 99)), item.key))


def data_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[Difference], str | None]:
    """(inputs of two `data.json` that differ, why some cannot be compared); other content comes before absence."""
    one, two = (_data_facts(data) for data in (before, after))
    changed, unknown = [], []
    for path in sorted(one.keys() | two.keys()):
        first, second = one.get(path), two.get(path)
        if first is not None and second is not None and _alike(first, second) is not False:
            if _alike(first, second) is None:
                unknown.append(path)
            continue
        changed.append(Difference(path, first, second))
    changed.sort(key=lambda item: (item.before is None or item.after is None, item.key))
    if not unknown:
        return changed, None
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return changed, f"`{unknown[0]}`{more} has no hash in one of the runs"


TELLING_PACKAGES = tuple(
    "torch jax jaxlib tensorflow keras flax numpy transformers accelerate deepspeed lightning pytorch-lightning peft"
    " datasets tokenizers torchvision torchaudio xformers flash-attn triton timm scikit-learn scipy pandas xgboost"
    " lightgbm catboost".split()
)
"""Packages that results hang on, most first."""

TELLING_FACTS = (
    *("python.version", "torch", "driver", "gpus", "cpu", "python", "conda", "editable", "lock_files"),
    *("host.libc", "host", "variables"),
)
"""Facts of an environment, and groups of them by the first word, most telling first."""

_FACTS_APART = ("packages", "sources", "editable", "lock_files", "conda", "gpus", "schema", "problems", "cut")


def _packages(environment: Mapping[str, Any]) -> dict[str, str] | None:
    packages, sources = environment.get("packages"), environment.get("sources")
    if not isinstance(packages, dict):
        return None
    commits = {
        name: str(source["commit"])[:7]
        for name, source in (sources.items() if isinstance(sources, dict) else ())
        if isinstance(source, dict) and source.get("commit")
    }
    return {
        name: f"{version} ({commits[name]})" if name in commits else str(version) for name, version in packages.items()
    }


def _package_order(item: Difference) -> tuple[int, int, str]:
    name = item.key
    rank = TELLING_PACKAGES.index(name) if name in TELLING_PACKAGES else len(TELLING_PACKAGES)
    if name.startswith("nvidia-") and rank == len(TELLING_PACKAGES):
        rank -= 1
    return rank, _step_of(item.before, item.after), name


def _step_of(before: Any, after: Any) -> int:
    """How far two versions are apart: 0 in the first number, 1 in the second, ..; 9 when one is absent."""
    if before is None or after is None:
        return 9
    one, two = (re.split(r"[.+ -]", str(version)) for version in (before, after))
    return next((place for place, pair in enumerate(zip(one, two, strict=False)) if pair[0] != pair[1]), 8)


def _environment_facts(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of an `env.json` as dotted keys, without the packages."""
    facts = flat({key: value for key, value in environment.items() if key not in _FACTS_APART})
    facts = {key: value for key, value in facts.items() if value is not None}
    for item in _objects(environment.get("editable")):
        commit = str(item.get("commit") or "without a commit")[:16]
        if not item.get("in_project"):
            facts[f"editable.{item.get('name')}"] = f"{commit} edited" if item.get("dirty") else commit
    for item in _objects(environment.get("lock_files")):
        facts[f"lock_files.{item.get('path')}"] = str(item.get("sha256"))[:12]
    conda = environment.get("conda")
    if isinstance(conda, dict):
        facts["conda.name"] = conda.get("name")
    gpus = environment.get("gpus")
    if isinstance(gpus, list) and gpus:
        facts["gpus"] = ", ".join(str(item.get("name")) if isinstance(item, dict) else str(item) for item in gpus)
    return facts


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _data_facts(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        str(item.get("path")): {key: item.get(key) for key in ("sha256", "size", "reason")}
        for item in _objects(data.get("inputs"))
    }


def _alike(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool | None:
    """Whether two inputs hold the same; None when that is not known."""
    if one["sha256"] and two["sha256"]:
        return bool(one["sha256"] == two["sha256"])
    if isinstance(one["size"], int) and isinstance(two["size"], int) and one["size"] != two["size"]:
        return False
    return None


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


def changed_lines(patch: bytes) -> dict[str, list[range]]:
    """The lines of the new side that a unified diff adds or touches, by path; a removal touches the line before it."""
    found: dict[str, list[range]] = {}
    for part in patch.split(b"\ndiff --git "):
        block = part.removeprefix(b"diff --git ")
        if block.strip():
            found.setdefault(_file_change(block).path, []).extend(_touched(block))
    return found


def _touched(block: bytes) -> list[range]:
    ranges: list[range] = []
    line = 0
    for text in block.split(b"\n"):
        hunk = _HUNK.match(text)
        if hunk is not None:
            line = int(hunk[1])
        elif line and text.startswith(b"+"):
            ranges.append(range(line, line + 1))
            line += 1
        elif line and text.startswith(b"-"):
            ranges.append(range(max(1, line - 1), line + 1))
        elif line and text.startswith(b" "):
            line += 1
    return ranges


_HUNK = re.compile(rb"@@ -\d+(?:,\d+)? \+(\d{1,9})(?:,\d+)? @@")


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
