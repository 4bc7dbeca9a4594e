"""Fixtures of the tests about devices: a stand-in of NVIDIA's library under the real binding, a sampler's folder."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dstui.devices.interest import Meeting, sampler_folder
from tests.fake_nvml.stand_in import LIBRARY, Cards, build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stand-in library."""
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def cards(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cards:
    """What the stand-in has, for this process and those it starts."""
    found = Cards(tmp_path / "cards")
    found.have_idle(1)
    monkeypatch.setenv("FAKE_NVML_STATE", str(found.path))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
    # Loaded by its name later, so this one is taken; the loader reads the variable only at a start.
    ctypes.CDLL(str(library / LIBRARY), mode=ctypes.RTLD_GLOBAL)
    return found


@pytest.fixture
def meeting(wait_until: Callable[..., None]) -> Iterator[Meeting]:
    """The sampler's folder of this test; a sampler that is left is ended, since by itself it stays some seconds."""
    found = Meeting(sampler_folder())
    yield found
    for pid in sampler_pids(found):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not found.is_sampled())


def sampler_pids(meeting: Meeting) -> list[int]:
    """Processes that sample for this folder."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"dstui.devices.sampler" in words and os.fsencode(meeting.folder) in words:
                found.append(int(name))
    return found
