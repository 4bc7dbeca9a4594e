"""The `env.json` of a run: interpreter, packages, machine, driver, lock files, and the allowed variables."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dstui.execution.interpreter import Interpreter
    from dstui_store import WorkTree

ALLOWED_VARIABLES = (
    *("CUDA_", "NVIDIA_", "OMP_", "MKL_", "NCCL_", "TORCH", "PYTORCH_", "XLA_", "TF_", "PYTHON", "SLURM_"),
    *("LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_DEFAULT_ENV", "RANK", "WORLD_SIZE"),
)
"""Variables (or their beginnings) that are stored with a run; no other ever is."""

LOCK_FILES = re.compile(
    r"uv\.lock|poetry\.lock|pixi\.lock|Pipfile\.lock|conda-lock\.ya?ml|environment\.ya?ml|requirements[\w.-]*\.(?:txt|lock)"
)
"""Names of files that pin the packages of a project."""

MAX_LOCK_FILES = 32
MAX_LOCK_BYTES = 8 << 20
"""A longer one is listed without its hash: reading it would hold up the start."""

MAX_BYTES = 1 << 20
"""Size of the whole; what every reader admits."""

MAX_EDITABLE = 100

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")

MAX_VARIABLE_CHARACTERS = 32 * 1024
"""Of one variable's value."""


def describe(
    environment: Mapping[str, str], interpreter: Interpreter | None, project: Path, cwd: Path
) -> dict[str, Any]:
    """What can be said at once, without starting anything; `packages` null means that they are not known yet."""
    system = os.uname()
    python = None if interpreter is None else {"executable": str(interpreter.path), "found_by": interpreter.found_by}
    return {
        "schema": 1,
        "python": python,
        "packages": None,
        "torch": None,
        "cpu": {"model": cpu_model()},
        "gpus": None,
        "driver": {"nvidia": nvidia_driver()},
        "host": {
            "name": system.nodename,
            "kernel": f"{system.sysname} {system.release}",
            "architecture": system.machine,
            "cpus": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "libc": " ".join(platform.libc_ver()),
        },
        "lock_files": lock_files(project, cwd),
        "variables": {
            key: value[:MAX_VARIABLE_CHARACTERS]
            for key, value in sorted(environment.items())
            if key.startswith(ALLOWED_VARIABLES)
        },
    }


def with_packages(
    described: Mapping[str, Any],
    answer: Mapping[str, Any],
    environment: Mapping[str, str],
    project: Path,
    look: Callable[[Path], WorkTree] | None,
) -> dict[str, Any]:
    """The whole `env.json`, from what an interpreter told of itself.

    Args:
        described: of `describe`.
        answer: of `interpreter.ask`.
        environment: of the command.
        project: whose own code is stored with the run, so that nothing more need be said of it.
        look: tells commit and edits of an editable install elsewhere; None leaves them unknown.
    """
    python = {
        **(described.get("python") or {}),
        **{key: answer.get(key) for key in ("version", "implementation", "tag", "prefix", "base_prefix", "kind")},
    }
    sources = dict(answer.get("sources") or {})
    editable = [name for name, source in sources.items() if source.get("editable")]
    conda = answer.get("conda") or {}
    found = {
        **described,
        "python": python,
        "packages": answer["packages"],
        "sources": {name: source for name, source in sources.items() if name not in editable},
        "editable": [_editable(name, sources[name], project, look) for name in editable[:MAX_EDITABLE]],
        "conda": {"name": environment.get("CONDA_DEFAULT_ENV"), "packages": conda} if conda else None,
        "torch": answer.get("torch"),
    }
    return _bounded(found)


def needs_a_look(answer: Mapping[str, Any], project: Path) -> bool:
    """Whether there are editable installs outside the project, whose git state must be read anew for each run."""
    return any(
        source.get("editable") and not _is_inside(source.get("path"), project)
        for source in (answer.get("sources") or {}).values()
    )


def lock_files(project: Path, cwd: Path) -> list[dict[str, Any]]:
    """The lock files of the project's folder and of the current one, with their hashes."""
    found: list[dict[str, Any]] = []
    for folder in dict.fromkeys((project, cwd)):
        try:
            names = sorted(name for name in os.listdir(folder) if LOCK_FILES.fullmatch(name))
        except OSError:
            continue
        found += [item for name in names if (item := _lock_file(folder / name, project)) is not None]
    return found[:MAX_LOCK_FILES]


def cpu_model() -> str | None:
    """The processor's name as the kernel gives it, None where it gives none."""
    text = _start_of(Path("/proc/cpuinfo"))
    found = re.search(r"^(?:model name|Processor|cpu model|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return " ".join(found[1].split())[:200] if found else None


def nvidia_driver(path: Path = NVIDIA_DRIVER) -> str | None:
    """Version of the NVIDIA kernel module, None without one.

    The line names it after the kind of module: `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue ..`, or
    `.. NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build ..`.
    """
    found = re.search(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)*)\s", _start_of(path), re.MULTILINE)
    return found[1] if found else None


def sampled_gpus() -> list[dict[str, Any]]:
    """The GPUs of this machine by the newest reading of the sampler; empty where there is none."""
    from dstui.devices.interest import Meeting
    from dstui.devices.samples import latest

    return [
        {"index": now.device.index, "name": str(now.device.name), "memory_bytes": now.device.memory_total_bytes}
        for now in latest(Meeting()).devices
    ]


def _start_of(path: Path) -> str:
    # The first page only: with hundreds of processors the whole of cpuinfo takes tens of milliseconds.
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(4096).decode("utf-8", "replace")
    except OSError:
        return ""


def _lock_file(path: Path, project: Path) -> dict[str, Any] | None:
    try:
        size = path.stat().st_size
        if not path.is_file():
            return None
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if size <= MAX_LOCK_BYTES else None
    except OSError:
        return None
    shown = path.relative_to(project) if path.is_relative_to(project) else path
    return {"path": str(shown), "size": size, "sha256": digest}


def _editable(
    name: str, source: Mapping[str, Any], project: Path, look: Callable[[Path], WorkTree] | None
) -> dict[str, Any]:
    path = source.get("path")
    inside = _is_inside(path, project)
    state: dict[str, Any] = {"commit": None, "branch": None, "dirty": None}
    if path and not inside and look is not None:
        found = look(Path(path))
        state = {"commit": found.commit, "branch": found.branch, "dirty": found.dirty}
    return {"name": name, "path": path, "in_project": inside, **state}


def _is_inside(path: Any, project: Path) -> bool:
    return isinstance(path, str) and bool(path) and Path(os.path.realpath(path)).is_relative_to(project)


def _bounded(found: dict[str, Any]) -> dict[str, Any]:
    """The same within `MAX_BYTES`: without what is told twice, then without the last of the packages."""
    for key in ("conda", "sources", "variables"):
        if len(json.dumps(found)) <= MAX_BYTES:
            return found
        found = {**found, key: None, "cut": [*found.get("cut", ()), key]}
    packages = list(found["packages"].items())
    while len(json.dumps(found)) > MAX_BYTES and packages:
        packages = packages[: len(packages) // 2]
        found = {**found, "packages": dict(packages), "cut": [*dict.fromkeys([*found["cut"], "packages"])]}
    return found
