"""The load of a run: what its processes, its GPUs and the machine did, sample by sample, as `system.parquet`.

The sampler writes a journal into `system/` of the live folder, and `devices.json` beside it. One file comes of it, in
the form of `metrics.parquet`: a row a sample, `step` the whole second of the run, a column per metric. A sample that
lacks a metric has NaN there, and readers leave it out, so a metric never has the value NaN. Over `MAX_CELLS` only every
second, third, .. sample is kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dstui_store.limits import MAX_WIDE_KEYS
from dstui_store.schema import Json, is_finite

if TYPE_CHECKING:
    from dstui_store.journal import Floats, Integers, JournalData, Series

FILE = "system.parquet"
"""Its entry in a run's tree."""

FOLDER = "system"
"""Its folder in a live run's."""

MAX_CELLS = 10_000_000
"""Rows times columns; a run of a year with eight GPUs has a third of it."""

LONGEST_GAP_SECONDS = 3600.0
"""For the mean a sample stands for the time since the one before, but for no longer than this."""

PARTS = ("mean", "max", "last")
"""What is said of a metric."""

MAX_LISTED = 16
"""GPUs of a run that stand in its line of the log."""

MAX_DEVICES = 64
MAX_INDEX = 10_000
MAX_DEVICES_BYTES = 64 << 10
MAX_NAME_CHARACTERS = 100
"""Of `devices.json`, and of the name of a device."""


def compact(live: Path, out: Path) -> tuple[bytes, dict[str, Json]] | None:
    """`system.parquet` of a live folder and what `meta.json` says of it; None when there is no sample.

    Args:
        live: the run's folder.
        out: an own, existing folder for the file.

    Raises:
        DamagedError: the file did not read back as it was written.
    """
    if not has_samples(live):
        return None
    import numpy as np

    from dstui_store import journal, metrics

    data = journal.read(live / FOLDER)
    if not len(data.value):
        return None
    step, time, names, values = _rows(data)
    stride = math.ceil(len(time) * (len(names) + 2) / MAX_CELLS)
    columns = {name: np.ascontiguousarray(values[::stride, place]) for place, name in enumerate(names)}
    path = metrics.write_wide(FILE, step[::stride], time[::stride], columns, out)
    content = path.read_bytes()
    return content, about(read(content), devices(live))


def has_samples(live: Path) -> bool:
    """Whether a live run has any; asks without reading."""
    header = 32
    return any(path.stat().st_size > header for path in (live / FOLDER).glob("*.dsj"))


def read(content: bytes, keys: list[str] | None = None) -> dict[str, Series]:
    """The samples by metric, in order of time.

    Raises:
        DamagedError: not a Parquet file of ours.
        LimitError: larger than every reader admits.
    """
    from dstui_store import metrics

    return _measured(metrics.read({FILE: content}, keys))


def read_live(live: Path, keys: list[str] | None = None) -> dict[str, Series]:
    """The same of a run that goes on."""
    from dstui_store import journal

    found = journal.read(live / FOLDER).series()
    return {name: series for name, series in found.items() if keys is None or name in keys}


def about(series: Mapping[str, Series], found: list[Json]) -> dict[str, Json]:
    """What is said of the samples in a few numbers: `summary` by metric, and `devices`."""
    return {"summary": {name: _summary(one) for name, one in series.items() if len(one.value)}, "devices": found}


def devices(live: Path) -> list[Json]:
    """The GPUs that `gpu0` and the like mean, as the sampler wrote them: `index name memory_bytes uuid_sha256`."""
    path = live / FOLDER / "devices.json"
    try:
        if path.is_symlink() or not path.is_file():
            return []
        with path.open("rb") as file:
            items = json.loads(file.read(MAX_DEVICES_BYTES))
    except (OSError, ValueError, RecursionError):
        return []
    found = [_device(item) for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return found[:MAX_DEVICES]


def checked(load: Json) -> dict[str, Json]:
    """What `meta.json` says of the samples, in the form of `about` whatever was written there; empty for no samples."""
    if not isinstance(load, dict):
        return {}
    summary, found = load.get("summary"), load.get("devices")
    known = {
        name: {part: item[part] if is_finite(item.get(part)) else None for part in PARTS}
        for name, item in (summary.items() if isinstance(summary, dict) else ())
        if isinstance(item, dict)
    }
    listed = [_device(item) for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return {"summary": dict(list(known.items())[:MAX_WIDE_KEYS]), "devices": listed[:MAX_DEVICES]}


def device_names(load: Mapping[str, Json] | None) -> tuple[str, ...]:
    """Those GPUs as a listing names them: `gpu0 NVIDIA A100`."""
    found = [item for item in (load or {}).get("devices") or () if item["index"] is not None]
    return tuple(f"gpu{item['index']} {item['name']}" for item in found)[:MAX_LISTED]


def _device(item: Mapping[str, Json]) -> dict[str, Json]:
    index, memory = item.get("index"), item.get("memory_bytes")
    return {
        "index": index if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < MAX_INDEX else None,
        "name": str(item.get("name") or "")[:MAX_NAME_CHARACTERS],
        "memory_bytes": memory if is_finite(memory) else None,
        "uuid_sha256": str(item.get("uuid_sha256") or "")[:MAX_NAME_CHARACTERS],
    }


def _rows(data: JournalData) -> tuple[Integers, Integers, list[str], Floats]:
    """(step, time in microseconds, names, values) of shapes (rows,), (rows,), (names,), (rows, names)."""
    import numpy as np

    used = np.unique(data.key)[:MAX_WIDE_KEYS]
    kept = np.isin(data.key, used)
    kept &= np.isfinite(data.value)
    row, key, value = data.row[kept], np.searchsorted(used, data.key[kept]), data.value[kept]
    _, first, place = np.unique(row, return_index=True, return_inverse=True)
    values = np.full((len(first), len(used)), np.nan)
    values[place, key] = value
    step, time = data.step[kept][first], data.time[kept][first]
    order = np.argsort(time, kind="stable")
    return step[order], time[order], [data.keys[index] for index in used.tolist()], values[order]


def _measured(found: Mapping[str, Series]) -> dict[str, Series]:
    """Without the moments in which a metric was not measured."""
    import numpy as np

    from dstui_store.journal import Series

    result: dict[str, Series] = {}
    for name, series in found.items():
        there = ~np.isnan(series.value)
        if there.any():
            result[name] = Series(name, series.step[there], series.time[there], series.value[there])
    return result


def _summary(series: Series) -> dict[str, float]:
    """Mean over the time, largest and last value."""
    import numpy as np

    gaps = np.diff(series.time)
    first = gaps[0] if len(gaps) else 1.0
    weights = np.clip(np.r_[first, gaps], 1e-3, LONGEST_GAP_SECONDS)
    # Shares first, so that the sum of large values stays finite.
    mean = float(np.sum(series.value * (weights / weights.sum())))
    return {
        "mean": mean,
        "max": float(series.value.max()),
        "last": float(series.value[-1]),
    }
