"""Has the load of a run sampled: not in its first second, which most short commands never see the end of.

The sampler is a process of its own that outlives us (`dstui/devices/`); the run's folder is all that it needs to know,
so nothing has to live on for the run's sake: neither the front nor anything that it holds.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from dstui.errors import DeviceError

DELAY_SECONDS = 1.0
"""A command that ends before costs nothing."""


class Sampling:
    """Sees to it that a run is sampled.

    Args:
        run: its id.
        live: its live folder.
        environment: of the command that starts it. Inside another run no sampler is started, since the keeper of that
            run would end it with all that it left behind; the sampler of that run takes this one too.
        wanted: whether the settings say so; else nothing is ever done.
    """

    def __init__(self, run: str, live: Path, environment: Mapping[str, str], *, wanted: bool) -> None:
        self._run = run
        self._live = live
        self._is_inner = "DSTUI_RUN_DIR" in environment
        self._timer = threading.Timer(DELAY_SECONDS, self._begin) if wanted else None
        self._begun = False

    def soon(self, pid: int = 0) -> None:
        """The command runs now."""
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def at_once(self, *, wait: bool = True) -> None:
        """Begin now, if that has not happened: nobody will be here when the time comes.

        Args:
            wait: until the sampler is there; a process that ends at once need not.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._begin(wait=wait)

    def cancel(self) -> None:
        """The run is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, *, wait: bool = True) -> None:
        from dstui.devices.interest import Meeting

        if self._begun:
            return
        self._begun = True
        try:
            Meeting().add_run(self._run, self._live, start=not self._is_inner, wait=wait)
        except DeviceError as error:
            try:
                with (self._live / "errors").open("a") as errors:
                    errors.write(f"the load of the machine is not recorded: {error.message}\n")
            except OSError:
                pass  # The run has ended meanwhile.
