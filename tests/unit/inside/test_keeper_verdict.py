"""How an end is judged, and what each Ctrl-C asks for."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from dstui.inside.verdict import Interrupts, judge

INT, TERM, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL
GPU_TEXT = b"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB"


@pytest.mark.parametrize(
    ("exit_code", "killed_by", "circumstances", "expected"),
    [
        (0, None, {}, ("finished", None)),
        (1, None, {}, ("failed", None)),
        (75, None, {}, ("failed", None)),
        (None, 9, {}, ("killed", "signal 9 from outside")),
        (None, 15, {}, ("killed", "signal 15 from outside")),
        (None, 34, {}, ("killed", "signal 34 from outside")),
        (None, 11, {}, ("failed", "signal 11 (SIGSEGV)")),
        (None, 13, {}, ("failed", "signal 13 (SIGPIPE)")),
        (None, 9, {"host_memory_full": True}, ("oom", "out of host memory: the kernel killed it")),
        (137, None, {"host_memory_full": True}, ("oom", "out of host memory: the kernel killed it")),
        (1, None, {"host_memory_full": True}, ("failed", None)),
        (1, None, {"last_output": GPU_TEXT}, ("oom", "out of GPU memory")),
        (None, 6, {"last_output": GPU_TEXT}, ("oom", "out of GPU memory")),
        (0, None, {"last_output": GPU_TEXT}, ("finished", None)),
        (None, 9, {"last_output": GPU_TEXT}, ("killed", "signal 9 from outside")),
        (0, None, {"interrupted": True}, ("stopped", "Ctrl-C")),
        (None, 2, {"interrupted": True}, ("stopped", "Ctrl-C")),
        (None, 2, {}, ("killed", "signal 2 from outside")),
        (None, 9, {"request": ("timeout", "time limit of 5 s")}, ("timeout", "time limit of 5 s")),
        (0, None, {"request": ("stopped", "enough"), "interrupted": True}, ("stopped", "enough")),
    ],
)
def test_every_end_has_its_state_and_reason(
    exit_code: int | None, killed_by: int | None, circumstances: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    assert judge(exit_code, killed_by, **circumstances) == expected


def pressed(*times: float) -> list[int]:
    """The signals that Ctrl-C at these times stand for."""
    interrupts = Interrupts()
    return [interrupts.press(at) for at in times]


def test_one_control_c_after_another_asks_harder_when_three_seconds_have_passed() -> None:
    assert pressed(100, 103, 106, 109) == [INT, TERM, KILL, KILL]


def test_a_key_held_down_only_repeats_sigint_until_three_seconds_have_passed() -> None:
    assert pressed(0, 0.1, 0.2, 2.9, 3.0, 3.1, 5.9, 6.0) == [INT, INT, INT, INT, TERM, INT, INT, KILL]


def test_a_control_c_long_after_the_last_begins_anew() -> None:
    assert pressed(0, 30, 61) == [INT, TERM, INT]


def test_other_keys_in_between_begin_anew() -> None:
    interrupts = Interrupts()
    interrupts.press(0)
    interrupts.forget()
    assert interrupts.press(4) == INT


def test_an_end_within_thirty_seconds_of_a_control_c_was_caused_by_it() -> None:
    interrupts = Interrupts()
    assert not interrupts.caused(0)
    interrupts.press(100)
    assert interrupts.caused(130)
    assert not interrupts.caused(130.1)
