"""What the sampler writes for one run: the load of its processes, of its GPUs and of the machine, until it ends.

Into `system/` of the run's live folder: a journal, and `devices.json` with the GPUs that its names mean. The names:

| metric | what it is |
|---|---|
| `cpu` `rss_bytes` `processes` | of the run's own processes; `cpu` in percent of one core |
| `read_bytes` `written_bytes` | of those, to and from disks since the first sample |
| `disk_free_bytes` | where the run's project is |
| `host.cpu` `host.load` `host.memory_bytes` `host.swap_bytes` `host.sent_bytes` `host.received_bytes` | the machine |
| `gpu0.utilization` .. | the fields of a `Sample`; `gpu0.own_memory_bytes`: what the run's own processes have of it |

A run's GPUs are those that `CUDA_VISIBLE_DEVICES` names and those on which its processes were seen.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dstui.devices.backend import SAMPLE_FIELDS, Device, Reading, metric_name
from dstui.devices.machine import HostSample, Tree, TreeSample
from dstui.inside.journal import JournalWriter
from dstui_store import start_ticks

STARTING_SECONDS = 60.0
"""A run whose keeper has not spoken by then has never begun."""

DENSE_SECONDS = 3600.0
"""As long a run is sampled every second."""

FEWEST_ROWS = 3
"""A run that ends before it has so many has none: they would say little, and its commit would wait for Parquet."""

SPARSE_PERIOD_SECONDS = 10.0
"""Afterwards this often."""

LONG_RUN_ROWS = 8640
"""After a day so many rows hold all the time so far: a run of a year has 52,000."""

COUNTERS = frozenset({"read_bytes", "written_bytes", "host.sent_bytes", "host.received_bytes"})
"""Names of what only grows."""

MAX_JSON_BYTES = 4 << 20
"""Of a file of a live folder."""

ALL_GPUS = "all"
"""What NVIDIA's container tools write for every device."""


def period_seconds(elapsed: float) -> float:
    """How often a run is sampled that has gone on for so long."""
    return 1.0 if elapsed < DENSE_SECONDS else max(SPARSE_PERIOD_SECONDS, elapsed / LONG_RUN_ROWS)


