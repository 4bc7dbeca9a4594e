"""The machine as it is now: its GPUs, who uses them, and its load, once a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dstui.devices import samples
from dstui.devices.interest import Meeting
from dstui.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dstui.devices.samples import MachineNow
    from dstui_store import SafeText

PERIOD_SECONDS = 1.0
"""Between two samples."""

FIRST_SECONDS = 10.0
"""How long the first sample is waited for: a sampler that starts on a busy machine takes its time."""

LOOK_SECONDS = 0.05
"""How often it is looked whether there is a new sample."""


def watch_machine() -> Iterator[MachineNow]:
    """The machine, about once a second, for as long as it is asked for; a sampler runs meanwhile.

    Raises:
        DeviceError: no sampler could be started.
    """
    meeting = Meeting()
    # What a sampler wrote that has left meanwhile is not the present.
    seen, patience = time.time() - 1.5 * PERIOD_SECONDS, FIRST_SECONDS
    with meeting.watching():
        while True:
            deadline = time.monotonic() + patience
            now = samples.latest(meeting)
            while (now.time is None or now.time <= seen) and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
                now = samples.latest(meeting)
            yield now
            seen, patience = now.time or seen, PERIOD_SECONDS + 0.5


def machine_json(machine: MachineNow) -> dict[str, Any]:
    """The machine as `ds monitor --json` prints it."""
    from dstui_store import iso_time

    return {"time": iso_time(machine.time), **samples.to_json(machine)}


def system_lines(load: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run used, in a few words: (label, text) for its processes and for each of its GPUs.

    Args:
        load: `summary` by metric and `devices`, as a run keeps them; from anybody, so nothing is taken for granted.
    """
    summary = load.get("summary")
    if not isinstance(summary, dict):
        return []

    def number(metric: str, part: str) -> float | None:
        entry = summary.get(metric)
        value = entry.get(part) if isinstance(entry, dict) else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    lines: list[tuple[str, str]] = []
    words = []
    if (cpu := number("cpu", "mean")) is not None:
        words.append(f"CPU {cpu:.0f} % mean, {number('cpu', 'max') or 0:.0f} % peak")
    if (memory := number("rss_bytes", "max")) is not None:
        words.append(f"memory {format_bytes(memory)} peak")
    if words:
        lines.append(("load", "; ".join(words)))
    for index, name in _gpus(load):
        prefix = f"gpu{index}"
        words = [str(name)]
        if (use := number(f"{prefix}.utilization", "mean")) is not None:
            words.append(f"{use:.0f} % mean, {number(f'{prefix}.utilization', 'max') or 0:.0f} % peak")
        for metric, kind in ((f"{prefix}.own_memory_bytes", "own memory"), (f"{prefix}.memory_bytes", "memory")):
            mean, peak = number(metric, "mean"), number(metric, "max")
            if mean is not None and peak is not None:
                words.append(f"{kind} {format_bytes(mean)} mean, {format_bytes(peak)} peak")
                break
        lines.append((prefix, "; ".join(words)))
    return lines


def _gpus(load: Mapping[str, Any]) -> Iterator[tuple[int, SafeText]]:
    from dstui_store import clean

    devices = load.get("devices")
    for item in devices if isinstance(devices, list) else ():
        if isinstance(item, dict) and isinstance(item.get("index"), int):
            yield item["index"], clean(item.get("name"), limit=60)
