"""What is said of a GPU, and what a kind of GPU has to give for it: the words of this room.

Not measured is None, never 0: a card that cannot say its power draw has none here. What a driver refuses is a
`Problem`, one for a device or one for all; it is shown to people as it stands.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dstui_store import SafeText


class State(enum.StrEnum):
    """Why a device, or all devices of a backend, cannot be read."""

    NO_DRIVER = "no_driver"
    """The driver's library is not on this machine. For most machines that is as it should be."""
    NOT_LOADED = "not_loaded"
    """The library is there, the kernel's part is not, or there is no such card."""
    NO_DEVICE = "no_device"
    """The driver works and knows no device."""
    MISMATCH = "mismatch"
    """Library and kernel module are of different versions: the driver was updated without a reboot."""
    NO_PERMISSION = "no_permission"
    """The system keeps us from the device."""
    LOST = "lost"
    """The device has left the bus."""
    RESET = "reset"
    """The device waits for a reset."""
    STALLED = "stalled"
    """The driver has not answered for some seconds."""
    FAULT = "fault"
    """Anything else the driver said."""


@dataclass(frozen=True)
class Problem:
    """A failure of a driver.

    Attributes:
        message: what is wrong, one sentence.
        mend: what to do about it, or what it means.
    """

    state: State
    message: str
    mend: str


class BackendError(Exception):
    """A backend cannot be used now.

    Attributes:
        problem: why.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True)
class Instance:
    """One part of a GPU that is split (MIG)."""

    uuid: str
    name: SafeText
    memory_total_bytes: int | None


@dataclass(frozen=True)
class Device:
    """What does not change from one second to the next.

    Attributes:
        index: number of the device in the driver's order, that of the bus.
        mig: whether it is split into instances; its own utilisation is then not measured. None where it cannot be.
        instances: the parts of a split device.
        power_limit_watts: what it may draw.
    """

    index: int
    uuid: str
    name: SafeText
    memory_total_bytes: int | None = None
    power_limit_watts: float | None = None
    mig: bool | None = None
    instances: tuple[Instance, ...] = ()

    @property
    def prefix(self) -> str:
        """What its metrics begin with: `gpu0`."""
        return f"gpu{self.index}"


@dataclass(frozen=True)
class Sample:
    """One moment of a device; None is what it does not say.

    Attributes:
        utilization_percent: share of the last moment in which it computed anything at all.
        memory_utilization_percent: share in which its memory was read or written.
        memory_bytes: memory in use, by whomever.
        energy_joules: a counter, since the driver was loaded.
    """

    utilization_percent: float | None = None
    memory_utilization_percent: float | None = None
    memory_bytes: int | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    energy_joules: float | None = None


def metric_name(field: str) -> str:
    """The name of a field of a sample among metrics: a share of a whole goes without its unit."""
    return field.removesuffix("_percent")


SAMPLE_FIELDS = tuple(field.name for field in fields(Sample))
"""Names of the values of a sample, in order."""


@dataclass(frozen=True)
class Process:
    """A process that has memory of a device.

    Attributes:
        user: whose it is, None where that cannot be told.
        name: of the command, cleaned; None likewise.
        memory_bytes: of that device, None where the driver does not say.
        graphics: whether it draws instead of computing.
    """

    pid: int
    user: SafeText | None
    name: SafeText | None
    memory_bytes: int | None
    graphics: bool = False


@dataclass(frozen=True)
class Reading:
    """A device with its sample of one moment, and who uses it.

    Attributes:
        processes: None when the driver does not tell.
        problem: why the device could not be read; the sample is then empty.
    """

    device: Device
    sample: Sample
    processes: tuple[Process, ...] | None
    problem: Problem | None = None


class DeviceBackend(Protocol):
    """One kind of GPU. Used by one thread of one process, in which any call may block for ever.

    Every method raises `BackendError` when nothing can be read at all; what concerns one device is the `problem` of
    its reading. What is returned is never changed afterwards.
    """

    kind: str
    """Name of the kind, such as `nvidia`."""

    def open(self) -> None:
        """Connect to the driver and find its devices; called again after a failure."""

    def read(self) -> list[Reading]:
        """All devices now, in order of their index."""

    def close(self) -> None:
        """Let go of the driver; never raises."""
