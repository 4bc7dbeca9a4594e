"""What the end of a command means: the state of its run and the reason, and what a further Ctrl-C asks for.

Pure: clock values and counters come from the keeper.
"""

from __future__ import annotations

import signal

STOP_WINDOW_SECONDS = 30.0
"""A command that ends within this time of a Ctrl-C ended because of it."""

PATIENCE_SECONDS = 3.0
"""A Ctrl-C this long after the last measure asks for a harder one; sooner it is only repeated."""

CRASHES = frozenset({"SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV", "SIGSYS", "SIGPIPE"})
"""Signals that a process brings on itself; any other that ends it came from outside."""

GPU_MEMORY_TEXTS = (b"CUDA out of memory", b"OutOfMemoryError", b"CUDA_ERROR_OUT_OF_MEMORY")
"""What PyTorch, JAX and TensorFlow print when the GPU's memory is full."""

KILLED_CODE = 128 + 9
"""Exit code of a shell whose last command was killed by SIGKILL."""


class Interrupts:
    """Counts the Ctrl-C that a command got, and says what each one should do."""

    def __init__(self) -> None:
        self._level = 0
        self._raised_at = 0.0
        self._last_at: float | None = None

    def press(self, now: float) -> int:
        """The signal that a Ctrl-C stands for: SIGINT first, 3 s later SIGTERM, another 3 s later SIGKILL.

        Args:
            now: monotonic clock, seconds.
        """
        if self._last_at is None or now - self._last_at > STOP_WINDOW_SECONDS:
            self._level, self._raised_at = 0, now
            chosen = 0
        elif now - self._raised_at >= PATIENCE_SECONDS:
            self._level, self._raised_at = min(self._level + 1, 2), now
            chosen = self._level
        else:
            chosen = 0
        self._last_at = now
        return (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[chosen]

    def forget(self) -> None:
        """Start anew: other keys were typed, so the person is talking with the command, not ending it."""
        self._last_at = None

    def caused(self, ended_at: float) -> bool:
        """Whether an end at this time of the monotonic clock followed from a Ctrl-C."""
        return self._last_at is not None and ended_at - self._last_at <= STOP_WINDOW_SECONDS


def judge(
    exit_code: int | None,
    killed_by: int | None,
    *,
    request: tuple[str, str] | None = None,
    interrupted: bool = False,
    host_memory_full: bool = False,
    last_output: bytes = b"",
) -> tuple[str, str | None]:
    """State and stop reason of a run whose command has ended.

    Args:
        exit_code: 0-255, or None when a signal ended it.
        killed_by: that signal, else None.
        request: state and reason of a stop that the keeper itself carried out.
        interrupted: a Ctrl-C came shortly before.
        host_memory_full: the kernel has killed for lack of memory since the start.
        last_output: the end of the output, some KiB.
    """
    if request is not None:
        return request
    if interrupted:
        return "stopped", "Ctrl-C"
    if exit_code == 0:
        return "finished", None
    if host_memory_full and (killed_by == signal.SIGKILL or exit_code == KILLED_CODE):
        return "oom", "out of host memory: the kernel killed it"
    crashed = killed_by is not None and _name(killed_by) in CRASHES
    if (killed_by is None or crashed) and any(text in last_output for text in GPU_MEMORY_TEXTS):
        return "oom", "out of GPU memory"
    if crashed:
        return "failed", f"signal {killed_by} ({_name(killed_by)})"
    if killed_by is not None:
        return "killed", f"signal {killed_by} from outside"
    return "failed", None


def _name(number: int | None) -> str:
    try:
        return signal.Signals(number or 0).name
    except ValueError:
        return ""
