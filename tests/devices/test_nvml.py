"""NVIDIA's devices through the real binding over a stand-in library: every failure has a name, a sentence, a mend."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import pytest

from dstui.devices.backend import BackendError, DeviceBackend, Reading, Sample, State
from dstui.devices.nvml import PROBLEMS, Nvml

if TYPE_CHECKING:
    from tests.fake_nvml.stand_in import Cards


def readings(nvml: Nvml) -> list[Reading]:
    nvml.open()
    try:
        return nvml.read()
    finally:
        nvml.close()


def test_it_is_a_backend() -> None:
    backend: DeviceBackend = Nvml()
    assert backend.kind == "nvidia"


@pytest.mark.parametrize("count", [1, 4, 16])
def test_every_card_is_read_whole(cards: Cards, count: int) -> None:
    cards.have_idle(count, *(f"energy {index} {500 + index}" for index in range(count)))
    found = readings(Nvml())
    assert [item.device.index for item in found] == list(range(count))
    assert len({item.device.uuid for item in found}) == count
    last = found[-1]
    assert last.problem is None
    assert last.device.name == "Card-80GB"
    assert last.device.memory_total_bytes == 80 << 30
    assert last.device.power_limit_watts == 400
    assert last.device.mig is None
    assert last.sample == Sample(
        utilization_percent=count - 1,
        memory_utilization_percent=5,
        memory_bytes=(1000 + count - 1) << 20,
        temperature_celsius=40,
        power_watts=250,
        sm_clock_mhz=1410,
        memory_clock_mhz=1593,
        energy_joules=500 + count - 1,
    )


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (9, State.NOT_LOADED),
        (12, State.NO_DRIVER),
        (18, State.MISMATCH),
        (4, State.NO_PERMISSION),
        (10, State.STALLED),
        (999, State.FAULT),
        (17, State.FAULT),
    ],
)
@pytest.mark.parametrize("symbol", ["nvmlInit", "nvmlDeviceGetCount"])
def test_a_driver_that_fails_says_what_to_do(cards: Cards, symbol: str, code: int, state: State) -> None:
    cards.have_idle(1, f"err {symbol} {code}")
    nvml = Nvml()
    with pytest.raises(BackendError) as failure:
        nvml.open()
    problem = failure.value.problem
    assert problem.state is state
    assert problem.message
    assert problem.mend
    cards.have_idle(1)
    assert readings(nvml)[0].problem is None


def test_a_driver_without_a_device_is_no_fault(cards: Cards) -> None:
    cards.have("driver 570.0")
    with pytest.raises(BackendError) as failure:
        Nvml().open()
    assert failure.value.problem.state is State.NO_DEVICE


def test_every_known_failure_has_a_sentence_and_a_mend() -> None:
    for problem in PROBLEMS.values():
        assert problem.message[0].isupper()
        assert not problem.message.endswith(".")
        assert problem.mend


@pytest.mark.parametrize(
    ("code", "state"), [(15, State.LOST), (16, State.RESET), (4, State.NO_PERMISSION), (999, State.FAULT)]
)
def test_one_card_that_fails_leaves_the_others(cards: Cards, code: int, state: State) -> None:
    cards.have_idle(3, f"err nvmlDeviceGetHandleByIndex@1 {code}")
    nvml = Nvml()
    found = readings(nvml)
    assert [item.problem and item.problem.state for item in found] == [None, state, None]
    assert found[1].sample == Sample()
    assert found[2].sample.temperature_celsius == 40


def test_a_card_that_is_lost_later_keeps_its_name_and_comes_back(cards: Cards) -> None:
    cards.have_idle(2)
    nvml = Nvml()
    nvml.open()
    uuid = nvml.read()[1].device.uuid
    cards.have_idle(2, "err nvmlDeviceGet@1 15")
    lost = nvml.read()[1]
    assert lost.problem is not None
    assert lost.problem.state is State.LOST
    assert lost.device.uuid == uuid
    cards.have_idle(2)
    assert nvml.read()[1].problem is None
    nvml.close()


@pytest.mark.parametrize("code", [1, 9, 18])
def test_a_driver_that_goes_away_is_told_for_all(cards: Cards, code: int) -> None:
    nvml = Nvml()
    nvml.open()
    cards.have_idle(1, f"err nvmlDeviceGetUtilizationRates {code}")
    with pytest.raises(BackendError):
        nvml.read()
    nvml.close()


@pytest.mark.parametrize("code", [3, 13, 25, 4, 21])
@pytest.mark.parametrize(
    ("symbol", "field"),
    [
        ("nvmlDeviceGetUtilizationRates", "utilization_percent"),
        ("nvmlDeviceGetMemoryInfo", "memory_bytes"),
        ("nvmlDeviceGetTemperature", "temperature_celsius"),
        ("nvmlDeviceGetPowerUsage", "power_watts"),
        ("nvmlDeviceGetClockInfo", "sm_clock_mhz"),
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_joules"),
    ],
)
def test_what_a_card_does_not_say_is_none(cards: Cards, symbol: str, field: str, code: int) -> None:
    cards.have_idle(1, f"err {symbol} {code}")
    found = readings(Nvml())[0]
    assert found.problem is None
    assert getattr(found.sample, field) is None
    assert found.sample != Sample()


def test_an_old_driver_gives_memory_by_its_older_call(cards: Cards) -> None:
    cards.have_idle(1, "err nvmlDeviceGetMemoryInfo_v2 13")
    assert readings(Nvml())[0].sample.memory_bytes == 1000 << 20


def test_a_split_card_has_parts_and_no_use_of_its_own(cards: Cards) -> None:
    cards.have_idle(2, "mig 1 10240", "mig 1 20480")
    whole, split = readings(Nvml())
    assert whole.device.mig is None
    assert split.device.mig is True
    assert [part.memory_total_bytes for part in split.device.instances] == [10 << 30, 20 << 30]
    assert all(part.uuid.startswith("MIG-") for part in split.device.instances)
    assert split.sample.utilization_percent is None
    assert split.sample.memory_bytes == 1001 << 20


def test_processes_have_owner_and_name(cards: Cards) -> None:
    me = os.getpid()
    cards.have_idle(2, f"proc 0 {me} 700", f"proc 1 {me} -1", "proc 1 4194000 5")
    first, second = readings(Nvml(pids_are_ours=True))
    assert first.processes is not None
    assert second.processes is not None
    (own,) = first.processes
    assert (own.pid, own.memory_bytes, own.user) == (me, 700 << 20, pwd.getpwuid(os.getuid()).pw_name)
    assert own.name
    assert [item.memory_bytes for item in second.processes] == [None, 5 << 20]
    assert second.processes[1].user is None


def test_in_a_container_the_owner_is_unknown(cards: Cards) -> None:
    cards.have_idle(1, f"proc 0 {os.getpid()} 700")
    (reading,) = readings(Nvml(pids_are_ours=False))
    assert reading.processes is not None
    assert reading.processes[0].user is None
    assert reading.processes[0].name is None


def test_a_driver_that_hides_processes_is_no_fault(cards: Cards) -> None:
    cards.have_idle(1, "err nvmlDeviceGetComputeRunningProcesses 3", "err nvmlDeviceGetGraphicsRunningProcesses 4")
    (reading,) = readings(Nvml())
    assert reading.processes is None
    assert reading.problem is None


def test_names_are_cleaned(cards: Cards) -> None:
    cards.have("gpu 0 Card\x1b[2J 1 1 1 81920 40 250")
    assert "\x1b" not in readings(Nvml())[0].device.name
