"""Read what the sampler wrote: the newest moment, the last hours of a device, or what comes from now on.

Asks no driver and starts nothing. `latest` reads a few KiB and loads neither numpy nor a library of devices.
"""

from __future__ import annotations

import json
import os
import re
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from dstui.devices.backend import (
    SAMPLE_FIELDS,
    Device,
    Instance,
    Problem,
    Process,
    Sample,
    State,
    metric_name,
)
from dstui_store import clean

if TYPE_CHECKING:
    from dstui.devices.interest import Meeting
    from dstui_store import Series, Tail

STALLED_SECONDS = 5.0
"""A sample older than this is no longer the present."""

TAIL_BYTES = 64 << 10
"""Of the end of a journal, where the newest moment is; one of 16 GPUs takes 5 KiB."""

MAX_STATUS_BYTES = 4 << 20

NOT_SAMPLED = Problem(State.STALLED, "Nobody samples this machine now", "`ds monitor` starts the sampler")

SILENT = Problem(
    State.STALLED,
    "There has been no sample for some seconds",
    "the machine is very busy, or a disk does not answer; runs go on",
)

SILENT_DEVICE = Problem(
    State.STALLED, "The driver has not answered for some seconds", "runs go on; `dmesg | grep -i xid` may say why"
)

_RECORD = struct.Struct("<IqddI")
_STEM = re.compile(r"0-\d{8}T\d\d(-\d+)?")


@dataclass(frozen=True)
class DeviceNow:
    """A device in its newest moment.

    Attributes:
        sample: empty where there is none that is new.
        processes: None when the driver does not tell.
        problem: why there is no sample.
    """

    device: Device
    sample: Sample
    processes: tuple[Process, ...] | None
    problem: Problem | None


@dataclass(frozen=True)
class MachineNow:
    """A machine in its newest moment.

    Attributes:
        time: of the samples, seconds since the epoch; None when there is none.
        host: metrics of the machine by name, without `host.` before it: `cpu load memory_bytes ..`.
        devices: in order of their index.
        problem: why there is no device, or nothing new at all.
    """

    time: float | None
    host: Mapping[str, float]
    memory_total_bytes: int | None
    devices: tuple[DeviceNow, ...]
    problem: Problem | None


def latest(meeting: Meeting, now: float | None = None) -> MachineNow:
    """The newest samples; what is older than five seconds is not shown as if it were the present.

    Args:
        meeting: the sampler's folder.
        now: seconds since the epoch; the clock's time when not given.
    """
    now = time.time() if now is None else now
    status = _status(meeting)
    moment, values = _newest(meeting.journal)
    if moment is None or now - moment > STALLED_SECONDS:
        sampled = meeting.is_sampled()
        if moment is None and sampled:
            # It has only just begun.
            return MachineNow(None, {}, None, (), None)
        old = SILENT if sampled else NOT_SAMPLED
        return MachineNow(moment, {}, None, tuple(_device(item, {}, old) for item in _listed(status)), old)
    problem = _problem(status.get("problem"))
    return MachineNow(
        time=moment,
        host={name.removeprefix("host."): value for name, value in values.items() if name.startswith("host.")},
        memory_total_bytes=_whole(status.get("memory_total_bytes")),
        devices=tuple(_device(item, values, problem) for item in _listed(status)),
        problem=problem,
    )


def history(meeting: Meeting, prefix: str, start: float, end: float | None = None) -> dict[str, Series]:
    """The samples of a device in a range of time, up to some hours back.

    Args:
        meeting: the sampler's folder.
        prefix: `gpu0` or `host`.
        start: seconds since the epoch, the first moment.
        end: the last moment; now when not given.

    Returns:
        By name without the prefix; arrays of equal length within each.
    """
    from dstui_store import Series, Tail

    found: dict[str, Series] = {}
    for name, series in Tail(meeting.journal).poll().items():
        head, _, rest = name.partition(".")
        if head == prefix:
            wanted = series.time >= start
            if end is not None:
                wanted &= series.time <= end
            if wanted.any():
                found[rest] = Series(rest, series.step[wanted], series.time[wanted], series.value[wanted])
    return found


class Follower:
    """Gives the samples that are new since the last call, for live views. Not thread-safe; one owner.

    Attributes:
        restarted: forget what came before; a file of old samples has been removed, so all is given anew.
    """

    def __init__(self, meeting: Meeting) -> None:
        self._journal = meeting.journal
        self._tail: Tail | None = None
        self.restarted = False

    def poll(self) -> dict[str, Series]:
        """New samples by name, such as `gpu0.utilization`; the first call gives those of the last hours."""
        from dstui_store import Tail

        first = self._tail is None
        if self._tail is not None:
            try:
                found = self._tail.poll()
                self.restarted = self._tail.restarted
                return found
            except FileNotFoundError:
                pass
        self._tail = Tail(self._journal)
        self.restarted = not first
        return self._tail.poll()


