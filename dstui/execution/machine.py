"""What can be said of the machine and the interpreter of a run without starting anything."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ALLOWED_VARIABLES = (
    *("CUDA_", "NVIDIA_", "OMP_", "MKL_", "NCCL_", "TORCH", "PYTORCH_", "XLA_", "TF_", "PYTHON", "SLURM_"),
    *("LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_DEFAULT_ENV", "RANK", "WORLD_SIZE"),
)
"""Variables (or their beginnings) that are stored with a run; no other ever is."""


def describe(environment: Mapping[str, str], python: Path | None) -> dict[str, Any]:
    """The `env.json` of a run: interpreter, machine, and the allowed variables."""
    system = os.uname()
    return {
        "schema": 1,
        "python": None if python is None else {"executable": str(python)},
        "host": {
            "name": system.nodename,
            "kernel": f"{system.sysname} {system.release}",
            "architecture": system.machine,
            "cpus": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "libc": " ".join(platform.libc_ver()),
        },
        "variables": {key: value for key, value in sorted(environment.items()) if key.startswith(ALLOWED_VARIABLES)},
    }