def combined(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Several samples as one: the last of a counter, the largest of a size, else the mean."""
    values: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.items():
            values.setdefault(name, []).append(value)
    return {name: _combine(name, found) for name, found in values.items()}


def _combine(name: str, values: list[float]) -> float:
    if name in COUNTERS or name.endswith(".energy_joules"):
        return values[-1]
    if name == "disk_free_bytes":
        return min(values)
    return max(values) if name.endswith("_bytes") else sum(values) / len(values)


def gpu_values(reading: Reading) -> dict[str, float]:
    """The sample of a device as metrics, those that it gives."""
    prefix, sample = reading.device.prefix, reading.sample
    values = {field: getattr(sample, field) for field in SAMPLE_FIELDS}
    return {f"{prefix}.{metric_name(field)}": value for field, value in values.items() if value is not None}


def host_values(host: HostSample) -> dict[str, float]:
    """The machine as metrics; its total memory is no news."""
    values = {
        "host.cpu": host.cpu_percent,
        "host.load": host.load,
        "host.memory_bytes": host.memory_bytes,
        "host.swap_bytes": host.swap_bytes,
        "host.sent_bytes": host.sent_bytes,
        "host.received_bytes": host.received_bytes,
    }
    return {name: value for name, value in values.items() if value is not None}


def tree_values(tree: TreeSample) -> dict[str, float]:
    """The processes of a run as metrics."""
    values = {
        "cpu": tree.cpu_percent,
        "rss_bytes": tree.rss_bytes,
        "processes": len(tree.pids),
        "read_bytes": tree.read_bytes,
        "written_bytes": tree.written_bytes,
    }
    return {name: value for name, value in values.items() if value is not None}


def visible_devices(text: str | None, devices: Iterable[Device]) -> frozenset[int]:
    """Indices of the devices that a value of `CUDA_VISIBLE_DEVICES` names; none where it is not set.

    CUDA counts up to the first entry that is no device. A split device (MIG) is named by its parts.
    """
    known = list(devices)
    if text is None:
        return frozenset()
    if text.strip() == ALL_GPUS:
        return frozenset(device.index for device in known)
    found: set[int] = set()
    for word in (part.strip() for part in text.split(",")):
        matching = {device.index for device in known if _is_named(device, word)}
        if len(matching) != 1:
            break
        found |= matching
    return frozenset(found)


def _is_named(device: Device, word: str) -> bool:
    if word.isascii() and word.isdigit():
        return device.index == int(word[:9])
    names = (device.uuid, *(instance.uuid for instance in device.instances))
    return len(word) > 4 and any(name.startswith(word) for name in names)


class TrackedRun:
    """One run that asked for samples.

    Args:
        run: its id.
        live: its live folder.
        asked_at: when it asked, seconds since the epoch.
    """

    def __init__(self, run: str, live: Path, asked_at: float) -> None:
        self.run = run
        self.live = live
        self._asked_at = asked_at
        self._state: dict[str, Any] = {}
        self._launch = _read(live / "launch.json")
        self._tree: Tree | None = None
        self._writer: JournalWriter | None = None
        self._waiting: list[dict[str, float]] = []
        self._rows: list[tuple[dict[str, float], int, float]] = []
        self._written_at = 0.0
        self._gpus: dict[int, Device] = {}

    @property
    def place(self) -> str:
        """A folder on the disk that the run writes to."""
        folder = self._launch.get("cwd")
        return folder if isinstance(folder, str) and folder else str(self.live)

    def is_over(self, now: float) -> bool:
        """Whether the run has ended, or never began."""
        if not self._launch or not (self.live / "launch.json").exists() or (self.live / "exit.json").exists():
            return True
        if not self._state and not self._find():
            return now - self._asked_at > STARTING_SECONDS
        state = self._state
        return not any(_lives(state.get(f"{who}pid"), state.get(f"{who}start_ticks")) for who in ("", "keeper_"))

    def add(self, now: float, host: HostSample, readings: Sequence[Reading], disk_free: int | None) -> None:
        """Write what the run uses now.

        Args:
            now: seconds since the epoch.
            readings: the GPUs of the machine, as far as they could be read at this moment.
            disk_free: bytes that are free at `place`.
        """
        if self._tree is None:
            return
        tree = self._tree.sample()
        values = tree_values(tree)
        if disk_free is not None:
            values["disk_free_bytes"] = disk_free
        values |= host_values(host)
        for reading in self._own(readings, tree.pids):
            values |= gpu_values(reading)
            own = [process.memory_bytes for process in reading.processes or () if process.pid in tree.pids]
            if own and None not in own:
                values[f"{reading.device.prefix}.own_memory_bytes"] = sum(size for size in own if size is not None)
        self._waiting.append(values)
        self._write(now)

    def close(self) -> None:
        """Close its journal."""
        if self._writer is not None:
            self._writer.close()

    def _find(self) -> bool:
        """Look who runs it; False while its keeper has not said so."""
        state = _read(self.live / "state.json")
        pid, keeper, started = state.get("pid"), state.get("keeper_pid"), state.get("started_at")
        if not (isinstance(pid, int) and isinstance(keeper, int) and isinstance(started, int | float)):
            return False
        self._state = state
        # Orphans of the command become children of its keeper; a process that is only watched is none.
        self._tree = Tree(roots=frozenset({pid, keeper}), outside=frozenset({keeper}))
        return True

    def _own(self, readings: Sequence[Reading], pids: frozenset[int]) -> list[Reading]:
        """The readings of the run's GPUs."""
        known = len(self._gpus)
        named = visible_devices(self._visible(), [reading.device for reading in readings])
        for reading in readings:
            seen = any(process.pid in pids for process in reading.processes or ())
            if seen or reading.device.index in named:
                self._gpus.setdefault(reading.device.index, reading.device)
        if len(self._gpus) > known and self._writer is not None:
            self._write_devices()
        return [reading for reading in readings if reading.device.index in self._gpus]

    def _visible(self) -> str | None:
        environment = self._launch.get("environment")
        variables = environment.get("variables") if isinstance(environment, dict) else None
        value = variables.get("CUDA_VISIBLE_DEVICES") if isinstance(variables, dict) else None
        return value if isinstance(value, str) else None

    def _write(self, now: float) -> None:
        elapsed = now - self._state["started_at"]
        # Half a second of grace: the moments of the samples are not exact.
        if now - self._written_at < period_seconds(elapsed) - 0.5:
            return
        values = self._waiting[0] if len(self._waiting) == 1 else combined(self._waiting)
        self._rows.append((values, max(0, round(elapsed)), now))
        self._waiting.clear()
        self._written_at = now
        if self._writer is None:
            if len(self._rows) < FEWEST_ROWS:
                return
            self._writer = JournalWriter(str(self.live / "system"), 0, "system")
            if self._gpus:
                self._write_devices()
        for row in self._rows:
            self._writer.log(*row)
        self._rows.clear()

    def _write_devices(self) -> None:
        """Say which cards the names of the GPUs mean; the identity only as a hash, since runs are shared."""
        devices = [
            {
                "index": device.index,
                "name": device.name,
                "memory_bytes": device.memory_total_bytes,
                "uuid_sha256": hashlib.sha256(device.uuid.encode()).hexdigest()[:16],
            }
            for _, device in sorted(self._gpus.items())
        ]
        try:
            (self.live / "system").mkdir(mode=0o700, exist_ok=True)
            write_whole(self.live / "system" / "devices.json", devices)
        except OSError:
            pass  # The run has gone meanwhile, or the disk is full, which the keeper says.


def write_whole(path: Path, value: object) -> None:
    """Replace a JSON file; readers see the old one or the new one.

    Raises:
        OSError: it could not be written; the old one stays.
    """
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file)
    new.replace(path)


def _read(path: Path) -> dict[str, Any]:
    """The object of a JSON file, empty when there is none that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = json.loads(file.read(MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _lives(pid: object, ticks: object) -> bool:
    return isinstance(pid, int) and ticks is not None and start_ticks(pid) == ticks