def _newest(journal: Path) -> tuple[float | None, dict[str, float]]:
    """(time, values by name) of the last call in the newest journal."""
    paths = [path for path in journal.glob("0-*.dsj") if _STEM.fullmatch(path.stem)]
    for path in sorted(paths, key=_modified, reverse=True):
        try:
            moment, values = _last_call(path)
        except OSError:
            continue  # Removed as too old in this moment.
        if moment is not None:
            return moment, values
    return None, {}


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _last_call(path: Path) -> tuple[float | None, dict[str, float]]:
    with path.open("rb") as file:
        first = max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES) // _RECORD.size
        file.seek(first * _RECORD.size)
        data = file.read(TAIL_BYTES + _RECORD.size)
    with path.with_suffix(".keys").open("rb") as keys:
        names = [_name(line) for line in keys.read(1 << 20).splitlines()]
    moment: float | None = None
    values: dict[str, float] = {}
    for place in range(len(data) // _RECORD.size - 1, -1, -1):
        record = data[place * _RECORD.size : (place + 1) * _RECORD.size]
        head, _, when, value, check = _RECORD.unpack(record)
        if crc32(record[:-4], first + place) != check or head >> 24 != 1:
            continue
        if moment is not None and when != moment:
            break
        moment = when
        if (head & 0xFFFFFF) < len(names):
            values[names[head & 0xFFFFFF]] = value
    return moment, values


def _name(line: bytes) -> str:
    try:
        return str(json.loads(line))
    except ValueError:
        return ""


def _status(meeting: Meeting) -> Mapping[str, Any]:
    try:
        with meeting.status.open("rb") as file:
            found = json.loads(file.read(MAX_STATUS_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("v") == 1 else {}


def _listed(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    items = status.get("devices")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _device(item: Mapping[str, Any], values: Mapping[str, float], of_all: Problem | None) -> DeviceNow:
    """A device of `status.json` with its values of the newest moment."""
    instances = item.get("instances")
    device = Device(
        index=_whole(item.get("index")) or 0,
        uuid=str(clean(item.get("uuid"))),
        name=clean(item.get("name")),
        memory_total_bytes=_whole(item.get("memory_total_bytes")),
        power_limit_watts=_number(item.get("power_limit_watts")),
        mig=item.get("mig") if isinstance(item.get("mig"), bool) else None,
        instances=tuple(
            Instance(str(clean(part.get("uuid"))), clean(part.get("name")), _whole(part.get("memory_total_bytes")))
            for part in instances or ()
            if isinstance(part, dict)
        )
        if isinstance(instances, list)
        else (),
    )
    found = {field: values.get(f"{device.prefix}.{metric_name(field)}") for field in SAMPLE_FIELDS}
    memory = found.pop("memory_bytes")
    sample = Sample(memory_bytes=None if memory is None else int(memory), **found)
    problem = _problem(item.get("problem")) or of_all
    if problem is None and sample == Sample():
        problem = SILENT_DEVICE
    processes = item.get("processes")
    return DeviceNow(
        device=device,
        sample=sample,
        processes=tuple(_process(part) for part in processes if isinstance(part, dict))
        if isinstance(processes, list)
        else None,
        problem=problem,
    )


def _process(item: Mapping[str, Any]) -> Process:
    user, name = item.get("user"), item.get("name")
    return Process(
        pid=_whole(item.get("pid")) or 0,
        user=None if user is None else clean(user),
        name=None if name is None else clean(name),
        memory_bytes=_whole(item.get("memory_bytes")),
        graphics=bool(item.get("graphics")),
    )


def _problem(item: Any) -> Problem | None:
    if not isinstance(item, dict):
        return None
    state = item.get("state")
    known = state if state in {member.value for member in State} else State.FAULT
    return Problem(State(known), str(clean(item.get("message"))), str(clean(item.get("mend"))))


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def to_json(machine: MachineNow) -> dict[str, Any]:
    """The object that `ds monitor --json` prints, but for its time."""
    return {
        "devices": [_device_json(item) for item in machine.devices],
        "host": {**machine.host, "memory_total_bytes": machine.memory_total_bytes},
        "problem": _problem_json(machine.problem),
    }


def _device_json(now: DeviceNow) -> dict[str, Any]:
    device, sample = now.device, now.sample
    return {
        "index": device.index,
        "uuid": device.uuid,
        "name": device.name,
        "memory_total_bytes": device.memory_total_bytes,
        "power_limit_watts": device.power_limit_watts,
        "mig": device.mig,
        "instances": [vars(instance) for instance in device.instances],
        **{field.name: getattr(sample, field.name) for field in fields(sample)},
        "processes": None if now.processes is None else [vars(process) for process in now.processes],
        "problem": _problem_json(now.problem),
    }


def _problem_json(problem: Problem | None) -> dict[str, str] | None:
    return None if problem is None else {key: str(value) for key, value in vars(problem).items()}
