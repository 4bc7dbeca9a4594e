"""Media and artifacts of a run as the doors want them: one by its name, a table from its bytes, a copy on the disk."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstui.errors import UsageError
from dstui_store import clean, copy_kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dstui_store import MediaItem, Store

SHOWN_NAMES = 8
"""Names offered when one is not found."""

MAX_COLUMNS = 256
MAX_ROWS = 10_000
"""Of a table that is shown; more is damage, for none is written."""


def find_item(run: str, items: Sequence[MediaItem], name: str, step: int | None) -> MediaItem:
    """The last item of a name, or the last one at a step.

    Raises:
        UsageError: there is none.
    """
    named = [item for item in items if item.name == name]
    if not named:
        raise UsageError(
            f"Run `{run[:5]}` has no media called `{clean(name)}`", hint=_offer(item.name for item in items)
        )
    found = [item for item in named if step is None or item.step == step]
    if not found:
        steps = sorted({item.step for item in named if item.step is not None})
        shown = ", ".join(map(str, steps[:SHOWN_NAMES])) + (" ..." if len(steps) > SHOWN_NAMES else "")
        raise UsageError(
            f"Run `{run[:5]}` has `{clean(name)}` at other steps than {step}", hint=shown and f"it has {shown}"
        )
    return found[-1]


def table_content(content: bytes) -> tuple[list[str], list[list[Any]]] | None:
    """(columns, rows) of a table's or histogram's bytes, None when they are neither."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    columns, rows = data.get("columns"), data.get("rows")
    if isinstance(columns, list) and isinstance(rows, list) and len(columns) <= MAX_COLUMNS and len(rows) <= MAX_ROWS:
        whole = [row for row in rows if isinstance(row, list) and len(row) == len(columns)]
        plain = [[_cell(cell) for cell in row] for row in whole]
        return ([str(column) for column in columns], plain) if len(whole) == len(rows) else None
    edges, counts = data.get("edges"), data.get("counts")
    if isinstance(edges, list) and isinstance(counts, list) and len(counts) <= MAX_ROWS:
        parts = zip(edges, edges[1:], counts, strict=False)
        rows = [[_cell(low), _cell(high), _cell(count)] for low, high, count in parts]
        apart = (("NaN", "nan"), ("inf", "infinity"), ("-inf", "minus_infinity"))
        return ["from", "to", "count"], rows + [[word, None, data[key]] for word, key in apart if _count(data.get(key))]
    return None


def save_artifact(store: Store, run: str, name: str, target: Path) -> int:
    """Copies an artifact to a new file or folder; returns how many files that are.

    Raises:
        UsageError: there is none of that name, or the target is there.
    """
    files = [file for file in store.artifacts(run) if file.name == name]
    if not files:
        names = (file.name for file in store.artifacts(run))
        raise UsageError(f"Run `{run[:5]}` has no artifact called `{clean(name)}`", hint=_offer(names))
    if os.path.lexists(target):
        raise UsageError(f"`{clean(str(target))}` is there already", hint="name another place with `-o`")
    sources = [(file.path, store.artifact_file(run, file)) for file in files]
    try:
        if not any(path for path, _ in sources):
            copy_kept(sources[0][1], target)
            return 1
        # New, so no link stands in it that could lead elsewhere.
        target.mkdir(parents=True)
        for path, source in sources:
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            copy_kept(source, place)
    except OSError as error:
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target, ignore_errors=True)
        else:
            target.unlink(missing_ok=True)
        raise UsageError(f"`{clean(str(target))}` cannot be written: {error.strerror}") from error
    return len(sources)


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def _offer(names: Any) -> str:
    known = sorted(set(names))
    shown = ", ".join(f"`{clean(name)}`" for name in known[:SHOWN_NAMES])
    return f"it has {shown}" + (" ..." if len(known) > SHOWN_NAMES else "") if known else "its script has kept none"
