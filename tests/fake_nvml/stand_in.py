"""Builds the stand-in of NVIDIA's library, and says what cards it has."""

from __future__ import annotations

import os
import shutil
import subprocess
from itertools import count
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fake_nvml.c")
LIBRARY = "libnvidia-ml.so.1"

CHANGES = count()
"""Counts over all tests of a process, since the library stays loaded."""


def build(folder: Path) -> Path:
    """The folder of the library, for LD_LIBRARY_PATH; skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (`apt install gcc`), so the stand-in of NVIDIA's library cannot be built")
    target = folder / LIBRARY
    if not target.exists():
        flags = ["-shared", "-fPIC", "-O1", f"-Wl,-soname,{LIBRARY}"]
        subprocess.run([compiler, *flags, "-o", str(target), str(SOURCE)], check=True, timeout=60)
    return folder


class Cards:
    """The text file that says what the stand-in has."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def have(self, *lines: str) -> None:
        """Put these lines there instead of what was; each change has a time of its own, so it is noticed."""
        new = self.path.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in lines))
        stamp = 1_790_000_000 + next(CHANGES)
        os.utime(new, (stamp, stamp))
        new.replace(self.path)

    def have_idle(self, number: int, *lines: str) -> None:
        """So many cards of one kind, and more lines."""
        self.have(*(f"gpu {index} Card-80GB {index} 5 {1000 + index} 81920 40 250" for index in range(number)), *lines)
