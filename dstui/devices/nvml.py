"""NVIDIA GPUs through NVML: the one module that imports `pynvml`. CUDA is never touched.

A call may block for ever, so only the sampler's process uses this. Every failure of the driver has a sentence and a
mend (`problem_of`). A value that a card does not give is None, and is not asked for again until the devices are
looked for anew.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pynvml

from dstui.devices.backend import BackendError, Device, Instance, Problem, Process, Reading, Sample, State
from dstui_store import SafeText, clean

INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""The kernel's fixed name of the outermost namespace: only there are the driver's process ids ours."""

FORGET_AFTER = 60
"""After so many readings it is looked again whose the processes are: a pid may have been given anew."""

ABSENT = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
    }
)
"""The card, or this version of its driver, has no such value."""

PASSING = frozenset({pynvml.NVML_ERROR_NO_PERMISSION, pynvml.NVML_ERROR_NO_DATA, pynvml.NVML_ERROR_NOT_READY})
"""No such value now; for one value no permission is no reason to give up a device."""

GONE = frozenset(
    {pynvml.NVML_ERROR_UNINITIALIZED, pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}
)
"""The driver was taken away or exchanged while we used it."""

PROBLEMS = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: Problem(
        State.NO_DRIVER,
        "No NVIDIA driver is installed here",
        "without an NVIDIA GPU that is as it should be; in a container, start it with access to the GPUs",
    ),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: Problem(
        State.NOT_LOADED,
        "The NVIDIA driver is installed, but its kernel module is not loaded",
        "`sudo modprobe nvidia`, or restart the machine; without an NVIDIA GPU it is as it should be",
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: Problem(
        State.MISMATCH,
        "The NVIDIA driver's library and its kernel module have different versions",
        "the driver was updated: restart the machine, or unload and load the kernel module",
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: Problem(
        State.NO_PERMISSION,
        "This user may not use the NVIDIA devices",
        "check the mode of `/dev/nvidia*` and the groups of this user (`video`, `render`)",
    ),
    pynvml.NVML_ERROR_GPU_IS_LOST: Problem(
        State.LOST,
        "The GPU has fallen off the bus",
        "`dmesg | grep -i xid` says why; it comes back with a restart of the machine",
    ),
    pynvml.NVML_ERROR_RESET_REQUIRED: Problem(
        State.RESET, "The GPU must be reset", "end what runs on it, then `sudo nvidia-smi --gpu-reset`, or restart"
    ),
    pynvml.NVML_ERROR_TIMEOUT: Problem(
        State.STALLED, "The NVIDIA driver did not answer in time", "`dmesg | grep -i xid` may say why"
    ),
}
"""By return code of NVML."""

NO_DEVICE = Problem(
    State.NO_DEVICE, "The NVIDIA driver sees no GPU", "`lspci | grep -i nvidia` says whether one is there"
)


def problem_of(error: pynvml.NVMLError) -> Problem:
    """A failure of NVML as a sentence and its mend."""
    code = int(error.value)
    known = PROBLEMS.get(code)
    if known is not None:
        return known
    return Problem(
        State.FAULT,
        f"The NVIDIA driver says: {clean(error, limit=200)} (code {code})",
        "`nvidia-smi` may say more; `dmesg | grep -i nvrm` too",
    )


class Nvml:
    """The NVIDIA devices of this machine; see `DeviceBackend`.

    Args:
        pids_are_ours: whether the driver's process ids mean processes that we see; by default where we are in the
            outermost namespace. In a container they are those of the host, so users and names would be wrong.
    """

    kind = "nvidia"

    def __init__(self, *, pids_are_ours: bool | None = None) -> None:
        self._pids_are_ours = _in_initial_namespace() if pids_are_ours is None else pids_are_ours
        self._handles: dict[int, Any] = {}
        self._devices: list[Device] = []
        self._faults: dict[int, Problem] = {}
        self._absent: set[tuple[int, str]] = set()
        self._readings = 0
        self._is_open = False

    def open(self) -> None:
        """Connect to the driver and find its devices.

        Raises:
            BackendError: there is none that works, or it knows no device.
        """
        self.close()
        try:
            pynvml.nvmlInit()
            self._is_open = True
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            raise BackendError(problem_of(error)) from error
        self._absent.clear()
        self._handles.clear()
        self._faults.clear()
        self._devices = [self._find(index) for index in range(count)]
        if not count:
            raise BackendError(NO_DEVICE)

    def close(self) -> None:
        """Let go of the driver."""
        if self._is_open:
            self._is_open = False
            try:
                pynvml.nvmlShutdown()
            except pynvml.NVMLError:
                pass  # It has gone before us.

    def read(self) -> list[Reading]:
        """All devices now.

        Raises:
            BackendError: the driver itself has gone.
        """
        self._readings += 1
        if self._readings % FORGET_AFTER == 0:
            _owner.cache_clear()
        return [self._read(device) for device in self._devices]

    def _find(self, index: int) -> Device:
        """A device by its number; one that does not answer keeps its place."""
        try:
            return self._describe(index)
        except pynvml.NVMLError as error:
            _raise_if_gone(error)
            self._faults[index] = problem_of(error)
            return Device(index=index, uuid="", name=clean("does not answer"))

    def _describe(self, index: int) -> Device:
        handle = self._handles[index] = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = self._ask(index, "memory", lambda: _memory(handle))
        limit = self._ask(index, "limit", lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        mode = self._ask(index, "mig", lambda: pynvml.nvmlDeviceGetMigMode(handle))
        mig = None if mode is None else mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE
        return Device(
            index=index,
            uuid=str(clean(pynvml.nvmlDeviceGetUUID(handle))),
            name=clean(pynvml.nvmlDeviceGetName(handle)),
            memory_total_bytes=None if memory is None else int(memory.total),
            power_limit_watts=None if limit is None else limit / 1000,
            mig=mig,
            instances=tuple(self._instances(index, handle)) if mig else (),
        )

    def _instances(self, index: int, handle: Any) -> Iterator[Instance]:
        number = self._ask(index, "instances", lambda: pynvml.nvmlDeviceGetMaxMigDeviceCount(handle))
        for place in range(number or 0):
            try:
                part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
                uuid, name = pynvml.nvmlDeviceGetUUID(part), pynvml.nvmlDeviceGetName(part)
                memory = _memory(part)
            except pynvml.NVMLError:
                continue  # Places without an instance are not found.
            yield Instance(str(clean(uuid)), clean(name), int(memory.total))

    def _read(self, device: Device) -> Reading:
        index = device.index
        if index in self._faults:
            return Reading(device, Sample(), None, self._faults[index])
        try:
            return Reading(device, self._sample(index), self._processes(index))
        except pynvml.NVMLError as error:
            _raise_if_gone(error)
            return Reading(device, Sample(), None, problem_of(error))

    def _sample(self, index: int) -> Sample:
        handle = self._handles[index]

        def ask(name: str, call: Callable[[], Any]) -> Any:
            return self._ask(index, name, call)

        use = ask("utilization", lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
        memory = ask("memory", lambda: _memory(handle))
        power = ask("power", lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
        energy = ask("energy", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        temperature = ask("heat", lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
        sm_clock = ask("sm clock", lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM))
        memory_clock = ask("memory clock", lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM))
        return Sample(
            utilization_percent=None if use is None else float(use.gpu),
            memory_utilization_percent=None if use is None else float(use.memory),
            memory_bytes=None if memory is None else int(memory.used),
            temperature_celsius=None if temperature is None else float(temperature),
            power_watts=None if power is None else power / 1000,
            sm_clock_mhz=None if sm_clock is None else float(sm_clock),
            memory_clock_mhz=None if memory_clock is None else float(memory_clock),
            energy_joules=None if energy is None else energy / 1000,
        )

    def _processes(self, index: int) -> tuple[Process, ...] | None:
        """Who uses a device, computing ones first; None when the driver tells of neither kind."""
        handle = self._handles[index]
        computing = self._ask(index, "compute", lambda: pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle))
        drawing = self._ask(index, "graphics", lambda: pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3(handle))
        if computing is None and drawing is None:
            return None
        found: dict[int, Process] = {}
        for entries, graphics in ((computing or (), False), (drawing or (), True)):
            for entry in entries:
                known = found.get(entry.pid)
                memory = entry.usedGpuMemory
                if known is not None and not graphics and memory is not None:
                    memory += known.memory_bytes or 0  # One process in several instances of a split device.
                if known is None or not graphics:
                    user, name = _owner(entry.pid) if self._pids_are_ours else (None, None)
                    found[entry.pid] = Process(entry.pid, user, name, None if memory is None else int(memory), graphics)
        return tuple(found.values())

    def _ask(self, index: int, name: str, call: Callable[[], Any]) -> Any:
        """The answer of the driver, None when there is no such value.

        Raises:
            pynvml.NVMLError: the device failed.
        """
        if (index, name) in self._absent:
            return None
        try:
            return call()
        except pynvml.NVMLError as error:
            if error.value in ABSENT:
                self._absent.add((index, name))
            elif error.value not in PASSING:
                raise
            return None


def _raise_if_gone(error: pynvml.NVMLError) -> None:
    if error.value in GONE:
        raise BackendError(problem_of(error)) from error


def _memory(handle: Any) -> Any:
    """`total` and `used`, without what the driver keeps for itself where it can tell the two apart."""
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except pynvml.NVMLError as error:
        if error.value not in ABSENT:
            raise
        return pynvml.nvmlDeviceGetMemoryInfo(handle)


@lru_cache(maxsize=4096)
def _owner(pid: int) -> tuple[SafeText | None, SafeText | None]:
    """(user, name of the command) of a process; None for what cannot be seen."""
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
        name = Path(f"/proc/{pid}/comm").read_bytes().rstrip(b"\n")
    except OSError:
        return None, None
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return clean(user), clean(name)


def _in_initial_namespace() -> bool:
    try:
        return os.readlink("/proc/self/ns/pid") == INITIAL_PID_NAMESPACE
    except OSError:
        return False
